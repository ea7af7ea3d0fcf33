//! JSON of webhooks and their deliveries.

use model::Webhook;
use serde::Serialize;
use store::Delivery;
use utoipa::ToSchema;

use super::some;

#[derive(Serialize, ToSchema)]
pub(crate) struct WebhookAnswer {
    pub success: bool,
    pub webhook: WebhookView,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WebhooksAnswer {
    pub success: bool,
    pub webhooks: Vec<WebhookView>,
    /// Pass it as `cursor` to get the next page; `null` on the last page.
    #[serde(serialize_with = "crate::cursor::serialize_cursor")]
    pub next_cursor: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Webhook)]
pub(crate) struct WebhookView {
    pub id: String,
    pub user_id: String,
    pub url: String,
    /// Event types that are delivered; all types if empty.
    pub types: Vec<String>,
    /// `own`, or `all` for the events of all users.
    pub scope: &'static str,
    pub active: bool,
    /// Secret that signs the messages. Only in the response that creates the webhook or rotates its secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub secret: Option<String>,
    /// Until when messages also carry a signature of the previous secret; `null` if there is none.
    #[schema(format = DateTime)]
    pub both_secrets_until: Option<String>,
    #[schema(format = DateTime)]
    pub created_at: String,
    #[schema(format = DateTime)]
    pub updated_at: String,
}

impl WebhookView {
    pub(crate) fn of(hook: &Webhook, secret: Option<String>) -> Self {
        WebhookView {
            id: hook.id.to_string(),
            user_id: hook.user.to_string(),
            url: hook.url.clone(),
            types: hook.types.clone(),
            scope: if hook.everybody { "all" } else { "own" },
            active: hook.active,
            secret,
            both_secrets_until: hook.both_sign_until().map(|at| at.to_string()),
            created_at: hook.created_at.to_string(),
            updated_at: hook.updated_at.to_string(),
        }
    }
}

#[derive(Serialize, ToSchema)]
pub(crate) struct DeliveryAnswer {
    pub success: bool,
    pub delivery: DeliveryView,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DeliveriesAnswer {
    pub success: bool,
    /// Newest first.
    pub deliveries: Vec<DeliveryView>,
    /// Pass it as `cursor` to get the next page; `null` on the last page.
    #[serde(serialize_with = "crate::cursor::serialize_cursor")]
    #[schema(value_type = Option<String>)]
    pub next_cursor: Option<i64>,
}

/// Delivery of one event to one webhook.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Delivery)]
pub(crate) struct DeliveryView {
    /// Also in the header `Centralita-Delivery`; the same in every attempt.
    pub id: String,
    pub event_id: i64,
    #[serde(rename = "type")]
    pub kind: String,
    pub subject: Option<String>,
    /// `pending`, `delivered` or `dead`.
    pub status: &'static str,
    pub attempts: u32,
    /// When the next attempt is due, while the delivery is pending.
    #[schema(format = DateTime)]
    pub next_attempt_at: Option<String>,
    /// HTTP status of the last response.
    pub response_status: Option<u16>,
    /// Why the last attempt failed.
    pub error: Option<String>,
    #[schema(format = DateTime)]
    pub created_at: String,
    #[schema(format = DateTime)]
    pub updated_at: String,
}

impl DeliveryView {
    pub(crate) fn of(delivery: &Delivery) -> Self {
        let pending = delivery.status == store::DeliveryStatus::Pending;
        DeliveryView {
            id: delivery.id.to_string(),
            event_id: delivery.seq,
            kind: delivery.kind.clone(),
            subject: some(&delivery.subject),
            status: delivery.status.as_str(),
            attempts: delivery.attempts,
            next_attempt_at: pending.then(|| delivery.next_at.to_string()),
            response_status: delivery.answer,
            error: delivery.fault.clone(),
            created_at: delivery.created_at.to_string(),
            updated_at: delivery.updated_at.to_string(),
        }
    }
}
