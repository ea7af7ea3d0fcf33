//! Comparison of URIs (RFC 3261 §19.1.4; for `tel:` RFC 3966 §4).

use super::{Kind, Uri, pairs, parse};
use crate::lexer::{self, HEX, RESERVED};

/// The bytes of a text with escapes decoded. An escaped reserved character differs from an unescaped one (RFC 2396 §2.2): it has bit 8 set.
pub(super) struct Units<'a>(&'a [u8]);

impl<'a> Units<'a> {
    pub(super) fn of(text: &'a [u8]) -> Self {
        Units(text)
    }
}

impl Iterator for Units<'_> {
    type Item = u16;

    fn next(&mut self) -> Option<u16> {
        if let [b'%', a, b, rest @ ..] = self.0
            && lexer::is(*a, HEX)
            && lexer::is(*b, HEX)
        {
            let digit = |c: u8| char::from(c).to_digit(16).unwrap_or(0) as u16;
            self.0 = rest;
            let byte = digit(*a) * 16 + digit(*b);
            return Some(if lexer::is(byte as u8, RESERVED) { byte | 0x100 } else { byte });
        }
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(u16::from(*first))
    }
}

fn lower(unit: u16) -> u16 {
    u16::from((unit as u8).to_ascii_lowercase()) | (unit & 0x100)
}

fn equal_unescaped(a: &[u8], b: &[u8]) -> bool {
    a == b || Units::of(a).eq(Units::of(b))
}

fn equal_ignoring_case(a: &[u8], b: &[u8]) -> bool {
    a == b || Units::of(a).map(lower).eq(Units::of(b).map(lower))
}

pub(super) fn equal(a: &Uri, b: &Uri) -> bool {
    match (a.spans.kind, b.spans.kind) {
        (Kind::Sip, Kind::Sip) | (Kind::Sips, Kind::Sips) => sip(a, b),
        (Kind::Tel, Kind::Tel) => tel(a, b),
        (Kind::Other, Kind::Other) => {
            let parts = |u: &Uri| {
                (u.spans.scheme.cut(&u.text), u.text.slice(u.text.len().min(u.spans.scheme.end as usize)..))
            };
            let ((scheme, rest), (other, others)) = (parts(a), parts(b));
            scheme.eq_ignore_ascii_case(&other) && rest == others
        }
        (Kind::Sip | Kind::Sips | Kind::Tel | Kind::Other, _) => false,
    }
}

fn sip(a: &Uri, b: &Uri) -> bool {
    let part = |u: &Uri, span: Option<lexer::Span>| span.map(|s| s.cut(&u.text));
    let both = |x: Option<bytes::Bytes>, y: Option<bytes::Bytes>| match (x, y) {
        (Some(x), Some(y)) => equal_unescaped(&x, &y),
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
    };
    both(part(a, a.spans.user), part(b, b.spans.user))
        && both(part(a, a.spans.password), part(b, b.spans.password))
        && hosts(a.host(), b.host())
        && a.spans.port == b.spans.port
        && params(a, b)
        && params(b, a)
        && headers(a, b)
}

fn hosts(a: &str, b: &str) -> bool {
    a.eq_ignore_ascii_case(b)
        || matches!((parse::ip_literal(a), parse::ip_literal(b)), (Some(x), Some(y)) if x == y)
}

/// Whether every parameter of `a` is equal in `b`, or is one that `b` may omit.
fn params(a: &Uri, b: &Uri) -> bool {
    a.params().all(|(name, value)| match b.params().find(|(n, _)| equal_ignoring_case(n, name)) {
        Some((_, other)) => equal_ignoring_case(value, other),
        None => ![b"user".as_slice(), b"ttl", b"method", b"maddr", b"transport"]
            .iter()
            .any(|must| equal_ignoring_case(must, name)),
    })
}

/// Headers must match; their order may differ.
fn headers(a: &Uri, b: &Uri) -> bool {
    let of = |u: &Uri| u.spans.headers.map(|span| span.cut(&u.text)).unwrap_or_default();
    let (a, b) = (of(a), of(b));
    let list = |text: &[u8]| -> Vec<(Vec<u16>, Vec<u16>)> {
        let mut all: Vec<_> = pairs(text, b'&')
            .map(|(n, v)| (Units::of(n).map(lower).collect(), Units::of(v).collect()))
            .collect();
        all.sort();
        all
    };
    a == b || list(&a) == list(&b)
}

fn tel(a: &Uri, b: &Uri) -> bool {
    let digits = |u: &Uri| -> Vec<u8> {
        let number = u.spans.user.unwrap_or_default().of(&u.text);
        number
            .iter()
            .filter(|b| !matches!(b, b'-' | b'.' | b'(' | b')'))
            .map(u8::to_ascii_lowercase)
            .collect()
    };
    let params_in = |x: &Uri, y: &Uri| {
        x.params().all(|(name, value)| {
            y.params().any(|(n, v)| equal_ignoring_case(n, name) && equal_ignoring_case(v, value))
        })
    };
    digits(a) == digits(b) && params_in(a, b) && params_in(b, a)
}
