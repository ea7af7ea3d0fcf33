//! Generation of secrets: API keys with a recognisable prefix and a checksum, passwords that survive XML, URLs and reading aloud.

use base::{Rng, Secret};
use sha2::{Digest, Sha256};

/// Prefix of every key (S55). Scanners for leaked secrets may look for `sk_voip_[0-9A-Za-z]{49}`.
pub(crate) const PREFIX: &str = "sk_voip_";
/// 43 characters of base 62 hold 256 bits.
const RANDOM_CHARS: usize = 43;
/// Six characters of base 62 hold a CRC-32.
const CHECK_CHARS: usize = 6;
/// Characters of a key that are shown to tell it from others.
const SHOWN_CHARS: usize = 8;
const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// Without 0, O, 1, l and I, and without characters that a URL, XML or a shell would change.
const PASSWORD_ALPHABET: &[u8] = b"ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz23456789-_.";
/// S40: over 93 bits.
const PASSWORD_CHARS: usize = 16;

/// Generate a key.
pub(crate) fn key(rng: &mut Rng) -> Secret<String> {
    let body = random_text(rng, BASE62, RANDOM_CHARS);
    Secret::new(format!("{PREFIX}{body}{}", checksum(&body)))
}

/// Whether a text has the form of a key: prefix, alphabet, length and checksum.
pub fn is_well_formed(key: &str) -> bool {
    key.strip_prefix(PREFIX).is_some_and(|rest| {
        rest.len() == RANDOM_CHARS + CHECK_CHARS
            && rest.is_ascii()
            && rest.split_at_checked(RANDOM_CHARS).is_some_and(|(body, sum)| checksum(body) == sum)
    })
}

/// The hash of a key that is stored.
pub(crate) fn hash(key: &str) -> [u8; 32] {
    Sha256::digest(key).into()
}

/// The first characters of a key, which are stored and shown.
pub(crate) fn display_prefix(key: &str) -> String {
    key.chars().take(PREFIX.len() + SHOWN_CHARS).collect()
}

/// Generate a password.
pub(crate) fn password(rng: &mut Rng) -> Secret<String> {
    Secret::new(random_text(rng, PASSWORD_ALPHABET, PASSWORD_CHARS))
}

/// Passwords that are published in documentation or are defaults of other systems; attackers try them first (security.md row 29).
const WELL_KNOWN: [&str; 12] = [
    "1234",
    "12345",
    "123456",
    "admin",
    "asterisk",
    "changeme",
    "password",
    "secret",
    "mini-vapi",
    "SuperClaveSegura123",
    "SecurePass123!",
    "secure_password",
];

/// Whether a password is trivial: published, or equal to a name of the account.
pub(crate) fn is_trivial(password: &str, account: &[&str]) -> bool {
    WELL_KNOWN.iter().chain(account).any(|known| known.eq_ignore_ascii_case(password))
}

/// Lower-case hexadecimal text.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn random_text(rng: &mut Rng, alphabet: &[u8], len: usize) -> String {
    let pick = |_| char::from(alphabet[rng.below(alphabet.len() as u64) as usize]);
    (0..len).map(pick).collect()
}

fn checksum(body: &str) -> String {
    let mut rest = crc32fast::hash(body.as_bytes()) as usize;
    let mut text = String::with_capacity(CHECK_CHARS);
    for _ in 0..CHECK_CHARS {
        text.push(char::from(BASE62[rest % 62]));
        rest /= 62;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_recognised_and_typing_errors_are_detected() {
        let mut rng = Rng::from_number(1);
        let key = key(&mut rng); // S55
        let text = key.expose();
        assert!(text.starts_with("sk_voip_") && text.len() == 57 && is_well_formed(text));
        let typo = text.replacen(&text[10..11], if &text[10..11] == "x" { "y" } else { "x" }, 1);
        for bad in [typo.as_str(), "sk_voip_abc123...", "", "sk_voip_", "Ünicode"] {
            assert!(!is_well_formed(bad), "{bad}");
        }
        assert_eq!(format!("{key:?}"), "***");
    }

    #[test]
    fn passwords_have_sixteen_harmless_characters() {
        let mut rng = Rng::from_number(1);
        for _ in 0..200 {
            let password = password(&mut rng); // S40
            assert_eq!(password.expose().len(), 16);
            assert!(password.expose().bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)));
        }
    }
}
