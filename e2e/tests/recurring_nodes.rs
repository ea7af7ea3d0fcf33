//! Recurring calls on two servers with one PostgreSQL, while one or the other is killed: every occurrence is dialled once, or recorded as missed.
//!
//! Rounds: `CENTRALITA_KILLS`, default 2.

use std::collections::BTreeMap;
use std::time::Duration;

use e2e::raw::Raw;
use e2e::recurring::{AutoAnswerPhone, ended_run, now, plan};
use e2e::{Extension, Postgres, Server, Settings, soon, until};
use serde_json::{Value, json};

/// Calls that are due in the same second.
const AT_ONCE: usize = 4;
/// Consecutive seconds in which calls are due; the kill happens in the middle.
const SECONDS: usize = 3;

/// An extension with phones at the servers. It is due once per round, so that the ringing phone identifies the call.
struct TestExtension {
    extension: Extension,
    phones: Vec<AutoAnswerPhone>,
    /// Number of its calls before this round.
    before: usize,
}

impl TestExtension {
    fn rung(&self) -> usize {
        self.phones.iter().map(|phone| phone.calls().len()).sum()
    }
}

struct Setup {
    nodes: [Server; 2],
    lines: Vec<TestExtension>,
    database: String,
}

impl Setup {
    /// Each extension has a phone at both servers.
    fn open() -> Self {
        Self::with_phones(|_| vec![0, 1])
    }

    /// `at`: the servers at which an extension has its phones.
    fn with_phones(at: impl Fn(usize) -> Vec<usize>) -> Self {
        let url = Postgres::shared().database();
        let database = url.split("localhost/").nth(1).and_then(|rest| rest.split('?').next());
        let database = database.expect("its name").to_owned();
        let more = "[limits]\nrequests_per_minute = 100000\nrecurring_calls_per_second = 20\ncalls_per_user = 1000\n";
        let start =
            || Server::with(Settings { more: more.into(), store: Some(url.clone()), ..Settings::default() });
        let nodes = [start(), start()];
        let line = |n: usize| {
            let extension = nodes[0].extension(&format!("{}", 1001 + n));
            let phones = at(n).into_iter().map(|node| answerer(&nodes[node], &extension)).collect();
            TestExtension { phones, extension, before: 0 }
        };
        Self { lines: (0..AT_ONCE * SECONDS).map(line).collect(), nodes, database }
    }

    fn sql(&self, sql: &str) -> String {
        Postgres::shared().psql(&self.database, sql).expect("an answer")
    }

    /// Number of final events of recurring calls, and number of calls in them.
    fn told(&self) -> (usize, usize) {
        let answer = self.sql(
            "SELECT COUNT(*), COUNT(DISTINCT subject) FROM events WHERE kind IN \
             ('recurring_call_executed', 'recurring_call_failed', 'recurring_call_missed')",
        );
        let (all, distinct) = answer.split_once('|').expect("two columns");
        (all.parse().expect("a number"), distinct.parse().expect("a number"))
    }

    /// End the call of a run at the server that has it, and remove the recurring call.
    fn clear(&self, extension: &Extension, id: &str, run: &Value) {
        if let Some(session) = run["sessionId"].as_str() {
            let path = format!("/api/v1/opensips/call/{session}/end");
            // A server that does not have the call may know of it: both are asked.
            let end = |node: &Server| node.http(Some(&extension.key)).post(&path, &json!({})).status;
            assert!(self.nodes.each_ref().map(end).contains(&200), "no server knows the call: {run}");
        }
        let path = format!("/api/v1/voip/recurring-calls/{id}");
        self.nodes[0].http(Some(&extension.key)).delete(&path).expect(200);
    }
}

/// A phone at a server that already knows the extension.
fn answerer(node: &Server, extension: &Extension) -> AutoAnswerPhone {
    let path = format!("/api/v1/voip/extensions/{}", extension.id);
    soon("the server knows the extension", || {
        (node.http(Some(&extension.key)).get(&path).status == 200).then_some(())
    });
    let mut phone = Raw::new(node, extension);
    phone.register();
    AutoAnswerPhone::start(phone)
}

