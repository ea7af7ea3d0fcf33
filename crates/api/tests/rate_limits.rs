//! S28: a hundred requests a minute and key; thirty a minute and source without one.

mod house;

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
    let peer = SocketAddr::new(ip.parse().unwrap(), 4000);
    let request = Request::get("/api/v1/opensips/health").extension(ConnectInfo(peer));
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
        let probe = Request::get("/healthz").extension(ConnectInfo(SocketAddr::from(([192, 0, 2, 1], 1))));
        house.send(probe.body(Body::empty()).unwrap()).await.ok(); // machines that watch are not counted
    }
}
