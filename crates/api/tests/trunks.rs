//! Trunks over the API: created, read without secrets, changed and deleted by an administrator.

use crate::test_api;

use model::{Change, SealKey};
use serde_json::{Value, json};
use test_api::TestApi;

const TRUNKS: &str = "/api/v1/trunks";

fn carrier() -> Value {
    json!({
        "name": "Carrier", "hosts": [{"host": "sip.carrier.example", "port": 5060, "weight": 60}, {"host": "203.0.113.9"}],
        "username": "trunkuser", "password": "planted-secret-4711", "callerNumber": "+34910000000",
        "sources": ["203.0.113.0/24"], "dids": [{"number": "+34911000001", "extension": "1001"}],
        "maxChannels": 30, "callsPerSecond": 1, "codecs": ["PCMA"], "register": true,
    })
}

async fn made(api: &TestApi) -> (String, Value) {
    let answer = api.post(&api.admin, TRUNKS, carrier()).await.ok();
    let trunk = answer["trunk"].clone();
    (format!("{TRUNKS}/{}", trunk["id"].as_str().unwrap()), trunk)
}

// S107, S121, S122, S123
#[tokio::test]
async fn a_trunk_is_returned_as_created_and_never_with_its_password() {
    let api = TestApi::new().await;
    let (path, trunk) = made(&api).await;
    assert!(trunk["id"].as_str().unwrap().starts_with("trunk_"));
    assert_eq!((&trunk["hasPassword"], &trunk["registerExpires"]), (&json!(true), &json!(600)));
    assert_eq!(trunk["hosts"][0]["weight"], 60);
    assert_eq!(
        trunk["hosts"][1],
        json!({"host": "203.0.113.9", "port": null, "transport": "udp", "priority": 10, "weight": 10})
    );
    assert_eq!(trunk["sources"], json!(["203.0.113.0/24"]));
    let shown = api.get(&api.admin, &path).await;
    let listed = api.get(&api.admin, TRUNKS).await;
    for answer in [&shown, &listed] {
        assert!(!answer.text.contains("planted-secret"), "{}", answer.text);
    }
    assert_eq!(shown.ok()["trunk"]["status"]["state"], "up");
    let events = api.events(1).await;
    assert_eq!(
        (events.last().unwrap().kind.as_str(), events.last().unwrap().subject.as_str()),
        ("trunk_created", trunk["id"].as_str().unwrap())
    );
    assert!(!format!("{events:?}").contains("planted-secret"));

    // The switch gets it encrypted, and can decrypt it only with the server's key and for this trunk.
    let change = api.switch.read(|e| e.published.last().unwrap()[0].clone());
    let Change::Trunk(sent) = change else { panic!("{change:?}") };
    assert!(!serde_json::to_string(&sent).unwrap().contains("planted-secret"));
    let opened = sent.password.as_ref().unwrap().open(&SealKey::default(), sent.id.as_str());
    assert_eq!(opened.unwrap().expose(), "planted-secret-4711");
    assert!(sent.password.unwrap().open(&SealKey::default(), "trunk_other").is_none());
}

#[tokio::test]
async fn a_change_keeps_absent_fields_and_null_clears() {
    let api = TestApi::new().await;
    let (path, _) = made(&api).await;
    let change = json!({"priority": 5, "enabled": false, "maxChannels": null, "callerId": "pass"});
    let trunk = api.put(&api.admin, &path, change).await.ok()["trunk"].clone();
    assert_eq!(
        (&trunk["priority"], &trunk["enabled"], &trunk["maxChannels"]),
        (&json!(5), &json!(false), &Value::Null)
    );
    assert_eq!((&trunk["username"], &trunk["hasPassword"]), (&json!("trunkuser"), &json!(true)));
    let bare = json!({"username": null, "password": null, "register": false});
    let trunk = api.json("PATCH", &api.admin, &path, &bare).await.ok()["trunk"].clone();
    assert_eq!((&trunk["hasPassword"], &trunk["register"]), (&json!(false), &json!(false)));
    api.delete(&api.admin, &path).await.ok();
    api.get(&api.admin, &path).await.refused(404, "not_found");
    api.delete(&api.admin, &path).await.refused(404, "not_found");
    let kinds: Vec<String> = api.events(1).await.into_iter().map(|event| event.kind).collect();
    assert!(
        kinds.contains(&"trunk_updated".to_owned()) && kinds.contains(&"trunk_deleted".to_owned()),
        "{kinds:?}"
    );
}

