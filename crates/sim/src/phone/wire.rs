//! Serialisation of a phone's messages.

use bytes::Bytes;
use sip::{Contacts, HeaderName, Message};

use super::{Call, Phone};

/// Parts of a request.
#[derive(Debug)]
pub(super) struct RequestParts<'a> {
    pub(super) method: &'a str,
    pub(super) uri: &'a str,
    pub(super) branch: &'a str,
    pub(super) from: String,
    pub(super) to: String,
    pub(super) call_id: &'a str,
    pub(super) cseq: u32,
    /// Further header lines, each with CRLF.
    pub(super) lines: &'a str,
    pub(super) sdp: Option<&'a str>,
}

impl Phone {
    pub(super) fn contact(&self) -> String {
        let transport = if self.transport.is_reliable() { ";transport=tcp" } else { "" };
        format!("<sip:{}@{}{transport}>", self.account.user, self.address)
    }

    pub(super) fn new_branch(&mut self) -> String {
        format!("z9hG4bK{}", self.rng.base36(12))
    }

    pub(super) fn write(&self, parts: &RequestParts<'_>) -> Bytes {
        let (kind, body) = match parts.sdp {
            Some(sdp) => ("Content-Type: application/sdp\r\n", sdp),
            None => ("", ""),
        };
        Bytes::from(format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/{via} {address};branch={branch};rport\r\nMax-Forwards: 70\r\n\
             From: {from}\r\nTo: {to}\r\nCall-ID: {call_id}\r\nCSeq: {cseq} {method}\r\nContact: {contact}\r\n\
             {lines}{kind}Content-Length: {length}\r\n\r\n{body}",
            method = parts.method,
            uri = parts.uri,
            via = self.transport.as_str(),
            address = self.address,
            branch = parts.branch,
            from = parts.from,
            to = parts.to,
            call_id = parts.call_id,
            cseq = parts.cseq,
            contact = self.contact(),
            lines = parts.lines,
            length = body.len(),
        ))
    }

    /// A request in the dialog of a call.
    pub(super) fn in_dialog_request(
        &self,
        call: &Call,
        method: &str,
        branch: &str,
        cseq: u32,
        lines: &str,
        sdp: Option<&str>,
    ) -> Bytes {
        let to = match call.remote_tag.as_str() {
            "" => format!("<{}>", call.remote),
            tag => format!("<{}>;tag={tag}", call.remote),
        };
        self.write(&RequestParts {
            method,
            uri: &call.target,
            branch,
            from: format!("<{}>;tag={}", call.local, call.local_tag),
            to,
            call_id: &call.call_id,
            cseq,
            lines,
            sdp,
        })
    }

    /// A response to a request.
    pub(super) fn response_to(
        &self,
        request: &Message,
        status: u16,
        tag: &str,
        lines: &str,
        sdp: Option<&str>,
    ) -> Bytes {
        let mut text = format!("SIP/2.0 {status} {}\r\n", sip::reason_phrase(status));
        for via in request.header_lines(HeaderName::Via) {
            text.push_str(&format!("Via: {}\r\n", String::from_utf8_lossy(via)));
        }
        let header = |name| request.header(name).unwrap_or_default();
        let mut to = header(HeaderName::To).to_string();
        if request.to_tag().is_empty() && status > 100 {
            to.push_str(&format!(";tag={tag}"));
        }
        text.push_str(&format!(
            "From: {}\r\nTo: {to}\r\nCall-ID: {}\r\nCSeq: {}\r\nContact: {}\r\n{lines}",
            header(HeaderName::From),
            header(HeaderName::CallId),
            header(HeaderName::CSeq),
            self.contact(),
        ));
        if sdp.is_some() {
            text.push_str("Content-Type: application/sdp\r\n");
        }
        let body = sdp.unwrap_or_default();
        text.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len()));
        Bytes::from(text)
    }

    /// ACK of a final error: in the transaction of the INVITE (RFC 3261 §17.1.1.3).
    pub(super) fn ack_of_error(&self, invite: &Message, error: &Message) -> Bytes {
        self.write(&RequestParts {
            method: "ACK",
            uri: invite.uri().map_or("", sip::Uri::as_str),
            branch: std::str::from_utf8(&invite.via().branch).unwrap_or_default(),
            from: invite.header(HeaderName::From).unwrap_or_default().into(),
            to: error.header(HeaderName::To).unwrap_or_default().into(),
            call_id: invite.call_id(),
            cseq: invite.cseq().number,
            lines: "",
            sdp: None,
        })
    }
}

/// Remote target of the dialog (RFC 3261 §12.1.2), from Contact.
pub(super) fn target_of(message: &Message) -> Option<String> {
    match message.contacts() {
        Ok(Contacts::List(list)) => list.first().map(|contact| contact.uri.to_string()),
        Ok(Contacts::None | Contacts::Star) | Err(_) => None,
    }
}

/// The body; `None` if it is empty.
pub(super) fn body(message: &Message) -> Option<Bytes> {
    Some(message.body()).filter(|body| !body.is_empty())
}
