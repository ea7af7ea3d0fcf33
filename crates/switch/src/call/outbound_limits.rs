//! What a call to the outside costs, and whom: asked before it leaves, counted while it is answered there (security.md row 7).

use base::Now;
use model::journal::{CallEvent, Record};
use model::{Cause, LegRole, UserId};

use crate::core::{Core, Cx};

use super::{Call, CallKey};
use crate::Output;

impl Call {
    /// Who pays for this call outside: whoever sent it there.
    fn billed_user(&self) -> UserId {
        let forwarder = self.routing.hops.last().map(|stop| stop.extension.user.clone());
        forwarder.unwrap_or_else(|| self.record.user.clone())
    }
}

impl Call {
    /// Whether a call may leave the house, by what who pays for it has begun in this minute and used of this day.
    pub(crate) fn check_outbound_limits(&mut self, cx: &mut Cx<'_>) -> Result<(), Cause> {
        let payer = self.billed_user();
        // A click-to-call was asked before its device rang.
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

    /// A leg was answered: where it is one to the outside, its time is counted from now on.
    pub(crate) fn outbound_call_begins(&mut self, cx: &mut Cx<'_>, index: usize) {
        let leaves =
            self.legs.get(index).map(|leg| &leg.record).is_some_and(|leg| leg.role == LegRole::Trunk)
                && index > 0;
        if !leaves || self.help {
            return;
        }
        let time = cx.core.usage.begins(cx.now, self.key, self.record.id.clone(), index, self.billed_user());
        cx.out.push(Output::Journal(Record::Noted(CallEvent::Outside(time))));
    }
}

impl Core {
    /// A call is over: what it has cost is written down.
    pub(crate) fn outbound_call_ends(&mut self, now: Now, key: CallKey, out: &mut Vec<Output>) {
        let Some(time) = self.usage.ends(now, key) else { return };
        let user = time.user.clone();
        out.push(Output::Journal(Record::Noted(CallEvent::Outside(time))));
        self.tell_levels(now, &user, out);
    }

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
