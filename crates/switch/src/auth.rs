//! Digest authentication of requests against the directory. A challenge leaves no state; an unknown user name costs the same work and gets the
//! same response as a known one.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use base::{Now, Rng};
use model::journal::CallEvent;
use model::{Credential, Directory};
use sip::digest::{self, Algorithm, Credentials, Freshness, Ha1, Nonces};
use sip::{HeaderName, Headers, Incoming, Uri};

use crate::guard::{Guard, Report, harmless};
use crate::location::Location;
use crate::{Ban, Config, limits};

/// Result of checking a request's Authorization header.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// The digest is valid.
    Known(Arc<Credential>),
    /// Challenge with 401; `stale` if the password was right but the nonce is used up.
    Challenge { stale: bool },
    /// Banned for too many wrong answers: no response at all.
    Drop,
}

#[derive(Debug)]
pub(crate) struct Authenticator {
    nonces: Nonces,
    guard: Guard,
    nobody: Ha1,
    realm: String,
    algorithms: Vec<Algorithm>,
    pub(crate) wrong: u64,
    pub(crate) silenced: u64,
    /// Pending events about wrong answers and bans; `told` is the start of the current minute and the number of events queued in it.
    pub(crate) events: Vec<CallEvent>,
    told: (base::Instant, u32),
}

impl Authenticator {
    pub(crate) fn new(realm: &str, algorithms: &[Algorithm], rng: &mut Rng) -> Self {
        Authenticator {
            nonces: Nonces::new(rng),
            guard: Guard::new(rng),
            nobody: Ha1::new("nobody", realm, &rng.base36(20)),
            realm: realm.into(),
            algorithms: algorithms.to_vec(),
            wrong: 0,
            silenced: 0,
            events: Vec::new(),
            told: (base::Instant::default(), 0),
        }
    }

    /// Queue an event about a wrong answer or a ban, at most [`limits::WRONG_ANSWERS_TOLD`] per minute, so a distributed flood stays bounded.
    fn note(&mut self, now: Now, told: Report, source: IpAddr, account: &str) {
        let banned_seconds = match told {
            Report::Nothing => return,
            Report::First => 0,
            Report::Ban { seconds } => seconds,
        };
        if now.instant.since(self.told.0) >= Duration::from_secs(60) {
            self.told = (now.instant, 0);
        }
        if self.told.1 >= limits::WRONG_ANSWERS_TOLD {
            return;
        }
        self.told.1 += 1;
        self.events.push(CallEvent::WrongAnswer {
            source: source.to_canonical(),
            account: harmless(account).to_string(),
            at: now.wall,
            banned_seconds,
        });
    }

    /// Check the credentials of a request, and charge the guard for a wrong answer.
    pub(crate) fn judge(
        &mut self,
        now: Now,
        request: &Incoming,
        directory: &Directory,
        location: &Location,
        config: &Config,
    ) -> Verdict {
        let Some(answer) = self.answer_for_us(request) else { return Verdict::Challenge { stale: false } };
        let freshness = self.nonces.check(now.instant, answer.nonce);
        if freshness == Freshness::Forged {
            return Verdict::Challenge { stale: false };
        }
        let source = request.hop.remote.ip();
        let credential = directory.credential(&answer.username);
        let known = credential.is_some_and(|c| {
            location.contacts(&canonical(directory, c)).iter().any(|b| b.hop.remote.ip() == source)
        });
        if !self.guard.judges(now.instant, source, &answer.username, known) {
            self.silenced += 1;
            return Verdict::Drop;
        }
        let ha1 = credential.and_then(|c| ha1_of(c, &answer.username));
        let proved = answer.prove(request.message.method().as_str(), ha1.as_ref().unwrap_or(&self.nobody));
        let Some(credential) =
            credential.filter(|_| proved && ha1.is_some() && names_target(&answer, request, config))
        else {
            self.wrong += 1;
            let told = self.guard.charge(now.instant, source, &answer.username);
            self.note(now, told, source, &answer.username);
            return Verdict::Challenge { stale: false };
        };
        self.guard.forgive(source, &answer.username);
        if freshness == Freshness::Stale || !self.nonces.spend(now.instant, answer.nonce, answer.count) {
            return Verdict::Challenge { stale: true };
        }
        Verdict::Known(Arc::clone(credential))
    }

    /// Whether a PIN from this source for this account is checked; `false` while banned.
    pub(crate) fn admits_pin(&self, now: base::Instant, source: std::net::IpAddr, account: &str) -> bool {
        self.guard.admits(now, source, account, false)
    }

    /// A wrong PIN counts like a wrong password.
    pub(crate) fn charge_pin(&mut self, now: Now, source: std::net::IpAddr, account: &str) {
        self.wrong += 1;
        let told = self.guard.charge(now.instant, source, account);
        self.note(now, told, source, account);
    }

    /// Active bans, newest first.
    pub(crate) fn bans(&self, now: Now) -> Vec<Ban> {
        self.guard.bans(now)
    }

    /// Lift bans; returns the lifted ones.
    pub(crate) fn lift(&mut self, now: Now, source: IpAddr, account: Option<&str>) -> Vec<Ban> {
        self.guard.lift(now, source, account)
    }

    /// Add the WWW-Authenticate lines of a challenge, one per algorithm.
    pub(crate) fn challenge(&mut self, now: Now, stale: bool, lines: &mut Headers) {
        for algorithm in &self.algorithms {
            let nonce = self.nonces.mint(now.instant);
            lines.add("WWW-Authenticate", digest::challenge(&self.realm, &nonce, *algorithm, stale));
        }
    }

    fn answer_for_us<'a>(&self, request: &'a Incoming) -> Option<Credentials<'a>> {
        request
            .message
            .header_lines(HeaderName::Authorization)
            .filter_map(|line| Credentials::parse(std::str::from_utf8(line).ok()?.trim()))
            .find(|answer| answer.realm == self.realm && self.algorithms.contains(&answer.algorithm))
    }
}

/// Whether the digest was made for this Request-URI (RFC 7616 §3.4.6): the same text; the same user at one of our hosts, as after a proxy's
/// rewriting; or our bare address, as SIPp and some phones write it. A digest made for another user does not count.
fn names_target(answer: &Credentials<'_>, request: &Incoming, config: &Config) -> bool {
    let Some(target) = request.message.uri() else { return false };
    if answer.uri.as_bytes() == target.as_bytes().as_ref() {
        return true;
    }
    Uri::parse(answer.uri.as_bytes().to_vec().into()).is_ok_and(|uri| {
        (uri.user().is_none() || uri.user() == target.user())
            && (uri.host().eq_ignore_ascii_case(target.host()) || config.is_ours(uri.host(), &request.hop))
    })
}

fn ha1_of(credential: &Credential, username: &str) -> Option<Ha1> {
    let ha1 = if *username == *credential.username {
        Some(&credential.ha1)
    } else {
        credential.ha1_by_number.as_ref()
    };
    ha1.map(|h| Ha1 { md5: base::Secret::new(h.md5), sha256: base::Secret::new(h.sha256) })
}

/// The address of record that holds a credential's bindings: the user name of its extension, if it has one.
pub(crate) fn canonical(directory: &Directory, credential: &Credential) -> Arc<str> {
    credential
        .extension
        .as_ref()
        .and_then(|id| directory.extension(id))
        .map_or_else(|| Arc::clone(&credential.username), |e| Arc::clone(&e.username))
}
