//! Routes for monitoring: liveness, readiness and metrics.

use std::fmt;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::encoding::text::{encode, encode_registry};
use prometheus_client::registry::Registry;
use store::Health;
use switch::{JournalRoom, State as SipState, Status};

use crate::App;
use crate::error::{ApiError, Fault};
use crate::process::Kind::{Counter, Gauge};
use crate::process::{MetricsPage, TaskState, TaskStatus};
use crate::route::{Access, Answer, Route};
use crate::schemas::Probe;

/// Status of a switch whose event loop does not iterate.
const STALLED: &str = "stalled";

pub(crate) fn routes() -> Vec<Route> {
    let tag = "probes";
    vec![
        Route::new(
            ("get", "/healthz"),
            tag,
            "Liveness: the SIP event loop is iterating",
            Access::Public,
            Answer::json::<Probe>(),
            get(liveness),
        )
        .also(&[503]),
        Route::new(
            ("get", "/readyz"),
            tag,
            "Readiness: the SIP listeners are open and records can be written",
            Access::Public,
            Answer::json::<Probe>(),
            get(readiness),
        )
        .also(&[503]),
        Route::new(
            ("get", "/metrics"),
            tag,
            "Metrics for Prometheus",
            Access::Admin,
            Answer::Text,
            get(metrics),
        ),
    ]
}

async fn liveness(State(app): State<App>) -> Response {
    let status = if app.is_loop_alive() { "ok" } else { STALLED };
    probe(Probe { status, database: None, journal: None })
}

async fn readiness(State(app): State<App>) -> Response {
    let published = app.published_status();
    let state = published.as_ref().map_or(SipState::Stopped, |status| status.state);
    let journal = published.map_or(JournalRoom::Ample, |status| status.journal);
    let database = app.directory_service().store().health();
    // The journal keeps records while the database is unavailable, so calls continue and the server stays ready.
    let status = match state {
        SipState::Running if !app.is_loop_alive() => STALLED,
        SipState::Running if database == Health::DiskFull || journal != JournalRoom::Ample => "disk_full",
        SipState::Running => "ok",
        SipState::Starting | SipState::Draining | SipState::Stopped => state.as_str(),
    };
    probe(Probe { status, database: Some(database.as_str()), journal: Some(journal.as_str()) })
}

fn probe(probe: Probe) -> Response {
    let status = if probe.status == "ok" { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(probe)).into_response()
}

/// Before the switch has published its first status, its metrics are missing; all others are shown.
async fn metrics(State(app): State<App>, headers: HeaderMap) -> Result<Response, ApiError> {
    let mut registry = Registry::with_prefix("centralita");
    registry.register_collector(Box::new(MetricsCollector(app)));
    let mut text = String::new();
    // OpenMetrics needs an end marker; older scrapers take the same lines without it.
    let accepted = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (kind, written) = if accepted.contains("application/openmetrics-text") {
        ("application/openmetrics-text; version=1.0.0; charset=utf-8", encode(&mut text, &registry))
    } else {
        ("text/plain; version=0.0.4; charset=utf-8", encode_registry(&mut text, &registry))
    };
    written.map_err(|_| Fault::Internal)?;
    Ok(([(header::CONTENT_TYPE, kind)], text).into_response())
}

/// Collects all metrics at the time of a scrape.
#[derive(Debug)]
struct MetricsCollector(App);

impl Collector for MetricsCollector {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let (app, page) = (&self.0, &mut MetricsPage(encoder));
        page.value(Gauge, "uptime_seconds", "Seconds since the start", app.uptime().as_secs())?;
        let writable = usize::from(app.directory_service().store().health() == Health::Writable);
        page.value(Gauge, "database_writable", "Whether the database accepts writes", writable)?;
        if let Some(status) = app.published_status() {
            switch_metrics(page, &status)?;
        }
        let [users, keys, credentials, extensions] = app.directory_service().directory().counts();
        for (name, value) in
            [("users", users), ("api_keys", keys), ("credentials", credentials), ("extensions", extensions)]
        {
            page.value(Gauge, name, "Rows of the directory", value)?;
        }
        match app.process() {
            Some(process) => {
                task_metrics(page, &process.tasks())?;
                process.metrics(page)
            }
            None => Ok(()),
        }
    }
}

fn switch_metrics(page: &mut MetricsPage<'_>, status: &Status) -> fmt::Result {
    let running = usize::from(status.state == SipState::Running);
    let ample = usize::from(status.journal == JournalRoom::Ample);
    for (name, help, value) in [
        ("journal_has_room", "Whether the journal has its reserved space; 0 if the disk is full", ample),
        ("sip_running", "Whether the SIP listeners are open", running),
        ("active_calls", "Active calls", status.active_calls),
        ("registrations", "Bindings that have not expired", status.registrations),
        ("rtp_ports_in_use", "RTP ports in use", status.ports_in_use),
        ("sip_transactions", "Active SIP transactions", status.transactions),
        ("sip_sessions", "Active SIP sessions", status.sessions),
    ] {
        page.value(Gauge, name, help, value)?;
    }
    let counters = &status.counters;
    for (name, help, value) in [
        ("messages_received", "SIP messages received", counters.messages_received),
        ("messages_sent", "SIP messages sent", counters.messages_sent),
        ("registrations_accepted", "REGISTER requests accepted", counters.registrations_accepted),
        ("challenges", "Requests answered with a challenge", counters.challenges),
        ("wrong_passwords", "Wrong digest responses", counters.wrong_passwords),
        (
            "answers_withheld",
            "SIP responses suppressed by the limit for unauthenticated sources",
            counters.answers_withheld,
        ),
        ("banned", "SIP messages dropped because of a ban", counters.banned),
        ("calls_started", "Calls started", counters.calls_started),
        ("calls_answered", "Calls answered", counters.calls_answered),
        ("ladders_shed", "SIP ladders dropped under load", counters.ladders_shed),
    ] {
        page.value(Counter, name, help, value)?;
    }
    let ended = counters.calls_ended.iter().map(|(cause, count)| (cause, *count));
    page.values(Counter, "calls_ended", "Ended calls, by cause", "cause", ended)
}

fn task_metrics(page: &mut MetricsPage<'_>, tasks: &[TaskStatus]) -> fmt::Result {
    let up = |task: &TaskStatus| usize::from(task.state != TaskState::Restarting);
    let up = tasks.iter().map(|task| (&task.name, up(task)));
    page.values(Gauge, "task_up", "0 while a thread or task waits to be restarted", "task", up)?;
    let restarts = tasks.iter().map(|task| (&task.name, task.restarts));
    page.values(Counter, "task_restarts", "Restarts of a thread or task after an error", "task", restarts)
}
