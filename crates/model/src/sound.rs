//! Sounds: audio files uploaded for an extension, played by its recurring calls (S86).

use base::{Id, Kind, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{ExtensionId, UserId};

/// Id prefix of [`SoundId`].
#[derive(Clone, Copy, Debug)]
pub enum SoundKind {}

impl Kind for SoundKind {
    const PREFIX: &'static str = "snd";
}

/// `snd_1234567890_abc123`
pub type SoundId = Id<SoundKind>;

/// Metadata of a sound; the audio is a file beside it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sound {
    /// Unique id.
    pub id: SoundId,
    /// The extension whose recurring calls may play it.
    pub extension: ExtensionId,
    /// Owner of that extension.
    pub user: UserId,
    /// Display name.
    pub name: String,
    /// Duration in milliseconds.
    pub millis: u32,
    /// Time of the upload.
    pub created_at: Timestamp,
}

/// Audio played to the party that answers.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Announcement {
    /// A built-in prompt by name, in the language of the extension's mailbox.
    Prompt(String),
    /// An uploaded sound.
    Audio(SoundId),
}
