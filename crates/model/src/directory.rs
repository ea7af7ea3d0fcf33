//! The directory: an in-memory snapshot of everything that calls and API key checks look up. A snapshot does not change while it is read.

mod difference;
mod extension_index;
mod mailbox;

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::sorted_map::SortedMap;
use crate::voicemail::Count;
use crate::{
    ApiKey, ApiKeyId, Credential, DialPermissions, DialRules, Extension, ExtensionId, ExtensionNumber,
    ExtensionStatus, Mailbox, MessageId, RecurringCall, RecurringCallId, SnapshotMap, Trunk, TrunkId, User,
    UserId, VoicemailMessage,
};

/// One change of the directory: committed to the outbox by a write, and applied by every node.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum Change {
    User(User),
    Key(ApiKey),
    KeyGone(ApiKeyId),
    Credential(Credential),
    CredentialGone(Arc<str>),
    Extension(Extension),
    ExtensionGone(ExtensionId),
    Trunk(Box<Trunk>),
    TrunkGone(TrunkId),
    Mailbox(Mailbox),
    Message(VoicemailMessage),
    MessageGone { extension: ExtensionId, id: MessageId },
    Recurring(Box<RecurringCall>),
    RecurringGone(RecurringCallId),
}

/// A snapshot of the directory. A clone costs a few reference counts.
#[derive(Clone, Debug, Default)]
pub struct Directory {
    users: SnapshotMap<UserId, User>,
    keys: SnapshotMap<ApiKeyId, ApiKey>,
    keys_by_hash: SnapshotMap<[u8; 32], ApiKeyId>,
    credentials: SnapshotMap<Arc<str>, Credential>,
    usernames_by_user: SortedMap<(UserId, Arc<str>), ()>,
    extensions: SnapshotMap<ExtensionId, Extension>,
    extensions_by_number: SnapshotMap<ExtensionNumber, ExtensionId>,
    extension_index: extension_index::ExtensionIndex,
    trunks: SnapshotMap<TrunkId, Trunk>,
    trunks_in_order: SortedMap<(u16, TrunkId), Arc<Trunk>>,
    mailboxes: SnapshotMap<ExtensionId, Mailbox>,
    messages: SnapshotMap<ExtensionId, mailbox::Messages>,
    rules: Arc<DialRules>,
    recurring: SnapshotMap<RecurringCallId, RecurringCall>,
    recurring_by_extension: SnapshotMap<ExtensionId, BTreeSet<RecurringCallId>>,
}

impl Directory {
    /// Apply one change.
    pub fn apply(&mut self, change: Change) {
        match change {
            Change::User(user) => {
                self.users.insert(user.id.clone(), user);
            }
            Change::Key(key) => {
                self.keys_by_hash.insert(key.hash, key.id.clone());
                self.keys.insert(key.id.clone(), key);
            }
            Change::KeyGone(id) => {
                if let Some(key) = self.keys.remove(&id) {
                    self.keys_by_hash.remove(&key.hash);
                }
            }
            Change::Credential(credential) => {
                let username = Arc::clone(&credential.username);
                let user = credential.user.clone();
                if let Some(old) = self.credentials.insert(Arc::clone(&username), credential)
                    && old.user != user
                {
                    self.usernames_by_user.remove(&(old.user.clone(), Arc::clone(&username)));
                }
                self.usernames_by_user.insert((user, username), ());
            }
            Change::CredentialGone(username) => {
                if let Some(old) = self.credentials.remove(&username) {
                    self.usernames_by_user.remove(&(old.user.clone(), username));
                }
            }
            Change::Extension(extension) => {
                if let Some(old) = self.extensions.get(&extension.id).cloned() {
                    self.extension_index.remove(&old);
                    if old.number != extension.number {
                        self.remove_number(&old.number, &extension.id);
                    }
                }
                self.extensions_by_number.insert(extension.number.clone(), extension.id.clone());
                let id = extension.id.clone();
                self.extensions.insert(id.clone(), extension);
                if let Some(extension) = self.extensions.get(&id) {
                    self.extension_index.insert(extension);
                }
            }
            Change::ExtensionGone(id) => {
                if let Some(old) = self.extensions.remove(&id) {
                    self.extension_index.remove(&old);
                    self.remove_number(&old.number, &id);
                }
                self.recurring_by_extension.remove(&id);
                self.mailboxes.remove(&id);
                self.messages.remove(&id);
            }
            Change::Mailbox(mailbox) => {
                self.mailboxes.insert(mailbox.extension.clone(), mailbox);
            }
            Change::Message(message) => {
                self.messages.update(message.extension.clone(), |messages| {
                    messages.insert(message);
                });
            }
            Change::MessageGone { extension, id } => {
                self.messages.update(extension, |messages| {
                    messages.remove(&id);
                });
            }
            Change::Trunk(trunk) => {
                let id = trunk.id.clone();
                if let Some(old) = self.trunks.insert(id.clone(), *trunk) {
                    self.trunks_in_order.remove(&(old.priority, id.clone()));
                }
                if let Some(trunk) = self.trunks.get(&id) {
                    self.trunks_in_order.insert((trunk.priority, id), Arc::clone(trunk));
                }
            }
            Change::TrunkGone(id) => {
                if let Some(old) = self.trunks.remove(&id) {
                    self.trunks_in_order.remove(&(old.priority, id));
                }
            }
            Change::Recurring(call) => {
                let id = call.id.clone();
                self.recurring_by_extension.update(call.extension.clone(), |ids| {
                    ids.insert(id);
                });
                self.recurring.insert(call.id.clone(), *call);
            }
            Change::RecurringGone(id) => {
                if let Some(old) = self.recurring.remove(&id) {
                    self.recurring_by_extension.update(old.extension.clone(), |ids| {
                        ids.remove(&id);
                    });
                }
            }
        }
    }

