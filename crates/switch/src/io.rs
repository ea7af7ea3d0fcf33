//! Inputs and outputs of the switch.

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
    /// Its record when it was opened.
    pub record: CallRecord,
    /// Its confirmed dialogs, one per leg.
    pub legs: Vec<DialogSnapshot>,
}

/// An input of the switch, handed to [`crate::Switch::handle`].
#[derive(Clone, Debug)]
pub enum Input {
    /// A SIP message: a datagram, or one frame of a stream.
    Packet {
        /// Transport, addresses and flow that it was received on.
        hop: Hop,
        /// The raw message.
        bytes: Bytes,
    },
    /// A connection has closed.
    FlowClosed(Flow),
    /// A datagram could not be delivered.
    Unreachable(Hop),
    /// An event from a media worker.
    Media(MediaEvent),
    /// The directory changed.
    Directory {
        /// The new snapshot.
        directory: Box<Directory>,
        /// The changes since the previous snapshot; empty at start.
        changes: Arc<[Change]>,
    },
    /// Once, at start: state restored from the journal and the store.
    Restore {
        /// Bindings, including expired ones.
        bindings: Vec<Binding>,
        /// Calls that were live: their dialogs get a BYE, their CDR the cause `crash`.
        calls: Vec<OpenCall>,
        /// Outbound calls of yesterday and today, for the per-user limits.
        outside: Vec<OutboundCallTime>,
        /// Last liveness record of the previous process: restored calls end at this time.
        alive: Option<Timestamp>,
    },
    /// A request from the API, the CLI or the scheduler. Exactly one [`Output::Reply`] with the same token follows.
    Command {
        /// Chosen by the requester.
        token: u64,
        /// The request.
        command: Command,
    },
    /// The answer to an [`Output::Resolve`].
    Resolved {
        /// Token of the [`Output::Resolve`].
        token: u64,
        /// The DNS answer.
        answer: Answer,
    },
    /// The decoded prompts of voicemail; until they arrive, voicemail plays only beeps.
    Prompts(Arc<PromptSet>),
    /// The result of a [`VoicemailEffect::Fetch`].
    Fetched {
        /// Token of the effect.
        token: u64,
        /// The audio; `None` if it does not exist.
        clip: Option<Clip>,
    },
    /// The result of a [`VoicemailEffect::DepositClip`].
    Deposited {
        /// Token of the effect.
        token: u64,
        /// `true`: the message is in its mailbox.
        done: bool,
    },
    /// The result of an [`Output::Setting`].
    SettingChanged {
        /// Token of the output.
        token: u64,
        /// `true`: the setting is stored, and the directory includes it.
        done: bool,
    },
    /// The SIP listeners are open (`true`) or closed (`false`).
    Listening(bool),
    /// The disk space left for the journal changed.
    Journal(JournalRoom),
    /// The time of [`crate::Switch::deadline`] has come.
    Tick,
}

/// An output of the switch.
#[derive(Clone, Debug)]
pub enum Output {
    /// Send a SIP message.
    Transmit {
        /// Destination.
        hop: Hop,
        /// The whole message.
        bytes: Bytes,
    },
    /// Send a command to a media worker.
    Media {
        /// Index of the worker.
        worker: u8,
        /// The command.
        command: MediaCommand,
    },
    /// Write this to the journal before any [`Output::Transmit`] of the same batch is sent.
    Journal(Record),
    /// The reply to an [`Input::Command`].
    Reply {
        /// Token of the command.
        token: u64,
        /// The reply.
        reply: Box<Reply>,
    },
    /// Start a DNS lookup; one [`Input::Resolved`] with the same token follows.
    Resolve {
        /// Identifies the lookup.
        token: u64,
        /// The question.
        question: Question,
    },
    /// A side effect of voicemail.
    Voicemail(Box<VoicemailEffect>),
    /// Store a setting that a user dialled; exactly one [`Input::SettingChanged`] with the same token follows.
    Setting {
        /// Identifies the change.
        token: u64,
        /// The change.
        change: Box<SettingChange>,
    },
    /// Open (`true`) or close (`false`) the SIP listeners; [`Input::Listening`] follows.
    Listen(bool),
}
