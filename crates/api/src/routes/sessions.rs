//! Click-to-call routes (S46–S51). A session is a call that was requested over the API, or any other call.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::routing::{get, post};
use model::{CallRecord, Cause, DialledNumber, Permission, UserId, policy};
use serde_json::json;
use switch::{Command, Originate, Reply};

use crate::app::unexpected_reply;
use crate::auth::Principal;
use crate::directory_service::Event;
use crate::error::{ApiError, Fault};
use crate::input::{Body, Field, Form, Rule};
use crate::live::{find_call, may_read};
use crate::route::{Access, Answer, Route};
use crate::routes::PathId;
use crate::routes::recordings::of_calls;
use crate::schemas::{NewSession, NewSessionAnswer, Session, SessionAnswer};
use crate::{App, Settings};

const CALL: Access = Access::Permission(Permission::Call);
const NOTHING: &[Field] = &[];

pub(crate) const TO: Field = Field::new(
    "toNumber",
    Rule::Destination,
    "Destination: a number, an extension, a user name, or a SIP URI of the server's domain",
)
.or("destinationNumber")
.required();
pub(crate) const TWILIO: Field = Field::new("useTwilio", Rule::Flag, "Place the call through Twilio");
pub(crate) const RING: Field = Field::new(
    "ringTimeoutSeconds",
    Rule::Integer(1, 300),
    "Seconds the device may take to register and to answer",
);
pub(crate) const DEVICE: Field =
    Field::new("requireDevice", Rule::Flag, "Fail at once if the user has no registered phone");
/// Default ring timeout (S48).
const RING_TIMEOUT_SECS: u64 = 30;

const INITIATE: &[Field] = &[
    Field::new("userId", Rule::Id, "User who places the call; the owner of the key if absent"),
    Field::new(
        "fromNumber",
        Rule::Origin,
        "Caller number shown to the callee; selects the device if it is one of the user's own",
    ),
    TO,
    TWILIO,
    RING,
    DEVICE,
];

pub(crate) fn routes() -> Vec<Route> {
    vec![
        Route::new(
            ("post", "/api/v1/opensips/call/initiate"),
            "calls",
            "Call the user's phone, then the destination, and connect them",
            CALL,
            Answer::json::<NewSessionAnswer>(),
            post(initiate),
        )
        .body(INITIATE)
        .also(&[404, 409, 503]),
        Route::new(
            ("get", "/api/v1/opensips/call/{id}"),
            "calls",
            "Get a call, active or ended",
            CALL,
            Answer::json::<SessionAnswer>(),
            get(show),
        )
        .also(&[503]),
        Route::new(
            ("post", "/api/v1/opensips/call/{id}/end"),
            "calls",
            "End a call; no effect if it has already ended",
            CALL,
            Answer::json::<SessionAnswer>(),
            post(end),
        )
        .body(NOTHING)
        .also(&[503]),
    ]
}

async fn initiate(
    State(app): State<App>,
    principal: Principal,
    body: Body,
) -> Result<Json<NewSessionAnswer>, ApiError> {
    let form = body.form(&principal, INITIATE)?;
    let user = form.parsed("userId", UserId::parse)?.unwrap_or_else(|| principal.user().clone());
    let (to, ring_timeout, require_device) = call_options(app.settings(), &form)?;
    check_policy(&app, &form, &to)?;
    let from = form.text("fromNumber").map(|from| user_part(from).to_owned());
    let originate = Originate { user, from, device: None, to, ring_timeout, require_device, planned: None };
    let call = originate_call(&app, &principal, originate).await?;
    let session = NewSession::of(app.settings(), &call);
    Ok(Json(NewSessionAnswer { success: true, session }))
}

/// Destination, ring timeout, and whether a registered device is required.
pub(crate) fn call_options(settings: &Settings, form: &Form) -> Result<(String, Duration, bool), ApiError> {
    let text = form.text("toNumber").unwrap_or_default();
    check_host(settings, "toNumber", text)?;
    let seconds = form.integer("ringTimeoutSeconds").unwrap_or(RING_TIMEOUT_SECS);
    let require_device = form.flag("requireDevice").unwrap_or(false);
    Ok((user_part(text).to_owned(), Duration::from_secs(seconds), require_device))
}

