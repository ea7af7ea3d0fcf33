//! Phones that are registered now.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use axum::routing::get;
use model::Permission;
use switch::{Command, Registration, Reply};

use crate::App;
use crate::app::out_of_turn;
use crate::auth::Caller;
use crate::error::ApiError;
use crate::input::{Field, Form, Paging, Rule};
use crate::limits::PAGE_DEFAULT;
use crate::route::{Answer, Need, Route};
use crate::routes::LIMIT;
use crate::shapes::{RegistrationView, RegistrationsAnswer, some};

const LIST: &[Field] = &[
    Field::new("username", Rule::Id, "Only phones of this user name"),
    LIMIT,
    Field::new("cursor", Rule::Cursor(Paging::Id), "The nextCursor of the page before"),
];

pub(crate) fn routes() -> Vec<Route> {
    vec![
        Route::new(
            ("get", "/api/v1/registrations"),
            "registrations",
            "Phones that are registered now",
            Need::Permission(Permission::Sip),
            Answer::json::<RegistrationsAnswer>(),
            get(list),
        )
        .query(LIST)
        .also(&[503]),
    ]
}

async fn list(
    State(app): State<App>,
    caller: Caller,
    uri: Uri,
) -> Result<Json<RegistrationsAnswer>, ApiError> {
    let form = Form::of_query(&uri, LIST)?;
    let username = form.text("username").map(Arc::from);
    let mut found = match app.ask(Command::Registrations { username }).await? {
        Reply::Registrations(found) => found,
        other => return Err(out_of_turn(&other)),
    };
    let directory = app.office().directory();
    if !caller.is_admin() {
        let own: BTreeSet<Arc<str>> = directory
            .credentials_of(caller.user())
            .map(|credential| Arc::clone(&credential.username))
            .collect();
        found.retain(|registration| own.contains(&registration.username));
    }
    found.sort_by(|a, b| (&a.username, &a.contact).cmp(&(&b.username, &b.contact)));
    let limit = form.whole("limit").unwrap_or(u64::from(PAGE_DEFAULT)) as usize;
    let (found, next_cursor) = whole_names(found, form.text("cursor"), limit);
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

/// A page that never parts the phones of one user name (there are at most ten), so that the name is a cursor.
fn whole_names(
    mut all: Vec<Registration>,
    cursor: Option<&str>,
    limit: usize,
) -> (Vec<Registration>, Option<String>) {
    if let Some(cursor) = cursor {
        all.retain(|registration| &*registration.username > cursor);
    }
    let last = all.get(limit.saturating_sub(1)).map(|registration| Arc::clone(&registration.username));
    let end =
        last.map_or(all.len(), |last| all.partition_point(|registration| registration.username <= last));
    let more = end < all.len();
    all.truncate(end);
    let next = all.last().filter(|_| more).map(|registration| registration.username.to_string());
    (all, next)
}
