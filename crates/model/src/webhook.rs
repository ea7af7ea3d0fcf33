//! Webhooks: HTTP subscriptions to events, and the retry policy of deliveries (S88).

use std::time::Duration;

use base::{Id, Kind, Rng, Timestamp};
use serde::{Deserialize, Serialize};

use crate::UserId;

/// Id prefix of [`WebhookId`].
#[derive(Clone, Copy, Debug)]
pub enum WebhookKind {}

impl Kind for WebhookKind {
    const PREFIX: &'static str = "hook";
}

/// `hook_1234567890_…`
pub type WebhookId = Id<WebhookKind>;

/// How long the previous secret still signs after a rotation: a working day in every time zone.
const SECRETS_OVERLAP: Duration = Duration::from_hours(24);

/// A subscription to events over HTTP.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Webhook {
    /// Unique id; its signing secrets are derived from it.
    pub id: WebhookId,
    /// The owner.
    pub user: UserId,
    /// Destination of the POST requests.
    pub url: String,
    /// Event types; all types where empty.
    pub types: Vec<String>,
    /// Whether the events of all users are delivered, or only the owner's.
    pub everybody: bool,
    /// Whether deliveries are created.
    pub active: bool,
    /// Number of the last event before it was created or activated.
    pub since: i64,
    /// Number of the current signing secret, from 0.
    pub secret: u32,
    /// Time of the last secret rotation.
    pub rotated_at: Option<Timestamp>,
    /// Creation time.
    pub created_at: Timestamp,
    /// Time of the last change.
    pub updated_at: Timestamp,
}

impl Webhook {
    /// Whether an event of this type and of these users is delivered.
    pub fn wants(&self, kind: &str, users: [Option<&UserId>; 2]) -> bool {
        self.active
            && (self.types.is_empty() || self.types.iter().any(|wanted| wanted == kind))
            && (self.everybody || users.into_iter().flatten().any(|user| *user == self.user))
    }

    /// End of the overlap in which the previous secret signs too.
    pub fn both_sign_until(&self) -> Option<Timestamp> {
        self.rotated_at.map(|at| at + SECRETS_OVERLAP)
    }

    /// Numbers of the secrets that sign at `now`, newest first.
    pub fn signing_secrets(&self, now: Timestamp) -> impl Iterator<Item = u32> + use<> {
        let before =
            self.secret.checked_sub(1).filter(|_| self.both_sign_until().is_some_and(|end| now < end));
        [Some(self.secret), before].into_iter().flatten()
    }
}

/// Exponential back-off of failed deliveries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RetryPolicy {
    /// The first delay; each later one is twice as long.
    pub first: Duration,
    /// Maximum delay.
    pub longest: Duration,
    /// Number of attempts before a delivery becomes a dead letter.
    pub attempts: u32,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        RetryPolicy { first: Duration::from_secs(1), longest: Duration::from_secs(3600), attempts: 14 }
    }
}

impl RetryPolicy {
    /// Delay after `attempts` failed attempts; `None` after the last one. Half of each delay is random jitter, so that deliveries that failed
    /// together are not retried together.
    pub fn after(&self, attempts: u32, rng: &mut Rng) -> Option<Duration> {
        if attempts >= self.attempts {
            return None;
        }
        let doubled = self.first.saturating_mul(1 << attempts.saturating_sub(1).min(30)).min(self.longest);
        let half = doubled.as_micros() as u64 / 2;
        Some(Duration::from_micros(half + rng.below(half + 1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_maximum_and_end() {
        let policy = RetryPolicy::default();
        let mut rng = Rng::from_number(1);
        for attempts in 1..policy.attempts {
            let whole = Duration::from_secs(1 << (attempts - 1)).min(policy.longest);
            for _ in 0..50 {
                let wait = policy.after(attempts, &mut rng).unwrap();
                assert!((whole / 2..=whole).contains(&wait), "{attempts}: {wait:?}");
            }
        }
        assert_eq!(policy.after(policy.attempts, &mut rng), None);
        assert!(policy.after(0, &mut rng).unwrap() <= policy.first);
    }

    #[test]
    fn a_webhook_gets_its_owners_events_unless_it_subscribes_to_all() {
        let user = |name: &str| UserId::parse(name).unwrap();
        let hook = Webhook {
            id: WebhookId::parse("hook_1").unwrap(),
            user: user("ana"),
            url: "https://crm.example/hook".into(),
            types: vec!["call_ended".into()],
            everybody: false,
            active: true,
            since: 0,
            secret: 0,
            rotated_at: None,
            created_at: Timestamp::default(),
            updated_at: Timestamp::default(),
        };
        let (ana, eva) = (user("ana"), user("eva"));
        assert!(hook.wants("call_ended", [Some(&eva), Some(&ana)]));
        assert!(!hook.wants("call_ended", [Some(&eva), None]));
        assert!(!hook.wants("call_started", [Some(&ana), None]));
        assert!(Webhook { everybody: true, types: Vec::new(), ..hook.clone() }.wants("x", [None, None]));
        assert!(!Webhook { active: false, ..hook.clone() }.wants("call_ended", [Some(&ana), None]));
        // After a rotation the new and the previous secret sign for a day, older ones never.
        let at = |hours: u64| Timestamp::default() + Duration::from_hours(hours);
        let signing = |hook: &Webhook, hours| hook.signing_secrets(at(hours)).collect::<Vec<_>>();
        assert_eq!(signing(&hook, 0), [0]);
        let rotated = Webhook { secret: 3, rotated_at: Some(at(5)), ..hook };
        assert_eq!(
            (signing(&rotated, 5), signing(&rotated, 28), signing(&rotated, 29)),
            (vec![3, 2], vec![3, 2], vec![3])
        );
    }
}
