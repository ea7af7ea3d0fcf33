//! Bans are listed and lifted by administrators.

use crate::test_api;

use base::Timestamp;
use serde_json::json;
use switch::{Ban, Command};
use test_api::TestApi;

fn ban(source: &str, account: Option<&str>) -> Ban {
    let until = Timestamp::from_micros((test_api::BEGIN + 60) * 1_000_000);
    Ban { source: source.parse().unwrap(), account: account.map(Into::into), until }
}

#[tokio::test]
async fn bans_are_listed_and_lifted_by_their_source() {
    let api = TestApi::new().await;
    api.switch.change(|state| {
        state.bans =
            vec![ban("192.0.2.7", Some("1001")), ban("192.0.2.7", None), ban("2001:db8::", Some("x"))];
    });
    let listed = api.get(&api.admin, "/api/v1/guard/bans").await.ok();
    let shown = |n: usize| (&listed["bans"][n]["address"], &listed["bans"][n]["username"]);
    assert_eq!(shown(0), (&json!("192.0.2.7"), &json!("1001")));
    assert_eq!(shown(1), (&json!("192.0.2.7"), &json!(null)));
    assert_eq!(shown(2), (&json!("2001:db8::/64"), &json!("x")));
    assert!(listed["bans"][0]["until"].as_str().is_some_and(|until| until.ends_with('Z')), "{listed}");
    let path = "/api/v1/guard/bans?address=192.0.2.7&username=1001";
    let lifted = api.json("DELETE", &api.admin, path, &json!(null)).await.ok();
    assert_eq!(lifted["bans"].as_array().map(Vec::len), Some(1));
    // An IPv6 network is accepted in the form in which it is listed.
    let path = "/api/v1/guard/bans?address=2001:db8::/64";
    api.json("DELETE", &api.admin, path, &json!(null)).await.ok();
    let asked = api.switch.read(|state| state.commands.last().cloned());
    let source = "2001:db8::".parse().unwrap();
    assert_eq!(asked, Some(Command::LiftBans { source, account: None }));
    api.json("DELETE", &api.admin, path, &json!(null)).await.refused(404, "not_found");
    let left = api.get(&api.admin, "/api/v1/guard/bans").await.ok();
    assert_eq!(left["bans"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn an_invalid_address_is_rejected_with_the_field() {
    let api = TestApi::new().await;
    for path in ["/api/v1/guard/bans?address=here", "/api/v1/guard/bans?address=192.0.2.7/8"] {
        let refused = api.json("DELETE", &api.admin, path, &json!(null)).await;
        assert_eq!(refused.refused(400, "invalid_value")["field"], "address");
    }
    let refused = api.json("DELETE", &api.admin, "/api/v1/guard/bans", &json!(null)).await;
    assert_eq!(refused.refused(400, "missing_field")["field"], "address");
}
