//! Extensions in the orders in which they are listed, so that a page costs what it shows.

use std::sync::{Arc, OnceLock};

use crate::{Directory, Extension, UserId};

/// Made when a snapshot is first asked for one, and shared by all its copies until an extension changes.
#[derive(Debug, Default)]
pub(super) struct Order {
    by_number: OnceLock<Box<[Arc<Extension>]>>,
    by_user: OnceLock<Box<[Arc<Extension>]>>,
}

impl Directory {
    /// All extensions by number, those after the number `cursor`.
    pub fn extensions_after(&self, cursor: Option<&str>) -> impl Iterator<Item = &Arc<Extension>> {
        let all =
            self.order.by_number.get_or_init(|| self.sorted_by(|one, other| one.number.cmp(&other.number)));
        let first = cursor.map_or(0, |cursor| all.partition_point(|one| one.number.as_str() <= cursor));
        all.iter().skip(first)
    }

    /// The extensions of a user by number, those after the number `cursor`.
    pub fn extensions_of<'a>(
        &'a self,
        user: &UserId,
        cursor: Option<&str>,
    ) -> impl Iterator<Item = &'a Arc<Extension>> {
        let all = self.order.by_user.get_or_init(|| {
            self.sorted_by(|one, other| (&one.user, &one.number).cmp(&(&other.user, &other.number)))
        });
        let first = all.partition_point(|one| (&one.user, Some(one.number.as_str())) <= (user, cursor));
        let user = user.clone();
        all.iter().skip(first).take_while(move |one| one.user == user)
    }

    fn sorted_by(
        &self,
        order: impl Fn(&Extension, &Extension) -> std::cmp::Ordering,
    ) -> Box<[Arc<Extension>]> {
        let mut all: Vec<Arc<Extension>> = self.extensions().cloned().collect();
        all.sort_unstable_by(|one, other| order(one, other));
        all.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Change, DialPermissions, ExtensionId, ExtensionNumber, ExtensionStatus, Forwarding, RecordCalls,
    };
    use base::Timestamp;

    fn extension(id: &str, user: &str, number: &str) -> Extension {
        Extension {
            id: ExtensionId::parse(id).unwrap(),
            user: UserId::parse(user).unwrap(),
            number: ExtensionNumber::parse(number).unwrap(),
            display_name: String::new(),
            status: ExtensionStatus::Active,
            username: format!("user_{id}").into(),
            forwarding: Forwarding::default(),
            voicemail_enabled: false,
            do_not_disturb: false,
            call_waiting: true,
            ring_seconds: 25,
            dial_permissions: DialPermissions::default(),
            follow_me: None,
            record_calls: RecordCalls::default(),
            created_at: Timestamp::default(),
            updated_at: Timestamp::default(),
            timezone: None,
        }
    }

    fn numbers<'a>(found: impl Iterator<Item = &'a Arc<Extension>>) -> String {
        found.map(|one| one.number.as_str()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_list_is_in_order_and_knows_of_every_change() {
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

        // A copy that is older than a change goes on without it, whoever of the two is asked first.
        let (before, mut after) = (directory.clone(), directory.clone());
        after.apply(Change::ExtensionGone(ExtensionId::parse("3").unwrap()));
        after.apply(Change::Extension(extension("4", "user_ann", "70")));
        assert_eq!(numbers(before.extensions_of(&ann, None)), "1003 205");
        assert_eq!(numbers(after.extensions_of(&ann, None)), "205 70");
        assert_eq!(numbers(after.extensions_after(None)), "1001 205 70");
        assert_eq!(numbers(before.extensions_after(None)), "1001 1003 205");
    }
}
