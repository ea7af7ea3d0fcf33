//! Claims of due instants (S85): one of many claimers succeeds, and repeating a claim gives the same answer.

use crate::samples;

use base::Timestamp;
use centralita_store::{EventFilter, Retention, Store};
use model::recurrence::{Schedule, Written};
use model::{
    Action, CallId, Cause, Change, ExtensionId, Misfire, Occurrence, OccurrenceState, RecurringCall,
    RecurringCallId, UserId,
};
use samples::*;

fn recurring(id: &str) -> RecurringCall {
    let written = Written {
        frequency: "weekly".into(),
        time: "09:00".into(),
        days_of_week: Some(vec![1, 3]),
        timezone: "Europe/Madrid".into(),
        ..Written::default()
    };
    RecurringCall {
        id: RecurringCallId::parse(id).unwrap(),
        extension: ExtensionId::parse("ext_1").unwrap(),
        user: UserId::parse("user_123").unwrap(),
        destination: "+1234567890".into(),
        schedule: Schedule::try_from(written).unwrap(),
        enabled: true,
        misfire: Misfire::RunOnce,
        action: Action::Connect,
        max_attempts: 3,
        retry_minutes: 10,
        since: at(0),
        created_at: at(0),
        updated_at: at(1),
    }
}

fn occurrence(id: &str, due: Timestamp, owner: &str) -> Occurrence {
    Occurrence {
        recurring: RecurringCallId::parse(id).unwrap(),
        due,
        user: UserId::parse("user_123").unwrap(),
        state: OccurrenceState::Dialling,
        version: 1,
        owner: owner.into(),
        lease_until: due,
        not_before: due,
        attempts: 1,
        call: Some(CallId::parse("session_1").unwrap()),
        cause: None,
        updated_at: due,
    }
}

async fn with_one(store: &Store) {
    let change = Change::Recurring(Box::new(recurring("rc_1")));
    store.write(&[change], audit("recurring_call_created")).await.unwrap();
}

#[tokio::test]
async fn a_recurring_call_comes_back_as_it_was_written() {
    let folder = Folder::new();
    let store = folder.open().await;
    with_one(&store).await;
    let directory = store.load_directory().await.unwrap();
    assert_eq!(**directory.recurring_call(&recurring("rc_1").id).unwrap(), recurring("rc_1"));
    store
        .write(&[Change::RecurringGone(recurring("rc_1").id)], audit("recurring_call_deleted"))
        .await
        .unwrap();
    assert_eq!(store.load_directory().await.unwrap().recurring_calls().count(), 0);
}

#[tokio::test]
async fn of_many_claims_of_an_instant_one_succeeds() {
    let folder = Folder::new();
    let store = folder.open().await;
    with_one(&store).await;
    let claims = (0..20).map(|n| {
        let store = store.clone();
        let row = occurrence("rc_1", at(60), &format!("node{n}"));
        tokio::spawn(
            async move { store.claim(&row, at(0), Some(audit("recurring_call_missed"))).await.unwrap() },
        )
    });
    let mut won = 0;
    for claim in claims.collect::<Vec<_>>() {
        won += usize::from(claim.await.unwrap());
    }
    assert_eq!(won, 1);
    let filter =
        EventFilter { kind: Some("recurring_call_missed".into()), user: None, before: None, limit: 9 };
    assert_eq!(store.events(&filter).await.unwrap().events.len(), 1, "told once");
    assert_eq!(store.last_occurrences().await.unwrap(), [(recurring("rc_1").id, at(60))]);
}

#[tokio::test]
async fn a_claim_may_be_repeated_after_a_lost_reply() {
    let folder = Folder::new();
    let store = folder.open().await;
    with_one(&store).await;
    let row = occurrence("rc_1", at(60), "me");
    assert!(store.claim(&row, at(0), None).await.unwrap());
    assert!(store.claim(&row, at(0), None).await.unwrap(), "it is mine already");
    let done = Occurrence { state: OccurrenceState::Done, version: 2, ..row.clone() };
    let event = || Some(audit("recurring_call_executed"));
    assert!(store.change_occurrence(&done, event()).await.unwrap());
    assert!(store.change_occurrence(&done, event()).await.unwrap());
    let filter =
        EventFilter { kind: Some("recurring_call_executed".into()), user: None, before: None, limit: 9 };
    assert_eq!(store.events(&filter).await.unwrap().events.len(), 1, "told once");
    // A concurrent update from the same version fails.
    let other = Occurrence { state: OccurrenceState::Failed, cause: Some(Cause::Crash), version: 2, ..row };
    assert!(!store.change_occurrence(&other, None).await.unwrap());
    assert_eq!(store.occurrences(&done.recurring, at(1000), 5).await.unwrap(), [done]);
}

#[tokio::test]
async fn a_changed_recurring_call_is_not_claimed() {
    let folder = Folder::new();
    let store = folder.open().await;
    with_one(&store).await;
    let row = occurrence("rc_1", at(60), "me");
    assert!(!store.claim(&row, at(5), None).await.unwrap(), "of another schedule");
    let off = RecurringCall { enabled: false, ..recurring("rc_1") };
    store.write(&[Change::Recurring(Box::new(off))], audit("recurring_call_updated")).await.unwrap();
    assert!(!store.claim(&row, at(0), None).await.unwrap(), "switched off");
    assert!(!store.claim(&occurrence("rc_2", at(60), "me"), at(0), None).await.unwrap(), "gone");
}

#[tokio::test]
async fn expired_leases_are_found_and_old_occurrences_are_pruned() {
    let folder = Folder::new();
    let store = folder.open().await;
    with_one(&store).await;
    for second in [60, 120, 180] {
        store.claim(&occurrence("rc_1", at(second), "node1:boot:1"), at(0), None).await.unwrap();
    }
    let closed_record =
        Occurrence { state: OccurrenceState::Done, version: 2, ..occurrence("rc_1", at(60), "node2:b:1") };
    assert!(store.change_occurrence(&closed_record, None).await.unwrap());
    let found = store.abandoned_occurrences(at(150), 10).await.unwrap();
    assert_eq!(found.iter().map(|row| row.due).collect::<Vec<_>>(), [at(120)]);
    assert_eq!(store.open_occurrences_of("node1:").await.unwrap().len(), 2);
    assert_eq!(store.open_occurrences_of("node2:").await.unwrap().len(), 0);

    let last =
        Occurrence { state: OccurrenceState::Missed, version: 2, ..occurrence("rc_1", at(180), "node1:b:1") };
    assert!(store.change_occurrence(&last, None).await.unwrap());
    let retention = Retention { events: Some(std::time::Duration::from_secs(1)), ..Retention::default() };
    store.prune(at(10_000), &retention).await.unwrap();
    let left = store.occurrences(&last.recurring, at(1000), 10).await.unwrap();
    // Occurrences in progress are kept, and the last one: the next instant is computed from it.
    assert_eq!(left.iter().map(|row| row.due).collect::<Vec<_>>(), [at(180), at(120)]);
}
