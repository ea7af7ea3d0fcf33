//! Route for calls from an extension (S67).

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::routing::post;
use model::{Cause, ExtensionStatus, Permission};
use switch::Originate;

use crate::App;
use crate::auth::Principal;
use crate::error::ApiError;
use crate::input::{Body, Field};
use crate::route::{Access, Answer, Route};
use crate::routes::PathId;
use crate::routes::extensions::visible_extension;
use crate::routes::sessions::{DEVICE, RING, TO, TWILIO, call_options, check_policy, originate_call};
use crate::schemas::{ExtensionCall, ExtensionCallAnswer};

const FIELDS: &[Field] = &[TO, TWILIO, RING, DEVICE];

pub(crate) fn routes() -> Vec<Route> {
    vec![
        Route::new(
            ("post", "/api/v1/voip/extensions/{id}/call"),
            "extensions",
            "Call the extension, then the destination, and connect them",
            Access::Permission(Permission::Call),
            Answer::json::<ExtensionCallAnswer>(),
            post(call),
        )
        .body(FIELDS)
        .also(&[404, 409, 503]),
    ]
}

async fn call(
    State(app): State<App>,
    principal: Principal,
    id: PathId,
    body: Body,
) -> Result<Json<ExtensionCallAnswer>, ApiError> {
    let extension = visible_extension(&app, &principal, &id)?;
    let form = body.form(&principal, FIELDS)?;
    let (to, ring_timeout, require_device) = call_options(app.settings(), &form)?;
    check_policy(&app, &form, &to)?;
    if extension.status == ExtensionStatus::Inactive {
        return Err(Cause::Inactive.into()); // S70
    }
    let originate = Originate {
        user: extension.user.clone(),
        from: Some(extension.number.to_string()),
        device: Some(Arc::clone(&extension.username)),
        to,
        ring_timeout,
        require_device,
        planned: None,
    };
    let call = originate_call(&app, &principal, originate).await?;
    Ok(Json(ExtensionCallAnswer {
        success: true,
        call: ExtensionCall {
            id: call.id.to_string(),
            session_id: call.id.to_string(),
            status: call.status.as_str(),
            from_number: app.settings().sip_uri(&extension.username),
            to_number: form.text("toNumber").unwrap_or_default().to_owned(),
            twilio_call_sid: None,
        },
    }))
}
