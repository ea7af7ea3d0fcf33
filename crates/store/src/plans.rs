//! Query plans of the lists: each must use an index in its own order, and never scan a table.
//!
//! With `CENTRALITA_TEST_STORE=postgres` PostgreSQL is asked as well, with sequential and bitmap scans disabled where avoidable.

use base::Timestamp;
use model::{CallId, RecordingId, UserId};

use crate::call_page::{CallFilter, Cursor, SearchPlan, count_matches, distinct_numbers};
use crate::sql::{Query, query};
use crate::{EventQuery, RecordingCursor, RecordingFilter, Store, calls, legs, recordings};

#[path = "../../../e2e/src/postgres.rs"]
#[allow(dead_code, unreachable_pub)]
mod postgres;

/// A query plan: its steps, each with the step it is part of.
struct Plan {
    postgres: bool,
    steps: Vec<(i64, String)>,
}

async fn plan(store: &Store, asked: Query) -> Plan {
    plan_of(store, asked, 0).await
}

/// The plan of a query; where `gathered` is not 0, of SQLite's JSON form with this number of columns.
async fn plan_of(store: &Store, asked: Query, json_columns: usize) -> Plan {
    let mut tx = store.writer.begin().await.unwrap();
    let postgres = tx.is_postgres();
    if !postgres {
        let asked = if json_columns > 0 { asked.into_json_array(json_columns) } else { asked };
        let rows = asked.explain("EXPLAIN QUERY PLAN").fetch_all(&mut *tx).await.unwrap();
        let step = |row: &crate::sql::Row| (row.try_get(1).unwrap(), row.try_get(3).unwrap());
        return Plan { postgres, steps: rows.iter().map(step).collect() };
    }
    for wasteful in ["SET LOCAL enable_seqscan = off", "SET LOCAL enable_bitmapscan = off"] {
        query(wasteful).execute(&mut *tx).await.unwrap();
    }
    let rows = asked.explain("EXPLAIN").fetch_all(&mut *tx).await.unwrap();
    Plan { postgres, steps: rows.iter().map(|row| (0, row.try_get(0).unwrap())).collect() }
}

impl Plan {
    fn text(&self) -> String {
        self.steps.iter().map(|(_, step)| format!("{step}\n")).collect()
    }

    /// Each of these indexes is used, and no table is scanned.
    #[track_caller]
    fn walks(&self, indexes: &[&str]) {
        let text = self.text();
        // PostgreSQL uses its own statistics, and for an empty table any index will do.
        for index in indexes.iter().filter(|_| !self.postgres) {
            assert!(text.contains(&format!(" {index} ")), "{index} is not used:\n{text}");
        }
        for table in ["calls", "legs", "recordings", "events", "c"] {
            // "SCAN calls USING COVERING INDEX …" is a full scan as well.
            let all = text
                .lines()
                .find(|line| *line == format!("SCAN {table}") || line.starts_with(&format!("SCAN {table} ")));
            assert_eq!(all, None, "{text}");
        }
        assert!(!text.contains("Seq Scan"), "{text}");
    }

    /// As `walks`, in the order of the index: the rows are not sorted before the limit.
    #[track_caller]
    fn in_order(&self, indexes: &[&str]) {
        self.walks(indexes);
        let walk = |step: &str| indexes.iter().any(|index| step.contains(&format!(" {index} ")));
        for (part, _) in self.steps.iter().filter(|(_, step)| !self.postgres && walk(step)) {
            let sorted =
                self.steps.iter().find(|(of, step)| of == part && step.starts_with("USE TEMP B-TREE"));
            assert_eq!(sorted, None, "{}", self.text());
        }
    }
}

async fn store() -> (Store, std::path::PathBuf) {
    static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let next = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let folder = std::env::temp_dir().join(format!("centralita-plans-{}-{next}", std::process::id()));
    let url = match std::env::var("CENTRALITA_TEST_STORE").as_deref() {
        Ok("postgres") => postgres::Postgres::shared().database(),
        Ok(_) | Err(_) => "sqlite:test.db".to_owned(),
    };
    let store = Store::open(&url, &folder).await.unwrap();
    if !store.is_shared() {
        // What `Store::analyze` would find with a million calls: rows, then rows per value of the first column, of the first two, …
        let spread = [
            ("calls", "sqlite_autoindex_calls_1", "1000000 1000000 1"),
            ("calls", "calls_by_start", "1000000 1000000 1 1 1 1"),
            ("calls", "calls_by_user", "1000000 1000000 20000 1 1 1 1"),
            ("calls", "calls_by_other_user", "100000 100000 2000 1 1 1 1"),
            ("calls", "calls_by_from", "1000000 1000000 50 1 1 1 1"),
            ("calls", "calls_by_to", "1000000 1000000 50 1 1 1 1"),
            ("legs", "sqlite_autoindex_legs_1", "2000000 2000000 2 1"),
            ("recordings", "recordings_by_start", "100000 100000 1 1"),
            ("recordings", "recordings_by_call", "100000 100000 1 1 1"),
            ("recordings", "recordings_by_user", "100000 100000 2000 1 1"),
            ("events", "events_by_age", "1000000 1000000 1"),
            ("events", "events_by_user", "1000000 1000000 20000 1"),
            ("events", "events_by_subject", "1000000 1000000 5 1"),
        ];
        store.analyze().await.unwrap();
        for (table, index, rows) in spread {
            let row = query("INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES ($1, $2, $3)");
            row.bind(table).bind(index).bind(rows).execute(&store.writer).await.unwrap();
        }
        query("ANALYZE sqlite_schema").execute(&store.writer).await.unwrap();
    }
    (store, folder)
}

