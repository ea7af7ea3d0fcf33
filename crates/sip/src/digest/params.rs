//! `name=value, name="value"`: the parameters of challenges and credentials (RFC 7235 §2.1).

use std::borrow::Cow;

use crate::lexer::{self, TOKEN};

/// One parameter. The value has no quotes; its escapes are unchanged.
#[derive(Clone, Copy, Debug)]
pub(super) struct Param<'a> {
    pub(super) name: &'a str,
    pub(super) value: &'a str,
}

/// The text after `Digest`; `None` for another scheme.
pub(super) fn after_scheme(value: &str) -> Option<&str> {
    let (scheme, rest) = value.trim_start().split_once([' ', '\t'])?;
    scheme.eq_ignore_ascii_case("Digest").then_some(rest)
}

/// Iterator over the parameters; yields `Some(None)` once if the text is malformed, then ends.
#[derive(Debug)]
pub(super) struct Params<'a>(pub(super) &'a str);

impl<'a> Params<'a> {
    fn next_param(&mut self) -> Option<Param<'a>> {
        let text = self.0;
        let len = text.bytes().position(|b| !lexer::is(b, TOKEN))?;
        let (name, rest) = text.split_at_checked(len).filter(|(name, _)| !name.is_empty())?;
        let rest = rest.trim_start().strip_prefix('=')?.trim_start();
        let (value, rest) = if rest.starts_with('"') {
            let end = lexer::after_quoted(rest.as_bytes(), 0)?;
            (rest.get(1..end - 1)?, rest.get(end..)?)
        } else {
            let end = rest.bytes().position(|b| b == b',' || lexer::is_space(b)).unwrap_or(rest.len());
            rest.split_at_checked(end)
                .filter(|(value, _)| lexer::all(value.as_bytes(), lexer::VALUE) && !value.contains('\\'))?
        };
        let rest = rest.trim_start();
        self.0 = match rest.strip_prefix(',') {
            Some(next) => next,
            None if rest.is_empty() => rest,
            None => return None,
        };
        (!value.bytes().any(|b| b < 0x20 || b == 0x7f)).then_some(Param { name, value })
    }
}

impl<'a> Iterator for Params<'a> {
    type Item = Option<Param<'a>>;

    fn next(&mut self) -> Option<Option<Param<'a>>> {
        // The list may have empty elements (RFC 7230 §7).
        self.0 = self.0.trim_start_matches([' ', '\t', '\r', '\n', ',']); // the line may be folded
        if self.0.is_empty() {
            return None;
        }
        let param = self.next_param();
        if param.is_none() {
            self.0 = "";
        }
        Some(param)
    }
}

/// A quoted value with its escapes decoded.
pub(super) fn unescape(value: &str) -> Cow<'_, str> {
    if !value.contains('\\') {
        return Cow::Borrowed(value);
    }
    let mut escaped = false;
    let plain = value.chars().filter(|&c| {
        escaped = c == '\\' && !escaped;
        !escaped
    });
    Cow::Owned(plain.collect())
}

/// Append `text` as a quoted string; control characters are left out.
pub(super) fn quote(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars().filter(|c| !c.is_control()) {
        if matches!(c, '"' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('"');
}
