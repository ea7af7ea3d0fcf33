//! Header values with an address: From, To, Contact, Route, … (RFC 3261 §20.10).

use bytes::Bytes;

use super::params::{self, Params};
use crate::Uri;
use crate::lexer::{self, DISPLAY, Span};
use crate::uri::Spans as UriSpans;

/// `"Display" <sip:user@host>;tag=x`: a value of From, To, Contact, Route, Path, … (RFC 3261 §20.10).
#[derive(Clone, Debug)]
pub struct NameAddr {
    /// The display name, with quotes removed, escapes decoded and control characters dropped; empty if there is none. Bytes that are not UTF-8 are
    /// replaced.
    pub display: String,
    /// The URI.
    pub uri: Uri,
    /// The header parameters as written: `;tag=x;q=0.5`.
    pub params: Bytes,
}

impl NameAddr {
    /// Parse one value; the whole of `value` must be one.
    #[allow(clippy::needless_pass_by_value)] // the value is sliced in any case
    pub fn parse(value: Bytes) -> Option<NameAddr> {
        let spans = AddrSpans::read(&value)?;
        Some(spans.name_addr(&value))
    }

    /// A header parameter, by case-insensitive name. A quoted value comes without its quotes, escapes unchanged.
    pub fn param(&self, name: &str) -> Option<&str> {
        std::str::from_utf8(params::find(&self.params, name)?).ok()
    }

    /// The `tag` parameter.
    pub fn tag(&self) -> Option<&str> {
        self.param("tag").filter(|tag| !tag.is_empty())
    }
}

/// Spans of the parts of one value in its text.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct AddrSpans {
    display: Span,
    uri: Span,
    spans: UriSpans,
    params: Span,
    pub(crate) tag: Span,
}

impl AddrSpans {
    /// Parse the whole of `text` as one value.
    pub(crate) fn read(text: &[u8]) -> Option<AddrSpans> {
        let whole = Span::new(0, text.len()).trim(text);
        let start = whole.start as usize;
        let mut found = AddrSpans::default();
        let open = match text.get(start)? {
            b'"' => {
                let after = lexer::after_quoted(text, start)?;
                found.display = Span::new(start, after);
                let rest = text.get(after..).unwrap_or_default();
                after
                    + rest
                        .iter()
                        .position(|&b| !lexer::is_space(b))
                        .filter(|&i| rest.get(i) == Some(&b'<'))?
            }
            _ => match memchr::memchr3(b'<', b';', b'"', text.get(start..)?).map(|i| start + i) {
                Some(at) if text.get(at) == Some(&b'<') => {
                    found.display = Span::new(start, at).trim(text);
                    if !found.display.of(text).iter().all(|&b| lexer::is(b, DISPLAY)) {
                        return None;
                    }
                    at
                }
                _ => return found.bare(text, whole),
            },
        };
        let close = open + memchr::memchr(b'>', text.get(open..)?)?;
        found.uri = Span::new(open + 1, close);
        found.spans = UriSpans::read(found.uri.of(text)).ok()?;
        found.params = Span::new(close + 1, whole.end as usize);
        found.find_tag(text)
    }

    /// An address without angle brackets: parameters after a `;` belong to the header, and neither `?` nor `,` is allowed.
    fn bare(mut self, text: &[u8], whole: Span) -> Option<AddrSpans> {
        let value = whole.of(text);
        let end = memchr::memchr(b';', value).unwrap_or(value.len());
        self.uri = Span::new(whole.start as usize, whole.start as usize + end).trim(text);
        let uri = self.uri.of(text);
        if uri.contains(&b'?') || uri.contains(&b',') {
            return None;
        }
        self.spans = UriSpans::read(uri).ok()?;
        self.params = Span::new(whole.start as usize + end, whole.end as usize);
        self.find_tag(text)
    }

    fn find_tag(mut self, text: &[u8]) -> Option<AddrSpans> {
        let params = self.params.of(text);
        let base = self.params.start;
        for param in Params::new(params, 0) {
            let param = param?;
            if param.name.of(params).eq_ignore_ascii_case(b"tag") {
                if param.value.is_empty() || !self.tag.is_empty() {
                    return None; // an empty tag, or a second one
                }
                self.tag = Span { start: base + param.value.start, end: base + param.value.end };
            }
        }
        Some(self)
    }

    /// The value, sharing its text.
    pub(crate) fn name_addr(&self, text: &Bytes) -> NameAddr {
        let uri = Uri::from_spans(self.uri.cut(text), self.spans);
        NameAddr { display: display(self.display.of(text)), uri, params: self.params.trim(text).cut(text) }
    }
}

/// A display name with quotes removed, escapes decoded and control characters dropped.
fn display(text: &[u8]) -> String {
    if text.is_empty() {
        return String::new();
    }
    let shown = String::from_utf8_lossy(text);
    let clean = |c: &char| !c.is_control();
    match shown.strip_prefix('"').and_then(|s| s.strip_suffix('"')) {
        None => shown.chars().filter(clean).collect(),
        Some(inner) => {
            let mut escaped = false;
            inner
                .chars()
                .filter(|&c| {
                    escaped = c == '\\' && !escaped;
                    !escaped
                })
                .filter(clean)
                .collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &'static str) -> Option<NameAddr> {
        NameAddr::parse(Bytes::from_static(text.as_bytes()))
    }

    #[test]
    fn display_names_have_no_quotes_escapes_or_control_characters() {
        let addr = read("\"Ana \\\"la \\\\ jefa\\\"\\\u{7}\" <sip:1@h>;tag=a").unwrap();
        assert_eq!((addr.display.as_str(), addr.tag()), ("Ana \"la \\ jefa\"", Some("a")));
        assert_eq!(read("Ana María<sip:1@h>").unwrap().display, "Ana María");
        assert_eq!(read("sip:1@h;tag=x").unwrap().params, ";tag=x"); // RFC 3261 §20: without <> parameters are the header's
        assert_eq!(read("<sip:1@h;tag=x>").unwrap().tag(), None);
    }

    #[test]
    fn malformed_addresses_are_rejected() {
        for text in [
            "",
            "<sip:1@h",
            "\"a <sip:1@h>",
            "a, b <sip:1@h>",
            "< sip:1@h >",
            "sip:1@h?a=b",
            "<sip:1@h>;;",
            "<sip:1@h> x",
            "<sip:1@h>;tag=",
            "<sip:1@h>;tag=a;tag=b",
            "<>",
            "\"a\" x <sip:1@h>",
        ] {
            assert!(read(text).is_none(), "{text}");
        }
    }
}