/// Reject a SIP URI of a foreign domain (S32).
pub(crate) fn check_host(settings: &Settings, field: &str, destination: &str) -> Result<(), ApiError> {
    if let Some((_, host)) = destination.split_once('@')
        && !settings.is_own_host(host)
    {
        let rule =
            ("SIP URIs of other domains cannot be called", "no se puede llamar a URI SIP de otros dominios");
        return Err(ApiError::field(Fault::BadValue, field, Some(rule)));
    }
    Ok(())
}

/// Checks before the switch is asked: dial policy first, then missing configuration.
pub(crate) fn check_policy(app: &App, form: &Form, to: &str) -> Result<(), ApiError> {
    let directory = app.directory_service().directory();
    if directory.credential(to).is_none()
        && let Ok(number) = DialledNumber::parse(&policy::normalise(to))
    {
        // The dial permissions of the extension are checked by the switch.
        policy::check_always_blocked(directory.rules(), policy::CallOrigin::Api, &number)?;
    }
    if form.flag("useTwilio") == Some(true) && !app.settings().twilio {
        return Err(Cause::TwilioNotConfigured.into()); // S49
    }
    Ok(())
}

/// User part of a SIP URI: `1001` of `sip:1001@localhost`, and of `1001`.
pub(crate) fn user_part(destination: &str) -> &str {
    let Some((address, _)) = destination.split_once('@') else { return destination };
    address.split_once(':').map_or(address, |(_, user)| user)
}

/// Originate a call and record who requested it.
pub(crate) async fn originate_call(
    app: &App,
    principal: &Principal,
    originate: Originate,
) -> Result<CallRecord, ApiError> {
    let user = originate.user.clone();
    let call = match app.ask(Command::Originate(originate)).await? {
        Reply::Call(call) => call,
        other => return Err(unexpected_reply(&other)),
    };
    let detail = json!({"from": call.from_number, "to": call.to_number});
    let subject = call.id.to_string();
    app.directory_service()
        .audit(principal.actor(), Event { kind: "call_initiated", user: Some(user), subject, detail });
    Ok(call)
}

async fn show(
    State(app): State<App>,
    principal: Principal,
    id: PathId,
) -> Result<Json<SessionAnswer>, ApiError> {
    let call =
        find_call(&app, &id.id()?).await?.filter(|call| may_read(&principal, call)).ok_or(Fault::NotFound)?;
    answer(&app, &call).await
}

async fn end(
    State(app): State<App>,
    principal: Principal,
    id: PathId,
    body: Body,
) -> Result<Json<SessionAnswer>, ApiError> {
    let call =
        find_call(&app, &id.id()?).await?.filter(|call| may_read(&principal, call)).ok_or(Fault::NotFound)?;
    body.form(&principal, NOTHING)?;
    if call.status.is_final() {
        return answer(&app, &call).await; // S51
    }
    match app.ask(Command::End { call: call.id.clone() }).await? {
        Reply::Call(ended) => {
            let event = Event {
                // The journal reports the end of the call. This event records who requested it.
                kind: "call_end_requested",
                user: Some(ended.user.clone()),
                subject: ended.id.to_string(),
                detail: json!({}),
            };
            app.directory_service().audit(principal.actor(), event);
            answer(&app, &ended).await
        }
        // The call ended by itself meanwhile.
        Reply::Unknown => {
            let ended = find_call(&app, &call.id).await?.unwrap_or(call);
            answer(&app, &ended).await
        }
        other => Err(unexpected_reply(&other)),
    }
}

async fn answer(app: &App, call: &CallRecord) -> Result<Json<SessionAnswer>, ApiError> {
    let recordings = of_calls(app, &[call]).await?.into_iter().map(|(_, recording)| recording).collect();
    let session = Session::of(app.settings(), call, app.directory_service().now().wall);
    Ok(Json(SessionAnswer { success: true, session: Session { recordings, ..session } }))
}
