//! Outbound call time is loaded after a restart, and its events are written once (security.md rows 7 and 31).

use crate::samples;

use centralita_store::{EventQuery, Retention, Store};
use model::UserId;
use model::journal::{CallEvent, OutboundCallTime, Record};
use samples::*;

fn time(name: &str, user: &str, since: i64, until: Option<i64>) -> OutboundCallTime {
    OutboundCallTime {
        call: call(name, 0).id,
        leg: 1,
        user: UserId::parse(user).unwrap(),
        since: at(since),
        until: until.map(at),
    }
}

fn noted(time: &OutboundCallTime) -> Record {
    Record::Noted(CallEvent::Outside(time.clone()))
}

#[tokio::test]
async fn ended_outbound_time_stays_ended_and_open_time_is_loaded() {
    let folder = Folder::new();
    let store = folder.open().await;
    let (open, closed_record) =
        (time("session_1_a", "ana", 10, None), time("session_1_a", "ana", 10, Some(70)));
    let on = time("session_2_b", "eva", 80, None);
    store.feed(&[noted(&open)]).await.unwrap();
    assert_eq!(store.outside_since(at(0)).await.unwrap(), std::slice::from_ref(&open));
    store.feed(&[noted(&open), noted(&closed_record), noted(&on)]).await.unwrap();
    store.feed(&[noted(&open)]).await.unwrap(); // fed again after a crash
    assert_eq!(store.outside_since(at(0)).await.unwrap(), [closed_record, on.clone()]);
    assert_eq!(store.outside_since(at(71)).await.unwrap(), std::slice::from_ref(&on), "of another day");
    store.prune(at(30 * 86_400), &Retention::default()).await.unwrap();
    assert_eq!(store.outside_since(at(0)).await.unwrap(), [on], "old times are forgotten");
}

async fn spend_events(store: &Store) -> Vec<(String, Option<u64>)> {
    let query = EventQuery { ascending: true, limit: 100, ..EventQuery::default() };
    let events = store.list_events(&query).await.unwrap();
    events.into_iter().map(|event| (event.kind, event.detail["percent"].as_u64())).collect()
}

#[tokio::test]
async fn each_spend_level_is_an_event_once_a_day_per_user_on_any_node() {
    let folder = Folder::new();
    let store = folder.open().await;
    let alert = |user: &str, percent, day, seconds| {
        let user = UserId::parse(user).unwrap();
        Record::Noted(CallEvent::SpendAlert {
            user,
            percent,
            limit_minutes: 600,
            day: at(day),
            at: at(seconds),
        })
    };
    store.feed(&[alert("ana", 50, 0, 10), alert("ana", 50, 0, 11)]).await.unwrap();
    store.feed(&[alert("ana", 50, 0, 99), alert("ana", 80, 0, 99)]).await.unwrap();
    store.feed(&[alert("eva", 50, 0, 100), alert("ana", 50, 86_400, 86_500)]).await.unwrap();
    let percents: Vec<_> =
        spend_events(&store).await.into_iter().map(|(_, percent)| percent.unwrap()).collect();
    assert_eq!(percents, [50, 80, 50, 50]);
    let query = EventQuery { user: UserId::parse("eva").ok(), limit: 10, ..EventQuery::default() };
    let mine = store.list_events(&query).await.unwrap();
    assert_eq!((mine.len(), mine[0].kind.as_str(), mine[0].subject.as_str()), (1, "spend_alert", "eva"));
    assert_eq!(mine[0].detail["limitMinutes"], 600);
}

#[tokio::test]
async fn an_emergency_event_is_between_the_start_and_the_end_of_its_call() {
    let folder = Folder::new();
    let store = folder.open().await;
    let help = Record::Noted(CallEvent::Emergency { call: call("session_1_a", 0).id, at: at(0) });
    let records = [
        Record::CallOpened(Box::new(call("session_1_a", 0))),
        help,
        Record::CallClosed(Box::new(closed("session_1_a", 0))),
    ];
    for cut in 0..=records.len() {
        let (first, second) = records.split_at(cut);
        store.feed(first).await.unwrap();
        store.feed(second).await.unwrap();
    }
    let kinds: Vec<String> = spend_events(&store).await.into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(kinds.iter().filter(|kind| *kind == "emergency_call").count(), 1);
    assert_eq!((kinds[0].as_str(), kinds[1].as_str()), ("call_started", "emergency_call"));
    assert_eq!(kinds.last().map(String::as_str), Some("call_ended"));
}
