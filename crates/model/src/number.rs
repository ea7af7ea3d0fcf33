//! Dialled numbers and extension numbers.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Why a text is not a number.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NumberError {
    /// Not a dialled number (S32).
    #[error("a number has 1 to 32 characters of 0-9, * and #, and an optional + in front")]
    Dialled,
    /// Not an extension number: the rule of the requirements is 2 to 6 digits.
    #[error("an extension number has 2 to 6 digits")]
    Extension,
}

/// A dialled number: `^\+?[0-9*#]{1,32}$` (S32). `+0987654321` is legal, although no E.164 number begins with 0.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DialledNumber(Arc<str>);

impl DialledNumber {
    /// Parse a dialled number. Visual separators are not accepted; see [`crate::policy::normalise`].
    pub fn parse(text: &str) -> Result<DialledNumber, NumberError> {
        let digits = text.strip_prefix('+').unwrap_or(text);
        let legal = |c: char| c.is_ascii_digit() || c == '*' || c == '#';
        if digits.is_empty() || digits.len() > 32 || !digits.chars().all(legal) {
            return Err(NumberError::Dialled);
        }
        Ok(DialledNumber(text.into()))
    }

    /// Parse a written number: as [`DialledNumber::parse`], after visual separators are removed.
    pub fn parse_written(text: &str) -> Result<DialledNumber, NumberError> {
        DialledNumber::parse(&without_separators(text))
    }

    /// The number as it was dialled, with `+` where it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The number of an extension: 2 to 6 digits.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ExtensionNumber(Arc<str>);

impl ExtensionNumber {
    /// Parse an extension number.
    pub fn parse(text: &str) -> Result<ExtensionNumber, NumberError> {
        if !(2..=6).contains(&text.len()) || !text.bytes().all(|b| b.is_ascii_digit()) {
            return Err(NumberError::Extension);
        }
        Ok(ExtensionNumber(text.into()))
    }

    /// The 2 to 6 digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A text without the separators that make a written number readable: the visual separators of RFC 3966 §5.1.1, and the spaces, dashes and
/// invisible formatting characters (U+2000 to U+2015, U+202A to U+202F, …) that address books and web pages put into numbers.
pub(crate) fn without_separators(text: &str) -> Cow<'_, str> {
    let is_separator = |c: char| match c {
        '-' | '.' | '(' | ')' | ' ' | '\u{a0}' | '\u{2060}' | '\u{feff}' => true,
        c => matches!(c, '\u{2000}'..='\u{2015}' | '\u{202a}'..='\u{202f}'),
    };
    if text.contains(is_separator) { text.replace(is_separator, "").into() } else { text.into() }
}

macro_rules! textual {
    ($name:ident) => {
        impl TryFrom<String> for $name {
            type Error = NumberError;
            fn try_from(text: String) -> Result<Self, NumberError> {
                $name::parse(&text)
            }
        }

        impl From<$name> for String {
            fn from(number: $name) -> String {
                number.0.as_ref().into()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

textual!(DialledNumber);
textual!(ExtensionNumber);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_accepted_as_documented() {
        for good in ["+1234567890", "+0987654321", "*43", "1001", "#1", "911"] {
            assert!(DialledNumber::parse(good).is_ok(), "{good}"); // S32
        }
        for bad in ["", "+", "12 34", "1001\r\n", "++1", "abc", "123456789012345678901234567890123"] {
            assert_eq!(DialledNumber::parse(bad), Err(NumberError::Dialled), "{bad:?}");
        }
        assert!(ExtensionNumber::parse("1001").is_ok());
        assert!(ExtensionNumber::parse("1").is_err() && ExtensionNumber::parse("1234567").is_err());
    }
}
