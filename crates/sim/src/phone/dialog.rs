//! Requests in a confirmed dialog: hold, resume, UPDATE, INFO, session timers and BYE.

use std::time::Duration;

use base::Instant;
use sip::{HeaderName, Message};

use super::client::Purpose;
use super::sound;
use super::wire::body_of;
use super::{Alarm, Phone, PhoneOutput, Stage};
use crate::rng_ext::Dice;

impl Phone {
    /// A call was answered: schedule its end and, for some, re-INVITEs and INFOs.
    pub(super) fn talk(&mut self, now: Instant, id: u32) {
        let talks = self.rng.millis(self.habits.talks.0, self.habits.talks.1);
        self.alarm(now + talks, Alarm::Hangup(id));
        if self.rng.odds(self.habits.fidgets) {
            let soon = self.rng.millis(self.habits.rest.0, self.habits.rest.1);
            self.alarm(now + soon, Alarm::Chat(id));
        }
    }

    /// End a call in any state.
    pub(super) fn hang_up(&mut self, now: Instant, id: u32, said: &mut PhoneOutput) {
        match self.stage(id) {
            Stage::Up => self.bye(now, id, said),
            // RFC 3261 §15: no BYE before the ACK. Without an ACK the 200 times out.
            Stage::Answered => self.alarm(now + Duration::from_secs(1), Alarm::Hangup(id)),
            Stage::Calling | Stage::Hearing => self.cancel(now, id, said),
            Stage::Incoming => self.refuse(now, id, 480, said),
            Stage::Cancelling | Stage::Over => {}
        }
    }

    pub(super) fn bye(&mut self, now: Instant, id: u32, said: &mut PhoneOutput) {
        let branch = self.new_branch();
        let Some(call) = self.calls.get_mut(&id) else { return };
        call.cseq += 1;
        let call = call.clone();
        self.over(id);
        said.count("BYE sent");
        let request = self.within(&call, "BYE", &branch, call.cseq, "", None);
        self.send(now, &branch, request, Purpose::Bye(id), said);
    }

    pub(super) fn chat(&mut self, now: Instant, id: u32, said: &mut PhoneOutput) {
        let next = self.rng.millis(self.habits.rest.0, self.habits.rest.1);
        let roll = self.rng.below(100);
        let Some(call) = self.calls.get_mut(&id) else { return };
        if call.stage != Stage::Up {
            return;
        }
        self.alarm(now + next, Alarm::Chat(id));
        let Some(call) = self.calls.get_mut(&id) else { return };
        if call.offering {
            return;
        }
        let updates = call.updates && self.habits.update;
        if roll < 55 {
            call.sdp.direction = match (call.sdp.direction, roll % 5) {
                ("sendrecv", 0) => "inactive",
                ("sendrecv", _) => "sendonly",
                _ => "sendrecv",
            };
        }
        match roll {
            0..35 => self.reinvite(now, id, Offer::Ours, said),
            35..55 if updates => self.update(now, id, Offer::Ours, said),
            35..55 => self.reinvite(now, id, Offer::Ours, said),
            55..65 if updates => self.update(now, id, Offer::None, said),
            55..75 => self.reinvite(now, id, Offer::None, said),
            _ => self.info(now, id, said),
        }
    }

    /// Send the next offer, after a 491 or after a pause.
    pub(super) fn offer_anew(&mut self, now: Instant, id: u32, said: &mut PhoneOutput) {
        if self.stage(id) == Stage::Up && self.calls.get(&id).is_some_and(|call| !call.offering) {
            self.reinvite(now, id, Offer::Ours, said);
        }
    }

    fn reinvite(&mut self, now: Instant, id: u32, offer: Offer, said: &mut PhoneOutput) {
        said.count("re-INVITE sent");
        let lines = format!("{}{}", self.allow(), self.session_lines(id));
        let Some((branch, call, sdp)) = self.begin_offer(id, offer) else { return };
        let request = self.within(&call, "INVITE", &branch, call.cseq, &lines, sdp.as_deref());
        self.send(now, &branch, request, Purpose::Reinvite(id), said);
    }

