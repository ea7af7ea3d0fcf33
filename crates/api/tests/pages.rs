//! Web pages: the welcome page, the API page, and CORS.

use crate::test_api;

use axum::body::Body;
use axum::http::Request;
use centralita_api::Settings;
use serde_json::json;
use test_api::{Answer, TestApi, request, settings};

async fn ask(api: &TestApi, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    let request = Request::builder().method(method).uri(path).header("host", "localhost:5000");
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    api.send(request.body(Body::empty()).unwrap()).await
}

#[tokio::test]
async fn the_root_lists_links_for_people_and_programs() {
    let api = TestApi::new().await;
    let program = ask(&api, "GET", "/", &[]).await.ok(); // N10
    assert_eq!((&program["documentation"], &program["openapi"]), (&json!("/docs"), &json!("/openapi.json")));
    for place in ["documentation", "openapi", "health"] {
        assert_eq!(ask(&api, "GET", program[place].as_str().unwrap(), &[]).await.status, 200);
    }
    let browser =
        [("accept", "text/html,application/xhtml+xml,*/*;q=0.8"), ("accept-language", "es-ES,es;q=0.9")];
    let page = ask(&api, "GET", "/", &browser).await;
    assert!(page.header("content-type").starts_with("text/html"));
    assert!(page.header("content-security-policy").starts_with("default-src 'none'"));
    assert!(page.text.contains("href=\"/docs\"") && page.text.contains("centralita telefónica"));
    let english = ask(&api, "GET", "/", &browser[..1]).await;
    assert!(english.text.contains("This is a PBX") && english.text.contains("<html lang=\"en\">"));
}

#[tokio::test]
async fn the_api_page_loads_nothing_from_other_origins() {
    let api = TestApi::new().await;
    let page = ask(&api, "GET", "/docs", &[]).await;
    let policy = page.header("content-security-policy").to_owned();
    assert!(policy.contains("script-src 'self';") && !policy.contains("unsafe"), "{policy}");
    let quoted = |text: &str, before: &str| -> Vec<String> {
        text.split(before).skip(1).map(|rest| rest.split('"').next().unwrap().to_owned()).collect()
    };
    let mut places = quoted(&page.text, "src=\"");
    places.extend(quoted(&page.text, "href=\""));
    assert_eq!(places.len(), 4);
    for place in &places {
        assert!(place.starts_with("/docs/"), "{place}");
        let file = ask(&api, "GET", place, &[]).await;
        assert_eq!(file.status, 200, "{place}");
        let kind = if place.contains("css") { "text/css" } else { "text/javascript" };
        assert!(file.header("content-type").starts_with(kind) && !file.text.is_empty(), "{place}");
    }
    let script = ask(&api, "GET", "/docs/page.js", &[]).await.text;
    assert!(script.contains("url: \"/openapi.json\"") && script.contains("validatorUrl: null"));
    for other in ["/docs/../Cargo.toml", "/docs/swagger-initializer.js", "/docs/index.html", "/docs/x"] {
        assert_eq!(ask(&api, "GET", other, &[]).await.status, 404, "{other}");
    }
}

#[tokio::test]
async fn only_configured_origins_may_use_the_api() {
    let asks = [
        ("origin", "https://crm.example.com"),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "authorization,content-type,idempotency-key"),
    ];
    let api = TestApi::new().await;
    let path = "/api/v1/voip/extensions";
    ask(&api, "OPTIONS", path, &asks).await.refused(401, "api_key_missing"); // off by default
    let plain = request("GET", path, &api.key).header("origin", "https://crm.example.com");
    let answer = api.send(plain.body(Body::empty()).unwrap()).await;
    assert_eq!(answer.header("access-control-allow-origin"), "");

    let origins = vec![String::from("https://crm.example.com"), String::from("http://localhost:3000")];
    let api = TestApi::with(Settings { origins, ..settings() }).await;
    let router = api.router();
    let preflight = async |origin: &str| {
        let mut asks = asks;
        asks[0].1 = origin;
        let request = Request::builder().method("OPTIONS").uri(path).header("host", "x");
        let request = asks.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let response =
            tower::ServiceExt::oneshot(router.clone(), request.body(Body::empty()).unwrap()).await.unwrap();
        let header = |name: &str| response.headers().get(name).map_or("", |v| v.to_str().unwrap()).to_owned();
        (
            response.status().as_u16(),
            header("access-control-allow-origin"),
            header("access-control-allow-headers"),
        )
    };
    let (status, origin, headers) = preflight("https://crm.example.com").await;
    assert_eq!((status, origin.as_str()), (200, "https://crm.example.com"));
    assert!(headers.contains("authorization") && headers.contains("idempotency-key"), "{headers}");
    assert_eq!(preflight("https://evil.example").await.1, "");
    // Error responses carry CORS headers too, so that a page can read them.
    let plain = request("GET", path, "").header("origin", "http://localhost:3000");
    let answer = api.send(plain.body(Body::empty()).unwrap()).await;
    assert_eq!(answer.header("access-control-allow-origin"), "http://localhost:3000");
    assert_eq!(answer.header("access-control-allow-credentials"), "");
    assert!(answer.header("access-control-expose-headers").contains("x-request-id"));
    answer.refused(401, "api_key_missing");
}
