//! Directory service: the single writer of the directory. Changes are serialised.
//!
//! A change is validated against the newest directory, committed to the store, applied to the directory in memory, published to the switch, and
//! then answered, in this order. What was answered is visible to everybody and survives a crash.

mod credentials;
mod difference;
mod extensions;
mod import;
mod keys;
mod recurring;
mod replication;
mod trunks;
mod voicemail;
mod webhooks;

use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use base::{Now, Rng};
use model::voicemail::Delivery;
use model::{ApiKeyId, Cause, Change, Directory, ExtensionNumber, TrunkError, User, UserId};
use serde_json::Value;
use store::{Audit, Store, StoreError};

use crate::import_line::LineFault;
use crate::{Clock, SwitchPort};

pub use extensions::{CreatedExtension, ExtensionChanges, NewExtension};
pub use import::{ImportLine, ImportResult, MadePassword};
pub(crate) use keys::KeyChanges;
pub use keys::{CreatedKey, NewKey};
pub use recurring::{NewRecurringCall, RecurringCallChanges};
pub use trunks::TrunkDraft;
pub use voicemail::MailboxChanges;
pub(crate) use voicemail::pin_sentence;
pub use webhooks::webhook_secret;
pub(crate) use webhooks::{NewWebhook, WebhookChanges};

/// Originator of a change, for the audit.
#[derive(Clone, Debug, Default)]
pub struct Actor {
    /// API key; `None` for the command line and the first start.
    pub key: Option<ApiKeyId>,
    /// Source address of the request.
    pub ip: Option<IpAddr>,
    /// Request id.
    pub request: String,
}

impl Actor {
    fn audit(&self, at: base::Timestamp, event: Event) -> Audit {
        debug_assert!(model::event_type(event.kind).is_some(), "{} is not in model::EVENT_TYPES", event.kind);
        Audit {
            at,
            kind: event.kind,
            user: event.user,
            subject: event.subject,
            key: self.key.clone(),
            ip: self.ip,
            request: self.request.clone(),
            detail: event.detail,
        }
    }
}

/// Why a change was rejected.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// The extension number is already used.
    #[error("extension {0} already exists")]
    NumberTaken(ExtensionNumber),
    /// Emergency numbers cannot be extensions.
    #[error("{0} is an emergency number")]
    NumberReserved(ExtensionNumber),
    /// No extension number is free.
    #[error("no extension number is free")]
    NumbersExhausted,
    /// The object does not exist, or no longer.
    #[error("not found")]
    NotFound,
    /// It is the last active admin key.
    #[error("the last active admin key")]
    LastAdminKey,
    /// A line of an import, or the whole import, is wrong.
    #[error(transparent)]
    Line(Box<LineFault>),
    /// The display name is malformed.
    #[error("a display name has 1 to 64 characters and no control characters")]
    BadDisplayName,
    /// Forwarding is enabled without a number, or to the extension's own number.
    #[error("forwarding needs a number that is not the extension's own")]
    BadForwarding,
    /// The settings of the trunk are invalid.
    #[error(transparent)]
    BadTrunk(#[from] TrunkError),
    /// The limit of 64 trunks is reached.
    #[error("there are already 64 trunks, the maximum")]
    TooManyTrunks,
    /// The number in this field may never be called by forwarding or by a schedule.
    #[error("{0}: this number may not be called ({1:?})")]
    ForbiddenNumber(&'static str, Cause),
    /// Only an administrator may widen the dial permissions of an extension.
    #[error("only an administrator may widen dial permissions")]
    WiderDialling,
    /// The PIN is malformed or too weak.
    #[error(transparent)]
    BadPin(model::voicemail::PinError),
    /// The e-mail address is malformed.
    #[error("not an e-mail address")]
    BadEmail,
    /// The limit of recurring calls of the extension is reached.
    #[error("the extension has too many recurring calls")]
    RecurringCallLimit,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The task that writes the change panicked.
    #[error("the task that writes to the directory panicked")]
    TaskPanicked,
}

struct Inner {
    store: Store,
    directory: ArcSwap<Directory>,
    port: Arc<dyn SwitchPort>,
    domain: String,
    clock: Clock,
    rng: Mutex<Rng>,
    /// Serialises writers of this process. Holds the outbox sequence number up to which the directory has applied changes.
    applied_seq: tokio::sync::Mutex<i64>,
}

/// The directory service. Clones share all state.
#[derive(Clone)]
pub struct DirectoryService {
    inner: Arc<Inner>,
}

/// A change while it is validated: what it is validated against, and the rows, mails and events that it produces.
pub(crate) struct ChangeSet<'d> {
    pub directory: &'d Directory,
    pub now: Now,
    pub domain: &'d str,
    pub rng: Rng,
    pub changes: Vec<Change>,
    /// E-mail notifications to be sent.
    pub mails: Vec<Delivery>,
    pub event: Event,
    /// Further events.
    pub more_events: Vec<Event>,
}

