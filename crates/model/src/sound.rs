//! Sounds that an extension plays to those whom its recurring calls reach (S86).

use base::{Id, Kind, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{ExtensionId, UserId};

/// Marks ids of sounds; see [`SoundId`].
#[derive(Clone, Copy, Debug)]
pub enum SoundKind {}

impl Kind for SoundKind {
    const PREFIX: &'static str = "snd";
}

/// `snd_1234567890_abc123`
pub type SoundId = Id<SoundKind>;

/// What is known of a sound; its audio is kept beside it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sound {
    /// Its id.
    pub id: SoundId,
    /// Whose recurring calls may play it.
    pub extension: ExtensionId,
    /// Who owns that extension.
    pub user: UserId,
    /// What people call it.
    pub name: String,
    /// How long it is.
    pub millis: u32,
    /// When it was sent.
    pub created_at: Timestamp,
}

/// What is played to whoever answers.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Announcement {
    /// A prompt of our own, by its name, in the language of the extension's mailbox.
    Prompt(String),
    /// A sound that the owner has sent.
    Audio(SoundId),
}
