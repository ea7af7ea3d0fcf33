//! Extensions: dial permissions, forwarding, visibility and events.

use crate::test_api;

use serde_json::{Value, json};
use test_api::TestApi;

const EXTENSIONS: &str = "/api/v1/voip/extensions";

/// Create an extension of `user_123`; returns its path and its JSON.
async fn made(api: &TestApi) -> (String, Value) {
    let answer = api.post(&api.key, EXTENSIONS, json!({})).await.ok();
    (format!("{EXTENSIONS}/{}", answer["extension"]["id"].as_str().unwrap()), answer["extension"].clone())
}

#[tokio::test]
async fn a_new_extension_dials_everything_but_premium_and_only_an_admin_widens_that() {
    // S188
    let api = TestApi::new().await;
    let (path, new) = made(&api).await;
    let usual = json!({"internal": true, "national": true, "international": true, "premium": false});
    assert_eq!(new["dialPermissions"], usual);
    let narrowed =
        api.json("PATCH", &api.key, &path, &json!({"dialPermissions": {"international": false}})).await.ok();
    let shut = json!({"internal": true, "national": true, "international": false, "premium": false});
    assert_eq!(narrowed["extension"]["dialPermissions"], shut, "absent fields are unchanged");
    for wider in [
        json!({"international": true}),
        json!({"premium": true}),
        json!({"national": false, "premium": true}),
    ] {
        let body = json!({ "dialPermissions": wider });
        let refused = api.put(&api.key, &path, body).await.refused(403, "insufficient_permissions");
        assert_eq!(refused["field"], json!("dialPermissions"));
    }
    let body = json!({"dialPermissions": {"international": true, "premium": true}});
    let widened = api.put(&api.admin, &path, body).await.ok();
    assert_eq!(widened["extension"]["dialPermissions"]["premium"], json!(true));
    assert_eq!(
        api.get(&api.key, &path).await.ok()["extension"]["dialPermissions"],
        widened["extension"]["dialPermissions"]
    );
    for bad in [json!({"local": true}), json!({"internal": "yes"}), json!({"premium": 1})] {
        api.put(&api.admin, &path, json!({ "dialPermissions": bad })).await.refused(400, "invalid_value");
    }
    api.put(&api.admin, &path, json!({"dialPermissions": ["national"]})).await.refused(400, "wrong_type");
    api.put(&api.admin, &path, json!({"dialPermissions": null})).await.refused(400, "wrong_type");
    let directory = api.store.load_directory().await.unwrap();
    assert!(directory.extensions().all(|extension| extension.dial_permissions.premium), "it is stored");
}

#[tokio::test]
async fn forwarding_has_four_modes_and_rejects_forbidden_targets() {
    // S71
    let api = TestApi::new().await;
    let (path, _) = made(&api).await;
    api.post(&api.key, EXTENSIONS, json!({"extensionNumber": "1870"})).await.ok();
    for mode in ["always", "busy", "noAnswer", "unreachable"] {
        let body = json!({"forwardingEnabled": true, "forwardingNumber": "+1234567890", "forwardingMode": mode, "ringSeconds": 12});
        let changed = api.put(&api.key, &path, body).await.ok();
        assert_eq!(
            (&changed["extension"]["forwardingMode"], &changed["extension"]["ringSeconds"]),
            (&json!(mode), &json!(12))
        );
    }
    for (number, status, code) in [
        ("911", 403, "emergency_not_allowed"),
        ("+112", 403, "emergency_not_allowed"),
        ("0112", 403, "emergency_not_allowed"),
        ("+870773123456", 403, "number_blocked"),
        ("0088216123456", 403, "number_blocked"),
        ("0119005551234", 403, "number_blocked"),
        ("19005551234#", 403, "number_blocked"),
        ("1001", 400, "invalid_value"),
        ("call me", 400, "invalid_value"),
    ] {
        let refused =
            api.put(&api.key, &path, json!({"forwardingNumber": number})).await.refused(status, code);
        assert_eq!(refused["field"], json!("forwardingNumber"), "{number}");
    }
    api.put(&api.key, &path, json!({"forwardingNumber": "1870"})).await.ok(); // a local extension
    api.put(&api.key, &path, json!({"forwardingNumber": null})).await.refused(400, "invalid_value");
    let off =
        api.put(&api.key, &path, json!({"forwardingNumber": null, "forwardingEnabled": false})).await.ok();
    assert_eq!(off["extension"]["forwardingNumber"], Value::Null);
}

