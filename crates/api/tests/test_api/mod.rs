//! The whole API over a real database, with a fake switch.
#![allow(dead_code, unreachable_pub)]

mod fake_switch;
pub mod fixtures;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{HeaderMap, Request, StatusCode};
use base::{Instant, Now, Rng, Timestamp};
use centralita_api::{Actor, App, NewKey, Settings, router};
use model::{Permission, UserId};
use serde_json::{Value, json};
use store::Store;
use tower::ServiceExt as _;

#[allow(unused_imports)] // not every test needs a call
pub use fake_switch::{FakeSwitch, call_record};

/// 2025-01-15T10:30:00Z, the time used in the examples of the original documentation.
pub const BEGIN: i64 = 1_736_937_000;

/// A folder that is deleted when dropped.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub struct TestApi {
    pub app: App,
    pub store: Store,
    pub switch: Arc<FakeSwitch>,
    /// Key with the permission `admin`.
    pub admin: String,
    /// Key of `user_123`, with the three documented permissions.
    pub key: String,
    /// Key of the user `stranger`, with the same permissions.
    pub other_key: String,
    router: Router,
    seconds: Arc<AtomicU64>,
    folder: Folder,
}

pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("not JSON: {}", self.text))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The body of a 200 response.
    #[track_caller]
    pub fn ok(self) -> Value {
        assert_eq!(self.status, StatusCode::OK, "{}", self.text);
        self.json()
    }

    /// The body of an error response, checked against S23.
    #[track_caller]
    pub fn refused(self, status: u16, code: &str) -> Value {
        let body = self.json();
        assert_eq!((self.status.as_u16(), body["code"].as_str()), (status, Some(code)), "{}", self.text);
        assert_eq!(body["success"], json!(false));
        assert!(body["error"].as_str().is_some_and(|text| !text.is_empty()));
        assert_eq!(body["requestId"].as_str(), Some(self.header("x-request-id")));
        for name in body.as_object().unwrap().keys() {
            assert!(
                ["success", "error", "code", "requestId", "field", "line"].contains(&name.as_str()),
                "{name}"
            );
        }
        body
    }
}

pub fn settings() -> Settings {
    Settings {
        domain: "sip.nexus-core.com".into(),
        aliases: vec!["localhost".into()],
        public_host: "203.0.113.7".into(),
        listeners: vec!["udp://0.0.0.0:5060".into(), "tcp://0.0.0.0:5060".into()],
        requests_per_minute: 1_000_000,
        unauthenticated_per_minute: 1_000_000,
        ..Settings::default()
    }
}

impl TestApi {
    pub async fn new() -> TestApi {
        TestApi::with(settings()).await
    }

