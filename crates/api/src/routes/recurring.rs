//! Recurring call routes (S76–S87).

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::routing::{delete, get, patch, post, put};
use base::Timestamp;
use model::recurrence::{Schedule, ScheduleError, Written, Zone, next_after};
use model::{Action, Extension, Misfire, Permission, RecurringCall, RecurringCallId};

use crate::auth::Principal;
use crate::directory_service::{NewRecurringCall, RecurringCallChanges};
use crate::error::{ApiError, Fault};
use crate::input::{Body, Field, Form, Rule};
use crate::limits::{MAX_ATTEMPTS, NEXT_RUNS, PAGE_DEFAULT, RETRY_MINUTES};
use crate::route::{Access, Answer, Route};
use crate::routes::announcement::{self, ACTION, AUDIO, PROMPT};
use crate::routes::extensions::visible_extension;
use crate::routes::sessions::{check_host, check_policy};
use crate::routes::{CURSOR, LIMIT, PathId, page};
use crate::schemas::{
    NextRun, NextRunsAnswer, RecurringCallAnswer, RecurringCallView, RecurringCallsAnswer, RunView,
    RunsAnswer, Success, Warning,
};
use crate::{App, warnings};

const CALL: Access = Access::Permission(Permission::Call);

const FREQUENCY: Field =
    Field::new("frequency", Rule::OneOf(&["daily", "weekly", "monthly"]), "Frequency of the schedule");
const TIME: Field = Field::new("time", Rule::Time, "Local time of day in the time zone, HH:MM or HH:MM:SS");
const DAY_OF_WEEK: Field = Field::new("dayOfWeek", Rule::Integer(0, 6), "Weekly: 0 is Sunday, 6 is Saturday");
const DAYS_OF_WEEK: Field =
    Field::new("daysOfWeek", Rule::DaysOfWeek, "Weekly: several days, instead of dayOfWeek");
const DAY_OF_MONTH: Field = Field::new("dayOfMonth", Rule::Integer(1, 31), "Monthly: day of the month");
const MONTH_END: Field = Field::new(
    "monthEndPolicy",
    Rule::OneOf(&["clamp", "skip"]),
    "Monthly: in a month without that day, use its last day (clamp) or none (skip)",
);
const ZONE: Field = Field::new(
    "timezone",
    Rule::Zone,
    "IANA time zone; if absent, that of the extension, else that of the server",
);
const SCHEDULE: &[Field] =
    &[FREQUENCY.required(), TIME.required(), DAY_OF_WEEK, DAYS_OF_WEEK, DAY_OF_MONTH, MONTH_END, ZONE];
const SCHEDULE_CHANGE: &[Field] =
    &[FREQUENCY, TIME, DAY_OF_WEEK, DAYS_OF_WEEK, DAY_OF_MONTH, MONTH_END, ZONE];

const DESTINATION: Field = Field::new(
    "destinationNumber",
    Rule::Destination,
    "Destination: a number, an extension, a user name, or a SIP URI of the server's domain",
)
.or("toNumber");
const ENABLED: Field = Field::new("enabled", Rule::Flag, "Whether the calls are placed");
const MISFIRE: Field = Field::new(
    "misfire",
    Rule::OneOf(&["skip", "run_once"]),
    "Calls missed while no server ran: skip all, or place one call for the last of them (run_once)",
);
const ATTEMPTS: Field = Field::new(
    "maxAttempts",
    Rule::Integer(1, MAX_ATTEMPTS),
    "Maximum number of call attempts per occurrence if the destination is busy or does not answer",
);
const RETRY: Field =
    Field::new("retryMinutes", Rule::Integer(1, RETRY_MINUTES), "Minutes between two attempts");
const TWILIO: Field = Field::new("useTwilio", Rule::Flag, "Place the call through Twilio");
const CREATE: &[Field] = &[
    DESTINATION.required(),
    Field::new("schedule", Rule::Object(SCHEDULE), "Schedule of the calls").required(),
    ENABLED,
    MISFIRE,
    ATTEMPTS,
    RETRY,
    ACTION,
    PROMPT,
    AUDIO,
    TWILIO,
];
const CHANGE: &[Field] = &[
    DESTINATION,
    Field::new(
        "schedule",
        Rule::Object(SCHEDULE_CHANGE),
        "Changes of the schedule; absent fields are unchanged",
    ),
    ENABLED,
    MISFIRE,
    ATTEMPTS,
    RETRY,
    ACTION,
    PROMPT,
    AUDIO,
    TWILIO,
];
const NEXT: &[Field] =
    &[Field::new("count", Rule::Integer(1, NEXT_RUNS), "Number of times to compute; 10 if absent")];
