//! Extension routes (S62–S70, S75).

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::routing::{delete, get, patch, post, put};
use model::recurrence::Zone;
use model::{
    DialledNumber, Extension, ExtensionId, ExtensionNumber, ExtensionStatus, ForwardingMode, Permission,
    RecordCalls, UserId,
};
use switch::{CallsOf, Command};

use crate::auth::Principal;
use crate::directory_service::{ExtensionChanges, NewExtension};
use crate::error::{ApiError, Fault};
use crate::input::{Body, Field, Form, PermissionsChange, Rule, dialling};
use crate::limits::{DISPLAY_NAME_CHARS, PAGE_DEFAULT};
use crate::live::{live_calls, presence};
use crate::route::{Access, Answer, Route};
use crate::routes::{CURSOR, LIMIT, PathId};
use crate::schemas::{
    ExtensionAnswer, ExtensionCredentials, ExtensionView, ExtensionsAnswer, Success, Warning,
};
use crate::{App, warnings};

const SIP: Access = Access::Permission(Permission::Sip);
const NOTHING: &[Field] = &[];
const NAME: Field =
    Field::new("displayName", Rule::Label(DISPLAY_NAME_CHARS), "Display name; the number if absent");
const CREATE: &[Field] = &[
    Field::new("userId", Rule::Id, "Owner of the extension; the owner of the key if absent"),
    Field::new(
        "extensionNumber",
        Rule::ExtensionNumber,
        "Number of the extension; the lowest free one if absent",
    ),
    NAME,
];
const CHANGE: &[Field] = &[
    Field::new("displayName", Rule::Label(DISPLAY_NAME_CHARS), "Display name"),
    Field::new("extensionNumber", Rule::ExtensionNumber, "Number of the extension"),
    Field::new(
        "status",
        Rule::OneOf(&["active", "inactive"]),
        "An inactive extension neither registers nor rings",
    ),
    Field::new("forwardingEnabled", Rule::Flag, "Whether calls are forwarded"),
    Field::new("forwardingNumber", Rule::Dialled, "Number to which calls are forwarded").nullable(),
    Field::new(
        "forwardingMode",
        Rule::OneOf(&["always", "busy", "noAnswer", "unreachable"]),
        "Condition for forwarding",
    ),
    Field::new("voicemailEnabled", Rule::Flag, "Whether unanswered calls go to voicemail"),
    Field::new("doNotDisturb", Rule::Flag, "Whether calls are rejected (do not disturb)"),
    Field::new("callWaiting", Rule::Flag, "Whether a second call rings during a call"),
    Field::new("ringSeconds", Rule::Integer(5, 300), "Ringing time in seconds"),
    Field::new(
        "dialPermissions",
        Rule::DialPermissions,
        "Classes of numbers that it may dial; absent classes are unchanged; only an admin key may add one",
    ),
    Field::new(
        "followMe",
        Rule::FollowMe,
        "Further numbers that ring, one after the other or all at once; null turns it off",
    )
    .nullable(),
    Field::new(
        "recordCalls",
        Rule::OneOf(&["default", "none", "inbound", "outbound", "all"]),
        "Which of its calls are recorded automatically; default follows the configuration",
    ),
    Field::new("timezone", Rule::Zone, "Time zone of schedules that name none; null for the server's")
        .nullable(),
];
const LIST: &[Field] = &[
    Field::new(
        "scope",
        Rule::OneOf(&["own", "all"]),
        "all needs an admin key; if absent, an admin key lists all and any other key its own",
    ),
    LIMIT,
    CURSOR,
];
const PAGED: &[Field] = &[LIMIT, CURSOR];
const DELETE: &[Field] = &[Field::new("force", Rule::Flag, "End the active calls of the extension")];