#[test]
fn kills_of_either_node_neither_duplicate_nor_lose_a_call() {
    // S85
    let kills: u64 = std::env::var("CENTRALITA_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(2);
    let mut setup = Setup::open();
    let mut outcomes: BTreeMap<String, usize> = BTreeMap::new();
    for kill in 0..kills {
        let middle = now() / 1_000_000 + 4;
        let planner = &setup.nodes[(kill / 2 % 2) as usize];
        let due = |n: usize| middle - 1 + (n / AT_ONCE) as u64;
        let each = setup.lines.iter().enumerate();
        let ids: Vec<String> = each.map(|(n, line)| plan(planner, &line.extension, "*43", due(n))).collect();
        assert!(now() / 1_000_000 + 2 <= middle, "they were planned in time");
        // Between half a second before a due time and half a second after it.
        let at = middle * 1_000_000 - 500_000 + kill * 1_000_000 / kills;
        std::thread::sleep(Duration::from_micros(at.saturating_sub(now())));
        let victim = &mut setup.nodes[(kill % 2) as usize];
        victim.kill();
        victim.restart();
        for (n, id) in ids.iter().enumerate() {
            let line = &setup.lines[n];
            let run = ended_run(&setup.nodes[1 - (kill % 2) as usize], &line.extension, id);
            let state = run["state"].as_str().unwrap_or_default();
            assert_ne!(state, "missed", "kill {kill}: there was time to dial: {run}");
            let rang = line.rung() - line.before;
            assert!(rang <= 1, "kill {kill}: dialled {rang} times: {run}");
            let told = state == "failed" && run["endReason"] == "crash";
            assert!(rang == 1 || told, "kill {kill}: neither dialled nor recorded as crashed: {run}");
            *outcomes.entry(format!("{state}, rang {rang}")).or_default() += 1;
            setup.clear(&line.extension, id, &run);
            setup.lines[n].before += rang;
        }
    }
    let all = kills as usize * setup.lines.len();
    println!("{kills} kills, {all} due: {outcomes:?}");
    assert_eq!(outcomes.values().sum::<usize>(), all, "{outcomes:?}");
    let rung: usize = setup.lines.iter().map(|line| line.before).sum();
    assert!(rung * 100 >= all * 95, "{rung} of {all} rang: {outcomes:?}");
    // The table agrees, and each end has one event, from either server.
    let rows = setup.sql(
        "SELECT COUNT(*), COUNT(*) FILTER (WHERE state IN ('done', 'failed')), MAX(attempts) FROM occurrences",
    );
    assert_eq!(rows, format!("{all}|{all}|1"));
    assert_eq!(setup.told(), (all, all));
    let over = "SELECT COUNT(*) FROM calls WHERE ended_at IS NULL";
    until(Duration::from_secs(20), "nothing is left", || (setup.sql(over) == "0").then_some(()));
    assert_eq!(setup.lines.iter().map(TestExtension::rung).sum::<usize>(), rung, "nothing rang later");
}

#[test]
fn occurrences_due_while_both_nodes_were_down_are_dialled_late_or_missed_once() {
    // S85
    let mut setup = Setup::open();
    let begun = now() / 1_000_000;
    // The test does not wait ten minutes: the calls are created for a time in the past, and while both servers are down the database is changed so
    // that they were created an hour ago.
    let minutes_ago = |n: usize| if n.is_multiple_of(2) { 10 } else { 2 };
    let each = setup.lines.iter().enumerate();
    let ids: Vec<String> = each
        .map(|(n, line)| plan(&setup.nodes[n % 2], &line.extension, "*43", begun - minutes_ago(n) * 60))
        .collect();
    for node in &mut setup.nodes {
        node.kill();
    }
    setup.sql("UPDATE recurring_calls SET since = since - 3600000000");
    for node in &mut setup.nodes {
        node.restart();
    }
    for (n, line) in setup.lines.iter().enumerate() {
        let run = ended_run(&setup.nodes[n % 2], &line.extension, &ids[n]);
        let (state, rang) = if minutes_ago(n) == 10 { ("missed", 0) } else { ("done", 1) };
        assert_eq!((run["state"].as_str(), line.rung()), (Some(state), rang), "{run}");
        setup.clear(&line.extension, &ids[n], &run);
    }
    let all = setup.lines.len();
    assert_eq!(setup.told(), (all, all));
    let missed = setup.sql("SELECT COUNT(*) FROM events WHERE kind = 'recurring_call_missed'");
    assert_eq!(missed, (all / 2).to_string());
}

#[test]
fn the_node_at_which_a_phone_is_registered_makes_its_calls() {
    // S85: half of the phones are at one server, half at the other, and both servers may claim each occurrence.
    let setup = Setup::with_phones(|n| vec![n % 2]);
    let due = now() / 1_000_000 + 3;
    let ids: Vec<String> =
        setup.lines.iter().map(|line| plan(&setup.nodes[0], &line.extension, "*43", due)).collect();
    for (line, id) in setup.lines.iter().zip(&ids) {
        let run = ended_run(&setup.nodes[1], &line.extension, id);
        assert_eq!((run["state"].as_str(), line.rung()), (Some("done"), 1), "{run}");
        setup.clear(&line.extension, id, &run);
    }
}