    /// Remove the number of an extension from the index, unless another extension has it by now.
    fn remove_number(&mut self, number: &ExtensionNumber, of: &ExtensionId) {
        if self.extensions_by_number.get(number).is_some_and(|id| **id == *of) {
            self.extensions_by_number.remove(number);
        }
    }

    /// The dial rules of the installation; clones share them.
    pub fn rules(&self) -> &DialRules {
        &self.rules
    }

    /// Set the dial rules, from the configuration at start.
    pub fn set_rules(&mut self, rules: DialRules) {
        self.rules = Arc::new(rules);
    }

    /// The dial permissions of a credential: those of its extension, or the defaults of a new extension where it has none.
    pub fn permissions_of(&self, credential: &Credential) -> DialPermissions {
        let extension = credential.extension.as_ref().and_then(|id| self.extension(id));
        extension.map_or_else(DialPermissions::default, |extension| extension.dial_permissions)
    }

    /// A user by id.
    pub fn user(&self, id: &UserId) -> Option<&Arc<User>> {
        self.users.get(id)
    }

    /// An API key by id.
    pub fn key(&self, id: &ApiKeyId) -> Option<&Arc<ApiKey>> {
        self.keys.get(id)
    }

    /// The API key with this SHA-256 of its secret.
    pub fn key_by_hash(&self, hash: &[u8; 32]) -> Option<&Arc<ApiKey>> {
        self.keys.get(&**self.keys_by_hash.get(hash)?)
    }

    /// All API keys, unordered.
    pub fn keys(&self) -> impl Iterator<Item = &Arc<ApiKey>> {
        self.keys.values()
    }

    /// The credential with this user name, or of the extension with this number (S39).
    pub fn credential(&self, name: &str) -> Option<&Arc<Credential>> {
        if let Some(found) = self.credentials.get(name) {
            return Some(found);
        }
        let number = ExtensionNumber::parse(name).ok()?;
        self.credentials.get(&self.extension_by_number(&number)?.username)
    }

