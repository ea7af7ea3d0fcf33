//! Message-waiting indication (MWI): the message-summary event package (RFC 3842), for subscribers and, unsolicited, for registered phones
//! without a subscription.
//!
//! Many phones show MWI on an unsolicited NOTIFY, because other servers send one to every registered phone; phones that do not support it refuse
//! it. So a NOTIFY goes to each contact of an extension without subscription when its message count changes, and when it registers while messages
//! are waiting. A contact that refused gets no further NOTIFY until it registers anew.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use base::{KeyedHash, KeyedMap, Now, Rng};
use bytes::Bytes;
use model::voicemail::Count;
use model::{Cause, Extension, ExtensionId};
use sip::{HeaderName, Incoming, Method, Request, RequestId, SubscriptionEvent, SubscriptionId, Target, Uri};

use crate::auth::canonical;
use crate::core::{Core, Cx};
use crate::limits;
use crate::location::Contact;
use crate::out_of_dialog::Rejection;

/// The only event package supported.
pub(crate) const PACKAGE: &str = "message-summary";
const KIND: &str = "application/simple-message-summary";
/// Maximum lifetime of a subscription in seconds.
const LONGEST: u32 = 3600;

/// Target of an unsolicited NOTIFY: user name and contact.
type MwiTarget = (Arc<str>, String);

/// The last unsolicited NOTIFY of a contact.
#[derive(Debug)]
struct LastNotified {
    contact: Box<str>,
    /// `None` if the contact refused it.
    count: Option<Count>,
}

/// Subscriptions to message-summary, and the state of unsolicited NOTIFYs.
#[derive(Debug)]
pub(crate) struct Mwi {
    subscriptions: BTreeMap<SubscriptionId, Arc<str>>,
    by_user: BTreeMap<Arc<str>, BTreeSet<SubscriptionId>>,
    /// By user name; at most [`limits::BINDINGS_PER_AOR`] contacts each.
    told: KeyedMap<Arc<str>, Vec<LastNotified>>,
    asked: BTreeMap<RequestId, MwiTarget>,
    /// Incremented whenever a message of any mailbox changes. A contact with this generation ([`Contact::mwi`]) is up to date, so its mailbox need
    /// not be read.
    generation: u64,
}

impl Mwi {
    pub(crate) fn new(rng: &mut Rng) -> Mwi {
        Mwi {
            subscriptions: BTreeMap::new(),
            by_user: BTreeMap::new(),
            told: KeyedMap::with_hasher(KeyedHash::new(rng)),
            asked: BTreeMap::new(),
            generation: 1,
        }
    }

    /// Messages of some mailbox have changed.
    pub(crate) fn messages_changed(&mut self) {
        self.generation += 1;
    }

    /// A contact is gone: forget its last NOTIFY, so that it is notified again when it comes back.
    pub(crate) fn gone(&mut self, username: &Arc<str>, contact: &str) {
        let Some(told) = self.told.get_mut(username) else { return };
        told.retain(|told| *told.contact != *contact);
        if told.is_empty() {
            self.told.remove(username);
        }
    }

    /// All contacts of a user name are gone.
    pub(crate) fn all_gone(&mut self, username: &str) {
        self.told.remove(username);
    }

    /// Whether a contact was last notified of a count other than this. A contact that refused is never notified.
    fn is_news(&self, username: &str, contact: &str, count: Count) -> bool {
        let told = self.told.get(username).and_then(|all| all.iter().find(|told| *told.contact == *contact));
        match told {
            Some(LastNotified { count: None, .. }) => false,
            Some(LastNotified { count: Some(before), .. }) => *before != count,
            None => count.all() > 0, // MWI is off by default
        }
    }

    fn note(&mut self, username: &Arc<str>, contact: &str, count: Option<Count>) {
        let all = self.told.entry(Arc::clone(username)).or_default();
        match all.iter_mut().find(|told| *told.contact == *contact) {
            Some(told) => told.count = count,
            None => all.push(LastNotified { contact: contact.into(), count }),
        }
    }

    fn of(&self, username: &str) -> usize {
        self.by_user.get(username).map_or(0, BTreeSet::len)
    }

    fn forget(&mut self, id: SubscriptionId) {
        let Some(username) = self.subscriptions.remove(&id) else { return };
        if let Some(all) = self.by_user.get_mut(&username) {
            all.remove(&id);
            if all.is_empty() {
                self.by_user.remove(&username);
            }
        }
    }
}

