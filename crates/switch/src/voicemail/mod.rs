//! Voicemail: what takes the calls that nobody took, and what its owner dials to hear them (S72).
//!
//! [`deposit`] and [`menu`] are the two conversations, pure machines; this file says what they are made of, [`voicemail_session`] carries out what they
//! want, [`taking`] follows recordings to their end, [`target`] tells phones how many messages there are.

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

/// A sound that lies in a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Audio {
    /// The owner's greeting.
    Greeting,
    /// A message.
    Message(MessageId),
    /// What a recurring call plays.
    Sound(SoundId),
}

/// What voicemail wants of the shell. In this order: what a later one speaks of is there when the earlier ones are done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum VoicemailEffect {
    /// Something has become of a message or a greeting: it is written into the journal before any [`crate::Output::Transmit`] of the same batch
    /// is sent.
    Fact(Fact),
    /// A message that nobody spoke: put it into its box. [`crate::Input::Deposited`] follows, always.
    DepositClip {
        /// Comes back.
        token: u64,
        /// The message, as it will lie there.
        message: VoicemailMessage,
        /// Its audio.
        clip: Clip,
    },
    /// Read this as samples of 8 kHz; [`crate::Input::Fetched`] follows, always.
    Fetch {
        /// Comes back.
        token: u64,
        /// In whose box.
        extension: ExtensionId,
        /// What.
        audio: Audio,
    },
}

/// Where a message's audio lies: a path below the data directory, without its ending.
pub fn message_path(extension: &ExtensionId, id: &MessageId) -> String {
    format!("voicemail/{extension}/{id}")
}

/// Where an owner's greeting lies: a path below the data directory, without its ending.
pub fn greeting_path(extension: &ExtensionId) -> String {
    format!("voicemail/{extension}/greeting")
}

/// What is being recorded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Taken {
    Message,
    Greeting,
}

impl Taken {
    /// How long it may be.
    pub(crate) fn longest(self) -> Duration {
        match self {
            Taken::Message => crate::limits::MESSAGE,
            Taken::Greeting => crate::limits::GREETING,
        }
    }
}

/// What a recording came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Recorded {
    /// Something was said.
    Kept { millis: u32 },
    /// Nothing was.
    Nothing,
}

/// A message as the menu knows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Entry {
    pub(crate) id: MessageId,
    pub(crate) state: MessageState,
    pub(crate) from: String,
}

/// What a conversation hears.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum IvrEvent {
    /// A key.
    Digit(char),
    /// What was said has been said.
    Played,
    /// What was to be played is not there.
    Missing,
    /// The time that was waited is over.
    Late,
    /// Nobody has said anything for a while.
    Quiet,
    /// The recording has ended.
    Recorded(Recorded),
    /// The PIN is right; this is what lies in the box.
    Admitted(Vec<Entry>),
    /// It is not.
    Refused,
}

/// What a conversation wants.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum IvrAction {
    /// Say this, instead of what is being said.
    Say(Vec<Prompt>),
    /// Say this, then play that.
    SayAndPlay(Vec<Prompt>, Audio),
    /// Say nothing more.
    StopPlayback,
    /// Wait so long for a key.
    Wait(Duration),
    /// Record.
    Record(Taken),
    /// End the recording; what it came to is heard.
    Stop,
    /// Keep what was recorded.
    Keep,
    /// Forget what was recorded, where anything was.
    Forget,
    /// Look whether this is the PIN: of the box with that number, or of the caller's own.
    VerifyPin { number: Option<String>, pin: Secret<String> },
    /// Note what has become of a message.
    Mark(MessageId, MessageState),
    /// Delete a message.
    Delete(MessageId),
    /// The end.
    HangUp,
}
