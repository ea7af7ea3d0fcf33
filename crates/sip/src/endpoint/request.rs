//! Out-of-dialog requests that we send (OPTIONS, REGISTER, NOTIFY, MESSAGE), with digest authentication if challenged.

use std::sync::Arc;
use std::time::Duration;

use base::{Instant, Now};
use bytes::Bytes;

use super::{Cx, Endpoint, Event, Output, context};
use crate::digest::{self, Account};
use crate::session::Target;
use crate::transaction::{ClientId, Owner};
use crate::{Headers, Message, Method, wire};

/// Id of an out-of-dialog request that we sent. Never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RequestId(pub u64);

/// An out-of-dialog request to send.
#[derive(Clone, Debug)]
pub struct Request {
    /// The method. Not INVITE, ACK or CANCEL, which have functions of their own.
    pub method: Method,
    /// Request-URI, next hop and route set.
    pub target: Target,
    /// From value without tag: `<sip:1001@localhost>`.
    pub from: String,
    /// To value: `<sip:1002@localhost>`.
    pub to: String,
    /// The user part of our Contact; `None` omits Contact (MESSAGE has none, RFC 3428 §4).
    pub contact_user: Option<String>,
    /// Additional header lines.
    pub lines: Headers,
    /// Content-Type and body.
    pub body: Option<(String, Bytes)>,
    /// Credentials for a challenge. They are sent to the host of `target` only (security.md row 5).
    pub credentials: Option<Account>,
    /// Call-ID and CSeq of this request, if it belongs to a series (REGISTER, RFC 3261 §10.2.4). Each answer to a challenge takes the next CSeq, so
    /// the next request of the series must be at least three higher. `None` generates both.
    pub row: Option<(Arc<str>, u32)>,
    /// Give up after this time; `None` means Timer F (32 s), which is also the maximum.
    pub patience: Option<Duration>,
}

impl Request {
    /// A request without Contact, additional headers, body or credentials.
    pub fn new(method: Method, target: Target, from: String, to: String) -> Request {
        Request {
            method,
            target,
            from,
            to,
            contact_user: None,
            lines: Headers::new(),
            body: None,
            credentials: None,
            row: None,
            patience: None,
        }
    }
}

/// A request without final response.
#[derive(Debug)]
pub(super) struct PendingRequest {
    request: Request,
    call_id: Arc<str>,
    tag: Arc<str>,
    cseq: u32,
    tx: ClientId,
    /// Number of challenges answered. The second one is answered only if the nonce was stale.
    challenges: u8,
}

impl Endpoint {
    /// Send an out-of-dialog request. Its final response comes as [`Event::Response`]; a challenge is answered first if credentials were given.
    pub fn request(&mut self, now: Now, request: Request, out: &mut Vec<Output>) -> RequestId {
        self.serial += 1;
        let id = RequestId(self.serial);
        let (call_id, cseq) = request.row.clone().unwrap_or_else(|| (self.core.random_id(b'-'), 1));
        let tag = self.core.random_id(b'd');
        let mut cx = Cx { now: now.instant, core: &mut self.core, out };
        let ids = RequestIds { call_id: &call_id, tag: &tag, cseq };
        match send(&mut cx, id, &request, ids, None) {
            Some(tx) => {
                self.pending_requests
                    .insert(id, PendingRequest { request, call_id, tag, cseq, tx, challenges: 0 });
            }
            None => out.push(Output::Event(Event::Response { request: id, response: None })),
        }
        id
    }

    /// Drop a request: no event follows.
    pub fn forget(&mut self, now: Now, request: RequestId) {
        if let Some(pending) = self.pending_requests.remove(&request) {
            self.core.transactions.detach(now.instant, pending.tx);
        }
    }

    /// The final response to a request, or `None` on timeout or transport failure.
    pub(super) fn on_final_response(
        &mut self,
        now: Instant,
        id: RequestId,
        response: Option<&Message>,
        out: &mut Vec<Output>,
    ) {
        let Some(pending) = self.pending_requests.get_mut(&id) else { return };
        let mut cx = Cx { now, core: &mut self.core, out };
        if response.is_some_and(|response| pending.answer_challenge(&mut cx, id, response)) {
            return;
        }
        self.pending_requests.remove(&id);
        out.push(Output::Event(Event::Response { request: id, response: response.cloned() }));
    }
}

impl PendingRequest {
    /// Answer a challenge once, and a second time if the nonce was stale. `true` if the request was sent again.
    fn answer_challenge(&mut self, cx: &mut Cx<'_>, id: RequestId, response: &Message) -> bool {
        let Some(account) = &self.request.credentials else { return false };
        if self.challenges > 1 || (self.challenges == 1 && !digest::is_stale(response)) {
            return false;
        }
        let uri = request_uri(&self.request);
        let Some(auth) = account.answer_challenge(response, &self.request.method, &uri, &mut cx.core.rng)
        else {
            return false;
        };
        (self.challenges, self.cseq) = (self.challenges + 1, self.cseq.saturating_add(1));
        let ids = RequestIds { call_id: &self.call_id, tag: &self.tag, cseq: self.cseq };
        let Some(tx) = send(cx, id, &self.request, ids, Some(&auth)) else { return false };
        self.tx = tx;
        true
    }
}

/// Identifiers of a request: the first two stay the same when it is sent again with credentials, the CSeq does not.
#[derive(Clone, Copy)]
struct RequestIds<'a> {
    call_id: &'a str,
    tag: &'a str,
    cseq: u32,
}

/// A Request-URI has no headers (RFC 3261 §19.1.1).
fn request_uri(request: &Request) -> String {
    let text = request.target.uri.as_str();
    text.split('?').next().unwrap_or(text).to_owned()
}

fn send(
    cx: &mut Cx<'_>,
    id: RequestId,
    request: &Request,
    ids: RequestIds<'_>,
    auth: Option<&Headers>,
) -> Option<ClientId> {
    let hop = request.target.hop;
    let mut lines = Headers::new();
    if let Some(user) = &request.contact_user {
        lines.add("Contact", format_args!("<{}>", context::contact(user, &hop)));
    }
    lines.extend(&request.lines);
    if let Some(auth) = auth {
        lines.extend(auth);
    }
    let uri = request_uri(request);
    let head = wire::RequestHead {
        method: request.method.as_str(),
        uri: uri.as_bytes(),
        hop: &hop,
        branch: b"",
        max_forwards: 70,
        route: &request.target.route,
        last_route: None,
        from: &request.from,
        from_tag: ids.tag,
        to: &request.to,
        to_tag: "",
        call_id: ids.call_id,
        cseq: ids.cseq,
    };
    let body = request.body.as_ref().map(|(kind, body)| (kind.as_str(), body.as_ref()));
    let tx = cx.send_out_of_dialog(&head, &request.method, &lines, body, Owner::Request(id))?;
    if let Some(patience) = request.patience {
        cx.core.transactions.shorten_timeout(tx, cx.now + patience);
    }
    Some(tx)
}
