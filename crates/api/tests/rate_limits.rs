//! S28: 100 requests per minute per key; 30 per minute per source without a key.

use crate::test_api;

use std::net::SocketAddr;

use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::Request;
use centralita_api::Settings;
use serde_json::json;
use test_api::{Answer, TestApi, settings};

async fn strict() -> TestApi {
    TestApi::with(Settings { requests_per_minute: 100, unauthenticated_per_minute: 30, ..settings() }).await
}

async fn from(api: &TestApi, ip: &str, key: &str) -> Answer {
    through(api, ip, &[], key).await
}

/// Send a request through a proxy that adds these headers.
async fn through(api: &TestApi, ip: &str, added: &[(&str, &str)], key: &str) -> Answer {
    let peer = SocketAddr::new(ip.parse().unwrap(), 4000);
    let request =
        Request::get("/api/v1/opensips/health").header("host", "api.example").extension(ConnectInfo(peer));
    let request = added.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    let request =
        if key.is_empty() { request } else { request.header("authorization", format!("Bearer {key}")) };
    api.send(request.body(Body::empty()).unwrap()).await
}

#[tokio::test]
async fn the_hundred_and_first_request_of_a_minute_waits() {
    let api = strict().await;
    for n in 0..100 {
        let answer = from(&api, "192.0.2.1", &api.key).await;
        assert_eq!(answer.header("ratelimit-limit"), "100");
        assert_eq!(answer.header("ratelimit-remaining"), (99 - n).to_string());
        answer.ok();
    }
    let refused = from(&api, "192.0.2.1", &api.key).await;
    assert_eq!((refused.header("retry-after"), refused.header("ratelimit-remaining")), ("1", "0"));
    assert_eq!(refused.header("ratelimit-reset"), "60");
    refused.refused(429, "rate_limited");
    // Another key has another bucket; another route has the same one; unknown paths are counted too.
    from(&api, "192.0.2.1", &api.other_key).await.ok();
    api.get(&api.key, "/api/v1/keys").await.refused(429, "rate_limited");
    api.get(&api.key, "/api/v1/nothing").await.refused(429, "rate_limited");
    api.advance(1);
    from(&api, "192.0.2.1", &api.key).await.ok();
    from(&api, "192.0.2.1", &api.key).await.refused(429, "rate_limited");
    api.advance(60);
    from(&api, "192.0.2.1", &api.key).await.ok();
}

#[tokio::test]
async fn a_key_may_have_a_limit_of_its_own() {
    let api = strict().await;
    let wanted = json!({"permissions": ["sip"], "requestsPerMinute": 2});
    let made = api.post(&api.admin, "/api/v1/keys/voip/generate", wanted).await.ok();
    let key = made["key"]["key"].as_str().unwrap();
    from(&api, "192.0.2.1", key).await.ok();
    from(&api, "192.0.2.1", key).await.ok();
    let refused = from(&api, "192.0.2.1", key).await;
    assert_eq!(refused.header("retry-after"), "30");
    refused.refused(429, "rate_limited");
}

#[tokio::test]
async fn unauthenticated_requests_are_limited_by_source_without_affecting_keys() {
    let api = strict().await;
    for _ in 0..30 {
        from(&api, "192.0.2.1", "").await.refused(401, "api_key_missing");
    }
    from(&api, "192.0.2.1", "").await.refused(429, "rate_limited");
    from(&api, "192.0.2.1", "sk_voip_guess").await.refused(429, "rate_limited");
    from(&api, "192.0.2.1", &api.key).await.ok(); // same source address, behind the same NAT
    from(&api, "192.0.2.2", "").await.refused(401, "api_key_missing");
    // An IPv6 client may use a whole /64.
    for n in 0..30 {
        from(&api, &format!("2001:db8::{n:x}"), "").await.refused(401, "api_key_missing");
    }
    from(&api, "2001:db8::ffff", "").await.refused(429, "rate_limited");
    from(&api, "2001:db8:0:1::1", "").await.refused(401, "api_key_missing");
    for _ in 0..100 {
        let probe = Request::get("/healthz")
            .header("host", "api.example")
            .extension(ConnectInfo(SocketAddr::from(([192, 0, 2, 1], 1))));
        api.send(probe.body(Body::empty()).unwrap()).await.ok(); // probes are not counted
    }
}

const XFF: &str = "x-forwarded-for";

#[tokio::test]
async fn behind_a_trusted_proxy_each_client_has_a_limit_of_its_own() {
    let proxies = vec!["10.0.0.0/8".parse().unwrap()];
    let api =
        TestApi::with(Settings { unauthenticated_per_minute: 3, trusted_proxies: proxies, ..settings() })
            .await;
    let client = async |ip: &str| through(&api, "10.0.0.1", &[(XFF, ip)], "").await;
    for _ in 0..3 {
        client("203.0.113.7").await.refused(401, "api_key_missing");
    }
    client("203.0.113.7").await.refused(429, "rate_limited");
    client("203.0.113.8").await.refused(401, "api_key_missing");
    // Entries that the client forged precede those of the proxy, and are ignored.
    client("1.1.1.1, 203.0.113.7").await.refused(429, "rate_limited");
    through(&api, "10.0.0.1", &[("forwarded", "for=203.0.113.7")], "").await.refused(429, "rate_limited");
    // The headers of an untrusted peer are ignored.
    for n in 0..3 {
        let word = format!("203.0.113.{n}");
        through(&api, "192.0.2.1", &[(XFF, &word)], "").await.refused(401, "api_key_missing");
    }
    through(&api, "192.0.2.1", &[(XFF, "203.0.113.99")], "").await.refused(429, "rate_limited");
}

#[tokio::test]
async fn the_audit_and_the_use_of_a_key_name_the_client_and_not_the_proxy() {
    let proxies = vec!["10.0.0.1/32".parse().unwrap()];
    let api = TestApi::with(Settings { trusted_proxies: proxies, ..settings() }).await;
    let create = async |peer: &str| {
        let peer = SocketAddr::new(peer.parse().unwrap(), 4000);
        let request = Request::post("/api/v1/voip/extensions")
            .extension(ConnectInfo(peer))
            .header("host", "api.example")
            .header(XFF, "203.0.113.7")
            .header("authorization", format!("Bearer {}", api.key));
        api.send(request.body(Body::empty()).unwrap()).await.ok();
    };
    create("10.0.0.1").await;
    create("192.0.2.1").await;
    let events = api.get(&api.key, "/api/v1/events?type=voip_extension_created").await.ok();
    let from = |n: usize| events["events"][n]["ip"].as_str().unwrap().to_owned();
    assert_eq!((from(1), from(0)), ("203.0.113.7".into(), "192.0.2.1".into()));
    api.app.flush().await;
    let keys = api.get(&api.key, "/api/v1/keys").await.ok();
    let id = keys["keys"][0]["id"].as_str().unwrap().to_owned();
    let usage = api.get(&api.key, &format!("/api/v1/keys/{id}/usage")).await.ok();
    let seen: Vec<&str> =
        usage["usage"].as_array().unwrap().iter().map(|used| used["ip"].as_str().unwrap()).collect();
    assert!(
        seen.contains(&"203.0.113.7") && seen.contains(&"192.0.2.1") && !seen.contains(&"10.0.0.1"),
        "{seen:?}"
    );
}
