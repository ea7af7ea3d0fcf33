//! Routes for SIP credentials without an extension (S38–S43).

use axum::Json;
use axum::extract::State;
use axum::routing::post;
use model::{Permission, UserId};

use crate::App;
use crate::auth::Principal;
use crate::error::ApiError;
use crate::input::{Body, Field, Rule};
use crate::route::{Access, Answer, Route};
use crate::schemas::{Credentials, CredentialsAnswer};

const FIELDS: &[Field] = &[
    Field::new("userId", Rule::Id, "Owner of the credentials; the owner of the key if absent"),
    Field::new("rotate", Rule::Flag, "Revoke the user's existing credentials of this kind"),
];

pub(crate) fn routes() -> Vec<Route> {
    let answer = Answer::json::<CredentialsAnswer>();
    let place = ("post", "/api/v1/opensips/generate-credentials");
    vec![
        Route::new(
            place,
            "credentials",
            "Generate SIP credentials",
            Access::Permission(Permission::Sip),
            answer,
            post(generate),
        )
        .body(FIELDS),
    ]
}

async fn generate(
    State(app): State<App>,
    principal: Principal,
    body: Body,
) -> Result<Json<CredentialsAnswer>, ApiError> {
    let form = body.form(&principal, FIELDS)?;
    let user = form.parsed("userId", UserId::parse)?.unwrap_or_else(|| principal.user().clone());
    let (credential, password) = if form.flag("rotate") == Some(true) {
        app.directory_service().rotate_credentials(principal.actor(), user).await?
    } else {
        app.directory_service().generate_credentials(principal.actor(), user).await?
    };
    let settings = app.settings();
    Ok(Json(CredentialsAnswer {
        success: true,
        credentials: Credentials {
            username: credential.username.to_string(),
            password: password.expose().clone(),
            domain: settings.domain.clone(),
            sip_uri: settings.sip_uri(&credential.username),
            proxy_server: settings.proxy_server(),
            transport_protocol: "UDP",
        },
    }))
}
