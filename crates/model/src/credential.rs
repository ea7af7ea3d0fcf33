//! SIP credentials of phones. A password is shown once and stored only as digest HA1.

use std::fmt;
use std::sync::Arc;

use base::Timestamp;
use md5::{Digest, Md5};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::{ExtensionId, UserId};

/// HA1 = H(username:realm:password) under both digest algorithms (RFC 7616). `Debug` does not print it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ha1 {
    /// With MD5.
    pub md5: [u8; 16],
    /// With SHA-256.
    pub sha256: [u8; 32],
}

impl Ha1 {
    /// Compute HA1 with both algorithms.
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

/// A SIP user name and the HA1 of its password.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Credential {
    /// Digest user name and user part of the address of record, `user_1234567890` or `6170` (S39).
    pub username: Arc<str>,
    /// The owner.
    pub user: UserId,
    /// The extension that it belongs to; `None` for those of generate-credentials (S38).
    pub extension: Option<ExtensionId>,
    /// HA1 of the user name.
    pub ha1: Ha1,
    /// HA1 of the same password with the extension's number as user name; `None` without an extension (S39).
    pub ha1_by_number: Option<Ha1>,
    /// Creation time.
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
