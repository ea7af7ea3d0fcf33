//! Opaque cursors of paginated lists: their content may change without notice.

use std::fmt::Display;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Serialize as _, Serializer};

/// Prefix of the plaintext, so that arbitrary text is hardly ever taken for a cursor.
const PREFIX: &str = "c:";

/// Serialise a position as a cursor; for `serialize_with`.
#[allow(clippy::ref_option)] // serde passes a reference to the field
pub(crate) fn serialize_cursor<T: Display, S: Serializer>(
    place: &Option<T>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    place.as_ref().map(|place| encode(place)).serialize(serializer)
}

/// Encode a position as a cursor.
pub(crate) fn encode(place: &impl Display) -> String {
    URL_SAFE_NO_PAD.encode(format!("{PREFIX}{place}"))
}

/// Decode a cursor; `None` if it was not made by this server.
pub(crate) fn decode(text: &str) -> Option<String> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    String::from_utf8(bytes).ok()?.strip_prefix(PREFIX).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_own_cursors_are_accepted() {
        for place in ["1001", "1736937000000000.session_1_a", "42"] {
            assert_eq!(decode(&encode(&place)).as_deref(), Some(place));
        }
        for other in ["", "1001", "42", "ext_1", "nonsense", "YzE", "%00"] {
            assert_eq!(decode(other), None, "{other}");
        }
    }
}