    /// All credentials of a user, by user name.
    pub fn credentials_of<'a>(&'a self, user: &UserId) -> impl Iterator<Item = &'a Arc<Credential>> {
        let user = user.clone();
        let names = self.usernames_by_user.after(&|(of, _)| *of < user);
        let names = names.take_while(move |((of, _), ())| *of == user);
        names.filter_map(|((_, name), ())| self.credentials.get(name))
    }

    /// An extension by id.
    pub fn extension(&self, id: &ExtensionId) -> Option<&Arc<Extension>> {
        self.extensions.get(id)
    }

    /// An extension by number.
    pub fn extension_by_number(&self, number: &ExtensionNumber) -> Option<&Arc<Extension>> {
        self.extensions.get(&**self.extensions_by_number.get(number)?)
    }

    /// All extensions, unordered.
    pub fn extensions(&self) -> impl Iterator<Item = &Arc<Extension>> {
        self.extensions.values()
    }

    /// A trunk by id.
    pub fn trunk(&self, id: &TrunkId) -> Option<&Arc<Trunk>> {
        self.trunks.get(id)
    }

    /// All trunks in the order of their priority.
    pub fn trunks(&self) -> impl Iterator<Item = &Arc<Trunk>> {
        self.trunks_in_order.after(&|_| false).map(|(_, trunk)| trunk)
    }

    /// The mailbox settings of an extension; the defaults where none were set.
    pub fn mailbox(&self, extension: &ExtensionId) -> Arc<Mailbox> {
        self.mailboxes.get(extension).map_or_else(|| Arc::new(Mailbox::of(extension.clone())), Arc::clone)
    }

    /// The messages of an extension's mailbox, oldest first.
    pub fn messages(
        &self,
        extension: &ExtensionId,
    ) -> impl DoubleEndedIterator<Item = &Arc<VoicemailMessage>> {
        self.messages.get(extension).into_iter().flat_map(|messages| messages.all())
    }

    /// Message counts of an extension's mailbox, in constant time.
    pub fn message_count(&self, extension: &ExtensionId) -> Count {
        self.messages.get(extension).map_or_else(Count::default, |messages| messages.count())
    }

    /// Whether any mailbox has ever held a message.
    pub fn any_mailbox_used(&self) -> bool {
        !self.messages.is_empty()
    }

    /// Whether the messages of two snapshots are the same, in constant time. `false` is possible for equal ones.
    pub fn same_messages_as(&self, other: &Directory) -> bool {
        self.messages.is_unchanged(&other.messages)
    }

    /// One message of an extension's mailbox.
    pub fn message(&self, extension: &ExtensionId, id: &MessageId) -> Option<&Arc<VoicemailMessage>> {
        self.messages.get(extension)?.get(id)
    }

    /// All messages of all mailboxes, unordered.
    pub fn all_messages(&self) -> impl Iterator<Item = &Arc<VoicemailMessage>> {
        self.messages.values().flat_map(|messages| messages.all())
    }

    /// A recurring call by id.
    pub fn recurring_call(&self, id: &RecurringCallId) -> Option<&Arc<RecurringCall>> {
        self.recurring.get(id)
    }

    /// All recurring calls, unordered.
    pub fn recurring_calls(&self) -> impl Iterator<Item = &Arc<RecurringCall>> {
        self.recurring.values()
    }

    /// Whether the recurring calls of two snapshots are the same, in constant time. `false` is possible for equal ones.
    pub fn has_recurring_calls_of(&self, other: &Directory) -> bool {
        self.recurring.is_unchanged(&other.recurring)
    }

    /// The recurring calls of an extension, oldest first.
    pub fn recurring_calls_of<'a>(
        &'a self,
        extension: &ExtensionId,
    ) -> impl Iterator<Item = &'a Arc<RecurringCall>> {
        let ids = self.recurring_by_extension.get(extension).into_iter().flat_map(|ids| ids.iter());
        ids.filter_map(|id| self.recurring.get(id))
    }

    /// Whether a credential may be used: it has no extension, or its extension is active (S70).
    pub fn is_allowed(&self, credential: &Credential) -> bool {
        match &credential.extension {
            None => true,
            Some(id) => self.extension(id).is_some_and(|e| e.status == ExtensionStatus::Active),
        }
    }

    /// Number of entries that iterations over whole tables have visited so far, in this directory and its clones: the difference across one input
    /// is the cost of that input.
    pub fn steps(&self) -> u64 {
        let sorted_map =
            [self.usernames_by_user.steps(), self.extension_index.steps(), self.trunks_in_order.steps()];
        let people =
            [self.users.steps(), self.keys.steps(), self.credentials.steps(), self.extensions.steps()];
        let rest = [
            self.trunks.steps(),
            self.mailboxes.steps(),
            self.messages.steps(),
            self.recurring.steps(),
            self.recurring_by_extension.steps(),
        ];
        sorted_map.iter().chain(&people).chain(&rest).sum()
    }

    /// Number of users, keys, credentials and extensions.
    pub fn counts(&self) -> [usize; 4] {
        [self.users.len(), self.keys.len(), self.credentials.len(), self.extensions.len()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::Timestamp;

    #[test]
    fn a_users_credentials_are_found_without_looking_at_all_others() {
        let credential = |name: &str, user: &str| {
            let ha1 = crate::Ha1::new(name, "localhost", "x");
            let user = UserId::parse(user).unwrap();
            let created_at = Timestamp::default();
            Change::Credential(Credential {
                username: name.into(),
                user,
                extension: None,
                ha1,
                ha1_by_number: None,
                created_at,
            })
        };
        let mut directory = Directory::default();
        for change in [credential("a", "ana"), credential("b", "ana"), credential("c", "berta")] {
            directory.apply(change);
        }
        let before = directory.clone();
        directory.apply(credential("b", "berta"));
        directory.apply(Change::CredentialGone("a".into()));
        let names = |d: &Directory, user: &str| -> Vec<String> {
            d.credentials_of(&UserId::parse(user).unwrap()).map(|c| c.username.to_string()).collect()
        };
        assert_eq!(
            (names(&before, "ana"), names(&before, "berta")),
            (vec!["a".into(), "b".into()], vec!["c".to_string()])
        );
        assert_eq!(
            (names(&directory, "ana"), names(&directory, "berta")),
            (vec![], vec!["b".to_string(), "c".into()])
        );
    }
}
