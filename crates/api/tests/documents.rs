//! The requests of the original documentation, verbatim, get the documented responses, field by field.

use crate::test_api;

use base::Timestamp;
use serde_json::{Value, json};
use switch::State;
use test_api::{TestApi, assert_shape, request};

fn credentials() -> Value {
    json!({"success": true, "credentials": {
        "username": "user_1234567890", "password": "secure_password", "domain": "sip.nexus-core.com",
        "sipUri": "sip:user_1234567890@sip.nexus-core.com", "proxyServer": "0.0.0.0:5060", "transportProtocol": "UDP"
    }})
}

#[tokio::test]
async fn credentials_are_generated() {
    let api = TestApi::new().await;
    let answer =
        api.post(&api.key, "/api/v1/opensips/generate-credentials", json!({"userId": "user_123"})).await.ok();
    assert_shape(&answer, &credentials()); // S38
    let made = &answer["credentials"];
    let username = made["username"].as_str().unwrap();
    assert!(
        username
            .strip_prefix("user_")
            .is_some_and(|d| d.len() == 10 && d.bytes().all(|b| b.is_ascii_digit()))
    ); // S31
    assert_eq!(made["password"].as_str().unwrap().len(), 16); // S40
    assert_eq!(made["sipUri"], json!(format!("sip:{username}@sip.nexus-core.com"))); // S42
    assert_eq!(made["proxyServer"], json!("203.0.113.7:5060")); // S43
    // The switch has the credential before the response is sent.
    let ha1 = model::Ha1::new(username, "sip.nexus-core.com", made["password"].as_str().unwrap());
    assert_eq!(api.switch.read(|e| e.directory.credential(username).unwrap().ha1.clone()), ha1);
    // A second credential is added; the first stays valid until rotation (S38).
    let path = "/api/v1/opensips/generate-credentials";
    api.post(&api.key, path, json!({})).await.ok();
    assert!(api.switch.read(|e| e.directory.credential(username).is_some()));
    api.post(&api.key, path, json!({"rotate": true})).await.ok();
    assert_eq!(api.switch.read(|e| e.directory.counts()[2]), 1);
}

#[tokio::test]
async fn the_server_starts_reports_its_state_and_stops() {
    let api = TestApi::new().await;
    // Verbatim: no body, and in document 001 a Content-Type all the same (S21).
    let start =
        request("POST", "/api/v1/opensips/start", &api.key).header("content-type", "application/json");
    let started = api.send(start.body(axum::body::Body::empty()).unwrap()).await.ok();
    assert_eq!((&started["success"], &started["status"]), (&json!(true), &json!("running"))); // S34
    let status = api.get(&api.key, "/api/v1/opensips/status").await.ok();
    let documented = json!({
        "success": true, "status": "running", "opensipsStatus": "running", "listeners": [""], "activeCalls": 0,
        "registrations": 0, "uptimeSeconds": 0, "version": ""
    });
    assert_shape(&status, &documented); // S36
    assert_eq!(status["listeners"], json!(["udp://0.0.0.0:5060", "tcp://0.0.0.0:5060"]));
    api.advance(61);
    let health = api.get(&api.key, "/api/v1/opensips/health").await.ok();
    let flat = json!({"opensipsStatus": "running", "activeCalls": 0, "serverUptime": true, "serverUptimeSeconds": 61});
    assert_eq!(health, flat); // S37: no envelope
    let stopped = api.json("POST", &api.admin, "/api/v1/opensips/stop?force=true", &json!({})).await.ok();
    assert_eq!(stopped["status"], json!("stopped")); // S35
    assert!(api.switch.read(|e| e.commands.contains(&switch::Command::Stop { force: true })));
}

