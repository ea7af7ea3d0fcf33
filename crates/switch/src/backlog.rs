//! What would make one input too long: it is done a bounded part at a time, the first at once and each next one with the next tick.

use std::collections::VecDeque;

use base::Instant;
use model::{CallId, Cause};
use sip::resolve::{Answer, LookupId};

/// Something that is left to do.
#[derive(Debug)]
pub(crate) enum Task {
    /// Release all calls up to `until`; those up to `after` are done.
    Release { after: Option<CallId>, until: CallId, cause: Cause },
    /// The same of those with a stream on a media worker that has ended.
    ReleaseWorker { worker: u8, after: Option<CallId>, until: CallId },
    /// Release the click-to-calls that wait for a device, while the SIP side goes down.
    ReleaseWaiting,
    /// The prompts are there: speak to those who wait for them.
    Speak,
    /// Tell lookups what the DNS said to a question of all of them.
    Resolved { lookups: VecDeque<LookupId>, answer: Answer },
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    pub(crate) tasks: VecDeque<Task>,
    pub(crate) since: Instant,
}

impl Backlog {
    pub(crate) fn deadline(&self) -> Option<Instant> {
        (!self.tasks.is_empty()).then_some(self.since)
    }
}
