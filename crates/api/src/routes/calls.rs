//! The list of calls: those that are up and those that are over, one entry each.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use axum::routing::get;
use base::Timestamp;
use model::{CallId, CallRecord, Permission};
use store::{CallFilter, Cursor};

use crate::App;
use crate::auth::Caller;
use crate::error::ApiError;
use crate::input::rule::call_cursor;
use crate::input::{Field, Form, Rule};
use crate::limits::PAGE_DEFAULT;
use crate::live::{live_calls, may_read};
use crate::route::{Answer, Need, Route};
use crate::routes::LIMIT;
use crate::routes::recordings::of_calls;
use crate::shapes::{CallsAnswer, Session};

const LIST: &[Field] = &[
    LIMIT,
    Field::new("cursor", Rule::CallCursor, "The nextCursor of the page before"),
    Field::new("active", Rule::Flag, "Only calls that are up, or only those that are over"),
];

pub(crate) fn routes() -> Vec<Route> {
    let need = Need::Permission(Permission::Call);
    vec![
        Route::new(
            ("get", "/api/v1/calls"),
            "calls",
            "Calls, newest first",
            need,
            Answer::json::<CallsAnswer>(),
            get(list),
        )
        .query(LIST)
        .also(&[503]),
    ]
}

async fn list(State(app): State<App>, caller: Caller, uri: Uri) -> Result<Json<CallsAnswer>, ApiError> {
    let form = Form::of_query(&uri, LIST)?;
    let limit = form.whole("limit").unwrap_or(u64::from(PAGE_DEFAULT)) as usize;
    let cursor = form.text("cursor").and_then(read_cursor);
    let active = form.flag("active");

    let mut live = live_calls(&app).await?;
    let up: BTreeSet<CallId> = live.iter().map(|call| call.id.clone()).collect();
    live.retain(|call| may_read(&caller, call) && cursor.as_ref().is_none_or(|cursor| place(call) < *cursor));
    let mut calls = if active == Some(false) { Vec::new() } else { live };
    if active != Some(true) {
        calls.extend(kept(&app, &caller, cursor, limit, &up).await?);
    }
    calls.sort_by_cached_key(|call| std::cmp::Reverse(place(call)));
    let more = calls.len() > limit;
    calls.truncate(limit);
    let next = calls.last().filter(|_| more).map(place);
    let now = app.office().now().wall;
    let recorded = of_calls(&app, &calls.iter().collect::<Vec<_>>()).await?;
    let session = |call: &CallRecord| {
        let own = recorded.iter().filter(|(id, _)| *id == call.id);
        let recordings = own.map(|(_, recording)| recording.clone()).collect();
        Session { recordings, ..Session::of(app.settings(), call, now) }
    };
    Ok(Json(CallsAnswer {
        success: true,
        calls: calls.iter().map(session).collect(),
        next_cursor: next.map(|cursor| format!("{}.{}", cursor.started_at.as_micros().max(0), cursor.id)),
    }))
}

/// Calls of the database that the exchange does not have: at least one more than fits the page, where there is one.
async fn kept(
    app: &App,
    caller: &Caller,
    mut cursor: Option<Cursor>,
    limit: usize,
    up: &BTreeSet<CallId>,
) -> Result<Vec<CallRecord>, ApiError> {
    let user = (!caller.is_admin()).then(|| caller.user().clone());
    let mut found = Vec::new();
    loop {
        let filter = CallFilter { user: user.clone(), cursor, limit: limit as u32 + 1 };
        let page = app.office().store().calls(&filter).await?;
        // Every call is written when it begins: what is up is in both places.
        found.extend(page.calls.into_iter().filter(|call| !up.contains(&call.id)));
        cursor = page.next;
        if found.len() > limit || cursor.is_none() {
            return Ok(found);
        }
    }
}

fn place(call: &CallRecord) -> Cursor {
    Cursor { started_at: call.started_at, id: call.id.clone() }
}

fn read_cursor(text: &str) -> Option<Cursor> {
    let (micros, id) = call_cursor(text)?;
    Some(Cursor { started_at: Timestamp::from_micros(micros), id: CallId::parse(id).ok()? })
}