const PAGED: &[Field] = &[LIMIT, CURSOR];
const RUNS: &[Field] = &[LIMIT, CURSOR];

pub(crate) fn routes() -> Vec<Route> {
    let one = Answer::json::<RecurringCallAnswer>;
    let tag = "recurring calls";
    let of_extension = "/api/v1/voip/extensions/{id}/recurring-calls";
    let id = "/api/v1/voip/recurring-calls/{id}";
    let change = "Change a recurring call; absent fields are unchanged";
    vec![
        Route::new(("post", of_extension), tag, "Create a recurring call", CALL, one(), post(create))
            .body(CREATE)
            .also(&[409]),
        Route::new(
            ("get", of_extension),
            tag,
            "List the recurring calls of an extension",
            CALL,
            Answer::json::<RecurringCallsAnswer>(),
            get(list),
        ),
        Route::new(
            ("get", "/api/v1/voip/recurring-calls"),
            tag,
            "List the recurring calls of all extensions that the key may see",
            CALL,
            Answer::json::<RecurringCallsAnswer>(),
            get(list_all),
        )
        .query(PAGED),
        Route::new(("get", id), tag, "Get a recurring call", CALL, one(), get(show)),
        Route::new(("put", id), tag, change, CALL, one(), put(update)).body(CHANGE),
        Route::new(("patch", id), tag, change, CALL, one(), patch(update)).body(CHANGE),
        Route::new(
            ("delete", id),
            tag,
            "Delete a recurring call",
            CALL,
            Answer::json::<Success>(),
            delete(remove),
        ),
        Route::new(
            ("get", "/api/v1/voip/recurring-calls/{id}/next"),
            tag,
            "Times of the next calls",
            CALL,
            Answer::json::<NextRunsAnswer>(),
            get(next),
        )
        .query(NEXT),
        Route::new(
            ("get", "/api/v1/voip/recurring-calls/{id}/runs"),
            tag,
            "Results of past calls, newest first",
            CALL,
            Answer::json::<RunsAnswer>(),
            get(runs),
        )
        .query(RUNS)
        .also(&[503]),
    ]
}

/// Find a recurring call that the client may see. Any other is answered 404 (S25).
fn visible_recurring_call(
    app: &App,
    principal: &Principal,
    id: &PathId,
) -> Result<Arc<RecurringCall>, ApiError> {
    let id: RecurringCallId = id.id()?;
    let directory = app.directory_service().directory();
    let found = directory.recurring_call(&id).filter(|call| principal.can_see(&call.user));
    Ok(Arc::clone(found.ok_or(Fault::NotFound)?))
}

fn answer(app: &App, call: &RecurringCall, warnings: Vec<Warning>) -> Json<RecurringCallAnswer> {
    let now = app.directory_service().now().wall;
    Json(RecurringCallAnswer { success: true, recurring_call: RecurringCallView::of(call, now), warnings })
}

