//! The messages of one mailbox with their counts: MWI reads the counts far more often than they change.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::voicemail::Count;
use crate::{MessageId, VoicemailMessage};

/// The messages of one mailbox and their counts.
#[derive(Clone, Debug, Default)]
pub(super) struct Messages {
    all: BTreeMap<MessageId, Arc<VoicemailMessage>>,
    count: Count,
}

impl Messages {
    pub(super) fn insert(&mut self, message: VoicemailMessage) {
        self.remove(&message.id.clone());
        self.count.add(&message);
        self.all.insert(message.id.clone(), Arc::new(message));
    }

    pub(super) fn remove(&mut self, id: &MessageId) {
        if let Some(old) = self.all.remove(id) {
            self.count.subtract(&old);
        }
    }

    pub(super) fn get(&self, id: &MessageId) -> Option<&Arc<VoicemailMessage>> {
        self.all.get(id)
    }

    /// All messages, oldest first.
    pub(super) fn all(&self) -> impl DoubleEndedIterator<Item = &Arc<VoicemailMessage>> {
        self.all.values()
    }

    pub(super) fn count(&self) -> Count {
        self.count
    }
}
