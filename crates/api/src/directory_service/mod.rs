//! The office: every change of the directory goes through here, one after the other.
//!
//! A change is decided on the newest directory, committed to the store, applied to the directory and handed to the exchange, in this
//! order, and only then answered: what was answered is true for everybody and outlives a crash.

mod credentials;
mod difference;
mod extensions;
mod follow;
mod import;
mod keys;
mod recurring;
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

use crate::imported::LineFault;
use crate::{Clock, SwitchPort};

pub use extensions::{CreatedExtension, ExtensionChanges, NewExtension};
pub use import::{ImportDone, Imported, MadePassword};
pub(crate) use keys::KeyChanges;
pub use keys::{CreatedKey, NewKey};
pub use recurring::{NewRecurringCall, RecurringCallChanges};
pub use trunks::TrunkDraft;
pub use voicemail::MailboxChanges;
pub(crate) use voicemail::pin_sentence;
pub use webhooks::webhook_secret;
pub(crate) use webhooks::{NewWebhook, WebhookChanges};

/// Who asks for a change, for the audit.
#[derive(Clone, Debug, Default)]
pub struct Actor {
    /// The key; none for the command line and the first start.
    pub key: Option<ApiKeyId>,
    /// From where.
    pub ip: Option<IpAddr>,
    /// Id of the request.
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

/// Why a change was not made.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// The extension number is taken.
    #[error("extension {0} exists already")]
    NumberTaken(ExtensionNumber),
    /// A number that calls for help is nobody's extension.
    #[error("{0} is an emergency number")]
    NumberReserved(ExtensionNumber),
    /// Every number is taken.
    #[error("no extension number is free")]
    NumbersExhausted,
    /// No such thing (any more).
    #[error("not found")]
    NotFound,
    /// It is the only active key that may administer.
    #[error("the last active admin key")]
    LastAdminKey,
    /// A line of an import, or all of it.
    #[error(transparent)]
    Line(Box<LineFault>),
    /// The name cannot be shown.
    #[error("a display name has 1 to 64 characters and no control characters")]
    BadDisplayName,
    /// Forwarding needs a number, and not the extension's own.
    #[error("forwarding needs a number that is not the extension's own")]
    BadForwarding,
    /// The settings are no trunk.
    #[error(transparent)]
    BadTrunk(#[from] TrunkError),
    /// More than a house needs.
    #[error("there are 64 trunks already")]
    TooManyTrunks,
    /// A number in this field is one that may not be called this way: by forwarding, or by a schedule.
    #[error("{1:?}: such a number may not be called this way")]
    ForbiddenNumber(&'static str, Cause),
    /// Only an administrator widens what an extension may dial.
    #[error("dial permissions are widened by an administrator")]
    WiderDialling,
    /// The PIN cannot be one.
    #[error(transparent)]
    BadPin(model::voicemail::PinError),
    /// Mail cannot be sent there.
    #[error("not an address of mail")]
    BadEmail,
    /// The extension has as many recurring calls as it may.
    #[error("the extension has too many recurring calls")]
    RecurringCallLimit,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The task that writes has died.
    #[error("the office's task has died")]
    Died,
}

struct Inner {
    store: Store,
    directory: ArcSwap<Directory>,
    port: Arc<dyn SwitchPort>,
    domain: String,
    clock: Clock,
    rng: Mutex<Rng>,
    /// Whose turn it is to change something, and the outbox's row after which the directory is what we have.
    turn: tokio::sync::Mutex<i64>,
}

/// See the module. Clones share everything.
#[derive(Clone)]
pub struct DirectoryService {
    inner: Arc<Inner>,
}

/// What a decision has at hand, and what it leaves behind.
pub(crate) struct ChangeSet<'d> {
    pub directory: &'d Directory,
    pub now: Now,
    pub domain: &'d str,
    pub rng: Rng,
    pub changes: Vec<Change>,
    /// Mails that are to be sent because of them.
    pub mails: Vec<Delivery>,
    pub event: Event,
    /// What is told besides.
    pub also: Vec<Event>,
}

/// What is told about a change.
#[derive(Default)]
pub(crate) struct Event {
    pub kind: &'static str,
    pub user: Option<UserId>,
    pub subject: String,
    pub detail: Value,
}

impl ChangeSet<'_> {
    /// Make the user where nobody has heard of it yet (S33).
    fn ensure_user(&mut self, id: &UserId) {
        if self.directory.user(id).is_none() {
            self.changes.push(Change::User(User { id: id.clone(), created_at: self.now.wall }));
        }
    }

    fn tell(&mut self, kind: &'static str, user: &UserId, subject: &str, detail: Value) {
        self.event = Event { kind, user: Some(user.clone()), subject: subject.to_owned(), detail };
    }
}

impl Inner {
    /// Make changes that are committed true for everybody in this process. Whoever has the turn does this.
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
    /// An office over what was loaded. `domain` is the digest realm.
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
            turn: tokio::sync::Mutex::new(0),
        };
        DirectoryService { inner: Arc::new(inner) }
    }

    /// The directory as it is now.
    pub fn directory(&self) -> Arc<Directory> {
        self.inner.directory.load_full()
    }

    /// What time it is.
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

    /// A generator for one decision.
    pub(crate) fn rng(&self) -> Rng {
        self.inner.rng.lock().unwrap_or_else(PoisonError::into_inner).fork()
    }

    /// Decide, commit, apply, publish. A task of its own: a client that goes away in the middle leaves nothing half done.
    pub(crate) async fn commit<T: Send + 'static>(
        &self,
        actor: Actor,
        decide: impl FnOnce(&mut ChangeSet<'_>) -> Result<T, DirectoryError> + Send + 'static,
    ) -> Result<T, DirectoryError> {
        let inner = Arc::clone(&self.inner);
        let rng = self.rng();
        let work = async move {
            let (mut turn, pen) = inner.take_pen().await?;
            let current = inner.directory.load_full();
            let mut draft = ChangeSet {
                directory: &current,
                now: (inner.clock)(),
                domain: &inner.domain,
                rng,
                changes: Vec::new(),
                mails: Vec::new(),
                event: Event::default(),
                also: Vec::new(),
            };
            let result = decide(&mut draft)?;
            let ChangeSet { now, changes, mails, event, also, .. } = draft;
            if changes.is_empty() {
                return Ok(result);
            }
            let audits: Vec<Audit> =
                std::iter::once(event).chain(also).map(|event| actor.audit(now.wall, event)).collect();
            *turn = pen.write_all(&changes, &mails, &audits).await?;
            inner.apply(changes);
            Ok(result)
        };
        tokio::spawn(work).await.map_err(|_| DirectoryError::Died)?
    }

    /// Write down something that changes nothing of the directory. It is told in the background: what it tells of has happened already.
    pub(crate) fn tell(&self, actor: Actor, event: Event) {
        let (store, at) = (self.inner.store.clone(), self.now().wall);
        tokio::spawn(async move {
            let kind = event.kind;
            if let Err(error) = store.audit(actor.audit(at, event)).await {
                tracing::error!(%error, kind, "an audit event was not written");
            }
        });
    }
}

impl fmt::Debug for DirectoryService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Office").finish_non_exhaustive()
    }
}
