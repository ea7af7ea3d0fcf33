//! Recurring calls in tests: create them for a second of today, read their runs, and record the calls at a phone.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::raw::Raw;
use crate::{Extension, Server, until};

/// Microseconds since the Unix epoch.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_micros() as u64
}

/// `HH:MM:SS` in UTC of a second since the Unix epoch.
pub fn time_of_day(second: u64) -> String {
    format!("{:02}:{:02}:{:02}", second / 3600 % 24, second / 60 % 60, second % 60)
}

/// Create a daily call of an extension that is first due at this second.
pub fn plan(server: &Server, extension: &Extension, to: &str, second: u64) -> String {
    plan_with(server, extension, to, second, json!({}))
}

/// The same with further fields.
pub fn plan_with(server: &Server, extension: &Extension, to: &str, second: u64, mut body: Value) -> String {
    let schedule = json!({"frequency": "daily", "time": time_of_day(second), "timezone": "UTC"});
    let path = format!("/api/v1/voip/extensions/{}/recurring-calls", extension.id);
    body["destinationNumber"] = to.into();
    body["schedule"] = schedule;
    let made = server.http(Some(&extension.key)).post(&path, &body).expect(200);
    made["recurringCall"]["id"].as_str().expect("an id").to_owned()
}

/// The runs of a recurring call, newest first; none on a node that has not heard of it yet.
pub fn runs(server: &Server, extension: &Extension, id: &str) -> Vec<Value> {
    let path = format!("/api/v1/voip/recurring-calls/{id}/runs");
    let answer = server.http(Some(&extension.key)).get(&path);
    if answer.status == 404 {
        return Vec::new();
    }
    answer.expect(200)["runs"].as_array().expect("runs").clone()
}

/// The only run of a recurring call, once it has ended.
#[track_caller]
pub fn ended_run(server: &Server, extension: &Extension, id: &str) -> Value {
    until(Duration::from_secs(20), "the run has an end", || {
        let runs = runs(server, extension, id);
        assert!(runs.len() <= 1, "one instant, one run: {runs:#?}");
        let ended =
            |run: &Value| ["done", "failed", "missed"].contains(&run["state"].as_str().unwrap_or_default());
        runs.into_iter().find(ended)
    })
}

/// A phone that answers every call at once, and records the arrival time of each.
pub struct AutoAnswerPhone {
    arrivals: Arc<Mutex<BTreeMap<String, Instant>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl AutoAnswerPhone {
    pub fn start(phone: Raw) -> Self {
        let (arrivals, stop) = (Arc::new(Mutex::new(BTreeMap::new())), Arc::new(AtomicBool::new(false)));
        let (written, over) = (Arc::clone(&arrivals), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                let Some(message) = phone.receive(Duration::from_millis(50)) else { continue };
                match message.method() {
                    Some("INVITE") => {
                        let id = message.header("Call-ID").unwrap_or_default().to_owned();
                        written.lock().expect("a ledger").entry(id).or_insert_with(Instant::now);
                        phone.answer(&message, 200, "", &phone.sdp());
                    }
                    Some("ACK") | None => {}
                    Some(_) => phone.answer(&message, 200, "", ""),
                }
            }
        });
        AutoAnswerPhone { arrivals, stop, thread: Some(thread) }
    }

    /// Arrival time of each call, by Call-ID.
    pub fn calls(&self) -> BTreeMap<String, Instant> {
        self.arrivals.lock().expect("a ledger").clone()
    }
}

impl Drop for AutoAnswerPhone {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().map(JoinHandle::join);
    }
}