pub(crate) fn routes() -> Vec<Route> {
    let one = Answer::json::<ExtensionAnswer>;
    let many = Answer::json::<ExtensionsAnswer>;
    let tag = "extensions";
    let change = || (CHANGE, "Change an extension; absent fields are unchanged");
    let id = "/api/v1/voip/extensions/{id}";
    vec![
        Route::new(
            ("post", "/api/v1/voip/extensions/create"),
            tag,
            "Create an extension",
            SIP,
            one(),
            post(create),
        )
        .body(CREATE)
        .also(&[409]),
        Route::new(("post", "/api/v1/voip/extensions"), tag, "Create an extension", SIP, one(), post(create))
            .body(CREATE)
            .also(&[409]),
        Route::new(("get", "/api/v1/voip/extensions"), tag, "List extensions", SIP, many(), get(list))
            .query(LIST),
        Route::new(
            ("get", "/api/v1/voip/extensions/user/{id}"),
            tag,
            "List the extensions of a user",
            SIP,
            many(),
            get(of_user),
        )
        .query(PAGED),
        Route::new(("get", id), tag, "Get an extension", SIP, one(), get(show)),
        Route::new(("put", id), tag, change().1, SIP, one(), put(update)).body(change().0).also(&[409]),
        Route::new(("patch", id), tag, change().1, SIP, one(), patch(update)).body(change().0).also(&[409]),
        Route::new(
            ("delete", id),
            tag,
            "Delete an extension",
            SIP,
            Answer::json::<Success>(),
            delete(remove),
        )
        .query(DELETE)
        .also(&[409, 503]),
        Route::new(
            ("post", "/api/v1/voip/extensions/{id}/credentials/reset"),
            tag,
            "Generate a new password for an extension",
            SIP,
            one(),
            post(reset),
        )
        .body(NOTHING),
    ]
}

/// Find an extension that the client may see. Any other is answered 404 (S25).
pub(crate) fn visible_extension(
    app: &App,
    principal: &Principal,
    id: &PathId,
) -> Result<Arc<Extension>, ApiError> {
    let id: ExtensionId = id.id()?;
    let directory = app.directory_service().directory();
    let found = directory.extension(&id).filter(|extension| principal.can_see(&extension.user));
    Ok(Arc::clone(found.ok_or(Fault::NotFound)?))
}

async fn create(
    State(app): State<App>,
    principal: Principal,
    body: Body,
) -> Result<Json<ExtensionAnswer>, ApiError> {
    let form = body.form(&principal, CREATE)?;
    let wanted = NewExtension {
        user: form.parsed("userId", UserId::parse)?.unwrap_or_else(|| principal.user().clone()),
        number: form.parsed("extensionNumber", ExtensionNumber::parse)?,
        display_name: form.text("displayName").map(str::to_owned),
    };
    let made = app.directory_service().create_extension(principal.actor(), wanted).await?;
    let password = Some(made.password.expose().clone());
    Ok(Json(new_extension_answer(&app, &made.extension, password)))
}

async fn reset(
    State(app): State<App>,
    principal: Principal,
    id: PathId,
    body: Body,
) -> Result<Json<ExtensionAnswer>, ApiError> {
    let extension = visible_extension(&app, &principal, &id)?;
    body.form(&principal, NOTHING)?;
    let made = app.directory_service().reset_password(principal.actor(), extension.id.clone()).await?;
    let password = Some(made.password.expose().clone());
    Ok(Json(new_extension_answer(&app, &made.extension, password)))
}

/// JSON of a new extension, or of one with a new password: no phone can have registered yet.
fn new_extension_answer(app: &App, extension: &Extension, password: Option<String>) -> ExtensionAnswer {
    let credentials = ExtensionCredentials::of(app.settings(), &extension.username, password);
    let view = ExtensionView::of(extension, switch::Presence::default()).with(credentials);
    ExtensionAnswer { success: true, extension: view, warnings: Vec::new() }
}

async fn answer(app: &App, extension: &Extension, warnings: Vec<Warning>) -> Json<ExtensionAnswer> {
    let there = presence(app, vec![Arc::clone(&extension.username)]).await.pop().unwrap_or_default();
    let credentials = ExtensionCredentials::of(app.settings(), &extension.username, None);
    let extension = ExtensionView::of(extension, there).with(credentials);
    Json(ExtensionAnswer { success: true, extension, warnings })
}

async fn show(
    State(app): State<App>,
    principal: Principal,
    id: PathId,
) -> Result<Json<ExtensionAnswer>, ApiError> {
    let extension = visible_extension(&app, &principal, &id)?;
    Ok(answer(&app, &extension, Vec::new()).await)
}