#[tokio::test]
async fn a_call_is_initiated_shown_and_ended() {
    let api = TestApi::new().await;
    let made = api.post(&api.key, "/api/v1/opensips/generate-credentials", json!({})).await.ok();
    let username = made["credentials"]["username"].as_str().unwrap().to_owned();
    let body = json!({"userId": "user_123", "fromNumber": "+1234567890", "toNumber": "+0987654321", "useTwilio": false});
    let answer = api.post(&api.key, "/api/v1/opensips/call/initiate", body).await.ok();
    let documented = json!({"success": true, "session": {
        "sessionId": "session_1234567890_abc123", "status": "ringing",
        "sipCredentials": {"username": "user_1234567890", "domain": "sip.nexus-core.com"}, "twilioCallSid": null
    }});
    assert_shape(&answer, &documented); // S47
    let session = &answer["session"];
    assert_eq!(
        (&session["status"], &session["sipCredentials"]["username"]),
        (&json!("queued"), &json!(username))
    ); // S48
    let id = session["sessionId"].as_str().unwrap();

    let shown = api.get(&api.key, &format!("/api/v1/opensips/call/{id}")).await.ok();
    let detail = json!({"success": true, "session": {
        "sessionId": "", "status": "", "sipCredentials": {"domain": ""}, "twilioCallSid": null, "fromNumber": "",
        "toNumber": "", "direction": "", "startedAt": "", "answeredAt": null, "endedAt": null, "durationSeconds": 0,
        "endReason": null, "legs": [], "quality": null, "recordings": [], "timelineUrl": ""
    }});
    assert_shape(&shown, &detail); // S50
    assert_eq!(shown["session"]["toNumber"], json!("+0987654321"));

    let path = format!("/api/v1/opensips/call/{id}/end");
    let ended =
        api.send(request("POST", &path, &api.key).body(axum::body::Body::empty()).unwrap()).await.ok();
    assert_eq!(
        (&ended["session"]["status"], &ended["session"]["endReason"]),
        (&json!("canceled"), &json!("ended_by_api"))
    );
    // Its record arrives in the database; ending it again gives the same response (S51).
    let call = model::CallRecord {
        status: model::CallStatus::Canceled,
        cause: Some(model::Cause::EndedByApi),
        ended_at: Some(Timestamp::from_micros(test_api::BEGIN * 1_000_000)),
        ..test_api::call_record(id, "user_123", test_api::BEGIN)
    };
    api.store.feed(&[model::journal::Record::CallClosed(Box::new(call))]).await.unwrap();
    let events = api.events(3).await;
    let of_call: Vec<_> =
        events.iter().filter(|event| event.subject == id).map(|event| event.kind.as_str()).collect();
    assert_eq!(
        of_call.iter().filter(|kind| **kind == "call_ended").count(),
        1,
        "each fact once: {of_call:?}"
    ); // N1
    assert_eq!(of_call.iter().filter(|kind| **kind == "call_end_requested").count(), 1, "{of_call:?}");
    let again = api.post(&api.key, &path, json!({})).await.ok();
    assert_eq!(
        (&again["session"]["status"], &again["session"]["endReason"]),
        (&json!("canceled"), &json!("ended_by_api"))
    );
}

#[tokio::test]
async fn the_parameters_of_initiate_reach_the_switch() {
    let api = TestApi::new().await;
    let path = "/api/v1/opensips/call/initiate";
    let body = json!({
        "fromNumber": "sip:1001@sip.nexus-core.com", "destinationNumber": "sip:*43@localhost", "ringTimeoutSeconds": 5, "requireDevice": false
    });
    api.post(&api.key, path, body).await.ok(); // S46: no userId; S76: destinationNumber
    let asked = api.switch.read(|e| e.commands.clone());
    let Some(switch::Command::Originate(wanted)) = asked.last() else { panic!("{asked:?}") };
    assert_eq!(
        (wanted.user.as_str(), wanted.from.as_deref(), wanted.to.as_str()),
        ("user_123", Some("1001"), "*43")
    );
    assert_eq!(
        (wanted.ring_timeout.as_secs(), wanted.require_device, wanted.device.clone()),
        (5, false, None)
    );
    api.post(&api.key, path, json!({"toNumber": "1002", "requireDevice": true}))
        .await
        .refused(409, "no_registered_device"); // S48
}

#[tokio::test]
async fn without_twilio_its_calls_are_refused_after_everything_else_was_checked() {
    let api = TestApi::new().await;
    let path = "/api/v1/opensips/call/initiate";
    // Document 000 verbatim.
    let body = json!({"userId": "user123", "fromNumber": "+1234567890", "toNumber": "+0987654321", "useTwilio": true});
    let refused = api.post(&api.admin, path, body.clone()).await;
    assert!(!refused.header("retry-after").is_empty());
    refused.refused(503, "twilio_not_configured"); // S49
    api.post(&api.key, path, body).await.refused(403, "foreign_user"); // S25
    api.post(&api.key, path, json!({"toNumber": "x y", "useTwilio": true}))
        .await
        .refused(400, "invalid_value");
    api.post(&api.key, path, json!({"toNumber": "911", "useTwilio": true}))
        .await
        .refused(403, "emergency_not_allowed");
    assert!(api.switch.read(|e| e.commands.is_empty()));
}

