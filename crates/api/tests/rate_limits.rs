//! S28: a hundred requests a minute and key; thirty a minute and source without one.

use crate::house;

use std::net::SocketAddr;

use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::Request;
use centralita_api::Settings;
use house::{Answer, House, settings};
use serde_json::json;

async fn strict() -> House {
    House::with(Settings { requests_per_minute: 100, unauthenticated_per_minute: 30, ..settings() }).await
}

async fn from(house: &House, ip: &str, key: &str) -> Answer {
    through(house, ip, &[], key).await
}

/// By a proxy, which adds these headers.
async fn through(house: &House, ip: &str, added: &[(&str, &str)], key: &str) -> Answer {
    let peer = SocketAddr::new(ip.parse().unwrap(), 4000);
    let request =
        Request::get("/api/v1/opensips/health").header("host", "api.example").extension(ConnectInfo(peer));
    let request = added.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    let request =
        if key.is_empty() { request } else { request.header("authorization", format!("Bearer {key}")) };
    house.send(request.body(Body::empty()).unwrap()).await
}

#[tokio::test]
async fn the_hundred_and_first_request_of_a_minute_waits() {
    let house = strict().await;
    for n in 0..100 {
        let answer = from(&house, "192.0.2.1", &house.key).await;
        assert_eq!(answer.header("ratelimit-limit"), "100");
        assert_eq!(answer.header("ratelimit-remaining"), (99 - n).to_string());
        answer.ok();
    }
    let refused = from(&house, "192.0.2.1", &house.key).await;
    assert_eq!((refused.header("retry-after"), refused.header("ratelimit-remaining")), ("1", "0"));
    assert_eq!(refused.header("ratelimit-reset"), "60");
    refused.refused(429, "rate_limited");
    // Another key, another bucket; another route, the same bucket; what does not exist is counted too.
    from(&house, "192.0.2.1", &house.stranger).await.ok();
    house.get(&house.key, "/api/v1/keys").await.refused(429, "rate_limited");
    house.get(&house.key, "/api/v1/nothing").await.refused(429, "rate_limited");
    house.pass(1);
    from(&house, "192.0.2.1", &house.key).await.ok();
    from(&house, "192.0.2.1", &house.key).await.refused(429, "rate_limited");
    house.pass(60);
    from(&house, "192.0.2.1", &house.key).await.ok();
}

#[tokio::test]
async fn a_key_may_have_a_limit_of_its_own() {
    let house = strict().await;
    let wanted = json!({"permissions": ["sip"], "requestsPerMinute": 2});
    let made = house.post(&house.admin, "/api/v1/keys/voip/generate", wanted).await.ok();
    let key = made["key"]["key"].as_str().unwrap();
    from(&house, "192.0.2.1", key).await.ok();
    from(&house, "192.0.2.1", key).await.ok();
    let refused = from(&house, "192.0.2.1", key).await;
    assert_eq!(refused.header("retry-after"), "30");
    refused.refused(429, "rate_limited");
}

#[tokio::test]
async fn strangers_are_limited_by_source_and_never_at_the_cost_of_a_key() {
    let house = strict().await;
    for _ in 0..30 {
        from(&house, "192.0.2.1", "").await.refused(401, "api_key_missing");
    }
    from(&house, "192.0.2.1", "").await.refused(429, "rate_limited");
    from(&house, "192.0.2.1", "sk_voip_guess").await.refused(429, "rate_limited");
    from(&house, "192.0.2.1", &house.key).await.ok(); // the same office, behind the same NAT
    from(&house, "192.0.2.2", "").await.refused(401, "api_key_missing");
    // An IPv6 subscriber has a whole /64 to come from.
    for n in 0..30 {
        from(&house, &format!("2001:db8::{n:x}"), "").await.refused(401, "api_key_missing");
    }
    from(&house, "2001:db8::ffff", "").await.refused(429, "rate_limited");
    from(&house, "2001:db8:0:1::1", "").await.refused(401, "api_key_missing");
    for _ in 0..100 {
        let probe = Request::get("/healthz")
            .header("host", "api.example")
            .extension(ConnectInfo(SocketAddr::from(([192, 0, 2, 1], 1))));
        house.send(probe.body(Body::empty()).unwrap()).await.ok(); // machines that watch are not counted
    }
}

const XFF: &str = "x-forwarded-for";

#[tokio::test]
async fn behind_a_trusted_proxy_each_client_has_a_limit_of_its_own() {
    let proxies = vec!["10.0.0.0/8".parse().unwrap()];
    let house =
        House::with(Settings { unauthenticated_per_minute: 3, trusted_proxies: proxies, ..settings() }).await;
    let client = async |ip: &str| through(&house, "10.0.0.1", &[(XFF, ip)], "").await;
    for _ in 0..3 {
        client("203.0.113.7").await.refused(401, "api_key_missing");
    }
    client("203.0.113.7").await.refused(429, "rate_limited");
    client("203.0.113.8").await.refused(401, "api_key_missing");
    // What a client writes itself stands before what the proxy has seen, and is worth nothing.
    client("1.1.1.1, 203.0.113.7").await.refused(429, "rate_limited");
    through(&house, "10.0.0.1", &[("forwarded", "for=203.0.113.7")], "").await.refused(429, "rate_limited");
    // The same words of somebody who is no proxy of ours are his own.
    for n in 0..3 {
        let word = format!("203.0.113.{n}");
        through(&house, "192.0.2.1", &[(XFF, &word)], "").await.refused(401, "api_key_missing");
    }
    through(&house, "192.0.2.1", &[(XFF, "203.0.113.99")], "").await.refused(429, "rate_limited");
}

#[tokio::test]
async fn the_audit_and_the_use_of_a_key_name_the_client_and_not_the_proxy() {
    let proxies = vec!["10.0.0.1/32".parse().unwrap()];
    let house = House::with(Settings { trusted_proxies: proxies, ..settings() }).await;
    let create = async |peer: &str| {
        let peer = SocketAddr::new(peer.parse().unwrap(), 4000);
        let request = Request::post("/api/v1/voip/extensions")
            .extension(ConnectInfo(peer))
            .header("host", "api.example")
            .header(XFF, "203.0.113.7")
            .header("authorization", format!("Bearer {}", house.key));
        house.send(request.body(Body::empty()).unwrap()).await.ok();
    };
    create("10.0.0.1").await;
    create("192.0.2.1").await;
    let events = house.get(&house.key, "/api/v1/events?type=voip_extension_created").await.ok();
    let from = |n: usize| events["events"][n]["ip"].as_str().unwrap().to_owned();
    assert_eq!((from(1), from(0)), ("203.0.113.7".into(), "192.0.2.1".into()));
    house.app.flush().await;
    let keys = house.get(&house.key, "/api/v1/keys").await.ok();
    let id = keys["keys"][0]["id"].as_str().unwrap().to_owned();
    let usage = house.get(&house.key, &format!("/api/v1/keys/{id}/usage")).await.ok();
    let seen: Vec<&str> =
        usage["usage"].as_array().unwrap().iter().map(|used| used["ip"].as_str().unwrap()).collect();
    assert!(
        seen.contains(&"203.0.113.7") && seen.contains(&"192.0.2.1") && !seen.contains(&"10.0.0.1"),
        "{seen:?}"
    );
}