    fn update(&mut self, now: Instant, id: u32, offer: Offer, said: &mut PhoneOutput) {
        said.count("UPDATE sent");
        let lines = self.session_lines(id);
        let Some((branch, call, sdp)) = self.begin_offer(id, offer) else { return };
        if let (Offer::None, Some(call)) = (offer, self.calls.get_mut(&id)) {
            call.late = false;
        }
        let request = self.within(&call, "UPDATE", &branch, call.cseq, &lines, sdp.as_deref());
        self.send(now, &branch, request, Purpose::Update(id), said);
    }

    fn begin_offer(&mut self, id: u32, offer: Offer) -> Option<(String, super::Call, Option<String>)> {
        let branch = self.new_branch();
        let (address, codecs) = (self.address, self.habits.codecs);
        let call = self.calls.get_mut(&id)?;
        call.cseq += 1;
        call.offering = true;
        call.late = offer == Offer::None;
        call.sdp.version += 1;
        let sdp = (offer == Offer::Ours).then(|| call.sdp.offer(address, codecs));
        call.offered.clone_from(&sdp);
        Some((branch, call.clone(), sdp))
    }

    fn info(&mut self, now: Instant, id: u32, said: &mut PhoneOutput) {
        let branch = self.new_branch();
        let Some(call) = self.calls.get_mut(&id) else { return };
        call.cseq += 1;
        let call = call.clone();
        let request = self.within(&call, "INFO", &branch, call.cseq, "", None);
        said.count("INFO sent");
        self.send(now, &branch, request, Purpose::Info(id), said);
    }

