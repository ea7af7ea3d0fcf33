//! Webhook routes (S88).

use std::net::IpAddr;

use axum::Json;
use axum::extract::{RawPathParams, State};
use axum::http::Uri;
use axum::routing::{delete, get, patch, post};
use model::{Permission, UserId, Webhook, WebhookId};
use store::{DeliveryFilter, DeliveryId, DeliveryStatus};

use crate::App;
use crate::auth::Principal;
use crate::directory_service::{NewWebhook, WebhookChanges, webhook_secret};
use crate::error::{ApiError, Fault};
use crate::input::{Body, Field, Form, Paging, Rule};
use crate::limits::{PAGE_DEFAULT, WEBHOOKS_PER_USER};
use crate::route::{Access, Answer, Route};
use crate::routes::{CURSOR, LIMIT, PathId, page};
use crate::schemas::{
    DeliveriesAnswer, DeliveryAnswer, DeliveryView, Success, WebhookAnswer, WebhookView, WebhooksAnswer,
};

const URL: Field =
    Field::new("url", Rule::Url, "URL to which events are posted: https, with a public address");
const TYPES: Field =
    Field::new("types", Rule::EventTypeList, "Event types to deliver; all if absent or empty");
const CREATE: &[Field] = &[
    Field::new("userId", Rule::Id, "Owner of the webhook; the owner of the key if absent"),
    URL.required(),
    TYPES,
    Field::new("active", Rule::Flag, "Whether events are delivered; true if absent"),
    Field::new(
        "scope",
        Rule::OneOf(&["own", "all"]),
        "own: events of the owner; all: events of all users, which needs admin or events:read",
    ),
];
const CHANGE: &[Field] = &[URL, TYPES, Field::new("active", Rule::Flag, "Whether events are delivered")];
const LIST: &[Field] = &[Field::new("userId", Rule::Id, "Only webhooks of this user"), LIMIT, CURSOR];
const DELIVERIES: &[Field] = &[
    Field::new(
        "status",
        Rule::OneOf(&["pending", "delivered", "dead"]),
        "Only deliveries in this state; dead ones were given up after too many attempts",
    ),
    LIMIT,
    Field::new("cursor", Rule::Cursor(Paging::Integer), "The nextCursor of the previous page"),
];
const NOTHING: &[Field] = &[];

pub(crate) fn routes() -> Vec<Route> {
    let access = Access::Key;
    let route =
        |place, summary, answer, handler| Route::new(place, "webhooks", summary, access, answer, handler);
    let one = Answer::json::<WebhookAnswer>;
    vec![
        route(
            ("post", "/api/v1/webhooks"),
            "Create a webhook; its secret is shown once",
            one(),
            post(create),
        )
        .body(CREATE),
        route(("get", "/api/v1/webhooks"), "List webhooks", Answer::json::<WebhooksAnswer>(), get(list))
            .query(LIST)
            .also(&[503]),
        route(("get", "/api/v1/webhooks/{id}"), "Get a webhook", one(), get(show)).also(&[503]),
        route(("patch", "/api/v1/webhooks/{id}"), "Change a webhook", one(), patch(change)).body(CHANGE),
        route(
            ("delete", "/api/v1/webhooks/{id}"),
            "Delete a webhook and its pending deliveries",
            Answer::json::<Success>(),
            delete(remove),
        ),
        route(
            ("post", "/api/v1/webhooks/{id}/rotate-secret"),
            "Rotate the secret of a webhook; for 24 hours messages also carry a signature of the old one",
            one(),
            post(rotate),
        )
        .body(NOTHING),
        route(
            ("get", "/api/v1/webhooks/{id}/deliveries"),
            "List the deliveries of a webhook, newest first",
            Answer::json::<DeliveriesAnswer>(),
            get(deliveries),
        )
        .query(DELIVERIES)
        .also(&[503]),
        route(
            ("post", "/api/v1/webhooks/{id}/deliveries/{delivery}/retry"),
            "Retry a dead delivery",
            Answer::json::<DeliveryAnswer>(),
            post(retry),
        )
        .body(NOTHING)
        .also(&[409]),
    ]
}

