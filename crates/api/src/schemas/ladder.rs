//! JSON of a call's SIP messages.

use serde::Serialize;
use utoipa::ToSchema;

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LadderAnswer {
    pub success: bool,
    pub session_id: String,
    /// Every SIP message of the call, in order.
    pub ladder: Vec<Rung>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Rung {
    #[schema(format = DateTime)]
    pub at: String,
    /// `sent` or `received`.
    pub direction: &'static str,
    pub transport: String,
    pub local: String,
    pub remote: String,
    /// `INVITE sip:1002@localhost SIP/2.0`
    pub first_line: String,
    /// The whole message.
    pub text: String,
}