    /// The response to our re-INVITE or UPDATE, or its timeout.
    pub(super) fn reoffered(
        &mut self,
        now: Instant,
        id: u32,
        answer: Option<&Message>,
        said: &mut PhoneOutput,
    ) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        call.offering = false;
        call.late = false;
        let offered = call.offered.take();
        if call.stage == Stage::Over {
            return;
        }
        match answer.and_then(Message::status) {
            Some(200..300) => {
                if let (Some(offer), Some(message)) = (offered, answer) {
                    // Only for UPDATE: the answer to a re-INVITE was read when its ACK was sent.
                    match body_of(message) {
                        None => said.wrong("200 to UPDATE without an answer to our offer"),
                        Some(body) => {
                            if let Err(why) = sound::fits(offer.as_bytes(), &body) {
                                said.wrong(why);
                            }
                        }
                    }
                }
                said.count("renegotiations that were accepted");
                if let Some(message) = answer {
                    self.agree_on_session(now, id, message, said);
                }
            }
            Some(491 | 500) => {
                said.count("renegotiations that clashed");
                let later = self.rng.millis(0, 4000);
                self.alarm(now + later, Alarm::Reoffer(id));
            }
            Some(408 | 481) | None => self.hang_up(now, id, said), // RFC 3261 §12.2.1.2
            Some(_) => said.count("renegotiations that were refused"),
        }
    }

    pub(super) fn reinvited(
        &mut self,
        now: Instant,
        key: &str,
        id: u32,
        message: &Message,
        said: &mut PhoneOutput,
    ) {
        self.belongs_to(key, id);
        let refuses = self.rng.odds(5);
        let (address, codecs) = (self.address, self.habits.codecs);
        let Some(call) = self.calls.get_mut(&id) else { return };
        if call.offering {
            return self.reply(now, key, 491, "", None, said);
        }
        call.sdp.version += 1;
        let sdp = match body_of(message) {
            Some(_) if refuses => None,
            Some(offer) => call.sdp.answer(address, codecs, &offer),
            None => Some(call.sdp.offer(address, codecs)),
        };
        if sdp.is_none() {
            return self.reply(now, key, 488, "", None, said);
        }
        said.count("re-INVITE heard");
        let lines = format!("{}{}", self.allow(), self.grant_session(now, id, message));
        self.reply(now, key, 200, &lines, sdp.as_deref(), said);
    }

    pub(super) fn updated(
        &mut self,
        now: Instant,
        key: &str,
        id: u32,
        message: &Message,
        said: &mut PhoneOutput,
    ) {
        let (address, codecs) = (self.address, self.habits.codecs);
        let Some(call) = self.calls.get_mut(&id) else { return };
        let offer = body_of(message);
        if call.offering && offer.is_some() {
            return self.reply(now, key, 491, "", None, said);
        }
        let sdp = match &offer {
            None => None,
            Some(offer) => {
                call.sdp.version += 1;
                match call.sdp.answer(address, codecs, offer) {
                    Some(answer) => Some(answer),
                    None => return self.reply(now, key, 488, "", None, said),
                }
            }
        };
        said.count("UPDATE heard");
        let lines = self.grant_session(now, id, message);
        self.reply(now, key, 200, &lines, sdp.as_deref(), said);
    }

    // ---- session timers (RFC 4028) ---------------------------------------------------------------------------------------------

    fn session_lines(&self, id: u32) -> String {
        match self.calls.get(&id).and_then(|call| call.session) {
            Some(seconds) => format!("Supported: timer\r\nSession-Expires: {seconds};refresher=uac\r\n"),
            None => String::new(),
        }
    }

    /// Session timer of the response to our request: interval and refresher.
    pub(super) fn agree_on_session(
        &mut self,
        now: Instant,
        id: u32,
        answer: &Message,
        said: &mut PhoneOutput,
    ) {
        let Some((seconds, refresher)) = session_of(answer) else { return };
        if self.habits.session_timer.is_none() && refresher == "uac" {
            return said.wrong("a session timer that a phone without the extension must keep");
        }
        if self.habits.session_timer.is_none() {
            return;
        }
        self.start_session(now, id, seconds, refresher == "uac");
    }

    /// Session timer headers of our response to a request.
    pub(super) fn grant_session(&mut self, now: Instant, id: u32, request: &Message) -> String {
        let supported = request.tokens(HeaderName::Supported).any(|t| t.eq_ignore_ascii_case("timer"));
        let Some((seconds, refresher)) = session_of(request) else { return String::new() };
        if self.habits.session_timer.is_none() || !supported {
            return String::new();
        }
        let refresher = if refresher.is_empty() { *self.rng.pick(&["uac", "uas"]) } else { refresher };
        self.start_session(now, id, seconds, refresher == "uas");
        format!("Require: timer\r\nSession-Expires: {seconds};refresher={refresher}\r\n")
    }

    fn start_session(&mut self, now: Instant, id: u32, seconds: u32, ours: bool) {
        if let Some(call) = self.calls.get_mut(&id) {
            call.session = Some(seconds);
        }
        self.calm(&Alarm::Refresh(id));
        self.calm(&Alarm::Expire(id));
        let whole = Duration::from_secs(u64::from(seconds));
        if ours && !self.habits.forgets_refresh {
            self.alarm(now + whole / 2, Alarm::Refresh(id));
        } else if !ours {
            self.alarm(
                now + whole.checked_sub((whole / 3).min(Duration::from_secs(32))).unwrap(),
                Alarm::Expire(id),
            );
        }
    }

    pub(super) fn refresh(&mut self, now: Instant, id: u32, said: &mut PhoneOutput) {
        let Some(call) = self.calls.get(&id) else { return };
        if call.stage != Stage::Up {
            return;
        }
        said.count("session refreshes");
        if call.offering {
            return self.alarm(now + Duration::from_secs(2), Alarm::Refresh(id));
        }
        if call.updates && self.habits.update {
            self.update(now, id, Offer::None, said);
        } else {
            self.reinvite(now, id, Offer::Ours, said);
        }
    }
}

/// Whether a renegotiation carries our offer or requests one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Offer {
    Ours,
    None,
}

/// Seconds and refresher of Session-Expires; the refresher is empty if the parameter is missing.
fn session_of(message: &Message) -> Option<(u32, &'static str)> {
    let value = message.header(HeaderName::SessionExpires)?;
    let mut parts = value.split(';').map(str::trim);
    let seconds = parts.next()?.parse().ok()?;
    let refresher = parts.find_map(|p| p.strip_prefix("refresher="));
    let refresher = match refresher {
        Some("uac") => "uac",
        Some("uas") => "uas",
        _ => "",
    };
    Some((seconds, refresher))
}