impl Mwi {
    /// SUBSCRIBE outside a dialog.
    pub(crate) fn subscribe(&mut self, cx: &mut Cx<'_>, request: &Incoming) {
        let Some(credential) = cx.core.authenticate(cx.now, request) else { return };
        let granted = cx.core.parse_subscribe(request).and_then(|expires| {
            let extension =
                cx.core.extension_of(&credential).ok_or(Rejection::status(404).why("no mailbox"))?;
            let target = request.message.uri().and_then(Uri::user).unwrap_or_default();
            let own = target.is_empty()
                || *target == *extension.username
                || *target == *extension.number.as_str()
                || *target == *model::dialplan::Application::Voicemail.number();
            if !own || !cx.core.is_ours(request.message.uri().map_or("", Uri::host), request) {
                return Err(Rejection::status(403).why("the mailbox is not that of the authenticated user"));
            }
            if self.of(&extension.username) >= limits::SUBSCRIPTIONS_PER_ACCOUNT {
                return Err(Rejection::cause(Cause::Overload));
            }
            Ok((Arc::clone(&extension.username), expires))
        });
        let (username, expires) = match granted {
            Ok(granted) => granted,
            Err(refusal) => return cx.core.reject(cx.now, request, &refusal),
        };
        let time = Duration::from_secs(u64::from(expires));
        if let Some(id) = cx.core.endpoint.subscribe(cx.now, request, time, &mut cx.core.sip_out) {
            self.subscriptions.insert(id, Arc::clone(&username));
            self.by_user.entry(Arc::clone(&username)).or_default().insert(id);
            // Subscribed now: the state of its unsolicited NOTIFYs is obsolete.
            self.all_gone(&username);
            cx.core.location.set_mwi(&username, 0);
            cx.core.notify_subscriber(cx.now, id, &username);
        }
    }

    pub(crate) fn subscription_event(
        &mut self,
        cx: &mut Cx<'_>,
        id: SubscriptionId,
        event: SubscriptionEvent,
    ) {
        match event {
            SubscriptionEvent::Over => self.forget(id),
            SubscriptionEvent::Refresh(request) => self.resubscribe(cx, id, &request),
        }
    }

    fn resubscribe(&mut self, cx: &mut Cx<'_>, id: SubscriptionId, request: &Incoming) {
        let Some(credential) = cx.core.authenticate(cx.now, request) else { return };
        let Some(username) = self.subscriptions.get(&id).cloned() else { return };
        if canonical(&cx.core.directory, &credential) != username {
            let refusal =
                Rejection::status(403).why("the subscription is not that of the authenticated user");
            return cx.core.reject(cx.now, request, &refusal);
        }
        match cx.core.parse_subscribe(request) {
            Err(refusal) => cx.core.reject(cx.now, request, &refusal),
            Ok(expires) => {
                let time = Duration::from_secs(u64::from(expires));
                cx.core.endpoint.renew(cx.now, id, request, time, &mut cx.core.sip_out);
                cx.core.notify_subscriber(cx.now, id, &username);
            }
        }
    }

    /// The messages of a mailbox have changed: notify its subscribers, or its contacts if there are none.
    pub(crate) fn box_changed(&mut self, cx: &mut Cx<'_>, id: &ExtensionId) {
        let Some(extension) = cx.core.directory.extension(id).cloned() else { return };
        let asked = self.by_user.get(&extension.username).cloned().unwrap_or_default();
        for subscription in asked {
            cx.core.notify_subscriber(cx.now, subscription, &extension.username);
        }
        self.notify_unsolicited(cx, &extension);
    }

    /// A phone has registered: notify it if its message count is out of date.
    pub(crate) fn on_registered(
        &mut self,
        cx: &mut Cx<'_>,
        username: &Arc<str>,
        extension: Option<&ExtensionId>,
    ) {
        if !cx.core.directory.any_mailbox_used() {
            return; // most common case: no mailbox in use
        }
        let Some(extension) = extension else { return };
        if cx.core.location.contacts(username).iter().all(|contact| contact.mwi == self.generation) {
            return; // most common case for a phone with messages: all contacts are up to date
        }
        if let Some(extension) = cx.core.directory.extension(extension).cloned() {
            self.notify_unsolicited(cx, &extension);
        }
    }