fn user() -> Option<UserId> {
    UserId::parse("user_1").ok()
}

/// The filter with and without a cursor and a time range.
fn each(filter: &CallFilter) -> Vec<CallFilter> {
    let cursor = Cursor { started_at: Timestamp::from_micros(9), id: CallId::parse("session_1_a").unwrap() };
    let (since, until) = (Some(Timestamp::from_micros(1)), Some(Timestamp::from_micros(5)));
    vec![
        CallFilter { limit: 50, ..filter.clone() },
        CallFilter { limit: 50, cursor: Some(cursor.clone()), ..filter.clone() },
        CallFilter { limit: 50, since, until, ..filter.clone() },
        CallFilter { limit: 50, since, until, cursor: Some(cursor), ..filter.clone() },
    ]
}

#[tokio::test]
async fn a_page_of_calls_walks_the_index_that_has_its_order() {
    let (store, folder) = store().await;
    let number = Some("+34".to_owned());
    let (everybody, own) = (CallFilter::default(), CallFilter { user: user(), ..CallFilter::default() });
    let (by_start, by_user) = (["calls_by_start"], ["calls_by_user", "calls_by_other_user"]);
    let by_number = ["calls_by_from", "calls_by_to"];
    let few = SearchPlan::FewNumbers([vec!["+3491".into(), "+3492".into()], vec!["+3493".into()]]);
    for (search, filter, indexes) in [
        (&SearchPlan::TimeOrder, everybody.clone(), by_start.as_slice()),
        (
            &SearchPlan::TimeOrder,
            CallFilter { number: number.clone(), ..everybody.clone() },
            by_start.as_slice(),
        ),
        (
            &SearchPlan::RecentScan,
            CallFilter { number: number.clone(), ..everybody.clone() },
            by_start.as_slice(),
        ),
        (&SearchPlan::TimeOrder, own.clone(), by_user.as_slice()),
        (&SearchPlan::TimeOrder, CallFilter { number: number.clone(), ..own.clone() }, by_user.as_slice()),
        (&few, CallFilter { number: number.clone(), ..everybody.clone() }, by_number.as_slice()),
    ] {
        for filter in each(&filter) {
            let plan = plan_of(&store, search.query(&filter), calls::TABLE.width()).await;
            plan.in_order(indexes);
            if !plan.postgres {
                // Of the two upper bounds of the time, the lower one starts the scan.
                let walk = plan.text().matches("(started_at,id)<(?,?)").count();
                assert!(walk >= indexes.len(), "{}", plan.text());
                let covered = plan.text().matches("USING COVERING INDEX").count();
                assert!(covered >= indexes.len(), "rows are read of what is not shown:\n{}", plan.text());
            }
        }
    }
    for filter in [everybody, own] {
        for filter in each(&CallFilter { number: number.clone(), ..filter }) {
            let plan = plan_of(&store, SearchPlan::FewCalls.query(&filter), calls::TABLE.width()).await;
            plan.walks(&by_number);
            assert!(plan.postgres || plan.text().contains("COVERING INDEX calls_by_from"), "{}", plan.text());
        }
    }
    plan(&store, count_matches("+34")).await.walks(&by_number);
    // For MIN of an empty table PostgreSQL uses any index.
    if !store.is_shared() {
        plan(&store, distinct_numbers("from_number", "+34")).await.walks(&["calls_by_from"]);
        plan(&store, distinct_numbers("to_number", "+34")).await.walks(&["calls_by_to"]);
    }
    drop(std::fs::remove_dir_all(folder));
}

#[tokio::test]
async fn legs_and_recordings_are_found_by_call_id() {
    let (store, folder) = store().await;
    let ids: Vec<CallId> = (0..50).map(|n| CallId::parse(&format!("session_{n}_a")).unwrap()).collect();
    let legs = plan_of(&store, calls::legs_of(&ids), legs::TABLE.width()).await;
    legs.walks(&[if legs.postgres { "legs_pkey" } else { "sqlite_autoindex_legs_1" }]);
    plan(&store, recordings::of_calls(&ids)).await.walks(&["recordings_by_call"]);
    drop(std::fs::remove_dir_all(folder));
}

#[tokio::test]
async fn pages_of_recordings_and_events_walk_the_index_that_has_their_order() {
    let (store, folder) = store().await;
    let all = RecordingFilter { user: None, call: None, state: None, cursor: None, limit: 50 };
    let cursor = Some(RecordingCursor {
        started_at: Timestamp::from_micros(9),
        id: RecordingId::parse("rec_1_a").unwrap(),
    });
    let call = CallId::parse("session_1_a").ok();
    for cursor in [None, cursor] {
        let all = RecordingFilter { cursor, ..all.clone() };
        plan(&store, all.query()).await.in_order(&["recordings_by_start"]);
        let own = RecordingFilter { user: user(), ..all.clone() };
        plan(&store, own.query()).await.in_order(&["recordings_by_user", "recordings_by_other_user"]);
        let of_call = RecordingFilter { call: call.clone(), ..all };
        plan(&store, of_call.query()).await.in_order(&["recordings_by_call"]);
    }
    let own = EventQuery { user: user(), limit: 50, ..EventQuery::default() };
    plan(&store, own.query()).await.in_order(&["events_by_user", "events_by_other_user"]);
    drop(std::fs::remove_dir_all(folder));
}
