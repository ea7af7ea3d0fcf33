//! Test call over a trunk: originate it, wait until it has ended, and report.

use std::time::Duration;

use model::{CallId, Language, TrunkId};
use serde::Serialize;
use serde_json::json;
use switch::{Command, Reply, TestedCall};
use utoipa::ToSchema;

use super::schemas::TrunkView;
use crate::App;
use crate::app::unexpected_reply;
use crate::auth::Principal;
use crate::directory_service::Event;
use crate::error::ApiError;
use crate::input::{Field, Form, Rule};
use crate::routes::sessions;

pub(super) const TEST: &[Field] = &[
    Field::new(
        "number",
        Rule::Dialled,
        "Number to call over the trunk; the call ends as soon as it is answered",
    ),
    Field::new("seconds", Rule::Integer(5, 45), "Maximum ringing time in seconds; 30 if absent"),
];
/// Default ringing time in seconds.
const SECONDS: u64 = 30;
/// Extra time for the switch to end a call whose ringing time is over.
const GRACE: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(50);

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TrunkTestAnswer {
    pub success: bool,
    pub trunk: TrunkView,
    /// Result of the test call, if a number was given.
    pub call: Option<TestCallView>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TestCallView {
    pub session_id: String,
    /// Whether it was answered.
    pub answered: bool,
    /// `completed` if it was answered, else the `endReason` of the session.
    pub code: &'static str,
    /// The code as a sentence.
    pub reason: &'static str,
    /// SIP status of the carrier's last response.
    pub sip_status: Option<u16>,
    /// Time until it rang, in milliseconds.
    pub ring_ms: Option<u64>,
    /// Time until it was answered, in milliseconds.
    pub answer_ms: Option<u64>,
    /// Routing rules and hosts that were tried, in order.
    pub steps: Vec<String>,
}

impl TestCallView {
    fn of(call: &CallId, tested: &TestedCall, language: Language) -> TestCallView {
        let millis = |time: Option<Duration>| time.map(|time| time.as_millis() as u64);
        let cause = tested.cause.unwrap_or(model::Cause::Internal);
        TestCallView {
            session_id: call.to_string(),
            answered: tested.answered.is_some(),
            code: cause.code(),
            reason: cause.sentence(language),
            sip_status: tested.status,
            ring_ms: millis(tested.rang),
            answer_ms: millis(tested.answered),
            steps: tested.trace.iter().map(|step| format!("{}: {}", step.rule, step.outcome)).collect(),
        }
    }
}

/// Originate the test call of a form and wait for its end; `None` if the form names no number.
pub(super) async fn place_test_call(
    app: &App,
    principal: &Principal,
    trunk: &TrunkId,
    form: &Form,
    language: Language,
) -> Result<Option<TestCallView>, ApiError> {
    let Some(number) = form.text("number").map(str::to_owned) else { return Ok(None) };
    sessions::check_policy(app, form, &number)?;
    let patience = Duration::from_secs(form.integer("seconds").unwrap_or(SECONDS));
    let user = principal.user().clone();
    let command = Command::TestCall { trunk: trunk.clone(), user: user.clone(), number, patience };
    let call = match app.ask(command).await? {
        Reply::Call(call) => call.id,
        other => return Err(unexpected_reply(&other)),
    };
    let detail = json!({ "trunk": trunk.as_str() });
    let event = Event { kind: "trunk_test_call", user: Some(user), subject: call.to_string(), detail };
    app.directory_service().audit(principal.actor(), event);
    let waiting = async {
        loop {
            match app.ask(Command::Tested { call: call.clone() }).await? {
                Reply::TestCall(tested) if tested.cause.is_some() => return Ok::<_, ApiError>(tested),
                Reply::TestCall(_) => tokio::time::sleep(POLL).await,
                other => return Err(unexpected_reply(&other)),
            }
        }
    };
    let tested = match tokio::time::timeout(patience + GRACE, waiting).await {
        Ok(tested) => tested?,
        Err(_) => return Err(model::Cause::Internal.into()),
    };
    Ok(Some(TestCallView::of(&call, &tested, language)))
}