/// Find a webhook that the client may see. Any other is answered 404.
async fn visible_webhook(app: &App, principal: &Principal, id: &PathId) -> Result<Webhook, ApiError> {
    let id: WebhookId = id.id()?;
    let found = app.directory_service().store().webhook(&id).await?;
    found.filter(|hook| principal.can_see(&hook.user)).ok_or_else(|| Fault::NotFound.into())
}

/// Validate a webhook URL. Plain HTTP and loopback are allowed only for trials, if the operator enables them (security.md row 24).
fn address(app: &App, url: &str) -> Result<String, ApiError> {
    let refused = |rule| Err(ApiError::field(Fault::BadValue, "url", Some(rule)));
    let trial = app.settings().insecure_webhooks;
    let Ok(parsed) = url::Url::parse(url) else { return refused(("cannot be read", "no se puede leer")) };
    if parsed.scheme() != "https" && !trial {
        return refused(("must be an https:// address", "debe ser una dirección https://"));
    }
    let ip: Option<IpAddr> = match parsed.host() {
        Some(url::Host::Ipv4(v4)) => Some(v4.into()),
        Some(url::Host::Ipv6(v6)) => Some(v6.into()),
        Some(url::Host::Domain(_)) | None => None,
    };
    let reachable = |ip: IpAddr| model::is_public(ip) || trial && ip.to_canonical().is_loopback();
    if ip.is_some_and(|ip| !reachable(ip)) {
        return refused((
            "must have a public address: nothing is posted to private addresses",
            "debe tener una dirección pública: no se envía nada a direcciones privadas",
        ));
    }
    Ok(url.to_owned())
}

fn types(form: &Form) -> Option<Vec<String>> {
    form.texts("types").map(|types| types.map(str::to_owned).collect())
}

async fn create(
    State(app): State<App>,
    principal: Principal,
    body: Body,
) -> Result<Json<WebhookAnswer>, ApiError> {
    let form = body.form(&principal, CREATE)?;
    let everybody = form.text("scope") == Some("all");
    if everybody {
        principal.require(Permission::Events)?;
    }
    let user = form.parsed("userId", UserId::parse)?.unwrap_or_else(|| principal.user().clone());
    let url = address(&app, form.text("url").unwrap_or_default())?;
    if app.directory_service().store().webhooks(Some(&user)).await?.len() >= WEBHOOKS_PER_USER {
        return Err(Fault::TooManyWebhooks.into());
    }
    let active = form.flag("active").unwrap_or(true);
    let wanted = NewWebhook { user, url, types: types(&form).unwrap_or_default(), everybody, active };
    let hook = app.directory_service().create_webhook(principal.actor(), wanted).await?;
    Ok(with_secret(&app, &hook))
}

/// Response that shows the newest secret. Each secret is shown in exactly one response.
fn with_secret(app: &App, hook: &Webhook) -> Json<WebhookAnswer> {
    let secret = webhook_secret(&app.settings().webhook_key, &hook.id, hook.secret).expose().clone();
    Json(WebhookAnswer { success: true, webhook: WebhookView::of(hook, Some(secret)) })
}

async fn list(
    State(app): State<App>,
    principal: Principal,
    uri: Uri,
) -> Result<Json<WebhooksAnswer>, ApiError> {
    let form = Form::of_query(&uri, LIST)?;
    if let Some(user) = form.text("userId") {
        principal.require_user(user)?;
    }
    let wanted = form.parsed("userId", UserId::parse)?;
    let user = wanted.or_else(|| (!principal.is_admin()).then(|| principal.user().clone()));
    let hooks = app.directory_service().store().webhooks(user.as_ref()).await?;
    let limit = form.integer("limit").unwrap_or(u64::from(PAGE_DEFAULT)) as usize;
    let (hooks, next_cursor) = page(hooks.into_iter(), form.text("cursor"), limit, |hook| hook.id.as_str());
    let webhooks = hooks.iter().map(|hook| WebhookView::of(hook, None)).collect();
    Ok(Json(WebhooksAnswer { success: true, webhooks, next_cursor }))
}

