//! Dialogs (RFC 3261 §12): addresses and tags of both ends, route set, remote target and CSeq numbers.

use std::net::IpAddr;
use std::sync::Arc;

use crate::{Contacts, HeaderName, Hop, Message, Method, Transport, Uri, wire};

/// One dialog, or (with an empty remote tag) the dialog fields of our INVITE before the first response.
#[derive(Clone, Debug)]
pub(crate) struct Dialog {
    pub(crate) call_id: Arc<str>,
    pub(crate) local_tag: Arc<str>,
    pub(crate) remote_tag: Box<str>,
    /// Our From (or the peer's To) value without tag.
    pub(crate) local: Arc<str>,
    /// The peer's address without tag.
    pub(crate) remote: Arc<str>,
    /// The user part of our Contact.
    pub(crate) contact_user: Arc<str>,
    pub(crate) local_seq: u32,
    pub(crate) remote_seq: Option<u32>,
    pub(crate) route: Vec<Uri>,
    pub(crate) target: Uri,
    pub(crate) hop: Hop,
}

/// A header value as text without its parameters; bytes that are not UTF-8 are replaced.
pub(crate) fn address_text(message: &Message, name: HeaderName) -> Arc<str> {
    let raw = message.header_lines(name).next().unwrap_or_default();
    let mut text = Vec::with_capacity(raw.len());
    wire::value(&mut text, wire::without_params(raw));
    String::from_utf8_lossy(&text).into()
}

/// The URI of the first Contact.
pub(crate) fn contact_of(message: &Message) -> Option<Uri> {
    match message.contacts() {
        Ok(Contacts::List(list)) => list.into_iter().next().map(|contact| contact.uri),
        Ok(Contacts::None | Contacts::Star) | Err(_) => None,
    }
}

fn record_route(message: &Message) -> Vec<Uri> {
    if message.header_lines(HeaderName::RecordRoute).next().is_none() {
        return Vec::new();
    }
    message
        .addresses(HeaderName::RecordRoute)
        .unwrap_or_default()
        .into_iter()
        .map(|address| address.uri)
        .collect()
}

impl Dialog {
    /// The dialog of an incoming INVITE or SUBSCRIBE (§12.1.1).
    pub(crate) fn answering(invite: &Message, hop: Hop, local_tag: Arc<str>) -> Dialog {
        let contact_user = invite.uri().and_then(Uri::user).unwrap_or_default();
        Dialog {
            call_id: invite.call_id().into(),
            local_tag,
            remote_tag: invite.from_tag().into(),
            local: address_text(invite, HeaderName::To),
            remote: address_text(invite, HeaderName::From),
            contact_user: contact_user.as_ref().into(),
            local_seq: 0,
            remote_seq: Some(invite.cseq().number),
            route: record_route(invite),
            target: contact_of(invite).unwrap_or_else(|| invite.from().uri),
            hop,
        }
    }

    /// The dialog that a response to our INVITE creates (§12.1.2). `self` has the fields of the INVITE.
    pub(crate) fn answered(&self, response: &Message) -> Dialog {
        let mut dialog = self.clone();
        dialog.remote_tag = response.to_tag().into();
        dialog.take_route(response);
        if let Some(target) = contact_of(response) {
            dialog.target = target;
        }
        dialog
    }

    /// Take the route set from a response; the 2xx fixes it (§13.2.2.4).
    pub(crate) fn take_route(&mut self, response: &Message) {
        self.route = record_route(response);
        self.route.reverse();
        self.hop = self.next_hop();
    }

    /// Take the remote target from a target refresh request, or from the 2xx to ours (§12.2).
    pub(crate) fn refresh(&mut self, message: &Message) {
        if let Some(target) = contact_of(message) {
            self.target = target;
        }
    }

    /// The CSeq number of our next request.
    pub(crate) fn next_seq(&mut self) -> u32 {
        self.local_seq = self.local_seq.saturating_add(1);
        self.local_seq
    }

    /// Whether the CSeq number of the peer's request is in order (§12.2.2). If so, `hop` becomes the peer's address, unless there is a route set.
    pub(crate) fn accepts(&mut self, request: &Message, hop: Hop) -> bool {
        let number = request.cseq().number;
        if self.remote_seq.is_some_and(|last| number <= last) {
            return false;
        }
        self.remote_seq = Some(number);
        if self.route.is_empty() {
            self.hop = hop;
        }
        true
    }

    /// The hop that the dialog was created over. Over UDP the port is that of the first Route, if that names the host that we receive from. An
    /// address that a phone behind NAT writes cannot be reached, and a Record-Route must not let a phone direct our traffic at another host.
    fn next_hop(&self) -> Hop {
        let mut hop = self.hop;
        if hop.transport == Transport::Udp
            && let Some(first) = self.route.first()
            && first
                .host()
                .parse::<IpAddr>()
                .is_ok_and(|ip| ip.to_canonical() == hop.remote.ip().to_canonical())
        {
            hop.remote.set_port(first.port().unwrap_or(5060));
        }
        hop
    }

    /// The Request-URI of in-dialog requests, as digest authentication hashes it.
    pub(crate) fn request_uri(&self) -> String {
        let strict = self.route.first().filter(|first| first.param("lr").is_none());
        let text = strict.unwrap_or(&self.target).as_str();
        text.split('?').next().unwrap_or(text).to_owned()
    }

    /// Write the start of an in-dialog request, with loose or strict routing as the first proxy requires (§12.2.1.1).
    pub(crate) fn begin(
        &self,
        buf: &mut Vec<u8>,
        method: &Method,
        cseq: u32,
        branch: &[u8],
        max_forwards: u8,
    ) {
        let strict = self.route.first().filter(|first| first.param("lr").is_none());
        let (uri, route, last_route) = match strict {
            Some(first) => (first, self.route.get(1..).unwrap_or_default(), Some(&self.target)),
            None => (&self.target, self.route.as_slice(), None),
        };
        let text = uri.as_bytes();
        let plain = text.split(|b| *b == b'?').next().unwrap_or(text); // a Request-URI has no headers (§19.1.1)
        wire::begin(
            buf,
            &wire::RequestHead {
                method: method.as_str(),
                uri: plain,
                hop: &self.hop,
                branch,
                max_forwards,
                route,
                last_route,
                from: &self.local,
                from_tag: &self.local_tag,
                to: &self.remote,
                to_tag: &self.remote_tag,
                call_id: &self.call_id,
                cseq,
            },
        );
    }
}
