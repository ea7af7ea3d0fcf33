//! Routes for bans: sources whose messages are dropped after too many failed authentications.

use std::net::IpAddr;

use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use axum::routing::{delete, get};
use serde::Serialize;
use serde_json::json;
use switch::{Ban, Command, Reply};
use utoipa::ToSchema;

use crate::App;
use crate::app::unexpected_reply;
use crate::auth::Principal;
use crate::directory_service::Event;
use crate::error::{ApiError, Fault};
use crate::input::{Field, Form, Rule};
use crate::route::{Access, Answer, Route};

const LIFT: &[Field] = &[
    Field::new(
        "address",
        Rule::Label(64),
        "Source address whose bans are lifted; an IPv6 network as it is listed",
    )
    .required(),
    Field::new("username", Rule::Label(64), "Only the ban of this user name"),
];

const ADDRESS: (&str, &str) = (
    "is not an address; write 192.0.2.7 or 2001:db8::/64",
    "no es una dirección; escriba 192.0.2.7 o 2001:db8::/64",
);

/// A ban of a source.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct BanView {
    /// The address, or the IPv6 network, whose messages are dropped.
    address: String,
    /// User name that was tried; `null` if every message of the source is dropped.
    username: Option<String>,
    /// When the ban ends.
    until: String,
}

#[derive(Serialize, ToSchema)]
struct BansAnswer {
    success: bool,
    /// Newest first, at most a thousand.
    bans: Vec<BanView>,
}

pub(crate) fn routes() -> Vec<Route> {
    let bans = Answer::json::<BansAnswer>;
    vec![
        Route::new(
            ("get", "/api/v1/guard/bans"),
            "guard",
            "List sources whose messages are dropped after too many wrong passwords",
            Access::Admin,
            bans(),
            get(list),
        )
        .also(&[503]),
        Route::new(
            ("delete", "/api/v1/guard/bans"),
            "guard",
            "Lift the bans of a source; the response lists them",
            Access::Admin,
            bans(),
            delete(lift),
        )
        .query(LIFT)
        .also(&[404, 503]),
    ]
}

async fn list(State(app): State<App>) -> Result<Json<BansAnswer>, ApiError> {
    Ok(Json(answer(&ask_bans(&app, Command::Bans).await?)))
}

async fn lift(State(app): State<App>, principal: Principal, uri: Uri) -> Result<Json<BansAnswer>, ApiError> {
    let form = Form::of_query(&uri, LIFT)?;
    let address = form.text("address").unwrap_or_default();
    let source: IpAddr = address
        .trim_end_matches("/64")
        .parse()
        .map_err(|_| ApiError::field(Fault::BadValue, "address", Some(ADDRESS)))?;
    let account = form.text("username").map(str::to_owned);
    let lifted = ask_bans(&app, Command::LiftBans { source, account }).await?;
    if lifted.is_empty() {
        return Err(Fault::NotFound.into());
    }
    for ban in &lifted {
        let event = Event {
            kind: "guard_ban_lifted",
            user: Some(principal.user().clone()),
            subject: ban.shown_source(),
            detail: json!({"username": ban.account.as_deref()}),
        };
        app.directory_service().audit(principal.actor(), event);
    }
    Ok(Json(answer(&lifted)))
}

async fn ask_bans(app: &App, command: Command) -> Result<Vec<Ban>, ApiError> {
    match app.ask(command).await? {
        Reply::Bans(bans) => Ok(bans),
        other => Err(unexpected_reply(&other)),
    }
}

fn answer(bans: &[Ban]) -> BansAnswer {
    let view = |ban: &Ban| BanView {
        address: ban.shown_source(),
        username: ban.account.as_deref().map(str::to_owned),
        until: ban.until.to_string(),
    };
    BansAnswer { success: true, bans: bans.iter().map(view).collect() }
}
