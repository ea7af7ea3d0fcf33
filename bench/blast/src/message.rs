//! Minimal SIP parser of the load generator.

use memchr::{memchr, memmem};

/// A message whose head was scanned once for the headers that a phone needs.
#[derive(Default)]
pub struct Message<'a> {
    /// Status of a response; 0 for a request.
    pub status: u16,
    /// Method of the request, or of CSeq in a response.
    pub method: &'a [u8],
    /// CSeq's number.
    pub cseq: u32,
    /// Call-ID.
    pub call_id: &'a [u8],
    /// From and To as received, to be copied.
    pub from: &'a [u8],
    /// See `from`.
    pub to: &'a [u8],
    /// The URI in Contact.
    pub contact: &'a [u8],
    /// The challenge of a 401 or 407.
    pub challenge: &'a [u8],
    /// All Via and Record-Route lines, with header names.
    pub vias: Vec<&'a [u8]>,
    /// See `vias`.
    pub record_routes: Vec<&'a [u8]>,
    /// The bytes after the head.
    pub body: &'a [u8],
}

impl<'a> Message<'a> {
    /// Parse `bytes`; `None` if they are not a SIP message.
    pub fn read(bytes: &'a [u8]) -> Option<Message<'a>> {
        let mut message = Message::default();
        let (first, mut rest) = line(bytes)?;
        if let Some(status) = first.strip_prefix(b"SIP/2.0 ") {
            message.status = number(status)? as u16;
        } else {
            message.method = &first[..memchr(b' ', first)?];
        }
        loop {
            let (line, next) = line(rest)?;
            rest = next;
            if line.is_empty() {
                message.body = rest;
                return Some(message);
            }
            let Some(colon) = memchr(b':', line) else { continue };
            let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
            let is = |long: &str, short: &[u8]| name.eq_ignore_ascii_case(long.as_bytes()) || name == short;
            match name.first().map(u8::to_ascii_lowercase) {
                Some(b'v') if is("via", b"v") => message.vias.push(line),
                Some(b'r') if is("record-route", b"-") => message.record_routes.push(line),
                Some(b'c' | b'i') if is("call-id", b"i") => message.call_id = value,
                Some(b'c') if is("cseq", b"-") => {
                    message.cseq = number(value)?;
                    if message.status != 0 {
                        message.method = &value[memchr(b' ', value)? + 1..];
                    }
                }
                Some(b'c' | b'm') if is("contact", b"m") => message.contact = uri(value),
                Some(b'f') if is("from", b"f") => message.from = value,
                Some(b't') if is("to", b"t") => message.to = value,
                Some(b'w' | b'p') if is("www-authenticate", b"-") || is("proxy-authenticate", b"-") => {
                    message.challenge = value;
                }
                _ => {}
            }
        }
    }
}

/// Value of the parameter `name` of a challenge, without quotes.
pub fn parameter<'a>(challenge: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let mut from = 0;
    loop {
        let at = from + memmem::find(&challenge[from..], name.as_bytes())?;
        from = at + name.len();
        let begins = at == 0 || matches!(challenge[at - 1], b' ' | b',');
        let Some(value) = challenge[from..].strip_prefix(b"=").filter(|_| begins) else { continue };
        return Some(match value.strip_prefix(b"\"") {
            Some(quoted) => &quoted[..memchr(b'"', quoted)?],
            None => value.split(|byte| matches!(byte, b',' | b' ')).next()?,
        });
    }
}

/// The URI of a name-addr or addr-spec.
pub fn uri(value: &[u8]) -> &[u8] {
    match memchr(b'<', value) {
        Some(open) => {
            let inner = &value[open + 1..];
            &inner[..memchr(b'>', inner).unwrap_or(inner.len())]
        }
        None => value.split(|byte| *byte == b';').next().unwrap_or(value),
    }
}

/// The number at the start of `bytes`.
pub fn number(bytes: &[u8]) -> Option<u32> {
    let digits = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
    std::str::from_utf8(&bytes[..digits]).ok()?.parse().ok()
}

fn line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = memchr(b'\n', bytes)?;
    Some((bytes[..end].strip_suffix(b"\r").unwrap_or(&bytes[..end]), &bytes[end + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_phone_acts_on_is_found() {
        let text = b"SIP/2.0 401 Unauthorized\r\nv: SIP/2.0/UDP a;branch=z\r\nTo: <sip:b@c>;tag=1\r\ni: 5.6@b\r\n\
            CSeq: 7 REGISTER\r\nm: \"x\" <sip:y@z>;q=1\r\nWWW-Authenticate: Digest realm=\"r s\", nonce=\"n,1\",qop=\"auth\",opaque=o\r\n\r\nbody";
        let message = Message::read(text).unwrap();
        assert_eq!((message.status, message.cseq, message.method), (401, 7, &b"REGISTER"[..]));
        assert_eq!(
            (message.call_id, message.contact, message.body),
            (&b"5.6@b"[..], &b"sip:y@z"[..], &b"body"[..])
        );
        let value = |name| parameter(message.challenge, name).unwrap();
        assert_eq!((value("realm"), value("nonce"), value("opaque")), (&b"r s"[..], &b"n,1"[..], &b"o"[..]));
        assert!(parameter(message.challenge, "algorithm").is_none());
    }
}