#[tokio::test]
async fn keys_are_created_listed_toggled_and_deleted() {
    let api = TestApi::new().await;
    let wanted = json!({"userId": "user_123", "name": "Production VoIP Key", "permissions": ["call", "sip", "recording"]});
    let answer = api.post(&api.admin, "/api/v1/keys/voip/generate", wanted).await.ok();
    let documented = json!({"success": true, "key": {
        "id": "key_1234567890", "key": "sk_voip_abc123...", "service": "voip",
        "metadata": {"opensips_enabled": true, "twilio_integration": true, "permissions": ["call", "sip", "recording"]}
    }});
    assert_shape(&answer, &documented); // S54
    let (id, secret) = (answer["key"]["id"].as_str().unwrap(), answer["key"]["key"].as_str().unwrap());
    assert_eq!(answer["key"]["metadata"]["permissions"], json!(["call", "sip", "recording"]));
    assert_eq!(answer["key"]["metadata"]["twilio_integration"], json!(false));
    api.get(secret, "/api/v1/opensips/health").await.ok(); // works at once

    let listed = api.get(&api.key, "/api/v1/keys?userId=user_123").await; // S57
    assert!(!listed.text.contains(secret), "the secret is shown once");
    let listed = listed.ok();
    let one = listed["keys"].as_array().unwrap().iter().find(|key| key["id"] == json!(id)).unwrap();
    assert_eq!((&one["active"], &one["keyPrefix"]), (&json!(true), &json!(&secret[..16])));
    assert_eq!(one["lastUsedAt"], json!("2025-01-15T10:30:00.000Z"));

    let off = api.post(&api.admin, &format!("/api/v1/keys/{id}/toggle"), json!({})).await.ok(); // S58
    assert_eq!(off["key"]["active"], json!(false));
    api.get(secret, "/api/v1/opensips/health").await.refused(401, "key_inactive"); // S24, S60
    let path = format!("/api/v1/keys/{id}/toggle");
    assert_eq!(
        api.post(&api.admin, &path, json!({"active": false})).await.ok()["key"]["active"],
        json!(false)
    );
    api.post(&api.admin, &path, json!({})).await.ok();
    api.get(secret, "/api/v1/opensips/health").await.ok();
    assert_eq!(api.delete(&api.admin, &format!("/api/v1/keys/{id}")).await.ok(), json!({"success": true})); // S59
    api.get(secret, "/api/v1/opensips/health").await.refused(401, "api_key_invalid");
}

#[tokio::test]
async fn extensions_are_created_listed_changed_called_and_deleted() {
    let api = TestApi::new().await;
    let body = json!({"userId": "user_123", "extensionNumber": "1001", "displayName": "Juan Pérez"});
    let made = api.post(&api.key, "/api/v1/voip/extensions/create", body).await.ok();
    let documented = json!({"success": true, "extension": {
        "id": "", "extensionNumber": "1001", "displayName": "Juan Pérez",
        "sipCredentials": {"username": "", "password": "", "domain": "", "sipUri": ""},
        "status": "active", "forwardingEnabled": false, "voicemailEnabled": true
    }});
    assert_shape(&made, &documented); // S63
    let extension = &made["extension"];
    for (name, value) in [
        ("extensionNumber", json!("1001")),
        ("displayName", json!("Juan Pérez")),
        ("status", json!("active")),
    ] {
        assert_eq!(extension[name], value);
    }
    assert_eq!(
        (&extension["forwardingEnabled"], &extension["voicemailEnabled"]),
        (&json!(false), &json!(true))
    );
    assert_eq!(extension["sipCredentials"]["password"].as_str().unwrap().len(), 16); // S40
    let (id, username) =
        (extension["id"].as_str().unwrap(), extension["sipCredentials"]["username"].as_str().unwrap());
    assert!(id.starts_with("ext_"));

    let listed = api.get(&api.key, "/api/v1/voip/extensions/user/user_123").await.ok();
    let one = json!({"success": true, "extensions": [{
        "id": "", "extensionNumber": "", "displayName": "", "status": "", "forwardingEnabled": false,
        "voicemailEnabled": true, "createdAt": "2025-01-15T10:30:00Z"
    }]});
    assert_shape(&listed, &one); // S64
    assert_eq!(listed["extensions"][0]["createdAt"], json!("2025-01-15T10:30:00.000Z"));
    assert!(listed["extensions"][0].get("sipCredentials").is_none());

    let path = format!("/api/v1/voip/extensions/{id}");
    let update = json!({"displayName": "Juan Pérez Updated", "forwardingEnabled": true, "forwardingNumber": "+1234567890"});
    let changed = api.put(&api.key, &path, update).await.ok(); // S66
    assert_eq!(changed["extension"]["forwardingNumber"], json!("+1234567890"));
    assert_eq!(changed["extension"]["voicemailEnabled"], json!(true));
    assert!(changed["extension"]["sipCredentials"].get("password").is_none());
    api.switch.change(|e| e.busy.push(username.to_owned()));
    let shown = api.get(&api.key, &path).await.ok(); // S65
    assert_eq!(
        (&shown["extension"]["status"], &shown["extension"]["displayName"]),
        (&json!("busy"), &json!("Juan Pérez Updated"))
    ); // S70

    let call = api
        .post(&api.key, &format!("{path}/call"), json!({"toNumber": "+0987654321", "useTwilio": false}))
        .await
        .ok();
    let documented = json!({"success": true, "call": {
        "sessionId": "", "status": "ringing", "fromNumber": "", "toNumber": "+0987654321", "twilioCallSid": null
    }});
    assert_shape(&call, &documented); // S67
    assert_eq!(call["call"]["fromNumber"], json!(format!("sip:{username}@sip.nexus-core.com")));
    api.get(&api.key, &format!("/api/v1/opensips/call/{}", call["call"]["sessionId"].as_str().unwrap()))
        .await
        .ok();

    let reset = api.post(&api.key, &format!("{path}/credentials/reset"), json!({})).await.ok(); // S75
    assert_ne!(reset["extension"]["sipCredentials"]["password"], extension["sipCredentials"]["password"]);
    api.delete(&api.key, &path).await.refused(409, "extension_busy"); // S68
    assert_eq!(api.delete(&api.key, &format!("{path}?force=true")).await.ok(), json!({"success": true}));
    assert!(api.switch.read(|e| e.calls.is_empty() && e.directory.credential(username).is_none()));
    api.get(&api.key, &path).await.refused(404, "not_found");
}