    pub async fn with(settings: Settings) -> TestApi {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("centralita-api-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let folder = Folder(std::env::temp_dir().join(name));
        let store = Store::open("sqlite:test.db", &folder.0).await.unwrap();
        let directory = store.load_directory().await.unwrap();
        let switch = Arc::new(FakeSwitch::default());
        let seconds = Arc::new(AtomicU64::new(0));
        let clock = {
            let seconds = Arc::clone(&seconds);
            Arc::new(move || at(seconds.load(Ordering::SeqCst)))
        };
        let port: Arc<dyn centralita_api::SwitchPort> = Arc::<FakeSwitch>::clone(&switch);
        let app = App::new(store.clone(), directory, port, settings, clock, Rng::from_number(1));
        let admin_user = UserId::parse("admin").unwrap();
        let admin =
            app.directory_service().create_admin_key(Actor::default(), admin_user, "first").await.unwrap();
        let mut api = TestApi {
            router: router(app.clone()),
            app,
            store,
            switch,
            admin: admin.secret.expose().clone(),
            key: String::new(),
            other_key: String::new(),
            seconds,
            folder,
        };
        let documented = [Permission::Call, Permission::Sip, Permission::Recording];
        api.key = api.key_of("user_123", &documented).await;
        api.other_key = api.key_of("stranger", &documented).await;
        api
    }

    /// Create a key.
    pub async fn key_of(&self, user: &str, permissions: &[Permission]) -> String {
        let wanted = NewKey {
            user: UserId::parse(user).unwrap(),
            name: "test".into(),
            permissions: permissions.iter().copied().collect(),
            requests_per_minute: None,
            expires_at: None,
        };
        self.app
            .directory_service()
            .create_key(Actor::default(), wanted)
            .await
            .unwrap()
            .secret
            .expose()
            .clone()
    }

    /// Advance the clock.
    pub fn advance(&self, seconds: u64) {
        self.seconds.fetch_add(seconds, Ordering::SeqCst);
    }

    pub fn now(&self) -> Timestamp {
        at(self.seconds.load(Ordering::SeqCst)).wall
    }

    pub async fn get(&self, key: &str, path: &str) -> Answer {
        self.send(request("GET", path, key).body(Body::empty()).unwrap()).await
    }

    pub async fn delete(&self, key: &str, path: &str) -> Answer {
        self.send(request("DELETE", path, key).body(Body::empty()).unwrap()).await
    }

    pub async fn post(&self, key: &str, path: &str, body: Value) -> Answer {
        self.json("POST", key, path, &body).await
    }

    pub async fn put(&self, key: &str, path: &str, body: Value) -> Answer {
        self.json("PUT", key, path, &body).await
    }

    pub async fn json(&self, method: &str, key: &str, path: &str, body: &Value) -> Answer {
        let request = request(method, path, key).header("content-type", "application/json");
        self.send(request.body(Body::from(body.to_string())).unwrap()).await
    }

    /// Send a request. The status of the response must be in the OpenAPI document.
    pub async fn send(&self, request: Request<Body>) -> Answer {
        let (method, path) =
            (request.method().as_str().to_ascii_lowercase(), request.uri().path().to_owned());
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let endless = parts.headers.get("content-type").is_some_and(|kind| kind == "text/event-stream");
        let body = if endless { Body::empty() } else { body };
        let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        if let Some(documented) = self.documented(&method, &path).await {
            assert!(
                documented.contains(&parts.status.as_u16()),
                "{method} {path}: {} is not documented: {text}",
                parts.status
            );
        }
        Answer { status: parts.status, headers: parts.headers, text }
    }

    /// Query the database directly; returns the first column as text.
    pub async fn query(&self, sql: &'static str) -> Vec<String> {
        use sqlx::{Connection as _, Row as _};
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(self.folder.0.join("test.db"));
        let mut db = sqlx::SqliteConnection::connect_with(&options).await.unwrap();
        let rows = sqlx::query(sql).fetch_all(&mut db).await.unwrap();
        rows.iter().map(|row| row.get::<String, _>(0)).collect()
    }

    pub fn router(&self) -> Router {
        self.router.clone()
    }

    pub async fn document(&self) -> &'static Value {
        static DOCUMENT: OnceLock<Value> = OnceLock::new();
        if let Some(document) = DOCUMENT.get() {
            return document;
        }
        let request = Request::get("/openapi.json")
            .header("host", "api.example:5000")
            .header("x-request-id", "req_document")
            .body(Body::empty())
            .unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        let document = serde_json::from_slice(&bytes).unwrap();
        DOCUMENT.get_or_init(|| document)
    }

    /// The statuses that are documented for a request; `None` if it is not a route.
    async fn documented(&self, method: &str, path: &str) -> Option<Vec<u16>> {
        let document = self.document().await;
        let fits = |template: &str| {
            let (a, b): (Vec<&str>, Vec<&str>) = (template.split('/').collect(), path.split('/').collect());
            a.len() == b.len() && a.iter().zip(&b).all(|(t, p)| t == p || t.starts_with('{'))
        };
        let paths = document["paths"].as_object().unwrap();
        let exact = paths.get(path);
        let found =
            exact.or_else(|| paths.iter().find(|(template, _)| fits(template)).map(|(_, item)| item))?;
        let responses = found.get(method)?["responses"].as_object()?;
        Some(responses.keys().map(|status| status.parse().unwrap()).collect())
    }

    /// All events, oldest first, once there are at least `count`.
    pub async fn events(&self, count: usize) -> Vec<store::Event> {
        let filter = store::EventFilter { kind: None, user: None, before: None, limit: 1000 };
        for _ in 0..500 {
            let mut events = self.store.events(&filter).await.unwrap().events;
            if events.len() >= count {
                events.reverse();
                return events;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{count} events did not come");
    }
}

pub fn request(method: &str, path: &str, key: &str) -> axum::http::request::Builder {
    let peer: SocketAddr = "192.0.2.77:40000".parse().unwrap();
    let mut request = Request::builder().method(method).uri(path).extension(ConnectInfo(peer));
    if !key.is_empty() {
        request = request.header("authorization", format!("Bearer {key}"));
    }
    request.header("host", "api.example:5000")
}

fn at(seconds: u64) -> Now {
    Now {
        instant: Instant::from_micros(seconds * 1_000_000),
        wall: Timestamp::from_micros((BEGIN + seconds as i64) * 1_000_000),
    }
}

/// Check that every name of `documented` is in `answered`, with a value of the same JSON type.
#[track_caller]
pub fn assert_shape(answered: &Value, documented: &Value) {
    match (answered, documented) {
        (Value::Object(there), Value::Object(wanted)) => {
            for (name, value) in wanted {
                assert_shape(
                    there.get(name).unwrap_or_else(|| panic!("{name} is missing in {answered}")),
                    value,
                );
            }
        }
        (Value::Array(there), Value::Array(wanted)) => {
            for item in there {
                assert_shape(item, &wanted[0]);
            }
        }
        (a, b) => assert_eq!(std::mem::discriminant(a), std::mem::discriminant(b), "{a} is not like {b}"),
    }
}
