//! Trunk routes, for administrators (S106, S107, S121–S123, S191).

mod fields;
pub(crate) mod schemas;
mod test_call;

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::routing::{delete, get, patch, post, put};
use base::Secret;
use model::{DialledNumber, ExtensionNumber, TrunkId};
use serde::de::DeserializeOwned;
use switch::{Command, Reply, TrunkStatus};

use crate::App;
use crate::app::unexpected_reply;
use crate::auth::{Principal, language};
use crate::directory_service::TrunkDraft;
use crate::error::{ApiError, Fault};
use crate::input::{Body, Form};
use crate::route::{Access, Answer, Route};
use crate::routes::PathId;
use crate::schemas::Success;
use fields::{CHANGE, NEW};
use schemas::{TrunkAnswer, TrunkView, TrunksAnswer};
use test_call::{TEST, TrunkTestAnswer};

/// How long a test waits for the hosts: longer than the switch waits for a response to OPTIONS.
const TEST_TIMEOUT: Duration = Duration::from_millis(4500);
const TEST_POLL: Duration = Duration::from_millis(20);

pub(crate) fn routes() -> Vec<Route> {
    let (all, id, tag) = ("/api/v1/trunks", "/api/v1/trunks/{id}", "trunks");
    let one = Answer::json::<TrunkAnswer>;
    let admin = Access::Admin;
    vec![
        Route::new(("post", all), tag, "Create a trunk", admin, one(), post(create)).body(NEW),
        Route::new(("get", all), tag, "List trunks", admin, Answer::json::<TrunksAnswer>(), get(list)),
        Route::new(("get", id), tag, "Get a trunk", admin, one(), get(show)),
        Route::new(("put", id), tag, "Change a trunk", admin, one(), put(update)).body(CHANGE),
        Route::new(("patch", id), tag, "Change a trunk", admin, one(), patch(update)).body(CHANGE),
        Route::new(("delete", id), tag, "Delete a trunk", admin, Answer::json::<Success>(), delete(remove)),
        Route::new(
            ("post", "/api/v1/trunks/{id}/test"),
            tag,
            "Probe the trunk's hosts now, and optionally place a test call",
            admin,
            Answer::json::<TrunkTestAnswer>(),
            post(test),
        )
        .body(TEST)
        .also(&[503]),
    ]
}

async fn create(
    State(app): State<App>,
    principal: Principal,
    body: Body,
) -> Result<Json<TrunkAnswer>, ApiError> {
    let form = body.form(&principal, NEW)?;
    let draft = draft(&form)?;
    let seal = app.settings().seal.clone();
    let trunk = app.directory_service().create_trunk(principal.actor(), seal, draft).await?;
    Ok(Json(TrunkAnswer { success: true, trunk: TrunkView::of(&trunk, None) }))
}

async fn list(State(app): State<App>) -> Result<Json<TrunksAnswer>, ApiError> {
    let statuses = statuses(&app).await.unwrap_or_default();
    let directory = app.directory_service().directory();
    let view = |trunk: &std::sync::Arc<model::Trunk>| {
        TrunkView::of(trunk, statuses.iter().find(|status| status.id == trunk.id))
    };
    Ok(Json(TrunksAnswer { success: true, trunks: directory.trunks().map(view).collect() }))
}

async fn show(State(app): State<App>, id: PathId) -> Result<Json<TrunkAnswer>, ApiError> {
    let id: TrunkId = id.id()?;
    let trunk = app.directory_service().directory().trunk(&id).cloned().ok_or(Fault::NotFound)?;
    let statuses = statuses(&app).await.unwrap_or_default();
    let status = statuses.iter().find(|status| status.id == id);
    Ok(Json(TrunkAnswer { success: true, trunk: TrunkView::of(&trunk, status) }))
}

async fn update(
    State(app): State<App>,
    principal: Principal,
    id: PathId,
    body: Body,
) -> Result<Json<TrunkAnswer>, ApiError> {
    let id: TrunkId = id.id()?;
    if app.directory_service().directory().trunk(&id).is_none() {
        return Err(Fault::NotFound.into());
    }
    let draft = draft(&body.form(&principal, CHANGE)?)?;
    let seal = app.settings().seal.clone();
    let trunk = app.directory_service().change_trunk(principal.actor(), seal, id, draft).await?;
    Ok(Json(TrunkAnswer { success: true, trunk: TrunkView::of(&trunk, None) }))
}

