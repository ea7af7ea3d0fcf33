//! Read-only commands of the API, the CLI and the scheduler, and the end of draining.

use std::sync::Arc;

use base::Now;

use crate::core::Core;
use crate::{Output, Presence, Registration, RegistrationsOf, Reply, State, Status, limits};

impl Core {
    /// Whether each user name has a registered device, and whether it is in a call.
    pub(crate) fn presence(&self, now: Now, usernames: &[Arc<str>]) -> Vec<Presence> {
        let of = |name: &Arc<str>| Presence {
            registered: self.location.is_registered(now.instant, name),
            busy: self.index.is_busy(name),
        };
        usernames.iter().map(of).collect()
    }

    /// While draining: close the listeners once there are no calls, no open recordings and no pending unregistrations at carriers.
    pub(crate) fn drained(&mut self, out: &mut Vec<Output>) {
        let over = || self.index.len() == 0 && self.recordings.is_empty() && !self.trunks.is_unregistering();
        if self.state == State::Draining && over() {
            out.push(Output::Listen(false));
        }
    }

    pub(crate) fn registrations(&self, now: Now, of: &RegistrationsOf, limit: usize) -> Reply {
        match of {
            RegistrationsOf::Everybody { after } => {
                self.registrations_of(now, self.location.names_after(after.as_deref()), limit)
            }
            RegistrationsOf::These(names) => self.registrations_of(now, names.iter(), limit),
        }
    }

    fn registrations_of<'n>(
        &self,
        now: Now,
        names: impl Iterator<Item = &'n Arc<str>>,
        limit: usize,
    ) -> Reply {
        let (mut found, mut last) = (Vec::new(), None);
        for (looked_at, username) in names.enumerate() {
            if found.len() >= limit || looked_at >= limits::NAMES_LISTED {
                return Reply::Registrations { found, next: last };
            }
            let live = self.location.contacts(username).iter().filter(|c| now.instant < c.expires);
            found.extend(live.map(|contact| Registration {
                username: Arc::clone(username),
                contact: contact.uri.to_string(),
                remote: contact.hop.remote,
                expires_at: now.wall + contact.expires.since(now.instant),
                user_agent: contact.user_agent.to_string(),
            }));
            last = Some(Arc::clone(username));
        }
        Reply::Registrations { found, next: None }
    }

    pub(crate) fn status(&self) -> Status {
        let (transactions, sessions) = self.endpoint.counts();
        let mut counters = self.counters.clone();
        (counters.wrong_passwords, counters.banned) = (self.auth.wrong, self.auth.silenced);
        counters.answers_withheld = self.endpoint.suppressed_responses();
        Status {
            state: self.state,
            active_calls: self.index.live_count(),
            registrations: self.location.len(),
            ports_in_use: self.index.streams(),
            transactions,
            sessions,
            journal: self.journal,
            counters,
        }
    }
}
