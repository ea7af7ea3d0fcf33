//! Webhooks: who is told of events over HTTP, and when a message that was not taken is sent again (S88).

use std::time::Duration;

use base::{Id, Kind, Rng, Timestamp};
use serde::{Deserialize, Serialize};

use crate::UserId;

/// Marks ids of webhooks; see [`WebhookId`].
#[derive(Clone, Copy, Debug)]
pub enum WebhookKind {}

impl Kind for WebhookKind {
    const PREFIX: &'static str = "hook";
}

/// `hook_1234567890_…`
pub type WebhookId = Id<WebhookKind>;

/// How long a receiver has to change over to a new secret: a working day, wherever he is.
const SECRETS_OVERLAP: Duration = Duration::from_hours(24);

/// Somebody who is told.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Webhook {
    /// Its id; the secrets that sign its messages are derived from it.
    pub id: WebhookId,
    /// Whose.
    pub user: UserId,
    /// Where messages are posted.
    pub url: String,
    /// Of which events; of all where empty.
    pub types: Vec<String>,
    /// Whether of everybody's events, or only of its user's.
    pub everybody: bool,
    /// Whether messages are made for it now.
    pub active: bool,
    /// The number of the last event before it was made or switched on.
    pub since: i64,
    /// The number of the secret that signs; the first is 0.
    pub secret: u32,
    /// When that secret took the place of the one before.
    pub rotated_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

impl Webhook {
    /// Whether an event of this kind and of these users is for it.
    pub fn wants(&self, kind: &str, users: [Option<&UserId>; 2]) -> bool {
        self.active
            && (self.types.is_empty() || self.types.iter().any(|wanted| wanted == kind))
            && (self.everybody || users.into_iter().flatten().any(|user| *user == self.user))
    }

    /// Until when the secret before the last signs too.
    pub fn both_sign_until(&self) -> Option<Timestamp> {
        self.rotated_at.map(|at| at + SECRETS_OVERLAP)
    }

    /// The numbers of the secrets that sign what is sent now, the newest first.
    pub fn signing_secrets(&self, now: Timestamp) -> impl Iterator<Item = u32> + use<> {
        let before =
            self.secret.checked_sub(1).filter(|_| self.both_sign_until().is_some_and(|end| now < end));
        [Some(self.secret), before].into_iter().flatten()
    }
}

/// How patient we are with who does not take a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RetryPolicy {
    /// The first wait; each later one is twice as long.
    pub first: Duration,
    /// … up to this.
    pub longest: Duration,
    /// After so many attempts it lies in the list of dead letters.
    pub attempts: u32,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        RetryPolicy { first: Duration::from_secs(1), longest: Duration::from_secs(3600), attempts: 14 }
    }
}

impl RetryPolicy {
    /// How long to wait after `attempts` that failed; `None` where it was the last. Half of each wait is chance, so that many that failed
    /// together do not come back together.
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
    fn waits_double_up_to_the_longest_and_end() {
        let patience = RetryPolicy::default();
        let mut rng = Rng::from_number(1);
        for attempts in 1..patience.attempts {
            let whole = Duration::from_secs(1 << (attempts - 1)).min(patience.longest);
            for _ in 0..50 {
                let wait = patience.after(attempts, &mut rng).unwrap();
                assert!((whole / 2..=whole).contains(&wait), "{attempts}: {wait:?}");
            }
        }
        assert_eq!(patience.after(patience.attempts, &mut rng), None);
        assert!(patience.after(0, &mut rng).unwrap() <= patience.first);
    }

    #[test]
    fn a_hook_is_told_of_its_own_users_events_unless_it_follows_everybody() {
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
        // A new secret and the one before sign for a day, and never one before those.
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
