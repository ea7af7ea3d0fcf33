//! Outbound limits per user: calls per minute and minutes per day are checked before an outbound attempt; the time is counted from its answer.

use base::Now;
use model::journal::{CallEvent, Record};
use model::{Cause, LegRole, UserId};

use super::{Call, CallKey};
use crate::Output;
use crate::core::{Core, Cx};

impl Call {
    /// The user that an outbound attempt is billed to: the owner of the extension that forwarded the call, otherwise the user of the call.
    fn billed_user(&self) -> UserId {
        let forwarder = self.routing.hops.last().map(|stop| stop.extension.user.clone());
        forwarder.unwrap_or_else(|| self.record.user.clone())
    }
}

impl Call {
    /// Check the outbound limits of the billed user (calls begun in the last minute, minutes used today), and count this call. `Err` holds the
    /// cause of the rejection.
    pub(crate) fn check_outbound_limits(&mut self, cx: &mut Cx<'_>) -> Result<(), Cause> {
        let payer = self.billed_user();
        // A click-to-call was checked before its device was rung.
        if std::mem::take(&mut self.routing.outbound_admitted) && payer == self.record.user {
            return Ok(());
        }
        let best_cause = cx.core.usage.admit(cx.now, &payer);
        if let Err(cause) = best_cause {
            let limits = cx.core.usage.limits();
            let why = if cause == Cause::OutsideMinutesUsed {
                format!("the {} minutes a day of who pays for it are used up", limits.minutes_per_day)
            } else {
                format!("who pays for it has begun {} calls in this minute", limits.calls_per_minute)
            };
            self.push_trace("limit", why);
        }
        best_cause
    }

    /// Start counting outbound time when a leg to a trunk is answered. Emergency calls are not counted.
    pub(crate) fn outbound_call_begins(&mut self, cx: &mut Cx<'_>, index: usize) {
        let leaves =
            self.legs.get(index).map(|leg| &leg.record).is_some_and(|leg| leg.role == LegRole::Trunk)
                && index > 0;
        if !leaves || self.is_emergency {
            return;
        }
        let time = cx.core.usage.begins(cx.now, self.key, self.record.id.clone(), index, self.billed_user());
        cx.out.push(Output::Journal(Record::Noted(CallEvent::Outside(time))));
    }
}

impl Core {
    /// Stop counting outbound time of a call and write it to the journal, with the usage alerts that it causes.
    pub(crate) fn outbound_call_ends(&mut self, now: Now, key: CallKey, out: &mut Vec<Output>) {
        let Some(time) = self.usage.ends(now, key) else { return };
        let user = time.user.clone();
        out.push(Output::Journal(Record::Noted(CallEvent::Outside(time))));
        self.tell_levels(now, &user, out);
    }

    /// Write a journal record for every usage level that a user has newly reached.
    pub(crate) fn tell_levels(&mut self, now: Now, user: &UserId, out: &mut Vec<Output>) {
        let limit_minutes = self.usage.limits().minutes_per_day;
        for reached in self.usage.reached(now, user) {
            out.push(Output::Journal(Record::Noted(CallEvent::SpendAlert {
                user: reached.user,
                percent: reached.percent,
                limit_minutes,
                day: reached.day,
                at: now.wall,
            })));
        }
    }
}
