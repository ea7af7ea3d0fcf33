//! Bans are listed and lifted by administrators.

use crate::house;

use base::Timestamp;
use house::House;
use serde_json::json;
use switch::{Ban, Command};

fn ban(source: &str, account: Option<&str>) -> Ban {
    let until = Timestamp::from_micros((house::BEGIN + 60) * 1_000_000);
    Ban { source: source.parse().unwrap(), account: account.map(Into::into), until }
}

#[tokio::test]
async fn bans_are_listed_and_lifted_by_their_source() {
    let house = House::new().await;
    house.exchange.change(|inside| {
        inside.bans =
            vec![ban("192.0.2.7", Some("1001")), ban("192.0.2.7", None), ban("2001:db8::", Some("x"))];
    });
    let listed = house.get(&house.admin, "/api/v1/guard/bans").await.ok();
    let shown = |n: usize| (&listed["bans"][n]["address"], &listed["bans"][n]["username"]);
    assert_eq!(shown(0), (&json!("192.0.2.7"), &json!("1001")));
    assert_eq!(shown(1), (&json!("192.0.2.7"), &json!(null)));
    assert_eq!(shown(2), (&json!("2001:db8::/64"), &json!("x")));
    assert!(listed["bans"][0]["until"].as_str().is_some_and(|until| until.ends_with('Z')), "{listed}");
    let path = "/api/v1/guard/bans?address=192.0.2.7&username=1001";
    let lifted = house.json("DELETE", &house.admin, path, &json!(null)).await.ok();
    assert_eq!(lifted["bans"].as_array().map(Vec::len), Some(1));
    // As it is listed, a network of IPv6 is its address.
    let path = "/api/v1/guard/bans?address=2001:db8::/64";
    house.json("DELETE", &house.admin, path, &json!(null)).await.ok();
    let asked = house.exchange.see(|inside| inside.asked.last().cloned());
    let source = "2001:db8::".parse().unwrap();
    assert_eq!(asked, Some(Command::LiftBans { source, account: None }));
    house.json("DELETE", &house.admin, path, &json!(null)).await.refused(404, "not_found");
    let left = house.get(&house.admin, "/api/v1/guard/bans").await.ok();
    assert_eq!(left["bans"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn what_is_no_address_is_refused_with_its_field() {
    let house = House::new().await;
    for path in ["/api/v1/guard/bans?address=here", "/api/v1/guard/bans?address=192.0.2.7/8"] {
        let refused = house.json("DELETE", &house.admin, path, &json!(null)).await;
        assert_eq!(refused.refused(400, "invalid_value")["field"], "address");
    }
    let refused = house.json("DELETE", &house.admin, "/api/v1/guard/bans", &json!(null)).await;
    assert_eq!(refused.refused(400, "missing_field")["field"], "address");
}
