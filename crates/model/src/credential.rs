//! SIP credentials: what a phone registers with. Passwords are shown once and kept only as digest HA1.

use std::fmt;
use std::sync::Arc;

use base::Timestamp;
use md5::{Digest, Md5};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::{ExtensionId, UserId};

/// H(username:realm:password) under both digest algorithms (RFC 7616). Never shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ha1 {
    /// MD5.
    pub md5: [u8; 16],
    /// SHA-256.
    pub sha256: [u8; 32],
}

impl Ha1 {
    /// Compute both.
    pub fn new(username: &str, realm: &str, password: &str) -> Ha1 {
        let text = format!("{username}:{realm}:{password}");
        Ha1 { md5: Md5::digest(&text).into(), sha256: Sha256::digest(&text).into() }
    }
}

impl fmt::Debug for Ha1 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// One user name that may register and call.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Credential {
    /// The digest user name and the address of record, `user_1234567890` or `6170` (S39).
    pub username: Arc<str>,
    /// Whose it is.
    pub user: UserId,
    /// The extension that it belongs to; none for those of generate-credentials (S38).
    pub extension: Option<ExtensionId>,
    /// Proof of the password.
    pub ha1: Ha1,
    /// Proof of the same password under the extension's number as user name, where there is an extension (S39).
    pub ha1_by_number: Option<Ha1>,
    /// When it was made.
    pub created_at: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ha1_is_that_of_rfc_2617() {
        let ha1 = Ha1::new("Mufasa", "testrealm@host.com", "Circle Of Life");
        let hex: String = ha1.md5.iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(hex, "939e7578ed9e3c518a452acee763bce9");
        assert_eq!(format!("{ha1:?}"), "***");
    }
}
