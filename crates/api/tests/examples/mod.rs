//! Records a request and its response for every route, as examples for the API pages. The clock stands still and the random generator has a
//! fixed seed, so that the result is reproducible.

use axum::body::Body;
use model::journal::Record;
use model::{CallStatus, Cause, Permission};
use serde_json::{Map, Value, json};

use crate::test_api::fixtures::{message, recording, sound};
use crate::test_api::{BEGIN, TestApi, call_record, request};

/// A request and its response.
pub(crate) struct Example {
    pub(crate) method: &'static str,
    /// Path with query.
    pub(crate) path: String,
    pub(crate) body: Value,
    pub(crate) answer: Value,
}

/// Sends requests and records them.
pub(crate) struct Recorder {
    api: TestApi,
    all: Vec<Example>,
}

/// Fields that are redacted.
const SECRETS: [&str; 3] = ["password", "key", "secret"];

impl Recorder {
    async fn ask(&mut self, method: &'static str, path: &str, body: Value) -> Value {
        let key = self.api.admin.clone();
        let request =
            request(&method.to_ascii_uppercase(), path, &key).header("x-request-id", "req_1a2b3c4d5e6f7g8h");
        let request = match &body {
            Value::Null => request.body(Body::empty()),
            body => request.header("content-type", "application/json").body(Body::from(body.to_string())),
        };
        let answer = self.api.send(request.unwrap()).await;
        assert_eq!(answer.status.as_u16(), 200, "{method} {path}: {}", answer.text);
        let answered: Value = serde_json::from_str(&answer.text).unwrap_or(Value::Null);
        let mut shown = answered.clone();
        redact(&mut shown);
        self.all.push(Example { method, path: path.to_owned(), body, answer: shown });
        answered
    }

    async fn get(&mut self, path: &str) -> Value {
        self.ask("get", path, Value::Null).await
    }
}