async fn remove(State(app): State<App>, principal: Principal, id: PathId) -> Result<Json<Success>, ApiError> {
    app.directory_service().remove_trunk(principal.actor(), id.id()?).await?;
    Ok(Json(Success { success: true }))
}

async fn test(
    State(app): State<App>,
    principal: Principal,
    id: PathId,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<TrunkTestAnswer>, ApiError> {
    let id: TrunkId = id.id()?;
    let trunk = app.directory_service().directory().trunk(&id).cloned().ok_or(Fault::NotFound)?;
    let form = body.form(&principal, TEST)?;
    let begun = app.directory_service().now().wall;
    match app.ask(Command::ProbeTrunk { trunk: id.clone() }).await? {
        Reply::Trunks(_) => {}
        Reply::Unknown => return Err(Fault::NotFound.into()),
        other => return Err(unexpected_reply(&other)),
    }
    // The switch probes the hosts asynchronously; poll until every host has a fresh result.
    let mut seen = None;
    let waiting = async {
        loop {
            tokio::time::sleep(TEST_POLL).await;
            let all = statuses(&app).await?;
            let Some(status) = all.into_iter().find(|status| status.id == id) else { return Ok(()) };
            let fresh = status.hosts.iter().all(|host| host.checked_at.is_some_and(|at| at >= begun));
            let done = fresh && !status.hosts.is_empty();
            seen = Some(status);
            if done {
                return Ok::<(), ApiError>(());
            }
        }
    };
    if let Ok(failed) = tokio::time::timeout(TEST_TIMEOUT, waiting).await {
        failed?;
    }
    let call = test_call::place_test_call(&app, &principal, &id, &form, language(&headers)).await?;
    Ok(Json(TrunkTestAnswer { success: true, trunk: TrunkView::of(&trunk, seen.as_ref()), call }))
}

/// Status of all trunks.
pub(crate) async fn statuses(app: &App) -> Result<Vec<TrunkStatus>, ApiError> {
    match app.ask(Command::Trunks).await? {
        Reply::Trunks(all) => Ok(all),
        other => Err(unexpected_reply(&other)),
    }
}

fn draft(form: &Form) -> Result<TrunkDraft, ApiError> {
    fn json<T: DeserializeOwned>(form: &Form, name: &str) -> Option<T> {
        T::deserialize(form.value(name)?).ok()
    }
    let text = |name: &str| form.patch(name, form.text(name).map(str::to_owned));
    let dialled = |name: &str| -> Result<_, ApiError> {
        Ok(form.patch(name, form.parsed(name, DialledNumber::parse)?))
    };
    let number = |name: &str| form.patch(name, form.integer(name).map(|n| n as u32));
    Ok(TrunkDraft {
        name: form.text("name").map(str::to_owned),
        enabled: form.flag("enabled"),
        priority: form.integer("priority").map(|n| n as u16),
        hosts: json(form, "hosts"),
        username: text("username"),
        password: text("password").map(Secret::new),
        realm: text("realm"),
        register: form.flag("register"),
        register_expires: form.integer("registerExpires").map(|n| n as u32),
        outbound_proxy: form.patch("outboundProxy", json(form, "outboundProxy")),
        sources: json(form, "sources"),
        dids: json(form, "dids"),
        default_extension: form
            .patch("defaultExtension", form.parsed("defaultExtension", ExtensionNumber::parse)?),
        caller_id: json(form, "callerId"),
        caller_number: dialled("callerNumber")?,
        number_format: json(form, "numberFormat"),
        strip_prefix: dialled("stripPrefix")?,
        add_prefix: dialled("addPrefix")?,
        codecs: json(form, "codecs"),
        max_channels: number("maxChannels"),
        calls_per_second: number("callsPerSecond"),
        probe: form.flag("probe"),
        diversion: form.flag("diversion"),
    })
}
