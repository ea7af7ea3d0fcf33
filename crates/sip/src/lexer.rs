//! Lexical primitives: character classes of RFC 3261 §25, spans of a buffer, white space, numbers.

use bytes::Bytes;

/// The classes of each byte, one bit per class.
static TABLE: [u16; 256] = table();

/// `token`.
pub(crate) const TOKEN: u16 = 1;
/// `user`: unescaped characters of the user part, plus the `#` that some phones do not escape. Without `%`.
pub(crate) const USER: u16 = 1 << 1;
/// `password`.
pub(crate) const PASSWORD: u16 = 1 << 2;
/// Host names, plus the underscore that local networks use.
pub(crate) const HOST: u16 = 1 << 3;
/// Name and value of a URI parameter, plus `=` (base64 values occur in the field).
pub(crate) const PARAM: u16 = 1 << 4;
/// Headers of a URI.
pub(crate) const HEADERS: u16 = 1 << 5;
/// Unquoted value of a header parameter.
pub(crate) const VALUE: u16 = 1 << 6;
/// Unquoted display name: white space, and UTF-8 bytes, which many phones send unquoted.
pub(crate) const DISPLAY: u16 = 1 << 7;
/// Visible ASCII.
pub(crate) const VISIBLE: u16 = 1 << 8;
/// Telephone number with visual separators (RFC 3966).
pub(crate) const PHONE: u16 = 1 << 9;
/// URI scheme.
pub(crate) const SCHEME: u16 = 1 << 10;
/// Reserved characters of a URI (RFC 2396): escaped and unescaped forms differ.
pub(crate) const RESERVED: u16 = 1 << 11;
/// Hexadecimal digits.
pub(crate) const HEX: u16 = 1 << 12;

#[allow(clippy::indexing_slicing)] // runs at compile time only
const fn add(table: &mut [u16; 256], text: &[u8], class: u16) {
    let mut i = 0;
    while i < text.len() {
        table[text[i] as usize] |= class;
        i += 1;
    }
}

#[allow(clippy::indexing_slicing)] // runs at compile time only
const fn table() -> [u16; 256] {
    let mut t = [0; 256];
    let mut c = 0;
    while c < 256 {
        let b = c as u8;
        if b.is_ascii_alphanumeric() {
            t[c] |= TOKEN | USER | PASSWORD | HOST | PARAM | HEADERS | SCHEME;
        }
        if b.is_ascii_hexdigit() {
            t[c] |= PHONE | HEX;
        }
        if b > 0x20 && b < 0x7f {
            t[c] |= VISIBLE;
            if !matches!(b, b';' | b',' | b'"' | b'<' | b'>') {
                t[c] |= VALUE;
            }
        }
        if b >= 0x80
            || (b >= 0x20 && b != 0x7f && !matches!(b, b'"' | b',' | b';' | b':' | b'<' | b'>' | b'\\'))
            || b == b'\t'
        {
            t[c] |= DISPLAY;
        }
        c += 1;
    }
    add(&mut t, b"-.!%*_+`'~", TOKEN);
    add(&mut t, b"-_.!~*'()", USER | PASSWORD | PARAM | HEADERS);
    add(&mut t, b"&=+$,;?/#", USER);
    add(&mut t, b"&=+$,", PASSWORD);
    add(&mut t, b"-._", HOST);
    add(&mut t, b"[]/:&+$=", PARAM);
    add(&mut t, b"[]/?:+$=&", HEADERS);
    add(&mut t, b"*#+-.()", PHONE);
    add(&mut t, b"+-.", SCHEME);
    add(&mut t, b";/?:@&=+$,", RESERVED);
    t
}

/// Whether `byte` is in `class`.
#[inline]
pub(crate) fn is(byte: u8, class: u16) -> bool {
    TABLE.get(byte as usize).is_some_and(|bits| bits & class != 0)
}

/// Whether `text` is not empty and all of it is in `class`.
#[inline]
pub(crate) fn all(text: &[u8], class: u16) -> bool {
    !text.is_empty() && text.iter().all(|&b| is(b, class))
}

/// Whether all of `text` is in `class` or an escape (`%` and two hexadecimal digits).
pub(crate) fn all_escaped(mut text: &[u8], class: u16) -> bool {
    loop {
        match text.iter().position(|&b| !is(b, class)) {
            None => return true,
            Some(at) => match text.get(at..) {
                Some([b'%', a, b, rest @ ..]) if is(*a, HEX) && is(*b, HEX) => text = rest,
                _ => return false,
            },
        }
    }
}

/// Whether a byte is a space or a tab.
#[inline]
pub(crate) fn is_space(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

/// A range of a buffer that is stored elsewhere.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Span {
    pub(crate) start: u32,
    pub(crate) end: u32,
}

