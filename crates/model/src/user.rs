//! Users: owners of API keys, credentials and extensions.

use base::{Id, Kind, Timestamp};
use serde::{Deserialize, Serialize};

/// Id prefix of [`UserId`].
#[derive(Clone, Copy, Debug)]
pub enum UserKind {}

impl Kind for UserKind {
    const PREFIX: &'static str = "user";
}

/// An opaque id of 1 to 128 characters, `user123` as well as `user_123` (S33).
pub type UserId = Id<UserKind>;

/// A user; created by the first API key that names it (S33).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct User {
    /// Unique id.
    pub id: UserId,
    /// Creation time.
    pub created_at: Timestamp,
}
