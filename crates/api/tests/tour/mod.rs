//! A walk over every route of a real API, written down: what was asked and what was answered. The clock stands still and chance has a fixed
//! seed, so that two walks are the same.

use axum::body::Body;
use model::journal::Record;
use model::{CallStatus, Cause, Permission};
use serde_json::{Map, Value, json};

use crate::house::things::{message, recording, sound};
use crate::house::{BEGIN, House, call_record, request};

/// One question and its answer.
pub(crate) struct Exchange {
    pub(crate) method: &'static str,
    /// As it was asked, with its query.
    pub(crate) path: String,
    pub(crate) body: Value,
    pub(crate) answer: Value,
}

/// Everything that was asked, by method and route.
pub(crate) struct Tour {
    house: House,
    all: Vec<Exchange>,
}

/// What is shown once stands in no page.
const SECRETS: [&str; 3] = ["password", "key", "secret"];

impl Tour {
    async fn ask(&mut self, method: &'static str, path: &str, body: Value) -> Value {
        let key = self.house.admin.clone();
        let request =
            request(&method.to_ascii_uppercase(), path, &key).header("x-request-id", "req_1a2b3c4d5e6f7g8h");
        let request = match &body {
            Value::Null => request.body(Body::empty()),
            body => request.header("content-type", "application/json").body(Body::from(body.to_string())),
        };
        let answer = self.house.send(request.unwrap()).await;
        assert_eq!(answer.status.as_u16(), 200, "{method} {path}: {}", answer.text);
        let answered: Value = serde_json::from_str(&answer.text).unwrap_or(Value::Null);
        let mut shown = answered.clone();
        hide(&mut shown);
        self.all.push(Exchange { method, path: path.to_owned(), body, answer: shown });
        answered
    }

    async fn get(&mut self, path: &str) -> Value {
        self.ask("get", path, Value::Null).await
    }
}