async fn show(
    State(app): State<App>,
    principal: Principal,
    id: PathId,
) -> Result<Json<WebhookAnswer>, ApiError> {
    let hook = visible_webhook(&app, &principal, &id).await?;
    Ok(Json(WebhookAnswer { success: true, webhook: WebhookView::of(&hook, None) }))
}

async fn change(
    State(app): State<App>,
    principal: Principal,
    id: PathId,
    body: Body,
) -> Result<Json<WebhookAnswer>, ApiError> {
    let hook = visible_webhook(&app, &principal, &id).await?;
    let form = body.form(&principal, CHANGE)?;
    let url = form.text("url").map(|url| address(&app, url)).transpose()?;
    let changes = WebhookChanges { url, types: types(&form), active: form.flag("active") };
    let hook = app.directory_service().change_webhook(principal.actor(), hook, changes).await?;
    Ok(Json(WebhookAnswer { success: true, webhook: WebhookView::of(&hook, None) }))
}

async fn remove(State(app): State<App>, principal: Principal, id: PathId) -> Result<Json<Success>, ApiError> {
    let hook = visible_webhook(&app, &principal, &id).await?;
    app.directory_service().delete_webhook(principal.actor(), hook).await?;
    Ok(Json(Success { success: true }))
}

async fn rotate(
    State(app): State<App>,
    principal: Principal,
    id: PathId,
    body: Body,
) -> Result<Json<WebhookAnswer>, ApiError> {
    let hook = visible_webhook(&app, &principal, &id).await?;
    body.form(&principal, NOTHING)?;
    let hook = app.directory_service().rotate_webhook_secret(principal.actor(), hook).await?;
    Ok(with_secret(&app, &hook))
}

async fn deliveries(
    State(app): State<App>,
    principal: Principal,
    id: PathId,
    uri: Uri,
) -> Result<Json<DeliveriesAnswer>, ApiError> {
    let hook = visible_webhook(&app, &principal, &id).await?;
    let form = Form::of_query(&uri, DELIVERIES)?;
    let limit = form.integer("limit").unwrap_or(u64::from(PAGE_DEFAULT)) as usize;
    let filter = DeliveryFilter {
        webhook: hook.id,
        status: form.text("status").and_then(DeliveryStatus::parse),
        before: form.integer("cursor").map(|seq| seq as i64),
        limit: limit as u32 + 1,
    };
    let mut found = app.directory_service().store().deliveries(&filter).await?;
    let more = found.len() > limit;
    found.truncate(limit);
    let next_cursor = found.last().filter(|_| more).map(|last| last.seq);
    let deliveries = found.iter().map(DeliveryView::of).collect();
    Ok(Json(DeliveriesAnswer { success: true, deliveries, next_cursor }))
}

async fn retry(
    State(app): State<App>,
    principal: Principal,
    id: PathId,
    params: RawPathParams,
    body: Body,
) -> Result<Json<DeliveryAnswer>, ApiError> {
    let hook = visible_webhook(&app, &principal, &id).await?;
    let named = params.iter().find(|(name, _)| *name == "delivery").map(|(_, value)| value);
    let wanted = DeliveryId::parse(named.unwrap_or_default()).map_err(|_| ApiError::from(Fault::NotFound))?;
    let store = app.directory_service().store();
    let there = store.delivery(&wanted).await?.filter(|delivery| delivery.webhook == hook.id);
    let there = there.ok_or(Fault::NotFound)?;
    body.form(&principal, NOTHING)?;
    if there.status != DeliveryStatus::Dead {
        return Err(Fault::DeliveryNotDead.into());
    }
    app.directory_service().retry_delivery(principal.actor(), hook, there).await?;
    let again = store.delivery(&wanted).await?.ok_or(Fault::NotFound)?;
    Ok(Json(DeliveryAnswer { success: true, delivery: DeliveryView::of(&again) }))
}
