//! Voicemail: message deposit for unanswered calls, and the mailbox menu (S72).
//!
//! `deposit` and `menu` are the two state machines, without I/O; this file defines their events and actions. `session` runs them for a call, `action`
//! carries out their actions, `recording` tracks recordings until they are kept or discarded. The message-waiting indication is in `crate::mwi`.

mod action;
pub(crate) mod deposit;
pub(crate) mod menu;
pub(crate) mod prompt;
pub(crate) mod recording;
pub(crate) mod session;

use std::time::Duration;

use base::Secret;
use model::voicemail::Fact;
use model::{ExtensionId, MessageId, MessageState, SoundId, VoicemailMessage};

pub use prompt::{Clip, Prompt, PromptSet};
pub(crate) use recording::{VoicemailRecordings, is_voicemail_recording};
pub(crate) use session::{DtmfSource, VoicemailSession, key_of_info};

/// Audio stored in a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Audio {
    /// The greeting that the owner of the mailbox recorded.
    Greeting,
    /// A voicemail message.
    Message(MessageId),
    /// The announcement of a recurring call.
    Sound(SoundId),
}

/// An effect that the shell carries out for voicemail. Effects are applied in order: a later one may refer to the result of an earlier one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum VoicemailEffect {
    /// A change of a message or a greeting. It is written to the journal before any [`crate::Output::Transmit`] of the same batch is sent.
    Fact(Fact),
    /// Store a clip as a message in a mailbox. [`crate::Input::Deposited`] always follows.
    DepositClip {
        /// Returned in [`crate::Input::Deposited`].
        token: u64,
        /// The message to store.
        message: VoicemailMessage,
        /// Audio of the message.
        clip: Clip,
    },
    /// Read audio as samples at 8 kHz. [`crate::Input::Fetched`] always follows.
    Fetch {
        /// Returned in [`crate::Input::Fetched`].
        token: u64,
        /// Extension that the mailbox belongs to.
        extension: ExtensionId,
        /// The audio to read.
        audio: Audio,
    },
}

/// Path of a message's audio file, relative to the data directory, without the file suffix.
pub fn message_path(extension: &ExtensionId, id: &MessageId) -> String {
    format!("voicemail/{extension}/{id}")
}

/// Path of a mailbox's greeting, relative to the data directory, without the file suffix.
pub fn greeting_path(extension: &ExtensionId) -> String {
    format!("voicemail/{extension}/greeting")
}

/// Kind of a voicemail recording.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Taken {
    Message,
    Greeting,
}

impl Taken {
    /// Maximum duration of the recording.
    pub(crate) fn longest(self) -> Duration {
        match self {
            Taken::Message => crate::limits::MESSAGE,
            Taken::Greeting => crate::limits::GREETING,
        }
    }
}

/// Result of a voicemail recording.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Recorded {
    /// Speech was recorded; duration in milliseconds.
    Kept { millis: u32 },
    /// No speech was recorded.
    Nothing,
}

/// A message in the list of the menu.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Entry {
    pub(crate) id: MessageId,
    pub(crate) state: MessageState,
    pub(crate) from: String,
}

/// Event for a voicemail state machine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum IvrEvent {
    /// A DTMF digit.
    Digit(char),
    /// The playback has finished.
    Played,
    /// The audio to play does not exist, or was not read in time.
    Missing,
    /// The timeout of [`IvrAction::Wait`], or of a recording, has expired.
    Late,
    /// The recorded caller has been silent for [`crate::limits::QUIET`].
    Quiet,
    /// The recording has ended.
    Recorded(Recorded),
    /// The PIN is correct; the messages of the mailbox.
    Admitted(Vec<Entry>),
    /// The PIN is wrong, or the mailbox does not exist.
    Refused,
}

/// Action of a voicemail state machine.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum IvrAction {
    /// Play prompts; replaces the current playback.
    Say(Vec<Prompt>),
    /// Play prompts, then stored audio.
    SayAndPlay(Vec<Prompt>, Audio),
    /// Stop the playback.
    StopPlayback,
    /// Wait for a digit, at most this long.
    Wait(Duration),
    /// Start a recording of the caller.
    Record(Taken),
    /// Stop the recording; [`IvrEvent::Recorded`] follows.
    Stop,
    /// Keep the recording.
    Keep,
    /// Discard the recording, if there is one.
    Forget,
    /// Verify a PIN: of the mailbox of extension `number`, or of the caller's own if `None`. [`IvrEvent::Admitted`] or [`IvrEvent::Refused`] follows.
    VerifyPin { number: Option<String>, pin: Secret<String> },
    /// Set the state of a message.
    Mark(MessageId, MessageState),
    /// Delete a message from the mailbox.
    Delete(MessageId),
    /// End the call.
    HangUp,
}