/// Secrets are left out, and long lists end after their first three.
fn hide(value: &mut Value) {
    match value {
        Value::Object(object) => {
            for (name, value) in object {
                match value {
                    Value::String(text) if SECRETS.contains(&name.as_str()) => {
                        "(shown once)".clone_into(text);
                    }
                    Value::String(text) if name == "nextCursor" => {
                        "bmV4dCBwYWdl".clone_into(text); // it may hold an event's number
                    }
                    value => hide(value),
                }
            }
        }
        Value::Array(items) => {
            items.truncate(3);
            items.iter_mut().for_each(hide);
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn id(made: &Value, noun: &str) -> String {
    made[noun]["id"].as_str().unwrap_or_else(|| panic!("no id: {made}")).to_owned()
}

/// Ask for everything.
pub(crate) async fn walk() -> Vec<Exchange> {
    let house = House::new().await;
    let mut tour = Tour { house, all: Vec::new() };
    server(&mut tour).await;
    let extension = extensions(&mut tour).await;
    calls(&mut tour, &extension).await;
    recordings(&mut tour).await;
    recurring(&mut tour, &extension).await;
    voicemail(&mut tour, &extension).await;
    keys(&mut tour).await;
    trunks(&mut tour).await;
    webhooks(&mut tour).await;
    tour.get("/api/v1/events?type=voip_extension_created&limit=2").await;
    tour.ask("delete", &format!("/api/v1/voip/extensions/{extension}"), Value::Null).await;
    tour.ask("post", "/api/v1/opensips/stop", json!({})).await;
    tour.ask("post", "/api/v1/server/stop", json!({})).await;
    let until = base::Timestamp::from_micros((BEGIN + 60) * 1_000_000);
    let ban = switch::Ban { source: "192.0.2.7".parse().unwrap(), account: Some("user_123".into()), until };
    tour.house.exchange.change(|inside| inside.bans = vec![ban]);
    tour.get("/api/v1/guard/bans").await;
    tour.ask("delete", "/api/v1/guard/bans?address=192.0.2.7", Value::Null).await;
    let mut events = Vec::new();
    for exchange in &mut tour.all {
        exchange.path = renumbered(&exchange.path, &mut events);
        let text = renumbered(&exchange.answer.to_string(), &mut events);
        exchange.answer = serde_json::from_str(&text).unwrap();
    }
    tour.all
}

/// The numbers of events are microseconds of the real clock: here they are counted, so that two walks are the same.
fn renumbered(text: &str, events: &mut Vec<String>) -> String {
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

async fn server(tour: &mut Tour) {
    tour.get("/").await;
    for place in ["opensips", "server"] {
        tour.ask("post", &format!("/api/v1/{place}/start"), Value::Null).await;
        tour.get(&format!("/api/v1/{place}/status")).await;
        tour.get(&format!("/api/v1/{place}/health")).await;
        let body = json!({"userId": "user_123"});
        tour.ask("post", &format!("/api/v1/{place}/generate-credentials"), body).await;
    }
    tour.get("/healthz").await;
    tour.get("/readyz").await;
}

async fn extensions(tour: &mut Tour) -> String {
    let all = "/api/v1/voip/extensions";
    let body = json!({"userId": "user_123", "extensionNumber": "1001", "displayName": "Juan Pérez"});
    let made = tour.ask("post", &format!("{all}/create"), body).await;
    let extension = id(&made, "extension");
    tour.ask("post", all, json!({"userId": "user_123", "extensionNumber": "1002", "displayName": "Ana"}))
        .await;
    let line = |n: u32| json!({"extensionNumber": n.to_string(), "username": format!("phone-{n}"), "password": "(its own)", "userId": "user_456"});
    tour.ask("post", &format!("{all}/import"), json!({"extensions": [line(2001), line(2002)]})).await;
    tour.get(&format!("{all}?limit=2")).await;
    tour.get(&format!("{all}/user/user_123")).await;
    let one = format!("{all}/{extension}");
    tour.get(&one).await;
    let body = json!({"displayName": "Juan Pérez Updated", "forwardingEnabled": true, "forwardingNumber": "+1234567890"});
    tour.ask("put", &one, body).await;
    tour.ask("patch", &one, json!({"forwardingEnabled": false, "ringSeconds": 20})).await;
    tour.ask("post", &format!("{one}/credentials/reset"), json!({})).await;
    let username = made["extension"]["sipCredentials"]["username"].as_str().unwrap().to_owned();
    let registration = switch::Registration {
        username: username.as_str().into(),
        contact: format!("sip:{username}@203.0.113.7:5060"),
        remote: "203.0.113.7:5060".parse().unwrap(),
        expires_at: base::Timestamp::from_micros((BEGIN + 300) * 1_000_000),
        user_agent: "Linphone/5.2".into(),
    };
    tour.house.exchange.change(|e| e.registrations.push(registration));
    tour.get("/api/v1/registrations").await;
    extension
}

async fn calls(tour: &mut Tour, extension: &str) {
    let body = json!({"toNumber": "+0987654321", "useTwilio": false});
    tour.ask("post", &format!("/api/v1/voip/extensions/{extension}/call"), body).await;
    for (place, one) in
        [("/api/v1/opensips/call/initiate", "/api/v1/opensips/call"), ("/api/v1/calls", "/api/v1/calls")]
    {
        let body = json!({"userId": "user_123", "fromNumber": "+1234567890", "toNumber": "1002"});
        let made = tour.ask("post", place, body).await;
        let call = id(&made, "session");
        tour.get(&format!("{one}/{call}")).await;
        tour.house
            .exchange
            .change(|e| e.calls.iter_mut().for_each(|call| call.status = CallStatus::InProgress));
        for verb in ["start", "pause", "resume", "stop"] {
            tour.ask("post", &format!("{one}/{call}/recording/{verb}"), json!({})).await;
        }
        tour.ask("post", &format!("{one}/{call}/end"), json!({})).await;
    }
    let over = model::CallRecord {
        status: CallStatus::Completed,
        cause: Some(Cause::Completed),
        answered_at: Some(base::Timestamp::from_micros((BEGIN - 60) * 1_000_000)),
        ended_at: Some(base::Timestamp::from_micros((BEGIN - 18) * 1_000_000)),
        ..call_record("session_1736936935_a", "user_123", BEGIN - 65)
    };
    tour.house.store.feed(&[Record::CallClosed(Box::new(over))]).await.unwrap();
    tour.get("/api/v1/calls?status=completed&limit=2").await;
    tour.get("/api/v1/stats").await;
}

async fn recordings(tour: &mut Tour) {
    let id = recording(&tour.house).await;
    tour.get("/api/v1/recordings?limit=2").await;
    tour.get(&format!("/api/v1/recordings/{id}")).await;
    tour.ask("delete", &format!("/api/v1/recordings/{id}"), Value::Null).await;
}

async fn recurring(tour: &mut Tour, extension: &str) {
    let of_extension = format!("/api/v1/voip/extensions/{extension}/recurring-calls");
    let schedule = json!({"frequency": "daily", "time": "09:00", "timezone": "America/New_York"});
    let body = json!({"destinationNumber": "+0987654321", "schedule": schedule});
    let call = id(&tour.ask("post", &of_extension, body).await, "recurringCall");
    tour.get(&of_extension).await;
    tour.get("/api/v1/voip/recurring-calls").await;
    let one = format!("/api/v1/voip/recurring-calls/{call}");
    tour.get(&one).await;
    tour.ask("put", &one, json!({"enabled": false, "destinationNumber": "+9876543210"})).await;
    tour.ask("patch", &one, json!({"enabled": true})).await;
    tour.get(&format!("{one}/next?count=2")).await;
    tour.get(&format!("{one}/runs")).await;
    tour.ask("delete", &one, Value::Null).await;
    let sounds = sound(&tour.house, extension).await;
    tour.get(&format!("/api/v1/voip/extensions/{extension}/sounds")).await;
    tour.get(&format!("/api/v1/voip/sounds/{sounds}")).await;
    tour.ask("delete", &format!("/api/v1/voip/sounds/{sounds}"), Value::Null).await;
}

async fn voicemail(tour: &mut Tour, extension: &str) {
    let all = format!("/api/v1/voip/extensions/{extension}/voicemail");
    tour.ask("put", &all, json!({"pin": "4711", "language": "es"})).await;
    tour.ask("patch", &all, json!({"email": "juan@example.com", "emailAudio": true})).await;
    let id = message(&tour.house, extension).await;
    tour.get(&format!("{all}?limit=2")).await;
    tour.get(&format!("{all}/deliveries")).await;
    let one = format!("{all}/{id}");
    tour.get(&one).await;
    tour.ask("put", &one, json!({"status": "heard"})).await;
    tour.ask("patch", &one, json!({"status": "saved"})).await;
    tour.ask("delete", &one, Value::Null).await;
    tour.ask("delete", &format!("{all}/greeting"), Value::Null).await;
}

async fn keys(tour: &mut Tour) {
    let body = json!({"userId": "user_123", "name": "Production VoIP Key", "permissions": ["call", "sip", "recording"]});
    let made = tour.ask("post", "/api/v1/keys/voip/generate", body).await;
    let key = id(&made, "key");
    let secret = made["key"]["key"].as_str().unwrap().to_owned();
    tour.house.get(&secret, "/api/v1/opensips/health").await.ok();
    tour.get("/api/v1/keys?userId=user_123").await;
    tour.get(&format!("/api/v1/keys/{key}/usage")).await;
    tour.ask("patch", &format!("/api/v1/keys/{key}"), json!({"name": "Reports", "requestsPerMinute": 300}))
        .await;
    tour.ask("post", &format!("/api/v1/keys/{key}/toggle"), json!({"active": false})).await;
    tour.ask("delete", &format!("/api/v1/keys/{key}"), Value::Null).await;
}

async fn trunks(tour: &mut Tour) {
    let all = "/api/v1/trunks";
    let body = json!({
        "name": "Carrier", "hosts": [{"host": "sip.carrier.example", "port": 5060, "transport": "udp"}],
        "username": "trunkuser", "password": "(its password)", "callerNumber": "+34910000000", "register": true,
        "sources": ["203.0.113.0/24"], "dids": [{"number": "+34911000001", "extension": "1001"}],
    });
    let trunk = format!("{all}/{}", id(&tour.ask("post", all, body).await, "trunk"));
    tour.get(all).await;
    tour.get(&trunk).await;
    tour.ask("put", &trunk, json!({"maxChannels": 30})).await;
    tour.ask("patch", &trunk, json!({"enabled": true, "codecs": ["PCMA", "PCMU"]})).await;
    tour.ask("post", &format!("{trunk}/test"), json!({})).await;
    tour.ask("delete", &trunk, Value::Null).await;
}

async fn webhooks(tour: &mut Tour) {
    let all = "/api/v1/webhooks";
    let body =
        json!({"url": "https://crm.example.com/centralita", "types": ["sound_created"], "scope": "all"});
    let made = tour.ask("post", all, body).await;
    let hook = format!("{all}/{}", id(&made, "webhook"));
    tour.get(all).await;
    tour.get(&hook).await;
    tour.ask("patch", &hook, json!({"types": []})).await;
    tour.ask("post", &format!("{hook}/rotate-secret"), json!({})).await;
    tour.house.key_of("user_123", &[Permission::Call]).await;
    tour.house.store.fan_out(tour.house.now()).await.unwrap();
    tour.get(&format!("{hook}/deliveries?limit=1")).await;
    tour.ask("delete", &hook, Value::Null).await;
}

/// The exchange of this method and route, the first of them.
pub(crate) fn of<'t>(all: &'t [Exchange], method: &str, template: &str) -> Option<&'t Exchange> {
    let fits = |path: &str| {
        let path = path.split('?').next().unwrap();
        let (a, b): (Vec<&str>, Vec<&str>) = (template.split('/').collect(), path.split('/').collect());
        a.len() == b.len() && a.iter().zip(&b).all(|(t, p)| t == p || t.starts_with('{'))
    };
    // A literal word of another route (`user`, `create`) is no id.
    let exact = all.iter().find(|one| one.method == method && one.path.split('?').next() == Some(template));
    exact.or_else(|| {
        all.iter().find(|one| one.method == method && fits(&one.path) && !template.ends_with("create"))
    })
}

/// Nothing is asked with an empty object for its body.
pub(crate) fn is_said(body: &Value) -> bool {
    body.as_object().is_some_and(|object: &Map<String, Value>| !object.is_empty())
}