/// Redact secrets, and cut lists after three items.
fn redact(value: &mut Value) {
    match value {
        Value::Object(object) => {
            for (name, value) in object {
                match value {
                    Value::String(text) if SECRETS.contains(&name.as_str()) => {
                        "(shown once)".clone_into(text);
                    }
                    Value::String(text) if name == "nextCursor" => {
                        "bmV4dCBwYWdl".clone_into(text); // it may encode an event id
                    }
                    value => redact(value),
                }
            }
        }
        Value::Array(items) => {
            items.truncate(3);
            items.iter_mut().for_each(redact);
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn id(made: &Value, noun: &str) -> String {
    made[noun]["id"].as_str().unwrap_or_else(|| panic!("no id: {made}")).to_owned()
}

/// Record all examples.
pub(crate) async fn record_examples() -> Vec<Example> {
    let api = TestApi::new().await;
    let mut recorder = Recorder { api, all: Vec::new() };
    server(&mut recorder).await;
    let extension = extensions(&mut recorder).await;
    calls(&mut recorder, &extension).await;
    recordings(&mut recorder).await;
    recurring(&mut recorder, &extension).await;
    voicemail(&mut recorder, &extension).await;
    keys(&mut recorder).await;
    trunks(&mut recorder).await;
    webhooks(&mut recorder).await;
    recorder.get("/api/v1/events?type=voip_extension_created&limit=2").await;
    recorder.ask("delete", &format!("/api/v1/voip/extensions/{extension}"), Value::Null).await;
    recorder.ask("post", "/api/v1/opensips/stop", json!({})).await;
    recorder.ask("post", "/api/v1/server/stop", json!({})).await;
    let until = base::Timestamp::from_micros((BEGIN + 60) * 1_000_000);
    let ban = switch::Ban { source: "192.0.2.7".parse().unwrap(), account: Some("user_123".into()), until };
    recorder.api.switch.change(|state| state.bans = vec![ban]);
    recorder.get("/api/v1/guard/bans").await;
    recorder.ask("delete", "/api/v1/guard/bans?address=192.0.2.7", Value::Null).await;
    let mut events = Vec::new();
    for example in &mut recorder.all {
        example.path = renumber_events(&example.path, &mut events);
        let text = renumber_events(&example.answer.to_string(), &mut events);
        example.answer = serde_json::from_str(&text).unwrap();
    }
    recorder.all
}

/// Event ids are microseconds of the real clock. Replace them by consecutive numbers, so that the result is reproducible.
fn renumber_events(text: &str, events: &mut Vec<String>) -> String {
    let (mut written, mut digits) = (String::new(), String::new());
    for c in text.chars().chain(['\0']) {
        if c.is_ascii_digit() {
            digits.push(c);
            continue;
        }
        if digits.len() == 16 && digits.starts_with('1') {
            let known = events.iter().position(|event| *event == digits);
            let place = known.unwrap_or_else(|| {
                events.push(digits.clone());
                events.len() - 1
            });
            digits = (1_736_937_000_000_001 + place).to_string();
        }
        written.push_str(&digits);
        digits.clear();
        written.extend((c != '\0').then_some(c));
    }
    written
}

async fn server(recorder: &mut Recorder) {
    recorder.get("/").await;
    for place in ["opensips", "server"] {
        recorder.ask("post", &format!("/api/v1/{place}/start"), Value::Null).await;
        recorder.get(&format!("/api/v1/{place}/status")).await;
        recorder.get(&format!("/api/v1/{place}/health")).await;
        let body = json!({"userId": "user_123"});
        recorder.ask("post", &format!("/api/v1/{place}/generate-credentials"), body).await;
    }
    recorder.get("/healthz").await;
    recorder.get("/readyz").await;
}

async fn extensions(recorder: &mut Recorder) -> String {
    let all = "/api/v1/voip/extensions";
    let body = json!({"userId": "user_123", "extensionNumber": "1001", "displayName": "Juan Pérez"});
    let made = recorder.ask("post", &format!("{all}/create"), body).await;
    let extension = id(&made, "extension");
    recorder
        .ask("post", all, json!({"userId": "user_123", "extensionNumber": "1002", "displayName": "Ana"}))
        .await;
    let line = |n: u32| json!({"extensionNumber": n.to_string(), "username": format!("phone-{n}"), "password": "(its own)", "userId": "user_456"});
    recorder.ask("post", &format!("{all}/import"), json!({"extensions": [line(2001), line(2002)]})).await;
    recorder.get(&format!("{all}?limit=2")).await;
    recorder.get(&format!("{all}/user/user_123")).await;
    let one = format!("{all}/{extension}");
    recorder.get(&one).await;
    let body = json!({"displayName": "Juan Pérez Updated", "forwardingEnabled": true, "forwardingNumber": "+1234567890"});
    recorder.ask("put", &one, body).await;
    recorder.ask("patch", &one, json!({"forwardingEnabled": false, "ringSeconds": 20})).await;
    recorder.ask("post", &format!("{one}/credentials/reset"), json!({})).await;
    let username = made["extension"]["sipCredentials"]["username"].as_str().unwrap().to_owned();
    let registration = switch::Registration {
        username: username.as_str().into(),
        contact: format!("sip:{username}@203.0.113.7:5060"),
        remote: "203.0.113.7:5060".parse().unwrap(),
        expires_at: base::Timestamp::from_micros((BEGIN + 300) * 1_000_000),
        user_agent: "Linphone/5.2".into(),
    };
    recorder.api.switch.change(|e| e.registrations.push(registration));
    recorder.get("/api/v1/registrations").await;
    extension
}

async fn calls(recorder: &mut Recorder, extension: &str) {
    let body = json!({"toNumber": "+0987654321", "useTwilio": false});
    recorder.ask("post", &format!("/api/v1/voip/extensions/{extension}/call"), body).await;
    for (place, one) in
        [("/api/v1/opensips/call/initiate", "/api/v1/opensips/call"), ("/api/v1/calls", "/api/v1/calls")]
    {
        let body = json!({"userId": "user_123", "fromNumber": "+1234567890", "toNumber": "1002"});
        let made = recorder.ask("post", place, body).await;
        let call = id(&made, "session");
        recorder.get(&format!("{one}/{call}")).await;
        recorder
            .api
            .switch
            .change(|e| e.calls.iter_mut().for_each(|call| call.status = CallStatus::InProgress));
        for verb in ["start", "pause", "resume", "stop"] {
            recorder.ask("post", &format!("{one}/{call}/recording/{verb}"), json!({})).await;
        }
        recorder.ask("post", &format!("{one}/{call}/end"), json!({})).await;
    }
    let over = model::CallRecord {
        status: CallStatus::Completed,
        cause: Some(Cause::Completed),
        answered_at: Some(base::Timestamp::from_micros((BEGIN - 60) * 1_000_000)),
        ended_at: Some(base::Timestamp::from_micros((BEGIN - 18) * 1_000_000)),
        ..call_record("session_1736936935_a", "user_123", BEGIN - 65)
    };
    recorder.api.store.feed(&[Record::CallClosed(Box::new(over))]).await.unwrap();
    recorder.get("/api/v1/calls?status=completed&limit=2").await;
    recorder.get("/api/v1/stats").await;
}

async fn recordings(recorder: &mut Recorder) {
    let id = recording(&recorder.api).await;
    recorder.get("/api/v1/recordings?limit=2").await;
    recorder.get(&format!("/api/v1/recordings/{id}")).await;
    recorder.ask("delete", &format!("/api/v1/recordings/{id}"), Value::Null).await;
}

async fn recurring(recorder: &mut Recorder, extension: &str) {
    let of_extension = format!("/api/v1/voip/extensions/{extension}/recurring-calls");
    let schedule = json!({"frequency": "daily", "time": "09:00", "timezone": "America/New_York"});
    let body = json!({"destinationNumber": "+0987654321", "schedule": schedule});
    let call = id(&recorder.ask("post", &of_extension, body).await, "recurringCall");
    recorder.get(&of_extension).await;
    recorder.get("/api/v1/voip/recurring-calls").await;
    let one = format!("/api/v1/voip/recurring-calls/{call}");
    recorder.get(&one).await;
    recorder.ask("put", &one, json!({"enabled": false, "destinationNumber": "+9876543210"})).await;
    recorder.ask("patch", &one, json!({"enabled": true})).await;
    recorder.get(&format!("{one}/next?count=2")).await;
    recorder.get(&format!("{one}/runs")).await;
    recorder.ask("delete", &one, Value::Null).await;
    let sounds = sound(&recorder.api, extension).await;
    recorder.get(&format!("/api/v1/voip/extensions/{extension}/sounds")).await;
    recorder.get(&format!("/api/v1/voip/sounds/{sounds}")).await;
    recorder.ask("delete", &format!("/api/v1/voip/sounds/{sounds}"), Value::Null).await;
}

async fn voicemail(recorder: &mut Recorder, extension: &str) {
    let all = format!("/api/v1/voip/extensions/{extension}/voicemail");
    recorder.ask("put", &all, json!({"pin": "4711", "language": "es"})).await;
    recorder.ask("patch", &all, json!({"email": "juan@example.com", "emailAudio": true})).await;
    let id = message(&recorder.api, extension).await;
    recorder.get(&format!("{all}?limit=2")).await;
    recorder.get(&format!("{all}/deliveries")).await;
    let one = format!("{all}/{id}");
    recorder.get(&one).await;
    recorder.ask("put", &one, json!({"status": "heard"})).await;
    recorder.ask("patch", &one, json!({"status": "saved"})).await;
    recorder.ask("delete", &one, Value::Null).await;
    recorder.ask("delete", &format!("{all}/greeting"), Value::Null).await;
}

async fn keys(recorder: &mut Recorder) {
    let body = json!({"userId": "user_123", "name": "Production VoIP Key", "permissions": ["call", "sip", "recording"]});
    let made = recorder.ask("post", "/api/v1/keys/voip/generate", body).await;
    let key = id(&made, "key");
    let secret = made["key"]["key"].as_str().unwrap().to_owned();
    recorder.api.get(&secret, "/api/v1/opensips/health").await.ok();
    recorder.get("/api/v1/keys?userId=user_123").await;
    recorder.get(&format!("/api/v1/keys/{key}/usage")).await;
    recorder
        .ask("patch", &format!("/api/v1/keys/{key}"), json!({"name": "Reports", "requestsPerMinute": 300}))
        .await;
    recorder.ask("post", &format!("/api/v1/keys/{key}/toggle"), json!({"active": false})).await;
    recorder.ask("delete", &format!("/api/v1/keys/{key}"), Value::Null).await;
}

async fn trunks(recorder: &mut Recorder) {
    let all = "/api/v1/trunks";
    let body = json!({
        "name": "Carrier", "hosts": [{"host": "sip.carrier.example", "port": 5060, "transport": "udp"}],
        "username": "trunkuser", "password": "(its password)", "callerNumber": "+34910000000", "register": true,
        "sources": ["203.0.113.0/24"], "dids": [{"number": "+34911000001", "extension": "1001"}],
    });
    let trunk = format!("{all}/{}", id(&recorder.ask("post", all, body).await, "trunk"));
    recorder.get(all).await;
    recorder.get(&trunk).await;
    recorder.ask("put", &trunk, json!({"maxChannels": 30})).await;
    recorder.ask("patch", &trunk, json!({"enabled": true, "codecs": ["PCMA", "PCMU"]})).await;
    recorder.ask("post", &format!("{trunk}/test"), json!({})).await;
    recorder.ask("delete", &trunk, Value::Null).await;
}

async fn webhooks(recorder: &mut Recorder) {
    let all = "/api/v1/webhooks";
    let body =
        json!({"url": "https://crm.example.com/centralita", "types": ["sound_created"], "scope": "all"});
    let made = recorder.ask("post", all, body).await;
    let hook = format!("{all}/{}", id(&made, "webhook"));
    recorder.get(all).await;
    recorder.get(&hook).await;
    recorder.ask("patch", &hook, json!({"types": []})).await;
    recorder.ask("post", &format!("{hook}/rotate-secret"), json!({})).await;
    recorder.api.key_of("user_123", &[Permission::Call]).await;
    recorder.api.store.fan_out(recorder.api.now()).await.unwrap();
    recorder.get(&format!("{hook}/deliveries?limit=1")).await;
    recorder.ask("delete", &hook, Value::Null).await;
}

/// The first example of this method and route.
pub(crate) fn of<'t>(all: &'t [Example], method: &str, template: &str) -> Option<&'t Example> {
    let fits = |path: &str| {
        let path = path.split('?').next().unwrap();
        let (a, b): (Vec<&str>, Vec<&str>) = (template.split('/').collect(), path.split('/').collect());
        a.len() == b.len() && a.iter().zip(&b).all(|(t, p)| t == p || t.starts_with('{'))
    };
    // A literal segment of another route (`user`, `create`) is not an id.
    let exact = all.iter().find(|one| one.method == method && one.path.split('?').next() == Some(template));
    exact.or_else(|| {
        all.iter().find(|one| one.method == method && fits(&one.path) && !template.ends_with("create"))
    })
}

/// Whether a body is a non-empty object.
pub(crate) fn is_not_empty(body: &Value) -> bool {
    body.as_object().is_some_and(|object: &Map<String, Value>| !object.is_empty())
}
