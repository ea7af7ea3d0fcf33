//! Registration of a phone (RFC 3261 §10.2): challenge, refresh, and reaction to a rejection.

use std::time::Duration;

use base::{Instant, Rng};
use sip::{HeaderName, Message};

use super::client::Purpose;
use super::wire::RequestParts;
use super::{Observation, Phone, PhoneOutput, PhoneTimer};
use crate::rng_ext::RngExt;

#[derive(Debug)]
pub(super) struct Registration {
    call_id: String,
    tag: String,
    cseq: u32,
    challenges: u8,
    /// Expiry of the next REGISTER in seconds: 0 removes the binding.
    expires: Option<u32>,
    in_progress: bool,
    /// Time of the last REGISTER: the granted expiry counts at the earliest from here.
    sent_at: Instant,
}

impl Registration {
    pub(super) fn new(rng: &mut Rng) -> Registration {
        Registration {
            call_id: format!("reg-{}", rng.base36(10)),
            tag: rng.base36(8),
            cseq: rng.below(1000) as u32,
            challenges: 0,
            expires: None,
            in_progress: false,
            sent_at: Instant::ZERO,
        }
    }
}

impl Phone {
    pub(super) fn register(&mut self, now: Instant, out: &mut PhoneOutput) {
        if self.closing || self.registration.in_progress {
            return;
        }
        self.registration.challenges = 0;
        self.registration.expires = Some(match self.rng.below(100) {
            0..4 => 0,       // removes its binding, and registers again later
            4..8 => 30,      // too short: 423
            8..10 => 90_000, // too long: shortened by the registrar
            _ => self.profile.expires,
        });
        self.send_register(now, "", out);
    }

    fn send_register(&mut self, now: Instant, authorization: &str, out: &mut PhoneOutput) {
        self.registration.cseq += 1;
        self.registration.in_progress = true;
        self.registration.sent_at = now;
        out.observations.push(Observation::BindingUnknown);
        let branch = self.new_branch();
        let expires = self.registration.expires.unwrap_or(self.profile.expires);
        let lines = format!("Expires: {expires}\r\n{authorization}");
        let (user, domain) = (self.account.user.clone(), self.account.domain.clone());
        let request = self.write(&RequestParts {
            method: "REGISTER",
            uri: &format!("sip:{domain}"),
            branch: &branch,
            from: format!("<sip:{user}@{domain}>;tag={}", self.registration.tag),
            to: format!("<sip:{user}@{domain}>"),
            call_id: &self.registration.call_id,
            cseq: self.registration.cseq,
            lines: &lines,
            sdp: None,
        });
        self.send(now, &branch, request, Purpose::Register, out);
    }

    /// The response to REGISTER, or its timeout.
    pub(super) fn on_register_response(
        &mut self,
        now: Instant,
        answer: Option<&Message>,
        out: &mut PhoneOutput,
    ) {
        self.registration.in_progress = false;
        if self.closing {
            return;
        }
        let later = self.rng.millis(2000, 15_000);
        let Some(answer) = answer else { return self.set_timer(now + later, PhoneTimer::Register) };
        match answer.status() {
            Some(200) => self.on_register_ok(now, answer, out),
            Some(401) if self.registration.challenges < 3 => {
                self.registration.challenges += 1;
                let uri = format!("sip:{}", self.account.domain);
                match self.authorization(answer, "REGISTER", &uri) {
                    Some(line) => self.send_register(now, &line, out),
                    None => out.violation("a challenge without a supported algorithm"),
                }
            }
            Some(423) => {
                out.count("423");
                let Some(Ok(least)) = answer.number(HeaderName::MinExpires) else {
                    return out.violation("423 without Min-Expires");
                };
                self.registration.expires = Some(least);
                self.registration.challenges = 0;
                self.send_register(now, "", out);
            }
            Some(status) => {
                if status == 403 {
                    out.count("REGISTER 403");
                }
                self.set_timer(now + later * 2, PhoneTimer::Register);
            }
            None => {}
        }
    }

    fn on_register_ok(&mut self, now: Instant, answer: &Message, out: &mut PhoneOutput) {
        let mine = match answer.contacts() {
            Ok(sip::Contacts::List(list)) => {
                let me = self.contact();
                list.into_iter()
                    .find(|c| format!("<{}>", c.uri) == me)
                    .and_then(|c| c.param("expires")?.parse().ok())
            }
            Ok(sip::Contacts::None | sip::Contacts::Star) | Err(_) => None,
        };
        let requested = self.registration.expires.unwrap_or_default();
        match mine {
            None if requested == 0 => {
                out.count("unregistered");
                let back = self.rng.millis(1000, 20_000);
                self.set_timer(now + back, PhoneTimer::Register);
            }
            None => out.violation("200 to REGISTER without the requested contact"),
            Some(_) if requested == 0 => out.violation("200 to REGISTER with the removed contact"),
            Some(seconds) => {
                out.count("registered");
                let seconds: u32 = seconds;
                let expires = Duration::from_secs(u64::from(seconds));
                out.observations.push(Observation::Bound { until: self.registration.sent_at + expires });
                self.cancel_timers(&PhoneTimer::Register);
                // Most phones refresh in time; some refresh late, after the binding has expired.
                let share = if self.rng.odds(5) { 110 } else { 50 + self.rng.below(45) as u32 };
                self.set_timer(now + expires * share / 100, PhoneTimer::Register);
            }
        }
    }

    /// The Authorization header line for a challenge.
    pub(super) fn authorization(&mut self, challenge: &Message, method: &str, uri: &str) -> Option<String> {
        let value = challenge.header(HeaderName::WwwAuthenticate)?;
        let account = &self.account;
        let answer =
            sip::digest::answer(value, None, method, uri, &account.login, &account.password, &mut self.rng)?;
        Some(format!("Authorization: {answer}\r\n"))
    }
}