impl Span {
    /// The range `start..end`.
    #[inline]
    pub(crate) fn new(start: usize, end: usize) -> Span {
        Span { start: start as u32, end: end.max(start) as u32 }
    }

    /// The bytes that it covers in `text`; empty if out of range.
    #[inline]
    pub(crate) fn of(self, text: &[u8]) -> &[u8] {
        text.get(self.start as usize..self.end as usize).unwrap_or_default()
    }

    /// The text that it covers; empty if it is not UTF-8.
    #[inline]
    pub(crate) fn text(self, text: &[u8]) -> &str {
        std::str::from_utf8(self.of(text)).unwrap_or_default()
    }

    /// The bytes that it covers, sharing the buffer.
    #[inline]
    pub(crate) fn cut(self, bytes: &Bytes) -> Bytes {
        if self.start < self.end && self.end as usize <= bytes.len() {
            bytes.slice(self.start as usize..self.end as usize)
        } else {
            Bytes::new()
        }
    }

    /// Whether it is empty.
    #[inline]
    pub(crate) fn is_empty(self) -> bool {
        self.start >= self.end
    }

    /// Without white space (line folding included) at both ends.
    #[inline]
    pub(crate) fn trim(self, text: &[u8]) -> Span {
        let (mut start, mut end) = (self.start, self.end);
        let blank =
            |at: u32| text.get(at as usize).is_some_and(|b| matches!(b, b' ' | b'\t' | b'\r' | b'\n'));
        while start < end && blank(start) {
            start += 1;
        }
        while start < end && blank(end - 1) {
            end -= 1;
        }
        Span { start, end }
    }
}

/// `text` without white space at both ends.
pub(crate) fn trim(text: &[u8]) -> &[u8] {
    Span::new(0, text.len()).trim(text).of(text)
}

/// Parse a decimal number, saturating; `None` if there is any other character, or none.
#[inline]
pub(crate) fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0u64, |n, &b| {
        b.is_ascii_digit().then(|| n.saturating_mul(10).saturating_add(u64::from(b.wrapping_sub(b'0'))))
    })
}

/// Parse a port number.
pub(crate) fn port(text: &[u8]) -> Option<u16> {
    decimal(text).and_then(|n| u16::try_from(n).ok())
}

/// The offset after the quoted string that starts at `at` (its quote); `None` if it is not terminated.
pub(crate) fn after_quoted(text: &[u8], at: usize) -> Option<usize> {
    let mut i = at + 1;
    loop {
        match text.get(i)? {
            b'"' => return Some(i + 1),
            b'\\' => i += 2,
            _ => i += 1,
        }
    }
}

/// The values of a header line, separated by commas outside quotes and `<>`.
pub(crate) fn values(text: &[u8]) -> impl Iterator<Item = Span> + '_ {
    let mut at = Some(0);
    std::iter::from_fn(move || {
        let start = at?;
        let end = value_end(text, start);
        at = (end < text.len()).then_some(end + 1);
        Some(Span::new(start, end).trim(text))
    })
}

/// The end of the value that starts at `start`: a comma outside quotes and `<>`, or the end of the text.
pub(crate) fn value_end(text: &[u8], start: usize) -> usize {
    let mut i = start;
    let mut angle = false;
    while let Some(&b) = text.get(i) {
        match b {
            b'"' if !angle => match after_quoted(text, i) {
                Some(next) => {
                    i = next;
                    continue;
                }
                None => return text.len(),
            },
            b'<' => angle = true,
            b'>' => angle = false,
            b',' if !angle => return i,
            _ => {}
        }
        i += 1;
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_in_quotes_and_brackets_do_not_separate() {
        let text = br#""a,\",b" <sip:a,b@c>;x="y,z" , <sip:d>,e"#;
        let parts: Vec<&str> = values(text).map(|s| s.text(text)).collect();
        assert_eq!(parts, [r#""a,\",b" <sip:a,b@c>;x="y,z""#, "<sip:d>", "e"]);
    }

    #[test]
    fn numbers_saturate_and_reject_signs() {
        assert_eq!(decimal(b"0068"), Some(68));
        assert_eq!(decimal(b"36893488147419103232"), Some(u64::MAX));
        assert_eq!((decimal(b"-1"), decimal(b"+1"), decimal(b"")), (None, None, None));
        assert_eq!((port(b"65535"), port(b"65536")), (Some(65535), None));
    }

    #[test]
    fn escapes_must_be_complete() {
        assert!(all_escaped(b"a%20b", USER) && all_escaped(b"", USER));
        assert!(!all_escaped(b"a%2", USER) && !all_escaped(b"%zz", USER) && !all_escaped(b"a b", USER));
    }
}
