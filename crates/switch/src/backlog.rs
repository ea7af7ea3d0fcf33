//! Backlog: work too large for one input. A bounded part of it is done at once, and another one with each tick.

use std::collections::VecDeque;

use base::Instant;
use model::{CallId, Cause};
use sip::resolve::{Answer, LookupId};

/// A task, with the state of its progress.
#[derive(Debug)]
pub(crate) enum Task {
    /// Release all calls with ids in (`after`, `until`].
    Release { after: Option<CallId>, until: CallId, cause: Cause },
    /// Release the calls with ids in (`after`, `until`] that have a stream on a media worker that has ended.
    ReleaseWorker { worker: u8, after: Option<CallId>, until: CallId },
    /// Release click-to-calls that wait for a device to register, while the SIP side is stopping.
    ReleaseWaiting,
    /// The prompt audio has been decoded: start the voicemail sessions that wait for it.
    Speak,
    /// Pass a DNS answer to the lookups that asked this question.
    Resolved { lookups: VecDeque<LookupId>, answer: Answer },
}

/// Tasks in progress, first in first out.
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
