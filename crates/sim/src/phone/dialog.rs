//! Requests in a confirmed dialog: hold, resume, UPDATE, INFO, session timers and BYE.

use std::time::Duration;

use base::Instant;
use sip::{HeaderName, Message};

use super::client::Purpose;
use super::sdp;
use super::wire::body;
use super::{CallState, Phone, PhoneOutput, PhoneTimer};
use crate::rng_ext::RngExt;

impl Phone {
    /// A call was answered: schedule its end and, for some, re-INVITEs and INFOs.
    pub(super) fn on_answered(&mut self, now: Instant, id: u32) {
        let call_duration = self.rng.millis(self.profile.call_duration.0, self.profile.call_duration.1);
        self.set_timer(now + call_duration, PhoneTimer::Hangup(id));
        if self.rng.odds(self.profile.reinvite_rate) {
            let soon = self.rng.millis(self.profile.reinvite_pause.0, self.profile.reinvite_pause.1);
            self.set_timer(now + soon, PhoneTimer::MidDialogRequest(id));
        }
    }

    /// End a call in any state.
    pub(super) fn hang_up(&mut self, now: Instant, id: u32, out: &mut PhoneOutput) {
        match self.state(id) {
            CallState::Confirmed => self.send_bye(now, id, out),
            // RFC 3261 §15: no BYE before the ACK. Without an ACK the 200 times out.
            CallState::Answered => self.set_timer(now + Duration::from_secs(1), PhoneTimer::Hangup(id)),
            CallState::Calling | CallState::Proceeding => self.cancel(now, id, out),
            CallState::Incoming => self.reject(now, id, 480, out),
            CallState::Cancelling | CallState::Terminated => {}
        }
    }

    pub(super) fn send_bye(&mut self, now: Instant, id: u32, out: &mut PhoneOutput) {
        let branch = self.new_branch();
        let Some(call) = self.calls.get_mut(&id) else { return };
        call.cseq += 1;
        let call = call.clone();
        self.terminate(id);
        out.count("BYE sent");
        let request = self.in_dialog_request(&call, "BYE", &branch, call.cseq, "", None);
        self.send(now, &branch, request, Purpose::Bye(id), out);
    }

    pub(super) fn send_mid_dialog_request(&mut self, now: Instant, id: u32, out: &mut PhoneOutput) {
        let next = self.rng.millis(self.profile.reinvite_pause.0, self.profile.reinvite_pause.1);
        let roll = self.rng.below(100);
        let Some(call) = self.calls.get_mut(&id) else { return };
        if call.state != CallState::Confirmed {
            return;
        }
        self.set_timer(now + next, PhoneTimer::MidDialogRequest(id));
        let Some(call) = self.calls.get_mut(&id) else { return };
        if call.offer_in_progress {
            return;
        }
        let peer_allows_update = call.peer_allows_update && self.profile.update;
        if roll < 55 {
            call.sdp.direction = match (call.sdp.direction, roll % 5) {
                ("sendrecv", 0) => "inactive",
                ("sendrecv", _) => "sendonly",
                _ => "sendrecv",
            };
        }
        match roll {
            0..35 => self.reinvite(now, id, Offer::Ours, out),
            35..55 if peer_allows_update => self.update(now, id, Offer::Ours, out),
            35..55 => self.reinvite(now, id, Offer::Ours, out),
            55..65 if peer_allows_update => self.update(now, id, Offer::None, out),
            55..75 => self.reinvite(now, id, Offer::None, out),
            _ => self.info(now, id, out),
        }
    }

    /// Send the next offer, after a 491 or after a pause.
    pub(super) fn reoffer(&mut self, now: Instant, id: u32, out: &mut PhoneOutput) {
        if self.state(id) == CallState::Confirmed
            && self.calls.get(&id).is_some_and(|call| !call.offer_in_progress)
        {
            self.reinvite(now, id, Offer::Ours, out);
        }
    }

    fn reinvite(&mut self, now: Instant, id: u32, offer: Offer, out: &mut PhoneOutput) {
        out.count("re-INVITE sent");
        let lines = format!("{}{}", self.allow(), self.session_lines(id));
        let Some((branch, call, sdp)) = self.begin_offer(id, offer) else { return };
        let request = self.in_dialog_request(&call, "INVITE", &branch, call.cseq, &lines, sdp.as_deref());
        self.send(now, &branch, request, Purpose::Reinvite(id), out);
    }

    fn update(&mut self, now: Instant, id: u32, offer: Offer, out: &mut PhoneOutput) {
        out.count("UPDATE sent");
        let lines = self.session_lines(id);
        let Some((branch, call, sdp)) = self.begin_offer(id, offer) else { return };
        if let (Offer::None, Some(call)) = (offer, self.calls.get_mut(&id)) {
            call.without_offer = false;
        }
        let request = self.in_dialog_request(&call, "UPDATE", &branch, call.cseq, &lines, sdp.as_deref());
        self.send(now, &branch, request, Purpose::Update(id), out);
    }

    fn begin_offer(&mut self, id: u32, offer: Offer) -> Option<(String, super::Call, Option<String>)> {
        let branch = self.new_branch();
        let (address, codecs) = (self.address, self.profile.codecs);
        let call = self.calls.get_mut(&id)?;
        call.cseq += 1;
        call.offer_in_progress = true;
        call.without_offer = offer == Offer::None;
        call.sdp.version += 1;
        let sdp = (offer == Offer::Ours).then(|| call.sdp.offer(address, codecs));
        call.pending_offer.clone_from(&sdp);
        Some((branch, call.clone(), sdp))
    }

