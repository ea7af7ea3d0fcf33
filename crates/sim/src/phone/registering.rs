//! Registration of a phone (RFC 3261 §10.2): challenge, refresh, and reaction to a rejection.

use std::time::Duration;

use base::{Instant, Rng};
use sip::{HeaderName, Message};

use super::client::Purpose;
use super::wire::Draft;
use super::{Alarm, Observation, Phone, PhoneOutput};
use crate::rng_ext::Dice;

#[derive(Debug)]
pub(super) struct Registration {
    call_id: String,
    tag: String,
    cseq: u32,
    challenged: u8,
    /// Expiry of the next REGISTER in seconds: 0 removes the binding.
    expires: Option<u32>,
    under_way: bool,
    /// Time of the last REGISTER: the granted expiry counts at the earliest from here.
    asked_at: Instant,
}

impl Registration {
    pub(super) fn new(rng: &mut Rng) -> Registration {
        Registration {
            call_id: format!("reg-{}", rng.base36(10)),
            tag: rng.base36(8),
            cseq: rng.below(1000) as u32,
            challenged: 0,
            expires: None,
            under_way: false,
            asked_at: Instant::ZERO,
        }
    }
}

impl Phone {
    pub(super) fn register(&mut self, now: Instant, said: &mut PhoneOutput) {
        if self.closing || self.registration.under_way {
            return;
        }
        self.registration.challenged = 0;
        self.registration.expires = Some(match self.rng.below(100) {
            0..4 => 0, // removes its binding, and registers again later
            4..8 => 30, // too short: 423
            8..10 => 90_000, // too long: shortened by the registrar
            _ => self.habits.expires,
        });
        self.ask(now, "", said);
    }

    fn ask(&mut self, now: Instant, authorization: &str, said: &mut PhoneOutput) {
        self.registration.cseq += 1;
        self.registration.under_way = true;
        self.registration.asked_at = now;
        said.sights.push(Observation::Unsure);
        let branch = self.new_branch();
        let expires = self.registration.expires.unwrap_or(self.habits.expires);
        let lines = format!("Expires: {expires}\r\n{authorization}");
        let (user, domain) = (self.account.user.clone(), self.account.domain.clone());
        let request = self.write(&Draft {
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
        self.send(now, &branch, request, Purpose::Register, said);
    }

    /// The response to REGISTER, or its timeout.
    pub(super) fn registered(&mut self, now: Instant, answer: Option<&Message>, said: &mut PhoneOutput) {
        self.registration.under_way = false;
        if self.closing {
            return;
        }
        let later = self.rng.millis(2000, 15_000);
        let Some(answer) = answer else { return self.alarm(now + later, Alarm::Register) };
        match answer.status() {
            Some(200) => self.bound(now, answer, said),
            Some(401) if self.registration.challenged < 3 => {
                self.registration.challenged += 1;
                let uri = format!("sip:{}", self.account.domain);
                match self.authorization(answer, "REGISTER", &uri) {
                    Some(line) => self.ask(now, &line, said),
                    None => said.wrong("a challenge that cannot be answered"),
                }
            }
            Some(423) => {
                said.count("423");
                let Some(Ok(least)) = answer.number(HeaderName::MinExpires) else {
                    return said.wrong("423 without Min-Expires");
                };
                self.registration.expires = Some(least);
                self.registration.challenged = 0;
                self.ask(now, "", said);
            }
            Some(status) => {
                if status == 403 {
                    said.count("REGISTER 403");
                }
                self.alarm(now + later * 2, Alarm::Register);
            }
            None => {}
        }
    }

    fn bound(&mut self, now: Instant, answer: &Message, said: &mut PhoneOutput) {
        let mine = match answer.contacts() {
            Ok(sip::Contacts::List(list)) => {
                let me = self.contact();
                list.into_iter()
                    .find(|c| format!("<{}>", c.uri) == me)
                    .and_then(|c| c.param("expires")?.parse().ok())
            }
            Ok(sip::Contacts::None | sip::Contacts::Star) | Err(_) => None,
        };
        let asked = self.registration.expires.unwrap_or_default();
        match mine {
            None if asked == 0 => {
                said.count("unregistered");
                let back = self.rng.millis(1000, 20_000);
                self.alarm(now + back, Alarm::Register);
            }
            None => said.wrong("200 to REGISTER without the contact that was asked for"),
            Some(_) if asked == 0 => said.wrong("200 to REGISTER with the contact that was taken away"),
            Some(seconds) => {
                said.count("registered");
                let seconds: u32 = seconds;
                let expires = Duration::from_secs(u64::from(seconds));
                said.sights.push(Observation::Bound { until: self.registration.asked_at + expires });
                self.calm(&Alarm::Register);
                // Most phones refresh in time; some refresh late, after the binding has expired.
                let share = if self.rng.odds(5) { 110 } else { 50 + self.rng.below(45) as u32 };
                self.alarm(now + expires * share / 100, Alarm::Register);
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
