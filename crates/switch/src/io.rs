//! The two sides of the exchange's door.

use std::sync::Arc;

use base::Timestamp;
use bytes::Bytes;
use media::{MediaCommand, MediaEvent};
use model::journal::{Binding, DialogSnapshot, OutboundCallTime, Record};
use model::{CallRecord, Change, Directory};
use sip::resolve::{Answer, Question};
use sip::{Flow, Hop};

use crate::voicemail::{Clip, PromptSet, VoicemailEffect};
use crate::{Command, JournalRoom, Reply, SettingChange};

/// A call that the journal shows as not ended.
#[derive(Clone, Debug)]
pub struct OpenCall {
    /// As it was opened.
    pub record: CallRecord,
    /// Its legs that were confirmed.
    pub legs: Vec<DialogSnapshot>,
}

/// What happens to the exchange.
#[derive(Clone, Debug)]
pub enum Input {
    /// A datagram, or one frame of a stream.
    Packet {
        /// Where it came from.
        hop: Hop,
        /// What it says.
        bytes: Bytes,
    },
    /// A connection is gone.
    FlowClosed(Flow),
    /// A datagram could not be delivered.
    Unreachable(Hop),
    /// From a media worker.
    Media(MediaEvent),
    /// The directory changed: the new snapshot and what is different.
    Directory {
        /// The new one.
        directory: Box<Directory>,
        /// The difference; empty at start.
        changes: Arc<[Change]>,
    },
    /// Once, at start: what the journal and the store remember.
    Restore {
        /// Bindings, expired ones included.
        bindings: Vec<Binding>,
        /// Calls that were up: they get BYE and a CDR with cause `crash`.
        calls: Vec<OpenCall>,
        /// What calls to the outside have used of late: yesterday and today.
        outside: Vec<OutboundCallTime>,
        /// The last sign of life of the process before this one: what was up then has ended at that time.
        alive: Option<Timestamp>,
    },
    /// Somebody (API, CLI, scheduler) wants something. [`Output::Reply`] with the same token follows, always, once.
    Command {
        /// Chosen by the asker.
        token: u64,
        /// What.
        command: Command,
    },
    /// What came of an [`Output::Resolve`].
    Resolved {
        /// The asker's.
        token: u64,
        /// What the DNS says.
        answer: Answer,
    },
    /// The audio of what voicemail says; before it comes, voicemail only beeps.
    Prompts(Arc<PromptSet>),
    /// What came of a [`VoicemailEffect::Fetch`]; `None` where there is no such audio.
    Fetched {
        /// The one of the note.
        token: u64,
        /// The audio.
        clip: Option<Clip>,
    },
    /// What came of a [`VoicemailEffect::DepositClip`].
    Deposited {
        /// The one of the note.
        token: u64,
        /// It lies in its box.
        done: bool,
    },
    /// What came of an [`Output::Setting`].
    SettingChanged {
        /// The one of the output.
        token: u64,
        /// It is written, and the directory has it.
        done: bool,
    },
    /// The SIP listeners are open (`true`) or closed.
    Listening(bool),
    /// The journal has so much room from now on.
    Journal(JournalRoom),
    /// The deadline has come.
    Tick,
}

/// What follows from it.
#[derive(Clone, Debug)]
pub enum Output {
    /// Send this over SIP.
    Transmit {
        /// Where to.
        hop: Hop,
        /// The whole message.
        bytes: Bytes,
    },
    /// Tell a media worker.
    Media {
        /// Which.
        worker: u8,
        /// What.
        command: MediaCommand,
    },
    /// Write this to the journal before any [`Output::Transmit`] of the same batch is sent.
    Journal(Record),
    /// Answer to a [`Input::Command`].
    Reply {
        /// The asker's.
        token: u64,
        /// The answer.
        reply: Box<Reply>,
    },
    /// Ask the DNS, once; [`Input::Resolved`] with the same token follows.
    Resolve {
        /// Names the question.
        token: u64,
        /// What.
        question: Question,
    },
    /// What voicemail wants.
    Voicemail(Box<VoicemailEffect>),
    /// Write a setting that somebody dialled, once; [`Input::SettingChanged`] with the same token follows, always.
    Setting {
        /// Comes back.
        token: u64,
        /// What.
        change: Box<SettingChange>,
    },
    /// Open (`true`) or close the SIP listeners; [`Input::Listening`] follows.
    Listen(bool),
}