#[tokio::test]
async fn an_invalid_trunk_is_rejected_with_the_field() {
    let api = TestApi::new().await;
    for (field, value) in [
        ("hosts", json!([])),
        ("hosts", json!([{"host": "sip:carrier.example"}])),
        ("hosts", json!([{"host": "a.example", "transport": "tls"}])),
        ("hosts", json!([{"host": "a b"}])),
        ("hosts", json!([{"host": "a.example", "port": 0}])),
        ("sources", json!(["0.0.0.0/0"])),
        ("sources", json!(["carrier.example"])),
        ("dids", json!([{"number": "call me"}])),
        ("dids", json!([{"number": "+34911", "extension": "1"}])),
        ("codecs", json!(["PC MA"])),
        ("callerId", json!("nobody")),
        ("registerExpires", json!(5)),
        ("username", json!("a@b")),
        ("maxChannels", json!(0)),
        ("outboundProxy", json!({"host": "x", "speed": 1})),
    ] {
        let mut body = carrier();
        body[field] = value.clone();
        let refusal = api.post(&api.admin, TRUNKS, body).await.refused(400, "invalid_value");
        assert_eq!(refusal["field"], field, "{value}");
    }
    let mut half = carrier();
    half.as_object_mut().unwrap().remove("password");
    assert_eq!(api.post(&api.admin, TRUNKS, half).await.refused(400, "invalid_value")["field"], "password");
    let mut nobody = carrier();
    nobody["callerId"] = json!("fixed");
    nobody.as_object_mut().unwrap().remove("callerNumber");
    assert_eq!(
        api.post(&api.admin, TRUNKS, nobody).await.refused(400, "invalid_value")["field"],
        "callerNumber"
    );
    api.post(&api.admin, TRUNKS, json!({"name": "x"})).await.refused(400, "missing_field");
    api.post(&api.admin, TRUNKS, json!({"name": "x", "sealed": 1})).await.refused(400, "unknown_field");
    assert!(api.app.directory_service().directory().trunks().next().is_none());
}

#[tokio::test]
async fn a_test_returns_the_state_of_the_hosts_and_the_status_lists_every_trunk() {
    let api = TestApi::new().await;
    let (path, trunk) = made(&api).await;
    let tested = api.post(&api.admin, &format!("{path}/test"), json!({})).await.ok();
    let status = &tested["trunk"]["status"];
    assert_eq!(
        (&status["hosts"][0]["lastStatus"], &status["hosts"][0]["roundTripMs"]),
        (&json!(200), &json!(12.0))
    );
    assert_eq!((&status["registration"], &status["registrationStatus"]), (&json!("failed"), &json!(403)));
    api.post(&api.admin, "/api/v1/trunks/trunk_9/test", json!({})).await.refused(404, "not_found");
    let status = api.get(&api.key, "/api/v1/opensips/status").await.ok();
    assert_eq!(
        status["trunks"],
        json!([
            {"id": trunk["id"], "name": "Carrier", "state": "up", "registration": "failed", "activeCalls": 2}
        ])
    );
}

