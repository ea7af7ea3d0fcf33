//! Recovery after a crash: bindings are restored, calls that were up are ended with BYE and a CDR.

use std::collections::BTreeMap;
use std::sync::Arc;

use base::{Now, Timestamp};
use model::journal::{Binding, CallEvent, DialogSnapshot, OutboundCallTime, Record};
use model::{CallRecord, CallStatus, Cause};
use sip::{Flow, Hop};

use crate::core::Core;
use crate::location::{Contact, transport_of};
use crate::out_of_dialog::reason_line;
use crate::{OpenCall, Output};

/// Add the answered legs from the journal to a call record, which was written when the call started.
fn take_up(record: &mut CallRecord, mut legs: Vec<DialogSnapshot>) {
    legs.sort_by_key(|leg| leg.place);
    for leg in legs {
        let (Some(place), Some(known)) = (leg.place, leg.record) else { continue };
        match record.legs.get_mut(place as usize) {
            Some(there) if there.sip_call_id == known.sip_call_id => *there = *known,
            // Earlier legs without answer are not in the journal, so `place` may differ from the index.
            Some(_) | None => record.legs.push(*known),
        }
    }
}

impl Core {
    pub(crate) fn restore(
        &mut self,
        now: Now,
        bindings: &[Binding],
        calls: Vec<OpenCall>,
        alive: Option<Timestamp>,
        out: &mut Vec<Output>,
    ) {
        let mut aors: BTreeMap<&Arc<str>, Vec<Contact>> = BTreeMap::new();
        for binding in bindings {
            match Contact::restore(binding, &self.config, now) {
                Some(contact) => {
                    // At most the maximum expiry, because the wall clock may have been set back in the meantime.
                    let longest = now.instant + self.config.max_expires;
                    let contact = Contact { expires: contact.expires.min(longest), ..contact };
                    if contact.hop.transport.is_reliable() {
                        self.location.flow_closed(contact.hop.flow); // the connection was closed with the process
                    }
                    aors.entry(&binding.username).or_default().push(contact);
                }
                None => out.push(Output::Journal(Record::Unbound {
                    username: Arc::clone(&binding.username),
                    contact: binding.contact.clone(),
                    at: binding.expires_at.min(now.wall),
                })),
            }
        }
        for (username, contacts) in aors {
            self.location.replace(username, contacts);
        }
        for call in calls {
            self.close_crashed_call(now, call, alive, out);
        }
    }

    /// Restore the outbound usage of the day. Outbound calls that were up at the crash are ended, like their call records.
    pub(crate) fn restore_meters(
        &mut self,
        now: Now,
        mut times: Vec<OutboundCallTime>,
        alive: Option<Timestamp>,
        out: &mut Vec<Output>,
    ) {
        for time in times.iter_mut().filter(|time| time.until.is_none()) {
            // At most the maximum call duration: a carrier ends longer calls even while this server is down.
            let longest = time.since + self.config.call_duration;
            time.until = Some(alive.unwrap_or(time.since).min(longest).max(time.since));
            out.push(Output::Journal(Record::Noted(CallEvent::Outside(time.clone()))));
        }
        self.usage.restore(now, &times);
    }

    /// End a call that was open when the process crashed: BYE to both phones, and its CDR. It ends at `alive`, the last sign of life in the journal,
    /// and not now, so that the downtime is not counted.
    fn close_crashed_call(
        &mut self,
        now: Now,
        call: OpenCall,
        alive: Option<Timestamp>,
        out: &mut Vec<Output>,
    ) {
        for leg in &call.legs {
            self.send_bye(now, leg);
        }
        let mut record = call.record;
        let was_up = !call.legs.is_empty();
        take_up(&mut record, call.legs);
        if was_up && record.answered_at.is_none() {
            let answered = record.legs.iter().filter_map(|leg| leg.answered_at).max();
            record.answered_at = answered.or(Some(record.started_at));
        }
        let known = record.legs.iter().flat_map(|leg| [Some(leg.started_at), leg.answered_at, leg.ended_at]);
        let last = known.flatten().chain(record.answered_at).fold(record.started_at, Timestamp::max);
        let ended = alive.map_or(last, |alive| alive.max(last));
        record.ended_at = Some(ended);
        record.cause = Some(Cause::Crash);
        record.status = if was_up { CallStatus::Completed } else { CallStatus::Failed };
        for leg in &mut record.legs {
            leg.ended_at.get_or_insert(ended);
            leg.cause.get_or_insert(Cause::Crash);
        }
        *self.counters.calls_ended.entry(Cause::Crash.code()).or_default() += 1;
        out.push(Output::Journal(Record::CallClosed(Box::new(record))));
    }

    fn send_bye(&mut self, now: Now, leg: &DialogSnapshot) {
        let transport = transport_of(leg.transport);
        let Some(listener) = self.config.listener_at(leg.listener, transport, leg.local) else {
            return; // no configured listener has this transport and local address
        };
        let hop = Hop { transport, listener, local: leg.local, remote: leg.remote, flow: Flow::default() };
        if hop.transport.is_reliable() && !self.is_carriers_host(leg.remote) {
            return; // the connection was closed with the process; the phone registers again
        }
        if let Some(session) = self.endpoint.restore_dialog(now, &leg.dialog, hop) {
            let mut lines = std::mem::take(&mut self.lines);
            lines.clear();
            reason_line(Cause::Crash, &mut lines);
            let hangup = sip::HangupParams { status: 500, phrase: None, lines: Some(&lines) };
            self.endpoint.hangup(now, session, hangup, &mut self.sip_out);
            self.lines = lines;
        }
    }
}
