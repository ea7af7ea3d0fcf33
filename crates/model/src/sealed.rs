//! Encryption of secrets that must be readable again (a trunk's password). The key is kept in the data directory, not in the database.

use std::fmt;

use base::{Rng, Secret};
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{ChaCha20Poly1305, Nonce};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

const NONCE: usize = 12;

/// The encryption key of the data directory.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SealKey(Secret<[u8; 32]>);

impl SealKey {
    /// Generate a key.
    pub fn random(rng: &mut Rng) -> SealKey {
        let mut key = [0; 32];
        for part in key.chunks_mut(8) {
            part.copy_from_slice(&rng.u64().to_le_bytes());
        }
        SealKey(Secret::new(key))
    }

    /// Parse the output of [`SealKey::to_hex`].
    pub fn from_hex(text: &str) -> Option<SealKey> {
        Some(SealKey(Secret::new(unhex(text)?.try_into().ok()?)))
    }

    /// The key as 64 hexadecimal digits, for its file.
    pub fn to_hex(&self) -> Secret<String> {
        Secret::new(hex(self.0.expose()))
    }

    /// Derive a key for another purpose; it does not reveal this one.
    pub fn derived(&self, purpose: &str) -> Secret<[u8; 32]> {
        let sealing = [self.0.expose(), purpose.as_bytes()].concat();
        Secret::new(Sha256::digest(sealing).into())
    }

    fn cipher(&self) -> ChaCha20Poly1305 {
        ChaCha20Poly1305::new(self.0.expose().into())
    }
}

/// A sealed secret: ChaCha20-Poly1305 (RFC 8439) with the nonce in front. The id of its owner is authenticated with it.
#[derive(Clone, PartialEq, Eq)]
pub struct SealedSecret(Vec<u8>);

impl SealedSecret {
    /// Encrypt a secret of the entity with id `owner`; `None` only beyond the cipher's maximum length.
    pub fn seal(key: &SealKey, owner: &str, secret: &Secret<String>, rng: &mut Rng) -> Option<SealedSecret> {
        let mut bytes = [rng.u64().to_le_bytes(), rng.u64().to_le_bytes()].concat();
        bytes.truncate(NONCE);
        let nonce = Nonce::try_from(bytes.as_slice()).ok()?;
        let payload = Payload { msg: secret.expose().as_bytes(), aad: owner.as_bytes() };
        bytes.extend(key.cipher().encrypt(&nonce, payload).ok()?);
        Some(SealedSecret(bytes))
    }

    /// Decrypt the secret; `None` where the key or the owner differ from those that sealed it.
    pub fn open(&self, key: &SealKey, owner: &str) -> Option<Secret<String>> {
        let (nonce, sealed) = self.0.split_at_checked(NONCE)?;
        let nonce = Nonce::try_from(nonce).ok()?;
        let payload = Payload { msg: sealed, aad: owner.as_bytes() };
        let plain = key.cipher().decrypt(&nonce, payload).ok()?;
        Some(Secret::new(String::from_utf8(plain).ok()?))
    }

    /// The bytes stored in the database.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// From the bytes stored in the database.
    pub fn from_bytes(bytes: Vec<u8>) -> SealedSecret {
        SealedSecret(bytes)
    }
}

impl fmt::Debug for SealedSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Serialize for SealedSecret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex(&self.0))
    }
}

impl<'de> Deserialize<'de> for SealedSecret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        unhex(&text).map(SealedSecret).ok_or_else(|| serde::de::Error::custom("not hexadecimal"))
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> =
        text.trim().chars().map(|c| c.to_digit(16).map(|d| d as u8)).collect::<Option<_>>()?;
    let (pairs, rest) = digits.as_chunks::<2>();
    rest.is_empty().then(|| pairs.iter().map(|[high, low]| high << 4 | low).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_comes_back_only_with_its_key_and_for_its_owner() {
        let mut rng = Rng::from_number(1);
        let (key, other) = (SealKey::random(&mut rng), SealKey::random(&mut rng));
        let secret = Secret::new("carrier-pass".to_owned());
        let sealed = SealedSecret::seal(&key, "trunk_1", &secret, &mut rng).unwrap();
        let again = SealedSecret::seal(&key, "trunk_1", &secret, &mut rng).unwrap();
        assert_ne!(sealed, again, "a nonce is never used twice");
        assert_eq!(sealed.open(&key, "trunk_1"), Some(secret));
        assert_eq!(sealed.open(&other, "trunk_1"), None);
        assert_eq!(sealed.open(&key, "trunk_2"), None);
        let kept: SealedSecret = serde_json::from_str(&serde_json::to_string(&sealed).unwrap()).unwrap();
        assert_eq!(kept, sealed);
        assert_eq!(SealKey::from_hex(key.to_hex().expose()), Some(key));
        assert_eq!(SealedSecret::from_bytes(vec![1, 2]).open(&other, ""), None);
    }
}