#[tokio::test]
async fn missing_numbers_and_names_get_defaults() {
    let api = TestApi::new().await;
    let first = api.post(&api.key, "/api/v1/voip/extensions", json!({})).await.ok(); // S62
    let second = api.post(&api.key, "/api/v1/voip/extensions", json!({"displayName": "Ana"})).await.ok();
    let number = |answer: &Value| answer["extension"]["extensionNumber"].clone();
    assert_eq!((number(&first), number(&second)), (json!("1001"), json!("1002")));
    assert_eq!(first["extension"]["displayName"], json!("1001"));
    assert_eq!(first["extension"]["userId"], json!("user_123"));
}

#[tokio::test]
async fn probes_need_no_key_and_metrics_need_an_admin() {
    let api = TestApi::new().await;
    assert_eq!(api.get("", "/healthz").await.ok(), json!({"status": "ok"}));
    let early = api.get("", "/readyz").await;
    let well = |status: &str| json!({"status": status, "database": "ok", "journal": "ok"});
    assert_eq!((early.status.as_u16(), early.json()), (503, well("starting")));
    api.switch.change(|e| e.state = State::Running);
    assert_eq!(api.get("", "/readyz").await.ok(), well("ok"));
    api.get("", "/metrics").await.refused(401, "api_key_missing");
    api.get(&api.key, "/metrics").await.refused(403, "insufficient_permissions");
    let metrics = api.get(&api.admin, "/metrics").await;
    for line in [
        "centralita_sip_running 1",
        "centralita_challenges_total 7",
        "centralita_calls_ended_total{cause=\"busy\"} 2",
        "# TYPE centralita_active_calls gauge",
    ] {
        assert!(metrics.text.lines().any(|there| there == line), "{line} is not in\n{}", metrics.text);
    }
    assert!(metrics.header("content-type").starts_with("text/plain"));
    assert!(api.switch.inner.lock().unwrap().commands.is_empty(), "probes send no command to the switch");
}

#[tokio::test]
async fn a_switch_with_a_hung_loop_is_neither_live_nor_ready() {
    let api = TestApi::new().await;
    api.switch.change(|e| {
        e.state = State::Running;
        e.heartbeat = Some(base::Instant::from_micros(1));
    });
    assert_eq!(api.get("", "/healthz").await.ok(), json!({"status": "ok"}));
    api.advance(60);
    for path in ["/healthz", "/readyz"] {
        let answer = api.get("", path).await;
        let status = answer.json()["status"].clone();
        assert_eq!((answer.status.as_u16(), status), (503, json!("stalled")), "{path}");
    }
    api.switch.change(|e| e.heartbeat = Some(base::Instant::from_micros(60_000_000)));
    assert_eq!(api.get("", "/healthz").await.ok(), json!({"status": "ok"}));
}
