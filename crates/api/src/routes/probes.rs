//! For machines that watch: alive, ready, metrics.

use std::fmt::Write as _;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use store::Health;
use switch::{JournalRoom, State as SipState, Status};

use crate::App;
use crate::error::ApiError;
use crate::route::{Answer, Need, Route};
use crate::shapes::Probe;

pub(crate) fn routes() -> Vec<Route> {
    let tag = "probes";
    let metrics = Answer::Text;
    vec![
        Route::new(
            ("get", "/healthz"),
            tag,
            "The process answers",
            Need::Nothing,
            Answer::json::<Probe>(),
            get(alive),
        ),
        Route::new(
            ("get", "/readyz"),
            tag,
            "The SIP listeners are up",
            Need::Nothing,
            Answer::json::<Probe>(),
            get(ready),
        )
        .also(&[503]),
        Route::new(
            ("get", "/metrics"),
            tag,
            "Metrics for Prometheus",
            Need::Admin,
            metrics,
            get(metrics_text),
        )
        .also(&[503]),
    ]
}

async fn alive() -> Json<Probe> {
    Json(Probe { status: "ok", database: None, journal: None })
}

async fn ready(State(app): State<App>) -> Response {
    let status = app.status().await.unwrap_or(Status { state: SipState::Stopped, ..Status::default() });
    let database = app.office().store().health();
    // A database that is away takes the journal's records when it is back: calls go on, and so does this server.
    let word = match status.state {
        SipState::Running if database == Health::DiskFull || status.journal != JournalRoom::Ample => {
            "disk_full"
        }
        SipState::Running => "ok",
        state => state.as_str(),
    };
    let code = if word == "ok" { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let probe =
        Probe { status: word, database: Some(database.as_str()), journal: Some(status.journal.as_str()) };
    (code, Json(probe)).into_response()
}

async fn metrics_text(State(app): State<App>) -> Result<Response, ApiError> {
    let status = app.status().await?;
    let text = metrics(&app, &status);
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response())
}

fn metrics(app: &App, status: &Status) -> String {
    let mut text = String::new();
    let mut single = |name: &str, kind: &str, help: &str, value: u64| {
        let _ = write!(
            text,
            "# HELP centralita_{name} {help}\n# TYPE centralita_{name} {kind}\ncentralita_{name} {value}\n"
        );
    };
    let running = u64::from(status.state == SipState::Running);
    single("sip_running", "gauge", "Whether the SIP listeners are up", running);
    let writable = u64::from(app.office().store().health() == Health::Writable);
    single("database_writable", "gauge", "Whether the database takes writes", writable);
    let ample = u64::from(status.journal == JournalRoom::Ample);
    single("journal_has_room", "gauge", "Whether the journal has its room; 0 where the disk is full", ample);
    single("uptime_seconds", "gauge", "Seconds since the start", app.uptime().as_secs());
    single("active_calls", "gauge", "Calls alive", status.active_calls as u64);
    single("registrations", "gauge", "Bindings that have not expired", status.registrations as u64);
    single("rtp_ports_in_use", "gauge", "RTP ports in use", status.ports_in_use as u64);
    single("sip_transactions", "gauge", "SIP transactions alive", status.transactions as u64);
    single("sip_sessions", "gauge", "SIP sessions alive", status.sessions as u64);
    let counters = &status.counters;
    for (name, help, value) in [
        ("messages_received", "SIP messages received", counters.messages_received),
        ("messages_sent", "SIP messages sent", counters.messages_sent),
        ("registrations_accepted", "REGISTER requests accepted", counters.registrations_accepted),
        ("challenges", "Requests answered with a challenge", counters.challenges),
        ("wrong_passwords", "Wrong digest answers", counters.wrong_passwords),
        ("answers_withheld", "Answers not given to strangers that had too many", counters.answers_withheld),
        ("banned", "Messages dropped for a ban", counters.banned),
        ("calls_started", "Calls begun", counters.calls_started),
        ("calls_answered", "Calls answered", counters.calls_answered),
        ("ladders_shed", "Ladders not kept under load", counters.ladders_shed),
    ] {
        single(&format!("{name}_total"), "counter", help, value);
    }
    let [users, keys, credentials, extensions] = app.office().directory().census();
    for (name, value) in
        [("users", users), ("api_keys", keys), ("credentials", credentials), ("extensions", extensions)]
    {
        single(name, "gauge", "Rows of the directory", value as u64);
    }
    let _ = write!(
        text,
        "# HELP centralita_calls_ended_total Calls that are over, by cause\n# TYPE centralita_calls_ended_total counter\n"
    );
    for (cause, count) in &counters.calls_ended {
        let _ = writeln!(text, "centralita_calls_ended_total{{cause=\"{cause}\"}} {count}");
    }
    text
}
