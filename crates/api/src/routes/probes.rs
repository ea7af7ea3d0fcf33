//! For machines that watch: alive, ready, metrics.

use std::fmt::Write as _;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use switch::{State as SipState, Status};

use crate::App;
use crate::error::{ApiError, Fault};
use crate::route::{Answer, Need, Route};
use crate::shapes::Probe;

pub(crate) fn routes() -> Vec<Route> {
    let tag = "probes";
    let metrics = Answer::Text;
    vec![
        Route::new(
            ("get", "/healthz"),
            tag,
            "The exchange's loop goes round",
            Need::Nothing,
            Answer::json::<Probe>(),
            get(alive),
        )
        .also(&[503]),
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

async fn alive(State(app): State<App>) -> Response {
    probe(app.loop_alive(), "ok")
}

async fn ready(State(app): State<App>) -> Response {
    let state = app.published().map_or(SipState::Stopped, |status| status.state);
    match state {
        SipState::Running => probe(app.loop_alive(), "ok"),
        SipState::Starting | SipState::Draining | SipState::Stopped => probe(false, state.as_str()),
    }
}

/// An exchange whose loop does not go round is `stalled`, whatever it said before.
fn probe(good: bool, word: &'static str) -> Response {
    let status = if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let word = if !good && word == "ok" { "stalled" } else { word };
    (status, Json(Probe { status: word })).into_response()
}

async fn metrics_text(State(app): State<App>) -> Result<Response, ApiError> {
    let status = app.published().ok_or(Fault::SwitchAway)?;
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
