//! Statistics about calls, registrations and audio quality (S192).

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::routing::get;
use base::Timestamp;
use model::Permission;
use store::StatsQuery;
use switch::limits::NAMES_LISTED;
use switch::{CallsOf, Command, Reply};

use crate::App;
use crate::app::unexpected_reply;
use crate::auth::Principal;
use crate::error::ApiError;
use crate::live::live_calls;
use crate::route::{Access, Answer, Route};
use crate::schemas::{HourView, QualityStats, RefusalView, StatsAnswer, StatsView};

const DAY: Duration = Duration::from_hours(24);
const HOUR_MICROS: i64 = 3_600_000_000;

pub(crate) fn routes() -> Vec<Route> {
    vec![
        Route::new(
            ("get", "/api/v1/stats"),
            "calls",
            "Call statistics of the last 24 hours and current counts, for the key's user, or for all users with an admin key",
            Access::Permission(Permission::Call),
            Answer::json::<StatsAnswer>(),
            get(show),
        )
        .also(&[503]),
    ]
}

async fn show(State(app): State<App>, principal: Principal) -> Result<Json<StatsAnswer>, ApiError> {
    let active_calls = active_calls(&app, &principal).await?;
    let registrations = registrations(&app, &principal).await?;
    let now = app.directory_service().now().wall;
    let newest = now.as_micros().div_euclid(HOUR_MICROS);
    let hours = (DAY.as_secs() / 3600) as i64;
    let since = Timestamp::from_micros((newest - hours + 1) * HOUR_MICROS);
    let user = (!principal.is_admin()).then(|| principal.user().clone());
    let stats = app.directory_service().store().stats(&StatsQuery { user, since }).await?;
    let there: BTreeMap<Timestamp, _> = stats.hours.iter().map(|hour| (hour.at, hour)).collect();
    let by_hour = (0..hours).map(|n| {
        let at = Timestamp::from_micros(since.as_micros() + n * HOUR_MICROS);
        let (calls, answered) = there.get(&at).map_or((0, 0), |hour| (hour.calls, hour.answered));
        HourView { at: at.to_string(), calls, answered }
    });
    let part = |part: f64, whole: u64| (whole > 0).then(|| part / whole as f64);
    Ok(Json(StatsAnswer {
        success: true,
        stats: StatsView {
            active_calls,
            registrations,
            since: since.to_string(),
            calls: stats.ended,
            answered: stats.answered,
            asr: part(stats.answered as f64, stats.ended),
            acd: part(stats.talk_seconds as f64, stats.answered),
            by_hour: by_hour.collect(),
            quality: QualityStats {
                measured: stats.measured,
                mean_mos: part(stats.mos_sum, stats.measured),
                poor_share: part(stats.poor as f64, stats.measured),
            },
            refusals: stats
                .causes
                .into_iter()
                .map(|(cause, calls)| RefusalView { reason: end_reason(cause), calls })
                .collect(),
            truncated: stats.truncated,
        },
    }))
}

/// Number of active calls that the client may read.
async fn active_calls(app: &App, principal: &Principal) -> Result<usize, ApiError> {
    if principal.is_admin() {
        return Ok(app.status().await?.active_calls);
    }
    let of = CallsOf::User(principal.user().clone());
    Ok(live_calls(app, of, None, usize::MAX, |_| true, |_| false).await?.len())
}

/// Convert the name of a cause in the database to its API code.
fn end_reason(stored: String) -> String {
    match serde_json::from_value::<model::Cause>(stored.as_str().into()) {
        Ok(cause) => cause.code().to_owned(),
        Err(_) => stored,
    }
}

/// Number of registered user names of the client, or of all phones for an admin.
async fn registrations(app: &App, principal: &Principal) -> Result<usize, ApiError> {
    if principal.is_admin() {
        return Ok(app.status().await?.registrations);
    }
    let directory = app.directory_service().directory();
    let own: Vec<_> = directory.credentials_of(principal.user()).map(|c| c.username.clone()).collect();
    let mut registered = 0;
    for part in own.chunks(NAMES_LISTED) {
        match app.ask(Command::Presence { usernames: part.to_vec() }).await? {
            Reply::Presence(there) => registered += there.iter().filter(|phone| phone.registered).count(),
            other => return Err(unexpected_reply(&other)),
        }
    }
    Ok(registered)
}