// security.md rows 7 and 31
#[tokio::test]
async fn a_test_call_reports_its_result_and_forbidden_numbers_are_not_called() {
    let api = TestApi::new().await;
    let (path, _) = made(&api).await;
    let test = format!("{path}/test");
    let told = api.post(&api.admin, &test, json!({"number": "+34912345678"})).await.ok();
    let call = &told["call"];
    assert_eq!((&call["answered"], &call["code"]), (&json!(false), &json!("busy")));
    assert_eq!(
        (&call["sipStatus"], &call["ringMs"], &call["answerMs"]),
        (&json!(486), &json!(1200), &Value::Null)
    );
    assert_eq!(call["steps"], json!(["trunk: it answers 486"]));
    for (number, code) in [("+8821312345678", "number_blocked"), ("112", "emergency_not_allowed")] {
        api.post(&api.admin, &test, json!({ "number": number })).await.refused(403, code);
    }
    api.post(&api.admin, &test, json!({"number": "call me"})).await.refused(400, "invalid_value");
    let without = api.post(&api.admin, &test, json!({})).await.ok();
    assert_eq!(without["call"], Value::Null);
}

// N11
#[tokio::test]
async fn an_external_target_without_a_trunk_is_accepted_with_a_warning() {
    let api = TestApi::new().await;
    let body = json!({"userId": "user_123", "extensionNumber": "1001"});
    let extension = api.post(&api.admin, "/api/v1/voip/extensions/create", body).await.ok();
    let path = format!("/api/v1/voip/extensions/{}", extension["extension"]["id"].as_str().unwrap());
    assert_eq!(extension["warnings"], Value::Null);
    let outside = json!({"forwardingEnabled": true, "forwardingNumber": "+34912345678"});
    let planned = json!({
        "destinationNumber": "+34912345678",
        "schedule": {"frequency": "daily", "time": "09:00", "timezone": "Europe/Madrid"}
    });

    let forwarded = api.put(&api.key, &path, outside.clone()).await.ok();
    assert_eq!(forwarded["warnings"][0]["field"], "forwardingNumber");
    assert_eq!(forwarded["warnings"][0]["code"], "no_route");
    assert_eq!(forwarded["warnings"][0]["message"], "No trunk carries this number");
    assert_eq!(forwarded["extension"]["forwardingNumber"], "+34912345678", "it is accepted all the same");
    let made_call = api.post(&api.key, &format!("{path}/recurring-calls"), planned.clone()).await.ok();
    assert_eq!(made_call["warnings"][0]["field"], "destinationNumber");
    let off = json!({"forwardingEnabled": false});
    assert_eq!(api.put(&api.key, &path, off).await.ok()["warnings"], Value::Null, "forwarding is off");

    made(&api).await;
    assert_eq!(api.put(&api.key, &path, outside).await.ok()["warnings"], Value::Null);
    let made_call = api.post(&api.key, &format!("{path}/recurring-calls"), planned).await.ok();
    assert_eq!(made_call["warnings"], Value::Null);
}

#[tokio::test]
async fn an_invalid_host_name_is_rejected() {
    let api = TestApi::new().await;
    for host in [
        "256.1.1.1",
        "1.2.3",
        "a..b",
        "-a.example",
        "0.0.0.0",
        "224.0.0.1",
        "sip:carrier.example",
        "[::1]",
        "a b",
    ] {
        for place in ["hosts", "outboundProxy"] {
            let mut trunk = carrier();
            trunk[place] = if place == "hosts" { json!([{"host": host}]) } else { json!({"host": host}) };
            let refused = api.post(&api.admin, TRUNKS, trunk).await.refused(400, "invalid_value"); // F32
            assert!(["hosts", "outboundProxy"].contains(&refused["field"].as_str().unwrap()), "{refused}");
        }
    }
    for port in [json!(0), json!(99_999), json!(-1), json!(5060.5)] {
        let mut trunk = carrier();
        trunk["hosts"] = json!([{"host": "sip.carrier.example", "port": port}]);
        assert_eq!(api.post(&api.admin, TRUNKS, trunk).await.refused(400, "invalid_value")["field"], "hosts");
    }
    let mut trunk = carrier();
    trunk["hosts"] = json!([{"host": "sip.carrier.example", "port": 5060.0}, {"host": "2001:db8::1"}]);
    assert_eq!(api.post(&api.admin, TRUNKS, trunk).await.ok()["trunk"]["hosts"][0]["port"], 5060);
}
