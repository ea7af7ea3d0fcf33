//! What browsers meet: where to go, the API as a page, and what pages from elsewhere may do.

use crate::house;

use axum::body::Body;
use axum::http::Request;
use centralita_api::Settings;
use house::{Answer, House, request, settings};
use serde_json::json;

async fn ask(house: &House, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    let request = Request::builder().method(method).uri(path).header("host", "localhost:5000");
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    house.send(request.body(Body::empty()).unwrap()).await
}

#[tokio::test]
async fn the_root_says_where_to_go_to_people_and_to_programs() {
    let house = House::new().await;
    let program = ask(&house, "GET", "/", &[]).await.ok(); // N10
    assert_eq!((&program["documentation"], &program["openapi"]), (&json!("/docs"), &json!("/openapi.json")));
    for place in ["documentation", "openapi", "health"] {
        assert_eq!(ask(&house, "GET", program[place].as_str().unwrap(), &[]).await.status, 200);
    }
    let browser =
        [("accept", "text/html,application/xhtml+xml,*/*;q=0.8"), ("accept-language", "es-ES,es;q=0.9")];
    let page = ask(&house, "GET", "/", &browser).await;
    assert!(page.header("content-type").starts_with("text/html"));
    assert!(page.header("content-security-policy").starts_with("default-src 'none'"));
    assert!(page.text.contains("href=\"/docs\"") && page.text.contains("centralita telefónica"));
    let english = ask(&house, "GET", "/", &browser[..1]).await;
    assert!(english.text.contains("This is a PBX") && english.text.contains("<html lang=\"en\">"));
}

#[tokio::test]
async fn the_page_of_the_api_is_whole_without_anything_from_elsewhere() {
    let house = House::new().await;
    let page = ask(&house, "GET", "/docs", &[]).await;
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
        let file = ask(&house, "GET", place, &[]).await;
        assert_eq!(file.status, 200, "{place}");
        let kind = if place.contains("css") { "text/css" } else { "text/javascript" };
        assert!(file.header("content-type").starts_with(kind) && !file.text.is_empty(), "{place}");
    }
    let script = ask(&house, "GET", "/docs/page.js", &[]).await.text;
    assert!(script.contains("url: \"/openapi.json\"") && script.contains("validatorUrl: null"));
    for other in ["/docs/../Cargo.toml", "/docs/swagger-initializer.js", "/docs/index.html", "/docs/x"] {
        assert_eq!(ask(&house, "GET", other, &[]).await.status, 404, "{other}");
    }
}

#[tokio::test]
async fn a_page_from_elsewhere_may_use_the_api_only_where_its_origin_is_named() {
    let asks = [
        ("origin", "https://crm.example.com"),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "authorization,content-type,idempotency-key"),
    ];
    let house = House::new().await;
    let path = "/api/v1/voip/extensions";
    ask(&house, "OPTIONS", path, &asks).await.refused(401, "api_key_missing"); // off by default
    let plain = request("GET", path, &house.key).header("origin", "https://crm.example.com");
    let answer = house.send(plain.body(Body::empty()).unwrap()).await;
    assert_eq!(answer.header("access-control-allow-origin"), "");

    let origins = vec![String::from("https://crm.example.com"), String::from("http://localhost:3000")];
    let house = House::with(Settings { origins, ..settings() }).await;
    let router = house.router();
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
    // Refusals can be read as well: what a page cannot read, it cannot explain.
    let plain = request("GET", path, "").header("origin", "http://localhost:3000");
    let answer = house.send(plain.body(Body::empty()).unwrap()).await;
    assert_eq!(answer.header("access-control-allow-origin"), "http://localhost:3000");
    assert_eq!(answer.header("access-control-allow-credentials"), "");
    assert!(answer.header("access-control-expose-headers").contains("x-request-id"));
    answer.refused(401, "api_key_missing");
}