    fn info(&mut self, now: Instant, id: u32, out: &mut PhoneOutput) {
        let branch = self.new_branch();
        let Some(call) = self.calls.get_mut(&id) else { return };
        call.cseq += 1;
        let call = call.clone();
        let request = self.in_dialog_request(&call, "INFO", &branch, call.cseq, "", None);
        out.count("INFO sent");
        self.send(now, &branch, request, Purpose::Info(id), out);
    }

    /// The response to our re-INVITE or UPDATE, or its timeout.
    pub(super) fn on_reoffer_response(
        &mut self,
        now: Instant,
        id: u32,
        answer: Option<&Message>,
        out: &mut PhoneOutput,
    ) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        call.offer_in_progress = false;
        call.without_offer = false;
        let pending_offer = call.pending_offer.take();
        if call.state == CallState::Terminated {
            return;
        }
        match answer.and_then(Message::status) {
            Some(200..300) => {
                if let (Some(offer), Some(message)) = (pending_offer, answer) {
                    // Only for UPDATE: the answer to a re-INVITE was read when its ACK was sent.
                    match body(message) {
                        None => out.violation("200 to UPDATE without an answer to our offer"),
                        Some(body) => {
                            if let Err(why) = sdp::check_answer(offer.as_bytes(), &body) {
                                out.violation(why);
                            }
                        }
                    }
                }
                out.count("renegotiations accepted");
                if let Some(message) = answer {
                    self.agree_on_session(now, id, message, out);
                }
            }
            Some(491 | 500) => {
                out.count("renegotiations rejected with 491 or 500");
                let later = self.rng.millis(0, 4000);
                self.set_timer(now + later, PhoneTimer::Reoffer(id));
            }
            Some(408 | 481) | None => self.hang_up(now, id, out), // RFC 3261 §12.2.1.2
            Some(_) => out.count("renegotiations rejected"),
        }
    }

    pub(super) fn on_reinvite(
        &mut self,
        now: Instant,
        key: &str,
        id: u32,
        message: &Message,
        out: &mut PhoneOutput,
    ) {
        self.set_call(key, id);
        let rejects = self.rng.odds(5);
        let (address, codecs) = (self.address, self.profile.codecs);
        let Some(call) = self.calls.get_mut(&id) else { return };
        if call.offer_in_progress {
            return self.reply(now, key, 491, "", None, out);
        }
        call.sdp.version += 1;
        let sdp = match body(message) {
            Some(_) if rejects => None,
            Some(offer) => call.sdp.answer(address, codecs, &offer),
            None => Some(call.sdp.offer(address, codecs)),
        };
        if sdp.is_none() {
            return self.reply(now, key, 488, "", None, out);
        }
        out.count("re-INVITE received");
        let lines = format!("{}{}", self.allow(), self.grant_session(now, id, message));
        self.reply(now, key, 200, &lines, sdp.as_deref(), out);
    }

    pub(super) fn on_update(
        &mut self,
        now: Instant,
        key: &str,
        id: u32,
        message: &Message,
        out: &mut PhoneOutput,
    ) {
        let (address, codecs) = (self.address, self.profile.codecs);
        let Some(call) = self.calls.get_mut(&id) else { return };
        let offer = body(message);
        if call.offer_in_progress && offer.is_some() {
            return self.reply(now, key, 491, "", None, out);
        }
        let sdp = match &offer {
            None => None,
            Some(offer) => {
                call.sdp.version += 1;
                match call.sdp.answer(address, codecs, offer) {
                    Some(answer) => Some(answer),
                    None => return self.reply(now, key, 488, "", None, out),
                }
            }
        };
        out.count("UPDATE received");
        let lines = self.grant_session(now, id, message);
        self.reply(now, key, 200, &lines, sdp.as_deref(), out);
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
        out: &mut PhoneOutput,
    ) {
        let Some((seconds, refresher)) = session_of(answer) else { return };
        if self.profile.session_timer.is_none() && refresher == "uac" {
            return out.violation("a phone without session timer support was made the refresher");
        }
        if self.profile.session_timer.is_none() {
            return;
        }
        self.start_session(now, id, seconds, refresher == "uac");
    }

    /// Session timer headers of our response to a request.
    pub(super) fn grant_session(&mut self, now: Instant, id: u32, request: &Message) -> String {
        let supported = request.tokens(HeaderName::Supported).any(|t| t.eq_ignore_ascii_case("timer"));
        let Some((seconds, refresher)) = session_of(request) else { return String::new() };
        if self.profile.session_timer.is_none() || !supported {
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
        self.cancel_timers(&PhoneTimer::Refresh(id));
        self.cancel_timers(&PhoneTimer::SessionExpiry(id));
        let whole = Duration::from_secs(u64::from(seconds));
        if ours && !self.profile.forgets_refresh {
            self.set_timer(now + whole / 2, PhoneTimer::Refresh(id));
        } else if !ours {
            self.set_timer(
                now + whole.checked_sub((whole / 3).min(Duration::from_secs(32))).unwrap(),
                PhoneTimer::SessionExpiry(id),
            );
        }
    }

    pub(super) fn refresh(&mut self, now: Instant, id: u32, out: &mut PhoneOutput) {
        let Some(call) = self.calls.get(&id) else { return };
        if call.state != CallState::Confirmed {
            return;
        }
        out.count("session refreshes");
        if call.offer_in_progress {
            return self.set_timer(now + Duration::from_secs(2), PhoneTimer::Refresh(id));
        }
        if call.peer_allows_update && self.profile.update {
            self.update(now, id, Offer::None, out);
        } else {
            self.reinvite(now, id, Offer::Ours, out);
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
