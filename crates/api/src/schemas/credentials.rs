//! JSON of SIP credentials.

use serde::Serialize;
use utoipa::ToSchema;

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CredentialsAnswer {
    pub success: bool,
    pub credentials: Credentials,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Credentials {
    pub username: String,
    /// Shown once.
    pub password: String,
    pub domain: String,
    pub sip_uri: String,
    /// `host:port`
    pub proxy_server: String,
    /// `UDP`
    pub transport_protocol: &'static str,
}
