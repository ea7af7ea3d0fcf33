//! State shared by the parts of an endpoint while one input is handled: configuration, random numbers, transactions and the output queue.

use std::sync::Arc;

use base::{Instant, Rng};
use bytes::Bytes;

use super::{Config, Event, Output};
use crate::dialog::Dialog;
use crate::session::{SessionEvent, SessionId};
use crate::transaction::{ClientId, Keys, Owner, ServerId, Transactions};
use crate::{Headers, Hop, Message, Method, Reply, Transport, Uri};
use crate::{body, wire, write};

/// State that sessions and stateless responses use.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) config: Config,
    pub(crate) rng: Rng,
    pub(crate) keys: Keys,
    pub(crate) transactions: Transactions,
    /// Buffer for the message being written.
    buf: Vec<u8>,
    /// Buffer for its header lines.
    lines: Headers,
    branch: Vec<u8>,
}

/// The core during one input, with the current time and the output queue.
#[derive(Debug)]
pub(crate) struct Cx<'a> {
    pub(crate) now: Instant,
    pub(crate) core: &'a mut Core,
    pub(crate) out: &'a mut Vec<Output>,
}

impl Core {
    pub(crate) fn new(config: Config, mut rng: Rng) -> Self {
        let keys = Keys::new(&mut rng);
        let transactions = Transactions::new(config.t1, &mut rng);
        let (buf, lines, branch) = (Vec::new(), Headers::new(), Vec::new());
        Core { config, rng, keys, transactions, buf, lines, branch }
    }

    /// A new tag or Call-ID. Starts with the id prefix of this process, so that in-dialog requests can be routed to it.
    pub(crate) fn random_id(&mut self, kind: u8) -> Arc<str> {
        let random = self.rng.u64();
        let mut text = Vec::with_capacity(self.config.id_prefix.len() + 13);
        text.extend_from_slice(self.config.id_prefix.as_bytes());
        text.push(kind);
        wire::base36(&mut text, random, 12);
        String::from_utf8_lossy(&text).into()
    }

    /// Generate the branch of the next request.
    fn draw_branch(&mut self) {
        let random = self.rng.u64();
        self.branch.clear();
        self.branch.extend_from_slice(b"z9hG4bK");
        self.branch.extend_from_slice(self.config.id_prefix.as_bytes());
        self.branch.push(b'-');
        wire::base36(&mut self.branch, random, 12);
    }

    /// Complete the request in the buffer: header lines, User-Agent, body.
    fn finish(&mut self, lines: &Headers, body: Option<(&str, &[u8])>) -> Bytes {
        self.buf.extend_from_slice(lines.as_bytes());
        if let Some(software) = &self.config.software {
            self.buf.extend_from_slice(b"User-Agent: ");
            wire::clean(&mut self.buf, software.as_bytes());
            self.buf.extend_from_slice(b"\r\n");
        }
        wire::finish(&mut self.buf, body)
    }
}

/// The URI of our Contact for a hop.
pub(crate) fn contact(user: &str, hop: &Hop) -> Uri {
    let transport = (hop.transport != Transport::Udp).then_some(hop.transport);
    Uri::sip((!user.is_empty()).then_some(user), hop.local, transport)
}

/// Append `Contact`, `Allow` and `Supported`.
pub(crate) fn contact_lines(lines: &mut Headers, dialog: &Dialog, allow: &str) {
    lines
        .add("Contact", format_args!("<{}>", contact(&dialog.contact_user, &dialog.hop)))
        .add("Allow", allow)
        .add("Supported", "timer, 100rel");
}