    /// Send an unsolicited NOTIFY to the contacts of an extension whose last count differs; none if the extension has a subscription.
    fn notify_unsolicited(&mut self, cx: &mut Cx<'_>, extension: &Arc<Extension>) {
        let username = &extension.username;
        if self.by_user.contains_key(username) {
            return;
        }
        let count = cx.core.count(&extension.id);
        let reachable = || cx.core.location.reachable(cx.now.instant, username);
        if let Some(told) = self.told.get_mut(username) {
            told.retain(|told| reachable().any(|contact| contact.uri.as_str() == &*told.contact));
        }
        let news = |contact: &&Contact| self.is_news(username, contact.uri.as_str(), count);
        let contacts: Vec<Contact> = reachable().filter(news).cloned().collect();
        cx.core.location.set_mwi(username, self.generation);
        if contacts.is_empty() {
            return;
        }
        let body = cx.core.summary(extension);
        for contact in contacts {
            if self.asked.len() >= limits::NOTIFIES {
                return cx.core.location.set_mwi(username, 0); // retried at the next registration
            }
            let mwi_target = (Arc::clone(username), contact.uri.to_string());
            let own = format!("<sip:{username}@{}>", cx.core.config.domain);
            let hop = contact.hop;
            let target = Target { uri: contact.uri, hop, route: contact.path.to_vec() };
            let mut request = Request::new(Method::Notify, target, own.clone(), own);
            request.contact_user = Some(username.to_string());
            request.lines.add("Event", PACKAGE).add("Subscription-State", "active");
            request.body = Some((KIND.into(), body.clone()));
            let id = cx.core.endpoint.request(cx.now, request, &mut cx.core.sip_out);
            self.note(username, &mwi_target.1, Some(count));
            self.asked.insert(id, mwi_target);
        }
    }

    /// The response to an unsolicited NOTIFY; `false` if the request is not one of those.
    pub(crate) fn on_notify_response(
        &mut self,
        cx: &mut Cx<'_>,
        request: RequestId,
        status: Option<u16>,
    ) -> bool {
        let Some((username, contact)) = self.asked.remove(&request) else { return false };
        match status {
            Some(200..=299) => {}
            // The phone supports no such event or dialog, and would refuse the next NOTIFY too.
            Some(_) => self.note(&username, &contact, None),
            None => {
                self.gone(&username, &contact); // notified again when it registers
                cx.core.location.set_mwi(&username, 0);
            }
        }
        true
    }
}

impl Core {
    /// Validate a SUBSCRIBE: the granted lifetime in seconds, or the refusal.
    fn parse_subscribe(&self, request: &Incoming) -> Result<u32, Rejection> {
        let event = request.message.header(HeaderName::Event).unwrap_or_default();
        if !event.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(PACKAGE) {
            return Err(Rejection::status(489).why("no such event package"));
        }
        let accepts = |kind: &str| {
            let kind = kind.split(';').next().unwrap_or_default().trim();
            kind == "*/*" || kind.eq_ignore_ascii_case("application/*") || kind.eq_ignore_ascii_case(KIND)
        };
        let mut accepted = request.message.tokens(HeaderName::Accept).peekable();
        if accepted.peek().is_some() && !accepted.any(accepts) {
            return Err(Rejection::status(406).why("only application/simple-message-summary can be had"));
        }
        match request.message.number(HeaderName::Expires) {
            Some(Err(())) => Err(Rejection::status(400).why("malformed Expires")),
            Some(Ok(short)) if short > 0 && u64::from(short) < self.config.min_expires.as_secs() => {
                Err(Rejection::status(423))
            }
            Some(Ok(expires)) => Ok(expires.min(LONGEST)),
            None => Ok(LONGEST),
        }
    }

    /// Send a NOTIFY to a subscriber.
    fn notify_subscriber(&mut self, now: Now, id: SubscriptionId, username: &str) {
        let extension = self.directory.credential(username).and_then(|c| self.extension_of(c).cloned());
        let body = match extension {
            Some(extension) => self.summary(&extension),
            None => Bytes::from_static(b"Messages-Waiting: no\r\n"),
        };
        self.endpoint.notify(now, id, KIND, body, &mut self.sip_out);
    }

    /// The message-summary body (RFC 3842 §5.2); urgent messages are always 0.
    fn summary(&self, extension: &Extension) -> Bytes {
        let count = self.count(&extension.id);
        let waiting = if count.new > 0 { "yes" } else { "no" };
        let account = format!("sip:{}@{}", extension.username, self.config.domain);
        format!(
            "Messages-Waiting: {waiting}\r\nMessage-Account: {account}\r\nVoice-Message: {}/{} (0/0)\r\n",
            count.new, count.old
        )
        .into()
    }

    fn count(&self, extension: &ExtensionId) -> Count {
        self.directory.message_count(extension)
    }
}
