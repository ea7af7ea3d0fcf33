//! Subscriptions of remote subscribers (RFC 6665): one dialog each, at most one pending NOTIFY, and the newest state after it.

use base::Instant;
use bytes::Bytes;
use slab::Slab;

use crate::dialog::Dialog;
use crate::endpoint::{Cx, Incoming, RequestSpec};
use crate::transaction::{Key, Owner};
use crate::{Message, Method, limits};

/// Id of a subscription. Never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SubscriptionId(pub u64);

/// An event of a subscription.
#[derive(Clone, Debug)]
pub enum SubscriptionEvent {
    /// A SUBSCRIBE within the dialog. Challenge its sender ([`crate::Endpoint::respond_stateless`]), then call [`crate::Endpoint::renew`]; nothing
    /// changes before.
    Refresh(Incoming),
    /// It expired, or the subscriber no longer knows it. No other event follows.
    Over,
}

/// Bits of a [`SubscriptionId`] that hold the slot; the upper bits are a serial number.
const SLOT_BITS: u32 = 20;

/// One subscription: its dialog, its expiry and the state to send next.
#[derive(Debug)]
pub(crate) struct Subscription {
    pub(crate) id: SubscriptionId,
    pub(crate) key: Key,
    pub(crate) dialog: Dialog,
    /// Value of Event, repeated in each NOTIFY: `message-summary;id=7`.
    event: Box<str>,
    expires: Instant,
    /// A NOTIFY waits for its response.
    notify_pending: bool,
    /// Content-Type and body of the next NOTIFY: the newest state only.
    next: Option<(Box<str>, Bytes)>,
    /// The reason in the last NOTIFY (RFC 6665 §4.1.3); `None` while the subscription is active.
    termination_reason: Option<&'static str>,
    /// The last NOTIFY was sent.
    terminated: bool,
    pub(crate) timer_at: Option<Instant>,
}

impl Subscription {
    pub(crate) fn new(id: SubscriptionId, key: Key, dialog: Dialog, request: &Message) -> Subscription {
        let event = request.header(crate::HeaderName::Event).unwrap_or_default().into();
        let expires = Instant::default();
        Subscription {
            id,
            key,
            dialog,
            event,
            expires,
            notify_pending: false,
            next: None,
            termination_reason: None,
            terminated: false,
            timer_at: None,
        }
    }

    /// Set the expiry. A subscription that expires at once gets one NOTIFY (RFC 6665 §4.2.1.4, §4.4.3).
    pub(crate) fn set_expiry(&mut self, now: Instant, expires: Instant) {
        self.expires = expires;
        self.termination_reason = (expires <= now).then_some("timeout");
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        (!self.terminated && self.termination_reason.is_none()).then_some(self.expires)
    }

    /// Whether it has terminated.
    pub(crate) fn is_terminated(&self) -> bool {
        self.terminated
    }

    /// Whether the peer's tag is `tag`.
    pub(crate) fn has_remote_tag(&self, tag: &str) -> bool {
        *self.dialog.remote_tag == *tag
    }

    /// Send the state; if a NOTIFY is pending, after it, and then only the newest.
    pub(crate) fn notify(&mut self, cx: &mut Cx<'_>, kind: &str, body: Bytes) {
        self.next = Some((kind.into(), body));
        self.send(cx);
    }

    /// Terminate: send the last NOTIFY with this reason.
    pub(crate) fn terminate(&mut self, cx: &mut Cx<'_>, reason: &'static str) {
        self.termination_reason = Some(reason);
        self.next.get_or_insert_with(|| ("".into(), Bytes::new()));
        self.send(cx);
    }

    fn send(&mut self, cx: &mut Cx<'_>) {
        if self.notify_pending || self.terminated {
            return;
        }
        let Some((kind, body)) = self.next.take() else { return };
        let left = self.expires.since(cx.now).as_secs();
        let (event, termination_reason) = (&*self.event, self.termination_reason);
        let spec = RequestSpec {
            method: &Method::Notify,
            cseq: self.dialog.next_seq(),
            max_forwards: 70,
            body: Some((&kind, &body)),
        };
        let dialog = &self.dialog;
        // The response to the last NOTIFY is of no interest.
        let owner =
            if termination_reason.is_some() { Owner::None(None) } else { Owner::Subscription(self.id) };
        let sent = cx.send(dialog, spec, owner, |lines, core| {
            crate::endpoint::contact_lines(lines, dialog, &core.config.allow);
            lines.add("Event", event);
            match termination_reason {
                Some(reason) => lines.add("Subscription-State", format_args!("terminated;reason={reason}")),
                None => lines.add("Subscription-State", format_args!("active;expires={left}")),
            };
        });
        self.terminated = termination_reason.is_some() || sent.is_none();
        self.notify_pending = sent.is_some();
    }

    /// The final response to the pending NOTIFY; `None` on timeout. A subscriber that rejects it no longer knows the subscription, or never wanted it
    /// (RFC 6665 §4.2.2).
    pub(crate) fn on_notify_response(&mut self, cx: &mut Cx<'_>, status: Option<u16>) {
        self.notify_pending = false;
        match status {
            Some(200..=299) => self.send(cx),
            Some(_) | None => self.terminated = true,
        }
    }
}

/// All subscriptions.
#[derive(Debug, Default)]
pub(crate) struct Subscriptions {
    slab: Slab<Subscription>,
    serial: u64,
}

impl Subscriptions {
    /// The id of the next one; `None` if the limit is reached.
    pub(crate) fn next_id(&mut self) -> Option<SubscriptionId> {
        if self.slab.len() >= limits::SUBSCRIPTIONS {
            return None;
        }
        self.serial += 1;
        Some(SubscriptionId(self.serial << SLOT_BITS | self.slab.vacant_key() as u64))
    }

    pub(crate) fn insert(&mut self, subscription: Subscription) {
        let (id, at) = (subscription.id, self.slab.insert(subscription));
        debug_assert_eq!(at, slot(id));
    }

    pub(crate) fn len(&self) -> usize {
        self.slab.len()
    }

    pub(crate) fn get_mut(&mut self, id: SubscriptionId) -> Option<&mut Subscription> {
        self.slab.get_mut(slot(id)).filter(|subscription| subscription.id == id)
    }

    pub(crate) fn at(&self, slot: u32) -> Option<&Subscription> {
        self.slab.get(slot as usize)
    }

    pub(crate) fn remove(&mut self, id: SubscriptionId) -> Option<Subscription> {
        self.get_mut(id)?;
        self.slab.try_remove(slot(id))
    }
}

pub(crate) fn slot(id: SubscriptionId) -> usize {
    (id.0 & ((1 << SLOT_BITS) - 1)) as usize
}