async fn update(
    State(app): State<App>,
    principal: Principal,
    id: PathId,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<ExtensionAnswer>, ApiError> {
    let extension = visible_extension(&app, &principal, &id)?;
    let form = body.form(&principal, CHANGE)?;
    let changes = ExtensionChanges {
        number: form.parsed("extensionNumber", ExtensionNumber::parse)?,
        display_name: form.text("displayName").map(str::to_owned),
        status: form.text("status").map(|word| match word {
            "inactive" => ExtensionStatus::Inactive,
            _ => ExtensionStatus::Active,
        }),
        forwarding_enabled: form.flag("forwardingEnabled"),
        forwarding_number: form
            .patch("forwardingNumber", form.parsed("forwardingNumber", DialledNumber::parse)?),
        forwarding_mode: form.text("forwardingMode").map(|word| match word {
            "busy" => ForwardingMode::Busy,
            "noAnswer" => ForwardingMode::NoAnswer,
            "unreachable" => ForwardingMode::Unreachable,
            _ => ForwardingMode::Always,
        }),
        voicemail_enabled: form.flag("voicemailEnabled"),
        do_not_disturb: form.flag("doNotDisturb"),
        call_waiting: form.flag("callWaiting"),
        ring_seconds: form.integer("ringSeconds").map(|seconds| seconds as u16),
        dial_permissions: form.value("dialPermissions").and_then(PermissionsChange::read).unwrap_or_default(),
        follow_me: form.patch("followMe", form.value("followMe").and_then(dialling::follow_me)),
        by_admin: principal.is_admin(),
        record_calls: form.text("recordCalls").and_then(RecordCalls::parse),
        timezone: form.patch("timezone", form.parsed("timezone", Zone::parse)?),
    };
    let changed =
        app.directory_service().change_extension(principal.actor(), extension.id.clone(), changes).await?;
    let warnings = warnings::of_extension(&app.directory_service().directory(), &changed, &headers);
    Ok(answer(&app, &changed, warnings).await)
}

async fn remove(
    State(app): State<App>,
    principal: Principal,
    id: PathId,
    uri: Uri,
) -> Result<Json<Success>, ApiError> {
    let extension = visible_extension(&app, &principal, &id)?;
    let force = Form::of_query(&uri, DELETE)?.flag("force").unwrap_or(false);
    let there = presence(&app, vec![Arc::clone(&extension.username)]).await.pop().unwrap_or_default();
    if there.busy && !force {
        return Err(Fault::ExtensionBusy.into()); // S68
    }
    if there.busy {
        let of = CallsOf::Party(Arc::clone(&extension.username));
        for call in live_calls(&app, of, None, usize::MAX, |_| true, |_| false).await? {
            app.ask(Command::End { call: call.id }).await?;
        }
    }
    app.directory_service().remove_extension(principal.actor(), extension.id.clone()).await?;
    Ok(Json(Success { success: true }))
}

async fn list(
    State(app): State<App>,
    principal: Principal,
    uri: Uri,
) -> Result<Json<ExtensionsAnswer>, ApiError> {
    let form = Form::of_query(&uri, LIST)?;
    if form.text("scope") == Some("all") {
        principal.require(Permission::Admin)?; // S69
    }
    let everybody = principal.is_admin() && form.text("scope") != Some("own");
    Ok(Json(list_page(&app, &form, (!everybody).then(|| principal.user())).await))
}

async fn of_user(
    State(app): State<App>,
    principal: Principal,
    id: PathId,
    uri: Uri,
) -> Result<Json<ExtensionsAnswer>, ApiError> {
    let user: UserId = id.id()?;
    principal.require_user(user.as_str())?;
    let form = Form::of_query(&uri, PAGED)?;
    Ok(Json(list_page(&app, &form, Some(&user)).await))
}

/// A page of the extensions of one user, or of all users.
async fn list_page(app: &App, form: &Form, user: Option<&UserId>) -> ExtensionsAnswer {
    let directory = app.directory_service().directory();
    let limit = form.integer("limit").unwrap_or(u64::from(PAGE_DEFAULT)) as usize;
    let cursor = form.text("cursor");
    let mut found: Vec<&Arc<Extension>> = match user {
        Some(user) => directory.extensions_of(user, cursor).take(limit + 1).collect(),
        None => directory.extensions_after(cursor).take(limit + 1).collect(),
    };
    let more = found.len() > limit;
    found.truncate(limit);
    let next_cursor = found.last().filter(|_| more).map(|last| last.number.to_string());
    let there = presence(app, found.iter().map(|extension| Arc::clone(&extension.username)).collect()).await;
    let extensions =
        found.iter().zip(there).map(|(extension, there)| ExtensionView::of(extension, there)).collect();
    ExtensionsAnswer { success: true, extensions, next_cursor }
}
