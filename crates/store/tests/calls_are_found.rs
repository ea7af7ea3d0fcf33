//! Calls are found by user, number and time, and every search plan gives the same page.

use crate::samples;

use centralita_store::{CallFilter, Store};
use model::journal::Record;
use model::{CallRecord, LegRecord, LegRole, TraceStep};
use samples::*;

/// So many that the prefixes "4" and "5" (many numbers) and "6" and "7" (few numbers) match more calls than are sorted for a page, and "9"
/// matches fewer. The newest half has none with "5" or "6".
const CALLS: i64 = 7_000;

/// Calls of three users, from extensions to foreign numbers, two in each second.
fn sample_database() -> Vec<CallRecord> {
    let one = |n: i64| CallRecord {
        user: user(&format!("user_{}", n % 3)).id,
        other_user: (n % 2 == 0).then(|| user(&format!("user_{}", n % 5)).id),
        from_number: match n % 50 {
            7 => format!("9{n:04}"),
            _ => format!("{}{:03}", if n < CALLS / 2 { 5 } else { 4 }, n % 500),
        },
        to_number: match n % 50 {
            9 => format!("9{n:04}"),
            _ if n % 10 != 3 => format!("{}{}", if n < CALLS / 2 { 6 } else { 7 }, n % 10),
            _ => format!("+34{:09}", n * 7919 % 1_000_000),
        },
        ..closed(&format!("session_{n:05}_x"), n / 2)
    };
    (0..CALLS).map(|n| CallRecord { legs: Vec::new(), ..one(n) }).collect()
}

fn matches(filter: &CallFilter, call: &CallRecord) -> bool {
    let begins = |number: &String| call.from_number.starts_with(number) || call.to_number.starts_with(number);
    filter.user.as_ref().is_none_or(|user| call.user == *user || call.other_user.as_ref() == Some(user))
        && filter.number.as_ref().is_none_or(begins)
        && filter.since.is_none_or(|since| call.started_at >= since)
        && filter.until.is_none_or(|until| call.started_at < until)
}

async fn walk(store: &Store, filter: &CallFilter, pages: usize) -> Vec<String> {
    let (mut filter, mut seen) = (filter.clone(), Vec::new());
    for _ in 0..pages {
        let page = store.calls(&filter).await.unwrap();
        assert!(page.calls.len() <= filter.limit as usize);
        seen.extend(page.calls.iter().map(|call| call.id.to_string()));
        filter.cursor = page.next;
        if filter.cursor.is_none() {
            break;
        }
    }
    seen
}

#[tokio::test]
async fn every_filter_finds_what_it_names_newest_first() {
    let folder = Folder::new();
    let store = folder.open().await;
    let mut calls = sample_database();
    let records: Vec<Record> = calls.iter().map(|call| Record::CallClosed(Box::new(call.clone()))).collect();
    store.feed(&records).await.unwrap();
    calls.sort_by(|a, b| (b.started_at, &b.id).cmp(&(a.started_at, &a.id)));

    let (begin, end) = (at(0), at(CALLS / 2));
    let numbers = [
        None,
        Some("4"),
        Some("5"),
        Some("6"),
        Some("7"),
        Some("67"),
        Some("9"),
        Some("+34"),
        Some("90107"),
        Some("+3400"),
        Some("5%"),
        Some("zz"),
    ];
    for user_of in [None, Some("user_1"), Some("user_4"), Some("nobody")] {
        for number in numbers {
            for (since, until) in
                [(None, None), (Some(at(1000)), Some(at(1003))), (Some(end), None), (None, Some(begin))]
            {
                let filter = CallFilter {
                    user: user_of.map(|name| user(name).id),
                    number: number.map(str::to_owned),
                    since,
                    until,
                    cursor: None,
                    limit: 7,
                };
                let expected =
                    calls.iter().filter(|call| matches(&filter, call)).map(|call| call.id.to_string());
                assert_eq!(
                    walk(&store, &filter, 4).await,
                    expected.take(28).collect::<Vec<_>>(),
                    "{filter:?}"
                );
            }
        }
    }
}

#[tokio::test]
async fn a_number_too_long_for_an_index_does_not_block_its_record() {
    let folder = Folder::new();
    let store = folder.open().await;
    // Random characters: the database cannot compress them.
    let mut seed = 1_u64;
    let mut next_char = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(b'!' + (seed >> 33) as u8 % 90)
    };
    let long: String = std::iter::once('é').chain((0..8_000).map(|_| next_char())).collect();
    let dialled =
        CallRecord { to_number: long.clone(), from_number: long.clone(), ..closed("session_1_x", 0) };
    store.feed(&[Record::CallClosed(Box::new(dialled))]).await.unwrap();
    let filter =
        CallFilter { number: Some(long.chars().take(20).collect()), limit: 9, ..CallFilter::default() };
    let found = store.calls(&filter).await.unwrap().calls;
    assert!(found.len() == 1 && long.starts_with(&found[0].to_number), "{found:?}");
}

#[tokio::test]
async fn a_page_shows_what_was_written() {
    let folder = Folder::new();
    let store = folder.open().await;
    // PostgreSQL accepts no NUL.
    let nul = if store.is_shared() { "-" } else { "nul \0 within" };
    let texts =
        ["\"quoted\" \\ 'so'", "a\r\nbreak\tand \u{1}\u{7f}", "día 電話 😀", "[1, {\"a\": null}]", "", nul];
    let written: Vec<CallRecord> = (0..)
        .zip(texts)
        .map(|(n, text)| CallRecord {
            to_number: text.to_owned(),
            device: (n % 2 == 0).then(|| text.to_owned()),
            trace: vec![TraceStep { rule: "rule".into(), outcome: text.to_owned() }],
            // More than nine: sorted by number, not as text.
            legs: (0..12)
                .map(|place| LegRecord {
                    party: format!("{text}{place}"),
                    codec: None,
                    ..leg(LegRole::Callee, place)
                })
                .collect(),
            ..closed(&format!("session_{n}_x"), -n)
        })
        .collect();
    let records: Vec<Record> =
        written.iter().map(|call| Record::CallClosed(Box::new(call.clone()))).collect();
    store.feed(&records).await.unwrap();
    let page = store.calls(&CallFilter { limit: 50, ..CallFilter::default() }).await.unwrap();
    assert_eq!(page.calls, written);
    assert_eq!(store.call(&written[0].id).await.unwrap().as_ref(), written.first());
}
