//! Creating, changing and deleting webhooks (S88).

use base::{Id, Secret};
use hmac::{Hmac, KeyInit as _, Mac as _};
use model::{UserId, Webhook, WebhookId};
use serde_json::{Value, json};
use sha2::Sha256;
use store::{Audit, Delivery};

use super::{Actor, DirectoryError, DirectoryService, Event};
use crate::secret;

/// Parameters of a new webhook.
#[derive(Clone, Debug)]
pub(crate) struct NewWebhook {
    pub user: UserId,
    pub url: String,
    pub types: Vec<String>,
    pub everybody: bool,
    pub active: bool,
}

/// Changes of a webhook; `None` leaves a value unchanged.
#[derive(Clone, Debug, Default)]
pub(crate) struct WebhookChanges {
    pub url: Option<String>,
    pub types: Option<Vec<String>>,
    pub active: Option<bool>,
}

/// The secret that signs messages to a webhook; `number` counts its rotations. It is derived from the key, so the database holds nothing that could
/// sign.
pub fn webhook_secret(key: &Secret<[u8; 32]>, id: &WebhookId, number: u32) -> Secret<String> {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key.expose()) else { return Secret::new(String::new()) };
    mac.update(b"webhook:");
    mac.update(id.as_str().as_bytes());
    if number > 0 {
        // Ids contain no colon, so no secret of one webhook equals that of another.
        mac.update(format!(":{number}").as_bytes());
    }
    Secret::new(format!("whsec_{}", secret::hex(&mac.finalize().into_bytes())))
}

impl DirectoryService {
    pub(crate) async fn create_webhook(
        &self,
        actor: Actor,
        wanted: NewWebhook,
    ) -> Result<Webhook, DirectoryError> {
        let now = self.now();
        let hook = Webhook {
            id: Id::new(now, &mut self.rng()),
            user: wanted.user,
            url: wanted.url,
            types: wanted.types,
            everybody: wanted.everybody,
            active: wanted.active,
            since: 0,
            secret: 0,
            rotated_at: None,
            created_at: now.wall,
            updated_at: now.wall,
        };
        let detail = json!({"host": host_of(&hook.url), "types": hook.types, "active": hook.active});
        let audit = self.audit_of("webhook_created", &hook, actor, detail);
        self.save(hook, true, audit).await
    }

    pub(crate) async fn change_webhook(
        &self,
        actor: Actor,
        old: Webhook,
        changes: WebhookChanges,
    ) -> Result<Webhook, DirectoryError> {
        let mut after = serde_json::Map::new();
        let mut hook = Webhook { updated_at: self.now().wall, ..old.clone() };
        if let Some(url) = changes.url {
            after.insert("host".into(), host_of(&url).into());
            hook.url = url;
        }
        if let Some(types) = changes.types {
            after.insert("types".into(), json!(types));
            hook.types = types;
        }
        if let Some(active) = changes.active {
            after.insert("active".into(), active.into());
            hook.active = active;
        }
        let audit = self.audit_of("webhook_updated", &hook, actor, json!({"after": after}));
        let activated = hook.active && !old.active;
        self.save(hook, activated, audit).await
    }

    /// Runs in its own task, so a client that disconnects does not interrupt it.
    async fn save(&self, hook: Webhook, activated: bool, audit: Audit) -> Result<Webhook, DirectoryError> {
        let store = self.store().clone();
        let work = async move {
            store.save_webhook(&hook, activated, audit).await?;
            Ok(hook)
        };
        tokio::spawn(work).await.map_err(|_| DirectoryError::TaskPanicked)?
    }

    /// Switch to the next secret. The previous one also signs for another day.
    pub(crate) async fn rotate_webhook_secret(
        &self,
        actor: Actor,
        hook: Webhook,
    ) -> Result<Webhook, DirectoryError> {
        let detail = json!({"host": host_of(&hook.url)});
        let audit = self.audit_of("webhook_secret_rotated", &hook, actor, detail);
        let (store, now) = (self.store().clone(), self.now().wall);
        let work = async move { Ok(store.rotate_webhook(&hook.id, now, audit).await?) };
        let rotated = tokio::spawn(work).await.map_err(|_| DirectoryError::TaskPanicked)?;
        rotated.and_then(|hook: Option<Webhook>| hook.ok_or(DirectoryError::NotFound))
    }

    pub(crate) async fn delete_webhook(&self, actor: Actor, hook: Webhook) -> Result<(), DirectoryError> {
        let audit = self.audit_of("webhook_deleted", &hook, actor, json!({"host": host_of(&hook.url)}));
        let store = self.store().clone();
        let work = async move { Ok(store.delete_webhook(&hook.id, audit).await?) };
        tokio::spawn(work).await.map_err(|_| DirectoryError::TaskPanicked)?
    }

    pub(crate) async fn retry_delivery(
        &self,
        actor: Actor,
        hook: Webhook,
        delivery: Delivery,
    ) -> Result<(), DirectoryError> {
        let detail = json!({"delivery": delivery.id.as_str()});
        let audit = self.audit_of("webhook_delivery_retried", &hook, actor, detail);
        let (store, now) = (self.store().clone(), self.now().wall);
        let work = async move { Ok(store.retry_delivery(&delivery.id, now, audit).await?) };
        tokio::spawn(work).await.map_err(|_| DirectoryError::TaskPanicked)?
    }

    fn audit_of(&self, kind: &'static str, hook: &Webhook, actor: Actor, detail: Value) -> Audit {
        let event = Event { kind, user: Some(hook.user.clone()), subject: hook.id.to_string(), detail };
        actor.audit(self.now().wall, event)
    }
}

/// Host of a URL. The path may contain a token, so the audit omits it.
fn host_of(url: &str) -> String {
    url.parse::<axum::http::Uri>().ok().and_then(|uri| uri.host().map(str::to_owned)).unwrap_or_default()
}
