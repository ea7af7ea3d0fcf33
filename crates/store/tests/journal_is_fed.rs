//! Journal records become rows, and feeding the same records again does not change them.

use crate::samples;

use std::time::Duration;

use centralita_store::{CallFilter, Cursor, Retention};
use model::journal::{Binding, CallEvent, Record};
use model::{CallId, CallRecord, CallStatus, Cause};
use samples::*;

fn opened(call: CallRecord) -> Record {
    Record::CallOpened(Box::new(call))
}

fn closed_record(call: CallRecord) -> Record {
    Record::CallClosed(Box::new(call))
}

fn leg_up(name: &str, dialog: u8) -> Record {
    Record::LegUp { call: call(name, 0).id, leg: open_leg(dialog) }
}

#[tokio::test]
async fn bindings_and_open_calls_are_loaded_after_a_restart() {
    let folder = Folder::new();
    let store = folder.open().await;
    let moved = Binding { cseq: 3, ..binding(1) };
    let gone = Record::Unbound { username: binding(2).username, contact: binding(2).contact, at: at(9) };
    let records = [
        Record::Bound(binding(1)),
        Record::Bound(moved.clone()),
        Record::Bound(binding(2)),
        gone,
        opened(call("session_1_a", 0)),
        leg_up("session_1_a", 1),
        leg_up("session_1_a", 2),
        opened(call("session_2_b", 1)),
        leg_up("session_2_b", 3),
        closed_record(closed("session_2_b", 1)),
    ];
    store.feed(&records).await.unwrap();
    store.close().await;

    let state = folder.open().await.load_runtime_state().await.unwrap();
    assert_eq!(state.bindings, [moved]);
    let open: Vec<_> = state.open_calls;
    assert_eq!(open.len(), 1);
    assert_eq!((&open[0].0, &open[0].1), (&call("session_1_a", 0), &vec![open_leg(1), open_leg(2)]));
}

#[tokio::test]
async fn feeding_the_same_records_again_changes_nothing() {
    let everything = "SELECT t || ':' || CAST(c AS TEXT) FROM (SELECT 'bindings' AS t, COUNT(*) AS c FROM bindings UNION ALL \
        SELECT 'calls', COUNT(*) FROM calls UNION ALL SELECT 'legs', COUNT(*) FROM legs UNION ALL \
        SELECT 'open', COUNT(*) FROM open_legs UNION ALL SELECT 'ladders', COUNT(*) FROM ladders) AS counts";
    let folder = Folder::new();
    let store = folder.open().await;
    let records = [
        Record::Bound(binding(1)),
        opened(call("session_1_a", 0)),
        leg_up("session_1_a", 1),
        closed_record(closed("session_1_a", 0)),
        Record::Ladder { call: call("session_1_a", 0).id, blob: vec![1, 2, 3] },
        opened(call("session_2_b", 1)),
        leg_up("session_2_b", 2),
    ];
    store.feed(&records).await.unwrap();
    let (first, ended) =
        (folder.ask(everything).await, store.call(&call("session_1_a", 0).id).await.unwrap());
    assert_eq!(first, ["bindings:1", "calls:2", "legs:2", "open:1", "ladders:1"]);
    assert_eq!(ended, Some(closed("session_1_a", 0)));

    store.feed(&records).await.unwrap();
    for record in records {
        store.feed(&[record]).await.unwrap(); // one by one: an opening fed after the end does not reopen the call
    }
    assert_eq!(folder.ask(everything).await, first);
    assert_eq!(store.call(&call("session_1_a", 0).id).await.unwrap(), ended);
    assert_eq!(store.ladder(&call("session_1_a", 0).id).await.unwrap(), Some(vec![1, 2, 3]));
    assert_eq!(store.ladder(&call("session_2_b", 0).id).await.unwrap(), None);
}

#[tokio::test]
async fn calls_are_paged_newest_first_for_both_owners_only() {
    let folder = Folder::new();
    let store = folder.open().await;
    let own = |n: i64| closed_record(closed(&format!("session_{n}_a"), n / 2)); // two start at the same instant
    let strange = closed_record(CallRecord {
        user: user("stranger").id,
        other_user: None,
        cause: Some(Cause::Busy),
        ..closed("session_99_x", 99)
    });
    let records: Vec<Record> = (0..7).map(own).chain([strange]).collect();
    store.feed(&records).await.unwrap();
    for owner in ["user_123", "user_456"] {
        let mut filter = CallFilter { user: Some(user(owner).id), limit: 3, ..CallFilter::default() };
        let mut seen = Vec::new();
        loop {
            let page = store.calls(&filter).await.unwrap();
            assert!(page.calls.iter().all(|call| call.legs.len() == 2));
            seen.extend(page.calls.iter().map(|call| call.id.to_string()));
            let Some(next) = page.next else { break };
            filter.cursor = Some(next);
        }
        let expected: Vec<String> = (0..7).rev().map(|n| format!("session_{n}_a")).collect();
        assert_eq!(seen, expected);
    }
    let all = store.calls(&CallFilter { limit: 100, ..CallFilter::default() }).await.unwrap();
    assert_eq!((all.calls.len(), all.next), (8, None));
    let after = Cursor { started_at: at(0), id: call("session_0_a", 0).id };
    assert!(
        store
            .calls(&CallFilter { cursor: Some(after), limit: 9, ..CallFilter::default() })
            .await
            .unwrap()
            .calls
            .is_empty()
    );
}