impl Cx<'_> {
    pub(crate) fn event(&mut self, session: SessionId, event: SessionEvent) {
        self.out.push(Output::Event(Event::Session { session, event }));
    }

    /// A random number below `bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.core.rng.below(bound)
    }

    /// Send a request within (or opening) a dialog. `fill` appends the header lines of the method.
    pub(crate) fn send(
        &mut self,
        dialog: &Dialog,
        spec: RequestSpec<'_>,
        owner: Owner,
        fill: impl FnOnce(&mut Headers, &Core),
    ) -> Option<ClientId> {
        let bytes = self.write(dialog, &spec, fill);
        let core = &mut *self.core;
        let key = core.keys.client(&core.branch, spec.method);
        core.transactions.send(self.now, key, dialog.hop, bytes, owner, self.out)
    }

    /// Send the ACK of a 2xx. The transaction stores it and resends it for each retransmission of the 2xx.
    pub(crate) fn send_ack(
        &mut self,
        dialog: &Dialog,
        invite: ClientId,
        spec: RequestSpec<'_>,
        session: Option<SessionId>,
        auth: Option<&Headers>,
    ) {
        let bytes = self.write(dialog, &spec, |lines, _| {
            auth.map(|auth| lines.extend(auth));
        });
        self.out.push(Output::Transmit { hop: dialog.hop, bytes: bytes.clone(), session });
        self.core.transactions.store_ack(invite, &dialog.remote_tag, dialog.hop, bytes);
    }

    fn write(
        &mut self,
        dialog: &Dialog,
        spec: &RequestSpec<'_>,
        fill: impl FnOnce(&mut Headers, &Core),
    ) -> Bytes {
        self.core.draw_branch();
        let mut lines = std::mem::take(&mut self.core.lines);
        lines.clear();
        fill(&mut lines, self.core);
        let core = &mut *self.core;
        dialog.begin(&mut core.buf, spec.method, spec.cseq, &core.branch, spec.max_forwards);
        let bytes = core.finish(&lines, spec.body);
        core.lines = lines;
        bytes
    }

    /// Send an out-of-dialog request.
    pub(crate) fn send_out_of_dialog(
        &mut self,
        head: &wire::RequestHead<'_>,
        method: &Method,
        lines: &Headers,
        body: Option<(&str, &[u8])>,
        owner: Owner,
    ) -> Option<ClientId> {
        self.core.draw_branch();
        let core = &mut *self.core;
        wire::begin(&mut core.buf, &wire::RequestHead { branch: &core.branch, ..*head });
        let bytes = core.finish(lines, body);
        let key = core.keys.client(&core.branch, method);
        core.transactions.send(self.now, key, *head.hop, bytes, owner, self.out)
    }

    /// Send the CANCEL of an INVITE (RFC 3261 §9.1); the INVITE then has 64·T1 to complete.
    pub(crate) fn cancel(&mut self, invite: ClientId, lines: Option<&Headers>, session: Option<SessionId>) {
        let core = &mut *self.core;
        let Some(client) = core.transactions.client(invite) else { return };
        let (hop, request) = (client.hop, client.request.clone());
        let bytes = wire::ack_or_cancel(
            &mut core.buf,
            &request,
            "CANCEL",
            None,
            lines.map_or(&[], Headers::as_bytes),
        );
        core.transactions.await_final(self.now, invite);
        let Some(branch) = branch_of(&request) else { return };
        let key = core.keys.client(branch, &Method::Cancel);
        core.transactions.send(self.now, key, hop, bytes, Owner::None(session), self.out);
    }

    /// Respond in a server transaction. `fill` appends the header lines of the session.
    pub(crate) fn respond(
        &mut self,
        to: &ServerRequest,
        tag: &str,
        reply: Reply<'_>,
        fill: impl FnOnce(&mut Headers, &Core),
    ) -> Bytes {
        let mut lines = std::mem::take(&mut self.core.lines);
        lines.clear();
        fill(&mut lines, self.core);
        if let Some(own) = reply.lines {
            lines.extend(own);
        }
        let core = &mut *self.core;
        let software = core.config.software.as_deref();
        core.buf.clear();
        write::response(&to.message, Some(&to.hop), reply.lines(&lines), Some(tag), software, &mut core.buf);
        let bytes = Bytes::copy_from_slice(&core.buf);
        core.lines = lines;
        core.transactions.respond(self.now, to.tx, reply.status, bytes.clone(), self.out);
        bytes
    }

    /// 405 or 501, with Allow and a Reason header (RFC 3326), which some phones show to the user.
    pub(crate) fn reject_method(&mut self, to: &ServerRequest, status: u16) {
        // The name of an unknown method is text from the peer: do not repeat it.
        let method = to.message.method();
        let known = !matches!(method, Method::Other(_));
        let name = if known { method.to_string() } else { "this method".to_owned() };
        self.respond(to, "", Reply::new(status), |lines, core| {
            lines.add("Allow", &core.config.allow);
            lines.add(
                "Reason",
                format_args!("SIP;cause={status};text=\"{name} is not supported within a call\""),
            );
        });
    }

    /// Respond to OPTIONS within a dialog with our capabilities (RFC 3261 §11.2).
    pub(crate) fn answer_options(&mut self, to: &ServerRequest) {
        self.respond(to, "", Reply::new(200), |lines, core| {
            lines
                .add("Allow", &core.config.allow)
                .add("Accept", body::ACCEPT)
                .add("Supported", "timer, 100rel");
        });
    }

    /// 415: the body has no SDP, and must be understood.
    pub(crate) fn reject_body(&mut self, to: &ServerRequest) {
        self.respond(to, "", Reply::new(415), |lines, _| {
            lines.add("Accept", body::ACCEPT);
        });
    }

    /// Respond within a dialog with a status and nothing else.
    pub(crate) fn respond_status(&mut self, to: &ServerRequest, status: u16) {
        self.respond(to, "", Reply::new(status), |_, _| {});
    }
}

/// The parts of a request that its dialog does not determine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RequestSpec<'a> {
    pub(crate) method: &'a Method,
    pub(crate) cseq: u32,
    pub(crate) max_forwards: u8,
    pub(crate) body: Option<(&'a str, &'a [u8])>,
}

/// A request from the peer with its server transaction.
#[derive(Clone, Debug)]
pub(crate) struct ServerRequest {
    pub(crate) tx: ServerId,
    pub(crate) message: Message,
    /// The hop that it came over.
    pub(crate) hop: Hop,
}

/// The branch of a request written by [`wire::begin`].
fn branch_of(request: &[u8]) -> Option<&[u8]> {
    let at = memchr::memmem::find(request, b";branch=")? + 8;
    let rest = request.get(at..)?;
    rest.get(..memchr::memchr(b'\r', rest)?)
}
