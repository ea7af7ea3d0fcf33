//! Server routes: start, stop, status, health (S34–S37).

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use axum::routing::{get, post};
use model::Permission;
use serde_json::Value;
use switch::{Command, Reply, State as SipState, Status};

use crate::App;
use crate::app::unexpected_reply;
use crate::auth::Principal;
use crate::directory_service::Event;
use crate::error::ApiError;
use crate::input::{Body, Field, Form, Rule};
use crate::route::{Access, Answer, Route};
use crate::routes::trunks::schemas::TrunkHealth;
use crate::routes::trunks::statuses;
use crate::schemas::{Health, ServerStatus, TaskView};

const SIP: Access = Access::Permission(Permission::Sip);
const NOTHING: &[Field] = &[];
const STOP: &[Field] = &[Field::new("force", Rule::Flag, "End active calls at once")];
/// How long a start request waits until the listeners are open.
const START_TIMEOUT: Duration = Duration::from_secs(2);
const START_POLL: Duration = Duration::from_millis(20);

pub(crate) fn routes() -> Vec<Route> {
    let status = Answer::json::<ServerStatus>;
    vec![
        Route::new(
            ("post", "/api/v1/opensips/start"),
            "server",
            "Start the SIP side",
            SIP,
            status(),
            post(start),
        )
        .body(NOTHING)
        .also(&[503]),
        Route::new(
            ("post", "/api/v1/opensips/stop"),
            "server",
            "Wait for active calls to end, then stop the SIP side",
            Access::Admin,
            status(),
            post(stop),
        )
        .query(STOP)
        .body(NOTHING)
        .also(&[503]),
        Route::new(
            ("get", "/api/v1/opensips/status"),
            "server",
            "State of the SIP side",
            SIP,
            status(),
            get(show),
        )
        .also(&[503]),
        Route::new(
            ("get", "/api/v1/opensips/health"),
            "server",
            "Health of the server, without the success envelope",
            SIP,
            Answer::json::<Health>(),
            get(health),
        )
        .also(&[503]),
    ]
}

async fn start(
    State(app): State<App>,
    principal: Principal,
    body: Body,
) -> Result<Json<ServerStatus>, ApiError> {
    body.form(&principal, NOTHING)?;
    let mut status = send_command(&app, Command::Start).await?;
    app.directory_service().audit(principal.actor(), event("opensips_started", &principal));
    // The server opens the listeners asynchronously; the response shows the result.
    let waiting = async {
        while status.state != SipState::Running {
            tokio::time::sleep(START_POLL).await;
            status = app.status().await?;
        }
        Ok::<(), ApiError>(())
    };
    if let Ok(failed) = tokio::time::timeout(START_TIMEOUT, waiting).await {
        failed?;
    }
    Ok(Json(view(&app, &status).await))
}

async fn stop(
    State(app): State<App>,
    principal: Principal,
    uri: Uri,
    body: Body,
) -> Result<Json<ServerStatus>, ApiError> {
    body.form(&principal, NOTHING)?;
    let force = Form::of_query(&uri, STOP)?.flag("force").unwrap_or(false);
    let status = send_command(&app, Command::Stop { force }).await?;
    app.directory_service().audit(principal.actor(), event("opensips_stopped", &principal));
    Ok(Json(view(&app, &status).await))
}

async fn show(State(app): State<App>) -> Result<Json<ServerStatus>, ApiError> {
    Ok(Json(view(&app, &app.status().await?).await))
}

async fn health(State(app): State<App>) -> Result<Json<Health>, ApiError> {
    let status = app.status().await?;
    Ok(Json(Health {
        opensips_status: status.state.as_str(),
        active_calls: status.active_calls,
        server_uptime: true,
        server_uptime_seconds: app.uptime().as_secs(),
    }))
}

async fn send_command(app: &App, command: Command) -> Result<Status, ApiError> {
    match app.ask(command).await? {
        Reply::Status(status) => Ok(status),
        other => Err(unexpected_reply(&other)),
    }
}

async fn view(app: &App, status: &Status) -> ServerStatus {
    let trunks = statuses(app).await.unwrap_or_default();
    ServerStatus {
        success: true,
        status: status.state.as_str(),
        opensips_status: status.state.as_str(),
        listeners: app.settings().listeners.clone(),
        active_calls: status.active_calls,
        registrations: status.registrations,
        ports_in_use: status.ports_in_use,
        trunks: trunks.iter().map(TrunkHealth::of).collect(),
        tasks: app
            .process()
            .map(|process| process.tasks().into_iter().map(TaskView::from).collect())
            .unwrap_or_default(),
        uptime_seconds: app.uptime().as_secs(),
        version: app.settings().version.clone(),
        tzdb_version: model::recurrence::tzdb_version(),
    }
}

fn event(kind: &'static str, principal: &Principal) -> Event {
    Event { kind, user: Some(principal.user().clone()), subject: String::new(), detail: Value::Null }
}