#[tokio::test]
async fn follow_me_takes_up_to_ten_numbers() {
    let api = TestApi::new().await;
    let (path, new) = made(&api).await;
    assert_eq!(new["followMe"], Value::Null, "off by default");
    let wish = json!({"mode": "simultaneous", "numbers": [{"number": "1003", "ringSeconds": 15}, {"number": "+14155238886", "ringSeconds": 20}]});
    let set = api.put(&api.key, &path, json!({ "followMe": wish })).await.ok();
    assert_eq!(set["extension"]["followMe"], wish);
    let kept = api.put(&api.key, &path, json!({"displayName": "Ana"})).await.ok();
    assert_eq!(kept["extension"]["followMe"], wish, "absent fields are unchanged");
    let short = json!({"numbers": [{"number": "1003"}]});
    let set = api.put(&api.key, &path, json!({ "followMe": short })).await.ok();
    let whole = json!({"mode": "sequential", "numbers": [{"number": "1003", "ringSeconds": 20}]});
    assert_eq!(set["extension"]["followMe"], whole);
    let many: Vec<Value> = (0..11).map(|n| json!({"number": format!("10{n:02}")})).collect();
    for bad in [
        json!({"numbers": []}),
        json!({ "numbers": many }),
        json!({"numbers": [{"number": "1003", "ringSeconds": 4}]}),
        json!({"numbers": [{"number": "1003", "ringSeconds": 301}]}),
        json!({"numbers": [{"number": "not a number"}]}),
        json!({"numbers": [{"ringSeconds": 10}]}),
        json!({"numbers": [{"number": "1003", "extra": 1}]}),
        json!({"mode": "random", "numbers": [{"number": "1003"}]}),
    ] {
        api.put(&api.key, &path, json!({ "followMe": bad })).await.refused(400, "invalid_value");
    }
    for (number, code) in [("911", "emergency_not_allowed"), ("+882161234567", "number_blocked")] {
        let body = json!({"followMe": {"numbers": [{"number": number}]}});
        let refused = api.put(&api.key, &path, body).await.refused(403, code);
        assert_eq!(refused["field"], json!("followMe"));
    }
    let directory = api.store.load_directory().await.unwrap();
    assert!(directory.extensions().all(|extension| extension.follow_me.is_some()), "it is stored");
    let off = api.put(&api.key, &path, json!({"followMe": null})).await.ok();
    assert_eq!(off["extension"]["followMe"], Value::Null);
}

#[tokio::test]
async fn put_and_patch_change_what_they_name_and_leave_the_rest() {
    // S66
    let api = TestApi::new().await;
    let (path, _) = made(&api).await;
    api.put(&api.key, &path, json!({"ringSeconds": 42, "callWaiting": false})).await.ok();
    let patched = api.json("PATCH", &api.key, &path, &json!({"doNotDisturb": true})).await.ok();
    let shown = &patched["extension"];
    assert_eq!(
        (&shown["ringSeconds"], &shown["callWaiting"], &shown["doNotDisturb"], &shown["voicemailEnabled"]),
        (&json!(42), &json!(false), &json!(true), &json!(true))
    );
    api.json("PATCH", &api.key, &path, &json!({"status": "busy"})).await.refused(400, "invalid_value"); // S70: derived
    api.json("PATCH", &api.key, &path, &json!({"username": "x"})).await.refused(400, "unknown_field");
    let off = api.put(&api.key, &path, json!({"status": "inactive"})).await.ok();
    assert_eq!(off["extension"]["status"], json!("inactive"));
}