async fn create(
    State(app): State<App>,
    principal: Principal,
    id: PathId,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<RecurringCallAnswer>, ApiError> {
    let extension = visible_extension(&app, &principal, &id)?;
    let form = body.form(&principal, CREATE)?;
    let destination = destination(&app, &form)?.unwrap_or_default();
    let parts = form.object("schedule", SCHEDULE).ok_or(Fault::MissingField)?;
    let schedule =
        parse_schedule(merge_schedule(Written::default(), &parts, || default_zone(&app, &extension)))?;
    let action = announcement::action(&app, &form, &extension.id, &Action::default()).await?;
    let action = action.unwrap_or_default();
    announcement::check_destination(&action, &destination)?;
    check_policy(&app, &form, &destination)?;
    let wanted = NewRecurringCall {
        extension: extension.id.clone(),
        destination,
        schedule,
        enabled: form.flag("enabled").unwrap_or(true),
        misfire: misfire(&form).unwrap_or_default(),
        max_attempts: form.integer("maxAttempts").unwrap_or(1) as u8,
        retry_minutes: form.integer("retryMinutes").unwrap_or(5) as u16,
        action,
    };
    let made = app.directory_service().create_recurring(principal.actor(), wanted).await?;
    let warnings = warnings::of_recurring(&app.directory_service().directory(), &made, &headers);
    Ok(answer(&app, &made, warnings))
}

async fn update(
    State(app): State<App>,
    principal: Principal,
    id: PathId,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<RecurringCallAnswer>, ApiError> {
    let call = visible_recurring_call(&app, &principal, &id)?;
    let form = body.form(&principal, CHANGE)?;
    let destination = destination(&app, &form)?;
    let schedule = match form.object("schedule", SCHEDULE_CHANGE) {
        Some(parts) => Some(parse_schedule(merge_schedule(call.schedule.written(), &parts, String::new))?),
        None => None,
    };
    let action = announcement::action(&app, &form, &call.extension, &call.action).await?;
    announcement::check_destination(
        action.as_ref().unwrap_or(&call.action),
        destination.as_ref().unwrap_or(&call.destination),
    )?;
    check_policy(&app, &form, destination.as_deref().unwrap_or_default())?;
    let changes = RecurringCallChanges {
        destination,
        schedule,
        enabled: form.flag("enabled"),
        misfire: misfire(&form),
        max_attempts: form.integer("maxAttempts").map(|n| n as u8),
        retry_minutes: form.integer("retryMinutes").map(|n| n as u16),
        action,
    };
    let changed =
        app.directory_service().change_recurring(principal.actor(), call.id.clone(), changes).await?;
    let warnings = warnings::of_recurring(&app.directory_service().directory(), &changed, &headers);
    Ok(answer(&app, &changed, warnings))
}

fn destination(app: &App, form: &Form) -> Result<Option<String>, ApiError> {
    let Some(text) = form.text("destinationNumber") else { return Ok(None) };
    check_host(app.settings(), "destinationNumber", text)?;
    Ok(Some(text.to_owned()))
}

fn misfire(form: &Form) -> Option<Misfire> {
    form.text("misfire").map(|word| if word == "run_once" { Misfire::RunOnce } else { Misfire::Skip })
}

/// Default time zone of a schedule (S78).
fn default_zone(app: &App, extension: &Extension) -> String {
    extension.timezone.as_ref().map_or(app.settings().default_timezone.as_str(), Zone::name).to_owned()
}

/// Merge the fields that were sent into `old`. Days that belong to another frequency, or are given by the other field, are dropped.
fn merge_schedule(old: Written, sent: &Form, zone: impl FnOnce() -> String) -> Written {
    let mut new = old;
    if let Some(frequency) = sent.text("frequency")
        && new.frequency != frequency
    {
        let (time, timezone) = (new.time, new.timezone);
        new = Written { frequency: frequency.to_owned(), time, timezone, ..Written::default() };
    }
    if let Some(time) = sent.text("time") {
        time.clone_into(&mut new.time);
    }
    let one = sent.integer("dayOfWeek").map(|day| day as i64);
    let list = sent.integers("daysOfWeek");
    if one.is_some() || list.is_some() {
        (new.day_of_week, new.days_of_week) = (one, list);
    }
    if let Some(day) = sent.integer("dayOfMonth") {
        new.day_of_month = Some(day as i64);
    }
    if let Some(policy) = sent.text("monthEndPolicy") {
        new.month_end_policy = Some(policy.to_owned());
    }
    match sent.text("timezone") {
        Some(zone) => zone.clone_into(&mut new.timezone),
        None if new.timezone.is_empty() => new.timezone = zone(),
        None => {}
    }
    new
}

fn parse_schedule(written: Written) -> Result<Schedule, ApiError> {
    Schedule::try_from(written).map_err(|error| {
        let spanish = match error {
            ScheduleError::Zone => "debe ser una zona horaria IANA, como America/New_York",
            ScheduleError::Time => "debe ser HH:MM o HH:MM:SS, de 00:00 a 23:59:59",
            ScheduleError::Frequency => "debe ser daily, weekly o monthly",
            ScheduleError::DayOfWeek => {
                "semanal: dayOfWeek, de 0 (domingo) a 6 (sábado), o una lista en daysOfWeek; solo uno de los dos"
            }
            ScheduleError::DaysOfWeek => "solo en un horario semanal: una lista de días distintos, de 0 a 6",
            ScheduleError::DayOfMonth => "un horario mensual, y solo él, necesita dayOfMonth, de 1 a 31",
            ScheduleError::MonthEndPolicy => "solo en un horario mensual: clamp o skip",
        };
        let field = format!("schedule.{}", error.field());
        ApiError::field(Fault::BadValue, &field, Some((&error.to_string(), spanish)))
    })
}

async fn list(
    State(app): State<App>,
    principal: Principal,
    id: PathId,
) -> Result<Json<RecurringCallsAnswer>, ApiError> {
    let extension = visible_extension(&app, &principal, &id)?;
    let (directory, now) = (app.directory_service().directory(), app.directory_service().now().wall);
    let calls = directory.recurring_calls_of(&extension.id);
    let recurring_calls = calls.map(|call| RecurringCallView::of(call, now)).collect();
    Ok(Json(RecurringCallsAnswer { success: true, recurring_calls, next_cursor: None }))
}

async fn list_all(
    State(app): State<App>,
    principal: Principal,
    uri: Uri,
) -> Result<Json<RecurringCallsAnswer>, ApiError> {
    let form = Form::of_query(&uri, PAGED)?;
    let (directory, now) = (app.directory_service().directory(), app.directory_service().now().wall);
    let found = directory.recurring_calls().filter(|call| principal.can_see(&call.user));
    let limit = form.integer("limit").unwrap_or(u64::from(PAGE_DEFAULT)) as usize;
    let (found, next_cursor) = page(found, form.text("cursor"), limit, |call| call.id.as_str());
    let recurring_calls = found.into_iter().map(|call| RecurringCallView::of(call, now)).collect();
    Ok(Json(RecurringCallsAnswer { success: true, recurring_calls, next_cursor }))
}

async fn show(
    State(app): State<App>,
    principal: Principal,
    id: PathId,
) -> Result<Json<RecurringCallAnswer>, ApiError> {
    let call = visible_recurring_call(&app, &principal, &id)?;
    Ok(answer(&app, &call, Vec::new()))
}

async fn remove(State(app): State<App>, principal: Principal, id: PathId) -> Result<Json<Success>, ApiError> {
    let call = visible_recurring_call(&app, &principal, &id)?;
    app.directory_service().remove_recurring(principal.actor(), call.id.clone()).await?;
    Ok(Json(Success { success: true }))
}

async fn next(
    State(app): State<App>,
    principal: Principal,
    id: PathId,
    uri: Uri,
) -> Result<Json<NextRunsAnswer>, ApiError> {
    let call = visible_recurring_call(&app, &principal, &id)?;
    let count = Form::of_query(&uri, NEXT)?.integer("count").unwrap_or(10) as usize;
    let first = next_after(&call.schedule, app.directory_service().now().wall);
    let instants = std::iter::successors(first, |due| next_after(&call.schedule, *due));
    let zone = call.schedule.zone();
    let shown = |due: Timestamp| NextRun { at: due.to_string(), local: zone.shown(due) };
    Ok(Json(NextRunsAnswer {
        success: true,
        enabled: call.enabled,
        description: call.schedule.to_string(),
        tzdb_version: model::recurrence::tzdb_version(),
        next: instants.take(count).map(shown).collect(),
    }))
}

async fn runs(
    State(app): State<App>,
    principal: Principal,
    id: PathId,
    uri: Uri,
) -> Result<Json<RunsAnswer>, ApiError> {
    let call = visible_recurring_call(&app, &principal, &id)?;
    let form = Form::of_query(&uri, RUNS)?;
    let before = match form.text("cursor") {
        Some(text) => text.parse().map_err(|_| ApiError::field(Fault::BadValue, "cursor", None))?,
        None => i64::MAX,
    };
    let limit = form.integer("limit").unwrap_or(u64::from(PAGE_DEFAULT)) as u32;
    let mut rows = app
        .directory_service()
        .store()
        .occurrences(&call.id, Timestamp::from_micros(before), limit + 1)
        .await?;
    let more = rows.len() > limit as usize;
    rows.truncate(limit as usize);
    let next_cursor = rows.last().filter(|_| more).map(|row| row.due.as_micros().to_string());
    Ok(Json(RunsAnswer { success: true, runs: rows.iter().map(RunView::of).collect(), next_cursor }))
}