#[tokio::test]
async fn rows_past_their_retention_are_pruned_and_open_calls_are_not() {
    let folder = Folder::new();
    let store = folder.open().await;
    let day = 24 * 3600;
    let ladder = |name: &str| Record::Ladder { call: call(name, 0).id, blob: vec![0] };
    let records = [
        closed_record(closed("session_1_old", 0)),
        ladder("session_1_old"),
        closed_record(closed("session_2_week", 8 * day)),
        ladder("session_2_week"),
        closed_record(closed("session_3_new", 9 * day + 7200)),
        ladder("session_3_new"),
        opened(call("session_4_open", 0)),
        Record::Bound(binding(1)),
        Record::Bound(Binding { expires_at: at(10 * day - 60), ..binding(2) }),
    ];
    store.feed(&records).await.unwrap();
    store.audit(audit("api_key_created")).await.unwrap();
    store.audit(audit("api_key_created")).await.unwrap();
    let retention = Retention {
        calls: Some(Duration::from_hours(5 * 24)),
        ladders: Some(Duration::from_hours(24)),
        events: Some(Duration::from_hours(24)),
    };
    let pruned = store.prune(at(10 * day), &retention).await.unwrap();
    assert_eq!((pruned.bindings, pruned.calls, pruned.ladders), (1, 1, 2));
    assert!(pruned.events > 1);
    // Events of the last day are kept, and the newest event in any case: the next number is derived from it.
    assert_eq!(
        folder.ask("SELECT kind FROM events ORDER BY seq").await,
        ["call_started", "call_answered", "call_ended", "api_key_created"]
    );
    assert_eq!(
        folder.ask("SELECT id FROM calls ORDER BY id").await,
        ["session_2_week", "session_3_new", "session_4_open"]
    );
    assert_eq!(folder.ask("SELECT call_id FROM ladders").await, ["session_3_new"]);
    assert_eq!(folder.ask("SELECT DISTINCT call_id FROM legs").await, ["session_2_week", "session_3_new"]);
    assert_eq!(store.load_runtime_state().await.unwrap().bindings.len(), 1);
}

#[tokio::test]
async fn ten_thousand_bindings_are_fed_within_a_second_or_two() {
    let folder = Folder::new();
    let store = folder.open().await;
    let records: Vec<Record> = (0..10_000).map(|n| Record::Bound(binding(n))).collect();
    let begun = std::time::Instant::now();
    store.feed(&records).await.unwrap();
    store.feed(&records).await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert_eq!(store.load_runtime_state().await.unwrap().bindings.len(), 10_000);
}

#[tokio::test]
async fn a_call_that_is_up_is_known_as_answered_by_the_next_start() {
    let folder = Folder::new(); // F22
    let store = folder.open().await;
    let answered = |id: &str, second| {
        Record::Noted(CallEvent::Answered { call: CallId::parse(id).unwrap(), at: at(second) })
    };
    let opened = |id: &str| opened(call(id, 0));
    store.feed(&[opened("session_1"), opened("session_2"), opened("session_3")]).await.unwrap();
    store.feed(&[answered("session_1", 4), leg_up("session_1", 1), answered("session_3", 6)]).await.unwrap();
    store.feed(&[answered("session_1", 9)]).await.unwrap(); // a second answer changes nothing
    let known = store.load_runtime_state().await.unwrap().open_calls;
    let seen: Vec<_> =
        known.iter().map(|(call, _)| (call.id.as_str(), call.status, call.answered_at)).collect();
    let expected = [
        ("session_1", CallStatus::InProgress, Some(at(4))),
        ("session_2", CallStatus::Ringing, None),
        ("session_3", CallStatus::InProgress, Some(at(6))),
    ];
    assert_eq!(seen, expected);
    assert_eq!(known[0].1, [open_leg(1)], "with what its record says of the leg");
}

#[tokio::test]
async fn a_record_is_not_replaced_by_one_of_a_crash() {
    let folder = Folder::new();
    let store = folder.open().await;
    let whole = closed("session_1", 0);
    store.feed(&[closed_record(whole.clone())]).await.unwrap();
    let crash = CallRecord { cause: Some(Cause::Crash), ..closed("session_1", 50) };
    store.feed(&[closed_record(crash)]).await.unwrap();
    assert_eq!(store.call(&whole.id).await.unwrap(), Some(whole));
}
