//! Difference of two directories, for a component that keeps state derived from one and missed the changes in between.

use std::sync::Arc;

use crate::{Change, Directory};

impl Directory {
    /// The changes that turn this directory into `fresh`: first removals, then additions and updates. (Users are never removed, and the dial
    /// rules come from the configuration.)
    pub fn changes_to(&self, fresh: &Directory) -> Vec<Change> {
        let mut changes = self.gone_in(fresh);
        let users = differing(fresh.users.values(), |user| self.user(&user.id));
        changes.extend(users.map(|user| Change::User(user.clone())));
        let keys = differing(fresh.keys(), |key| self.key(&key.id));
        changes.extend(keys.map(|key| Change::Key(key.clone())));
        let extensions = differing(fresh.extensions(), |extension| self.extension(&extension.id));
        changes.extend(extensions.map(|extension| Change::Extension(extension.clone())));
        let credentials = differing(fresh.credentials.values(), |c| self.credentials.get(&c.username));
        changes.extend(credentials.map(|credential| Change::Credential(credential.clone())));
        let trunks = differing(fresh.trunks.values(), |trunk| self.trunk(&trunk.id));
        changes.extend(trunks.map(|trunk| Change::Trunk(Box::new(trunk.clone()))));
        let mailboxes = differing(fresh.mailboxes.values(), |mailbox| self.mailboxes.get(&mailbox.extension));
        changes.extend(mailboxes.map(|mailbox| Change::Mailbox(mailbox.clone())));
        let messages =
            differing(fresh.all_messages(), |message| self.message(&message.extension, &message.id));
        changes.extend(messages.map(|message| Change::Message(message.clone())));
        let recurring = differing(fresh.recurring_calls(), |call| self.recurring_call(&call.id));
        changes.extend(recurring.map(|call| Change::Recurring(Box::new(call.clone()))));
        changes
    }

    /// Removals: dependent entries before the entries they belong to.
    fn gone_in(&self, fresh: &Directory) -> Vec<Change> {
        let mut changes = Vec::new();
        let recurring = self.recurring_calls().filter(|call| fresh.recurring_call(&call.id).is_none());
        changes.extend(recurring.map(|call| Change::RecurringGone(call.id.clone())));
        let messages =
            self.all_messages().filter(|message| fresh.message(&message.extension, &message.id).is_none());
        changes.extend(messages.map(|message| Change::MessageGone {
            extension: message.extension.clone(),
            id: message.id.clone(),
        }));
        let credentials = self.credentials.values().filter(|c| fresh.credentials.get(&c.username).is_none());
        changes.extend(credentials.map(|c| Change::CredentialGone(Arc::clone(&c.username))));
        let extensions = self.extensions().filter(|extension| fresh.extension(&extension.id).is_none());
        changes.extend(extensions.map(|extension| Change::ExtensionGone(extension.id.clone())));
        let keys = self.keys().filter(|key| fresh.key(&key.id).is_none());
        changes.extend(keys.map(|key| Change::KeyGone(key.id.clone())));
        let trunks = self.trunks.values().filter(|trunk| fresh.trunk(&trunk.id).is_none());
        changes.extend(trunks.map(|trunk| Change::TrunkGone(trunk.id.clone())));
        changes
    }
}

/// The values of `fresh` that are new or changed.
fn differing<'d, V: PartialEq + 'd>(
    fresh: impl Iterator<Item = &'d Arc<V>>,
    before: impl Fn(&V) -> Option<&'d Arc<V>>,
) -> impl Iterator<Item = &'d V> {
    fresh.map(|value| &**value).filter(move |value| before(value).is_none_or(|before| **before != **value))
}