#[tokio::test]
async fn an_admin_lists_all_page_by_page_and_others_their_own() {
    // S69
    let api = TestApi::new().await;
    for (key, count) in [(&api.key, 3), (&api.other_key, 2)] {
        for _ in 0..count {
            api.post(key, EXTENSIONS, json!({})).await.ok();
        }
    }
    let count = |answer: &Value| answer["extensions"].as_array().unwrap().len();
    assert_eq!(count(&api.get(&api.key, EXTENSIONS).await.ok()), 3);
    assert_eq!(count(&api.get(&api.other_key, EXTENSIONS).await.ok()), 2);
    api.get(&api.key, &format!("{EXTENSIONS}?scope=all")).await.refused(403, "insufficient_permissions");
    assert_eq!(count(&api.get(&api.admin, &format!("{EXTENSIONS}?scope=all")).await.ok()), 5);
    assert_eq!(count(&api.get(&api.admin, &format!("{EXTENSIONS}?scope=own")).await.ok()), 0);
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = api.get(&api.admin, &format!("{EXTENSIONS}?limit=2{cursor}")).await.ok();
        assert!(count(&page) <= 2);
        seen.extend(
            page["extensions"]
                .as_array()
                .unwrap()
                .iter()
                .map(|e| e["extensionNumber"].as_str().unwrap().to_owned()),
        );
        let Some(next) = page["nextCursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(seen, ["1001", "1002", "1003", "1004", "1005"]);
}

#[tokio::test]
async fn a_reset_password_is_shown_once_and_only_in_its_answer() {
    // S75
    let api = TestApi::new().await;
    let (path, new) = made(&api).await;
    let old = new["sipCredentials"]["password"].as_str().unwrap();
    let reset = api.post(&api.key, &format!("{path}/credentials/reset"), json!({})).await.ok();
    let credentials = &reset["extension"]["sipCredentials"];
    let password = credentials["password"].as_str().unwrap();
    assert!(password.len() == 16 && password != old); // S40
    assert_eq!(credentials["username"], new["sipCredentials"]["username"], "the user name is unchanged");
    let shown = api.get(&api.key, &path).await.ok();
    assert!(shown["extension"]["sipCredentials"].get("password").is_none());
    api.post(&api.other_key, &format!("{path}/credentials/reset"), json!({})).await.refused(404, "not_found");
    let username = credentials["username"].as_str().unwrap();
    let ha1 = api.switch.read(|e| e.directory.credential(username).unwrap().ha1.clone());
    assert_eq!(ha1, model::Ha1::new(username, "sip.nexus-core.com", password), "the switch has it at once");
    let events = api.events(5).await;
    let told = format!("{events:?}");
    assert!(told.contains("sip_credentials_reset") && !told.contains(password) && !told.contains(old));
}

#[tokio::test]
async fn every_change_has_an_event_with_old_and_new_values() {
    // S74, S90, S91
    let api = TestApi::new().await;
    let (path, _) = made(&api).await;
    let body = json!({
        "forwardingEnabled": true, "forwardingNumber": "+1234567890", "dialPermissions": {"international": false},
        "followMe": {"numbers": [{"number": "1003"}]}
    });
    api.put(&api.key, &path, body).await.ok();
    api.delete(&api.key, &path).await.ok();
    let events = api.events(6).await;
    let [.., updated, deleted] = events.as_slice() else { panic!() };
    assert_eq!(
        (updated.kind.as_str(), deleted.kind.as_str()),
        ("voip_extension_updated", "voip_extension_deleted")
    );
    let names: Vec<&String> = updated.detail["after"].as_object().unwrap().keys().collect();
    assert_eq!(names, ["dialPermissions", "followMe", "forwardingEnabled", "forwardingNumber"]);
    assert_eq!(updated.detail["before"]["dialPermissions"]["international"], json!(true));
    assert_eq!(updated.detail["before"]["followMe"], Value::Null);
    assert_eq!(deleted.detail["before"]["forwardingNumber"], json!("+1234567890"));
    assert!(updated.key.is_some() && updated.ip.as_deref() == Some("192.0.2.77"));
}
