//! Sorted indexes of the extensions for paged lists: a page costs its own length, a change costs one update.

use std::sync::Arc;

use crate::sorted_map::SortedMap;
use crate::{Directory, Extension, ExtensionNumber, UserId};

/// Extensions by number, and by user and number.
#[derive(Clone, Debug, Default)]
pub(super) struct ExtensionIndex {
    by_number: SortedMap<ExtensionNumber, Arc<Extension>>,
    by_user: SortedMap<(UserId, ExtensionNumber), Arc<Extension>>,
}

impl ExtensionIndex {
    pub(super) fn insert(&mut self, extension: &Arc<Extension>) {
        self.by_number.insert(extension.number.clone(), Arc::clone(extension));
        let key = (extension.user.clone(), extension.number.clone());
        self.by_user.insert(key, Arc::clone(extension));
    }

    /// Remove an extension from the indexes, unless another one has its number by now.
    pub(super) fn remove(&mut self, old: &Extension) {
        if self.by_number.get(&old.number).is_some_and(|there| there.id == old.id) {
            self.by_number.remove(&old.number);
        }
        let key = (old.user.clone(), old.number.clone());
        if self.by_user.get(&key).is_some_and(|there| there.id == old.id) {
            self.by_user.remove(&key);
        }
    }

    pub(super) fn steps(&self) -> u64 {
        self.by_number.steps() + self.by_user.steps()
    }
}

impl Directory {
    /// All extensions by number, after the number `cursor`.
    pub fn extensions_after(&self, cursor: Option<&str>) -> impl Iterator<Item = &Arc<Extension>> {
        let before = |number: &ExtensionNumber| cursor.is_some_and(|cursor| number.as_str() <= cursor);
        self.extension_index.by_number.after(&before).map(|(_, extension)| extension)
    }

    /// The extensions of a user by number, after the number `cursor`.
    pub fn extensions_of<'a>(
        &'a self,
        user: &UserId,
        cursor: Option<&str>,
    ) -> impl Iterator<Item = &'a Arc<Extension>> {
        let before = |(of, number): &(UserId, ExtensionNumber)| (of, Some(number.as_str())) <= (user, cursor);
        let rest = self.extension_index.by_user.after(&before).map(|(_, extension)| extension);
        let user = user.clone();
        rest.take_while(move |one| one.user == user)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Change, ExtensionId};
    use base::Timestamp;

    fn extension(id: &str, user: &str, number: &str) -> Extension {
        let number = ExtensionNumber::parse(number).unwrap();
        let (id, user, username) =
            (ExtensionId::parse(id).unwrap(), UserId::parse(user).unwrap(), format!("user_{id}"));
        Extension::new(id, user, number, username, Timestamp::default())
    }

    fn numbers<'a>(found: impl Iterator<Item = &'a Arc<Extension>>) -> String {
        found.map(|one| one.number.as_str()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_list_is_sorted_and_has_every_change() {
        let ann = UserId::parse("user_ann").unwrap();
        let mut directory = Directory::default();
        for (id, user, number) in
            [("1", "user_bob", "1001"), ("2", "user_ann", "205"), ("3", "user_ann", "1003")]
        {
            directory.apply(Change::Extension(extension(id, user, number)));
        }
        assert_eq!(numbers(directory.extensions_after(None)), "1001 1003 205");
        assert_eq!(numbers(directory.extensions_after(Some("1001"))), "1003 205");
        assert_eq!(numbers(directory.extensions_of(&ann, None)), "1003 205");
        assert_eq!(numbers(directory.extensions_of(&ann, Some("1003"))), "205");

        // A clone does not see later changes, whichever of the two is read first.
        let (before, mut after) = (directory.clone(), directory.clone());
        after.apply(Change::ExtensionGone(ExtensionId::parse("3").unwrap()));
        after.apply(Change::Extension(extension("4", "user_ann", "70")));
        assert_eq!(numbers(before.extensions_of(&ann, None)), "1003 205");
        assert_eq!(numbers(after.extensions_of(&ann, None)), "205 70");
        assert_eq!(numbers(after.extensions_after(None)), "1001 205 70");
        assert_eq!(numbers(before.extensions_after(None)), "1001 1003 205");
    }
}
