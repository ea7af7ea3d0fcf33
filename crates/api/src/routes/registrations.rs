//! Route of registered phones.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use axum::routing::get;
use model::Permission;
use switch::limits::{BINDINGS_PER_AOR, NAMES_LISTED};
use switch::{Command, Registration, RegistrationsOf, Reply};

use crate::App;
use crate::app::unexpected_reply;
use crate::auth::Principal;
use crate::error::ApiError;
use crate::input::{Field, Form, Paging, Rule};
use crate::limits::PAGE_DEFAULT;
use crate::route::{Access, Answer, Route};
use crate::routes::LIMIT;
use crate::schemas::{RegistrationView, RegistrationsAnswer, some};

const LIST: &[Field] = &[
    Field::new("username", Rule::Id, "Only registrations of this user name"),
    LIMIT,
    Field::new("cursor", Rule::Cursor(Paging::Id), "The nextCursor of the previous page"),
];

pub(crate) fn routes() -> Vec<Route> {
    vec![
        Route::new(
            ("get", "/api/v1/registrations"),
            "registrations",
            "List registered phones",
            Access::Permission(Permission::Sip),
            Answer::json::<RegistrationsAnswer>(),
            get(list),
        )
        .query(LIST)
        .also(&[503]),
    ]
}

async fn list(
    State(app): State<App>,
    principal: Principal,
    uri: Uri,
) -> Result<Json<RegistrationsAnswer>, ApiError> {
    let form = Form::of_query(&uri, LIST)?;
    let directory = app.directory_service().directory();
    let cursor = form.text("cursor");
    let limit = form.integer("limit").unwrap_or(u64::from(PAGE_DEFAULT)) as usize;
    let username: Option<Arc<str>> = form.text("username").map(Arc::from);
    let of = if principal.is_admin() && username.is_none() {
        RegistrationsOf::Everybody { after: cursor.map(Arc::from) }
    } else {
        let asked = |name: &Arc<str>| username.as_ref().is_none_or(|username| name == username);
        let own = directory.credentials_of(principal.user()).map(|c| Arc::clone(&c.username)).filter(asked);
        let mut names: Vec<Arc<str>> =
            if principal.is_admin() { username.clone().into_iter().collect() } else { own.collect() };
        names.retain(|name| cursor.is_none_or(|cursor| **name > *cursor));
        names.sort_unstable();
        RegistrationsOf::These(names)
    };
    // A user name has at most ten bindings, which are never split over pages. With this many extra, the result contains another name if there is
    // one.
    let found = registered(&app, of, limit + BINDINGS_PER_AOR).await?;
    let (found, next_cursor) = page_of_names(found, limit);
    let view = |registration: &Registration| {
        let credential = directory.credential(&registration.username);
        let extension = credential.and_then(|c| c.extension.as_ref()).and_then(|id| directory.extension(id));
        RegistrationView {
            username: registration.username.to_string(),
            extension_number: extension.map(|extension| extension.number.to_string()),
            user_id: credential.map(|credential| credential.user.to_string()),
            contact: registration.contact.clone(),
            address: registration.remote.to_string(),
            expires_at: registration.expires_at.to_string(),
            user_agent: some(&registration.user_agent),
        }
    };
    let registrations = found.iter().map(view).collect();
    Ok(Json(RegistrationsAnswer { success: true, registrations, next_cursor }))
}

/// Bindings sorted by user name, at least `limit` if there are so many. The switch is asked part by part, so that a long list does not delay call
/// processing.
async fn registered(app: &App, mut of: RegistrationsOf, limit: usize) -> Result<Vec<Registration>, ApiError> {
    let mut all: Vec<Registration> = Vec::new();
    loop {
        let asked = match &of {
            RegistrationsOf::These(names) => {
                RegistrationsOf::These(names.iter().take(NAMES_LISTED).cloned().collect())
            }
            RegistrationsOf::Everybody { .. } => of.clone(),
        };
        let command = Command::Registrations { of: asked, limit: limit - all.len() };
        let (found, next) = match app.ask(command).await? {
            Reply::Registrations { found, next } => (found, next),
            other => return Err(unexpected_reply(&other)),
        };
        all.extend(found);
        of = match (of, next) {
            (RegistrationsOf::These(mut names), next) => {
                let done = next.map_or(names.len().min(NAMES_LISTED), |next| {
                    names.iter().position(|name| *name == next).map_or(names.len(), |at| at + 1)
                });
                names.drain(..done);
                if names.is_empty() {
                    break;
                }
                RegistrationsOf::These(names)
            }
            (RegistrationsOf::Everybody { .. }, Some(next)) => {
                RegistrationsOf::Everybody { after: Some(next) }
            }
            (RegistrationsOf::Everybody { .. }, None) => break,
        };
        if all.len() >= limit {
            break;
        }
    }
    all.sort_by(|a, b| (&a.username, &a.contact).cmp(&(&b.username, &b.contact)));
    Ok(all)
}

/// Cut a page that never splits the bindings of one user name (at most ten), so that the name can be the cursor.
fn page_of_names(mut all: Vec<Registration>, limit: usize) -> (Vec<Registration>, Option<String>) {
    let last = all.get(limit.saturating_sub(1)).map(|registration| Arc::clone(&registration.username));
    let end =
        last.map_or(all.len(), |last| all.partition_point(|registration| registration.username <= last));
    let more = end < all.len();
    all.truncate(end);
    let next = all.last().filter(|_| more).map(|registration| registration.username.to_string());
    (all, next)
}
