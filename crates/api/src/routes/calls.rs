//! List of calls. Active calls (from the switch) and ended ones (from the database) are merged; each call appears once.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use axum::routing::get;
use base::Timestamp;
use model::{CallId, CallRecord, Permission, UserId};
use store::{CallFilter, Cursor};
use switch::{CallPlace, CallsOf};

use crate::App;
use crate::auth::Principal;
use crate::error::{ApiError, Fault};
use crate::input::instant::instant;
use crate::input::rule::call_cursor;
use crate::input::{Field, Form, Paging, Rule};
use crate::limits::{CALLS_SCANNED, PAGE_DEFAULT};
use crate::live::{active_among, live_calls};
use crate::route::{Access, Answer, Route};
use crate::routes::LIMIT;
use crate::routes::recordings::of_calls;
use crate::schemas::{CallsAnswer, Session, direction_of};

const LIST: &[Field] = &[
    LIMIT,
    Field::new("cursor", Rule::Cursor(Paging::Call), "The nextCursor of the previous page"),
    Field::new("active", Rule::Flag, "true: only active calls; false: only ended calls"),
    Field::new(
        "status",
        Rule::OneOf(&[
            "queued",
            "ringing",
            "in-progress",
            "completed",
            "busy",
            "failed",
            "no-answer",
            "canceled",
        ]),
        "Only calls in this state",
    ),
    Field::new(
        "direction",
        Rule::OneOf(&["internal", "inbound", "outbound"]),
        "Only calls of this direction",
    ),
    Field::new("userId", Rule::Id, "Only calls of this user; only administrators may name another user"),
    Field::new("number", Rule::Prefix, "Only calls from or to a number that begins with this text"),
    Field::new("since", Rule::Instant, "Only calls that started at this time or later"),
    Field::new("until", Rule::Instant, "Only calls that started before this time"),
];

pub(crate) fn routes() -> Vec<Route> {
    let access = Access::Permission(Permission::Call);
    vec![
        Route::new(
            ("get", "/api/v1/calls"),
            "calls",
            "Calls, newest first",
            access,
            Answer::json::<CallsAnswer>(),
            get(list),
        )
        .query(LIST)
        .also(&[503]),
    ]
}

async fn list(State(app): State<App>, principal: Principal, uri: Uri) -> Result<Json<CallsAnswer>, ApiError> {
    let form = Form::of_query(&uri, LIST)?;
    let limit = form.integer("limit").unwrap_or(u64::from(PAGE_DEFAULT)) as usize;
    let cursor = form.text("cursor").and_then(read_cursor);
    let active = form.flag("active");
    let user = form.parsed("userId", UserId::parse)?;
    if let Some(user) = &user
        && !principal.can_see(user)
    {
        return Err(ApiError::field(Fault::ForeignUser, "userId", None));
    }
    let filter = CallFilter {
        user: user.or_else(|| (!principal.is_admin()).then(|| principal.user().clone())),
        number: form.text("number").map(str::to_owned),
        since: form.text("since").and_then(instant),
        until: form.text("until").and_then(instant),
        cursor,
        limit: limit as u32 + 1,
    };

    let only = UnindexedFilter { status: form.text("status"), direction: form.text("direction") };
    let mut calls =
        if active == Some(false) { Vec::new() } else { active_calls(&app, &filter, &only).await? };
    let mut resume_at = None;
    if active != Some(true) {
        let shown: BTreeSet<CallId> = calls.iter().map(|call| call.id.clone()).collect();
        let (over, rest) = ended_calls(&app, filter, limit, &only).await?;
        calls.extend(over.into_iter().filter(|call| !shown.contains(&call.id)));
        resume_at = rest;
    }
    calls.sort_by_cached_key(|call| std::cmp::Reverse(position(call)));
    let more = calls.len() > limit;
    calls.truncate(limit);
    let next = calls.last().filter(|_| more).map(position).or(resume_at);
    let now = app.directory_service().now().wall;
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

/// Filters for which the database has no index.
struct UnindexedFilter<'f> {
    status: Option<&'f str>,
    direction: Option<&'f str>,
}

impl UnindexedFilter<'_> {
    fn accepts(&self, call: &CallRecord) -> bool {
        self.status.is_none_or(|status| call.status.as_str() == status)
            && self.direction.is_none_or(|direction| direction_of(call) == direction)
    }
}

/// Active calls that match: up to one more than fits on the page.
async fn active_calls(
    app: &App,
    filter: &CallFilter,
    only: &UnindexedFilter<'_>,
) -> Result<Vec<CallRecord>, ApiError> {
    let of = filter.user.clone().map_or(CallsOf::Everybody, CallsOf::User);
    let cursor = filter.cursor.as_ref();
    let behind = cursor.map(|at| CallPlace { started_at: at.started_at, id: Some(at.id.clone()) });
    let until = filter.until.map(|until| CallPlace { started_at: until, id: None });
    // Start at the later of the two positions in the newest-first list, which is the smaller value.
    let after = behind.into_iter().chain(until).min();
    let matches = |call: &CallRecord| matches_filter(filter, call) && only.accepts(call);
    let too_old = |call: &CallRecord| filter.since.is_some_and(|since| call.started_at < since);
    live_calls(app, of, after, filter.limit as usize, matches, too_old).await
}

/// Ended calls that match, from the database: up to one more than fits on the page. If few calls match, the scan stops after `CALLS_SCANNED`
/// calls. The page is then short, and the cursor says where to continue.
async fn ended_calls(
    app: &App,
    mut filter: CallFilter,
    limit: usize,
    only: &UnindexedFilter<'_>,
) -> Result<(Vec<CallRecord>, Option<Cursor>), ApiError> {
    let (mut found, mut scanned) = (Vec::new(), 0);
    loop {
        let page = app.directory_service().store().calls(&filter).await?;
        scanned += page.calls.len();
        // A call is written when it starts, so an active call is both in the database and in the switch.
        let open = page.calls.iter().filter(|call| !call.status.is_final()).map(|call| call.id.clone());
        let up = active_among(app, open.collect()).await?;
        found.extend(page.calls.into_iter().filter(|call| !up.contains(&call.id) && only.accepts(call)));
        filter.cursor = page.next;
        if found.len() > limit || filter.cursor.is_none() {
            return Ok((found, None));
        }
        if scanned >= CALLS_SCANNED {
            return Ok((found, filter.cursor));
        }
    }
}

/// The database filter, applied to an active call. Both users whose phones are in a call may read it (S56).
fn matches_filter(filter: &CallFilter, call: &CallRecord) -> bool {
    let of = |user: &UserId| call.user == *user || call.other_user.as_ref() == Some(user);
    filter.user.as_ref().is_none_or(of)
        && filter.number.as_ref().is_none_or(|number| {
            call.from_number.starts_with(number.as_str()) || call.to_number.starts_with(number.as_str())
        })
        && filter.since.is_none_or(|since| call.started_at >= since)
        && filter.until.is_none_or(|until| call.started_at < until)
        && filter.cursor.as_ref().is_none_or(|cursor| position(call) < *cursor)
}

fn position(call: &CallRecord) -> Cursor {
    Cursor { started_at: call.started_at, id: call.id.clone() }
}

fn read_cursor(text: &str) -> Option<Cursor> {
    let (micros, id) = call_cursor(text)?;
    Some(Cursor { started_at: Timestamp::from_micros(micros), id: CallId::parse(id).ok()? })
}
