//! Dialogs (RFC 3261 §12): who the two ends are, the way between them, and the numbers of their requests.

use std::net::IpAddr;
use std::sync::Arc;

use crate::{Contacts, HeaderName, Hop, Message, Method, Transport, Uri, wire};

/// One dialog, or (with an empty remote tag) what an INVITE of ours knows before the first answer.
#[derive(Clone, Debug)]
pub(crate) struct Dialog {
    pub(crate) call_id: Arc<str>,
    pub(crate) local_tag: Arc<str>,
    pub(crate) remote_tag: Box<str>,
    /// Our From (or their To) without tag.
    pub(crate) local: Arc<str>,
    /// Their address without tag.
    pub(crate) remote: Arc<str>,
    /// The user part of our Contact.
    pub(crate) contact_user: Arc<str>,
    pub(crate) local_seq: u32,
    pub(crate) remote_seq: Option<u32>,
    pub(crate) route: Vec<Uri>,
    pub(crate) target: Uri,
    pub(crate) hop: Hop,
}

/// A header value as text without its parameters; what is no UTF-8 is replaced.
pub(crate) fn address_text(message: &Message, name: HeaderName) -> Arc<str> {
    let raw = message.header_lines(name).next().unwrap_or_default();
    let mut text = Vec::with_capacity(raw.len());
    wire::value(&mut text, wire::without_params(raw));
    String::from_utf8_lossy(&text).into()
}

/// The address of the first Contact.
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
    /// The dialog that answering an INVITE opens (§12.1.1).
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

    /// The dialog that a response to an INVITE of ours opens (§12.1.2). `self` is what the INVITE knew.
    pub(crate) fn answered(&self, response: &Message) -> Dialog {
        let mut dialog = self.clone();
        dialog.remote_tag = response.to_tag().into();
        dialog.take_route(response);
        if let Some(target) = contact_of(response) {
            dialog.target = target;
        }
        dialog
    }

    /// The route set is fixed by the 2xx (§13.2.2.4).
    pub(crate) fn take_route(&mut self, response: &Message) {
        self.route = record_route(response);
        self.route.reverse();
        self.hop = self.next_hop();
    }

    /// A target refresh request, or the 2xx to one of ours (§12.2).
    pub(crate) fn refresh(&mut self, message: &Message) {
        if let Some(target) = contact_of(message) {
            self.target = target;
        }
    }

    /// The number for the next request of ours.
    pub(crate) fn next_seq(&mut self) -> u32 {
        self.local_seq = self.local_seq.saturating_add(1);
        self.local_seq
    }

    /// A request of the peer: whether its number is in order (§12.2.2). It came over `hop`, so that is where the peer is now.
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

    /// The way that the dialog was opened; over UDP by the port of the first Route, where that names the very host which we hear. What a
    /// phone behind NAT writes cannot be reached, and what a phone writes about others shall not be: its Record-Route is no way to aim us.
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

    /// The Request-URI of requests within the dialog, as digest hashes it.
    pub(crate) fn request_uri(&self) -> String {
        let strict = self.route.first().filter(|first| first.param("lr").is_none());
        let text = strict.unwrap_or(&self.target).as_str();
        text.split('?').next().unwrap_or(text).to_owned()
    }

    /// Begin a request within the dialog, loose or strict routing as the first proxy wants (§12.2.1.1).
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
