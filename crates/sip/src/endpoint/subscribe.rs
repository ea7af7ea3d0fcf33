//! Subscriptions of remote subscribers: accept, refresh, notify, terminate.

use std::time::Duration;

use base::{Instant, Now};
use bytes::Bytes;

use super::stateless::Peer;
use super::{Cx, Endpoint, Event, Incoming, Output, contact_lines};
use crate::dialog::Dialog;
use crate::subscription::{self, Subscription, SubscriptionEvent, SubscriptionId};
use crate::transaction::Timer;
use crate::{Headers, Hop, Message, Method, Reply};

impl Endpoint {
    /// Accept a SUBSCRIBE of an authenticated sender: 200 with `Expires` is sent, and the caller must call [`Endpoint::notify`] at once (RFC 6665
    /// §4.2.1.2). An `expires` of zero is a poll: the NOTIFY that follows is the last one. `None` if the limit is reached; then 503 was sent.
    pub fn subscribe(
        &mut self,
        now: Now,
        request: &Incoming,
        expires: Duration,
        out: &mut Vec<Output>,
    ) -> Option<SubscriptionId> {
        let Some(id) = self.subscriptions.next_id() else {
            self.respond_cached(now, request, Reply::new(503), out);
            return None;
        };
        let tag = self.core.random_id(b'n');
        let key = self.core.keys.dialog(request.message.call_id(), &tag);
        let dialog = Dialog::answering(&request.message, request.hop, tag);
        self.subscriptions.insert(Subscription::new(id, key, dialog, &request.message));
        self.subscription_dialogs.insert(key, subscription::slot(id) as u32);
        self.confirm(now, id, request, expires, out);
        Some(id)
    }

    /// Respond to a [`SubscriptionEvent::Refresh`] whose sender has authenticated as the subscriber: the subscription lasts `expires` from now. The
    /// caller must call [`Endpoint::notify`] at once.
    pub fn renew(
        &mut self,
        now: Now,
        id: SubscriptionId,
        request: &Incoming,
        expires: Duration,
        out: &mut Vec<Output>,
    ) {
        let Some(subscription) = self.subscriptions.get_mut(id) else { return };
        if !subscription.dialog.accepts(&request.message, request.hop) {
            return self.respond_cached(now, request, Reply::new(500), out); // out of order (RFC 3261 §12.2.2)
        }
        subscription.dialog.refresh(&request.message);
        self.confirm(now, id, request, expires, out);
    }

    fn confirm(
        &mut self,
        now: Now,
        id: SubscriptionId,
        request: &Incoming,
        expires: Duration,
        out: &mut Vec<Output>,
    ) {
        let mut lines = Headers::new();
        let Some(subscription) = self.subscriptions.get_mut(id) else { return };
        subscription.set_expiry(now.instant, now.instant + expires);
        let tag = std::sync::Arc::clone(&subscription.dialog.local_tag);
        contact_lines(&mut lines, &subscription.dialog, &self.core.config.allow);
        lines.add("Expires", expires.as_secs());
        let reply = Reply::new(200).lines(&lines);
        let bytes = self.answer_stateless(
            now.instant,
            &request.message,
            &request.hop,
            Peer::Authenticated,
            reply,
            Some(&tag),
            None,
            out,
        );
        let until = now.instant + self.core.transactions.timer_values.timeout;
        self.response_cache.insert(
            now.instant,
            until,
            self.core.keys.answer(&request.message, request.hop.remote),
            bytes,
        );
        self.arm_subscription(id);
    }

    /// Send the state to a subscriber. While a NOTIFY is pending, the newest state waits for its response; older ones are dropped.
    pub fn notify(
        &mut self,
        now: Now,
        subscription: SubscriptionId,
        content_type: &str,
        body: Bytes,
        out: &mut Vec<Output>,
    ) {
        self.with_subscription(now.instant, subscription, out, |subscription, cx| {
            subscription.notify(cx, content_type, body);
        });
    }

    /// Terminate a subscription. The last NOTIFY carries the reason (`deactivated`, `noresource`, …: RFC 6665 §4.1.3).
    pub fn unsubscribe(
        &mut self,
        now: Now,
        subscription: SubscriptionId,
        reason: &'static str,
        out: &mut Vec<Output>,
    ) {
        self.with_subscription(now.instant, subscription, out, |subscription, cx| {
            subscription.terminate(cx, reason);
        });
    }

    /// Number of active subscriptions.
    pub fn subscriptions(&self) -> usize {
        self.subscriptions.len()
    }

    pub(super) fn subscription_expired(&mut self, now: Instant, slot: u32, out: &mut Vec<Output>) {
        let Some(id) = self.subscriptions.at(slot).map(|subscription| subscription.id) else { return };
        if let Some(subscription) = self.subscriptions.get_mut(id) {
            subscription.timer_at = None;
        }
        self.with_subscription(now, id, out, |subscription, cx| subscription.terminate(cx, "timeout"));
    }

    pub(super) fn on_notify_response(
        &mut self,
        now: Instant,
        id: SubscriptionId,
        status: Option<u16>,
        out: &mut Vec<Output>,
    ) {
        self.with_subscription(now, id, out, |subscription, cx| subscription.on_notify_response(cx, status));
    }

    /// Handle an in-dialog SUBSCRIBE; `false` if the request is not one or belongs to no subscription.
    pub(super) fn on_in_dialog_subscribe(
        &mut self,
        now: Instant,
        hop: Hop,
        request: &Message,
        out: &mut Vec<Output>,
    ) -> bool {
        if *request.method() != Method::Subscribe {
            return false;
        }
        let key = self.core.keys.dialog(request.call_id(), request.to_tag());
        let Some(subscription) =
            self.subscription_dialogs.get(&key).and_then(|slot| self.subscriptions.at(*slot))
        else {
            return false;
        };
        if !subscription.has_remote_tag(request.from_tag()) {
            return false;
        }
        let subscription = subscription.id;
        if !self.resend_cached(now, hop, request, out) {
            let event = SubscriptionEvent::Refresh(Incoming { hop, message: request.clone() });
            out.push(Output::Event(Event::Subscription { subscription, event }));
        }
        true
    }

    /// Run `action` on a subscription; afterwards set its timer, or remove it if it has terminated.
    fn with_subscription(
        &mut self,
        now: Instant,
        id: SubscriptionId,
        out: &mut Vec<Output>,
        action: impl FnOnce(&mut Subscription, &mut Cx<'_>),
    ) {
        let Some(subscription) = self.subscriptions.get_mut(id) else { return };
        action(subscription, &mut Cx { now, core: &mut self.core, out });
        let terminated = subscription.is_terminated();
        self.arm_subscription(id);
        if terminated && let Some(subscription) = self.subscriptions.remove(id) {
            self.subscription_dialogs.remove(&subscription.key);
            out.push(Output::Event(Event::Subscription { subscription: id, event: SubscriptionEvent::Over }));
        }
    }

    fn arm_subscription(&mut self, id: SubscriptionId) {
        if let Some(subscription) = self.subscriptions.get_mut(id) {
            let deadline = subscription.deadline();
            let timer = Timer::Subscription(subscription::slot(id) as u32);
            self.core.transactions.timers.set(timer, &mut subscription.timer_at, deadline);
        }
    }
}
