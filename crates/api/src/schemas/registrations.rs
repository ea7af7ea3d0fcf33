//! JSON of registrations.

use serde::Serialize;
use utoipa::ToSchema;

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RegistrationsAnswer {
    pub success: bool,
    pub registrations: Vec<RegistrationView>,
    /// Pass it as `cursor` to get the next page; `null` on the last page.
    #[serde(serialize_with = "crate::cursor::serialize_cursor")]
    pub next_cursor: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Registration)]
pub(crate) struct RegistrationView {
    pub username: String,
    pub extension_number: Option<String>,
    pub user_id: Option<String>,
    pub contact: String,
    /// Source address of the phone.
    pub address: String,
    #[schema(format = DateTime)]
    pub expires_at: String,
    pub user_agent: Option<String>,
}