/// An event about a change, for the audit and for event subscribers.
#[derive(Default)]
pub(crate) struct Event {
    pub kind: &'static str,
    pub user: Option<UserId>,
    pub subject: String,
    pub detail: Value,
}

impl ChangeSet<'_> {
    /// Create the user if it does not exist yet (S33).
    fn ensure_user(&mut self, id: &UserId) {
        if self.directory.user(id).is_none() {
            self.changes.push(Change::User(User { id: id.clone(), created_at: self.now.wall }));
        }
    }

    fn audit(&mut self, kind: &'static str, user: &UserId, subject: &str, detail: Value) {
        self.event = Event { kind, user: Some(user.clone()), subject: subject.to_owned(), detail };
    }
}

impl Inner {
    /// Apply committed changes to the directory in memory and publish it to the switch. The caller holds the write lock.
    fn apply(&self, changes: Vec<Change>) {
        let mut next = Directory::clone(&self.directory.load());
        for change in &changes {
            next.apply(change.clone());
        }
        self.directory.store(Arc::new(next.clone()));
        self.port.publish(next, changes.into());
    }
}

impl DirectoryService {
    /// Create the service over a loaded directory. `domain` is the digest realm.
    pub fn new(
        store: Store,
        directory: Directory,
        port: Arc<dyn SwitchPort>,
        domain: String,
        clock: Clock,
        rng: Rng,
    ) -> DirectoryService {
        let inner = Inner {
            store,
            directory: ArcSwap::from_pointee(directory),
            port,
            domain,
            clock,
            rng: Mutex::new(rng),
            applied_seq: tokio::sync::Mutex::new(0),
        };
        DirectoryService { inner: Arc::new(inner) }
    }

    /// The current directory.
    pub fn directory(&self) -> Arc<Directory> {
        self.inner.directory.load_full()
    }

    /// The current time.
    pub fn now(&self) -> Now {
        (self.inner.clock)()
    }

    /// The store.
    pub fn store(&self) -> &Store {
        &self.inner.store
    }

    pub(crate) fn port(&self) -> &Arc<dyn SwitchPort> {
        &self.inner.port
    }

    /// Fork a random generator for one operation.
    pub(crate) fn rng(&self) -> Rng {
        self.inner.rng.lock().unwrap_or_else(PoisonError::into_inner).fork()
    }

    /// Validate, commit, apply and publish a change. It runs in its own task, so a client that disconnects does not interrupt it.
    pub(crate) async fn commit<T: Send + 'static>(
        &self,
        actor: Actor,
        decide: impl FnOnce(&mut ChangeSet<'_>) -> Result<T, DirectoryError> + Send + 'static,
    ) -> Result<T, DirectoryError> {
        let inner = Arc::clone(&self.inner);
        let rng = self.rng();
        let work = async move {
            let (mut applied_seq, lock) = inner.lock_for_write().await?;
            let current = inner.directory.load_full();
            let mut draft = ChangeSet {
                directory: &current,
                now: (inner.clock)(),
                domain: &inner.domain,
                rng,
                changes: Vec::new(),
                mails: Vec::new(),
                event: Event::default(),
                more_events: Vec::new(),
            };
            let result = decide(&mut draft)?;
            let ChangeSet { now, changes, mails, event, more_events, .. } = draft;
            if changes.is_empty() {
                return Ok(result);
            }
            let audits: Vec<Audit> =
                std::iter::once(event).chain(more_events).map(|event| actor.audit(now.wall, event)).collect();
            *applied_seq = lock.write_all(&changes, &mails, &audits).await?;
            inner.apply(changes);
            Ok(result)
        };
        tokio::spawn(work).await.map_err(|_| DirectoryError::TaskPanicked)?
    }

    /// Write an event that changes nothing in the directory. It is written in the background, because the action has already happened.
    pub(crate) fn audit(&self, actor: Actor, event: Event) {
        let (store, at) = (self.inner.store.clone(), self.now().wall);
        tokio::spawn(async move {
            let kind = event.kind;
            if let Err(error) = store.audit(actor.audit(at, event)).await {
                tracing::error!(%error, kind, "an audit event could not be written");
            }
        });
    }
}

impl fmt::Debug for DirectoryService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DirectoryService").finish_non_exhaustive()
    }
}
