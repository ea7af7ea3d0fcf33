//! Users: who owns keys, credentials and extensions.

use base::{Id, Kind, Timestamp};
use serde::{Deserialize, Serialize};

/// Marks ids of users; see [`UserId`].
#[derive(Clone, Copy, Debug)]
pub enum UserKind {}

impl Kind for UserKind {
    const PREFIX: &'static str = "user";
}

/// An opaque name of 1 to 128 characters, `user123` as well as `user_123` (S33).
pub type UserId = Id<UserKind>;

/// A user; made on first use by key generation (S33).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct User {
    /// The user's name.
    pub id: UserId,
    /// When it was made.
    pub created_at: Timestamp,
}
