//! The database goes away under calls: nobody on the phone notices, the API says so at once, and nothing is missing afterwards.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use e2e::postgres::PASSWORD;
use e2e::raw::{Raw, Up};
use e2e::{Http, Postgres, Server, until};
use serde_json::json;

/// How long it is away.
const AWAY: Duration = Duration::from_secs(10);
/// Between two calls.
const PAUSE: Duration = Duration::from_secs(1);
/// How soon who asks the API is told.
const TOLD: Duration = Duration::from_secs(1);
/// How soon everything is well afterwards.
const RECOVERED: Duration = Duration::from_secs(10);

struct Office {
    server: Server,
    admin: Http,
    alice: Raw,
    bob: Raw,
}

impl Office {
    fn open(postgres: &Postgres) -> Self {
        let server = Server::start_on(&postgres.database());
        let (alice, bob) = (server.extension("1001"), server.extension("1002"));
        let (mut alice, mut bob) = (Raw::new(&server, &alice), Raw::new(&server, &bob));
        alice.register();
        bob.register();
        Office { admin: server.admin(), server, alice, bob }
    }

    fn hang_up(&mut self, mut up: Up) {
        self.alice.hang_up(&mut up.caller);
        let bye = self.bob.expect_request("BYE");
        self.bob.answer(&bye, 200, "", "");
    }

    /// Writes are refused with 503, when to come back, and without delay. Whether one was made nevertheless.
    fn refuses_writes(&self, number: u32) -> bool {
        let body = json!({ "extensionNumber": number.to_string(), "displayName": "Meanwhile" });
        let asked = Instant::now();
        let answer = self.admin.post("/api/v1/voip/extensions/create", &body);
        assert!(asked.elapsed() <= TOLD, "told after {:?}: {answer:?}", asked.elapsed());
        if answer.status == 200 {
            return false;
        }
        assert_eq!((answer.status, answer.json()["code"].as_str()), (503, Some("store_unavailable")));
        let again: u64 = answer.header("Retry-After").expect("when to come back").parse().expect("seconds");
        assert!((1..=60).contains(&again), "{again}");
        true
    }

    /// Goes through an outage that `begin` and `end` make.
    fn lives_through(&mut self, begin: impl FnOnce(), end: impl FnOnce()) {
        let mut before = self.alice.call(&self.bob);
        let id = |call: &serde_json::Value| call["sessionId"].as_str().expect("an id").to_owned();
        until(Duration::from_secs(10), "the call is in the database", || self.server.calls().first().map(id));
        begin();
        let begun = Instant::now();
        let (mut round, mut calls) = (0, 1_u32);
        while begun.elapsed() < AWAY {
            round += 1;
            assert!(self.refuses_writes(3000 + round), "the database is away, and takes a write");
            let asked = Instant::now();
            let listed = self.admin.get("/api/v1/calls?active=false");
            assert_eq!(listed.status, 503, "{listed:?}");
            assert!(asked.elapsed() <= TOLD, "told after {:?}", asked.elapsed());
            // What is in memory is as quick as ever.
            self.admin.get("/api/v1/voip/extensions").expect(200);
            // One call after the other: the ports of those that are over rest for a while.
            if begun.elapsed() >= PAUSE * calls {
                self.alice.still_up(&mut before.caller);
                self.bob.register();
                let up = self.alice.call(&self.bob);
                self.hang_up(up);
                calls += 1;
            }
        }
        assert!(calls > 5, "{calls} calls went through");
        let calls = calls as usize;
        self.hang_up(before);
        end();
        until(RECOVERED, "writes are taken again", || (!self.refuses_writes(4000)).then_some(()));
        let complete = until(RECOVERED, "every call has its record", || {
            let listed = self.server.calls();
            let over =
                listed.iter().filter(|call| call["status"] == "completed" && call["endedAt"].is_string());
            (over.count() == calls).then_some(listed)
        });
        let distinct: BTreeSet<String> = complete.iter().map(id).collect();
        assert_eq!((complete.len(), distinct.len()), (calls, calls), "none is missing, none is there twice");
        let extensions = self.admin.get("/api/v1/voip/extensions?limit=100").expect(200);
        let refused = extensions["extensions"].as_array().into_iter().flatten();
        let refused = refused.filter(|e| e["extensionNumber"].as_str().is_some_and(|n| n.starts_with('3')));
        assert_eq!(refused.count(), 0, "what was refused was not done");
        assert!(!self.server.log().contains(PASSWORD), "the log names the database's password");
    }
}

#[test]
fn a_database_that_is_down_costs_no_call_and_no_record() {
    let postgres = Postgres::start();
    Office::open(&postgres).lives_through(|| postgres.stop(), || postgres.run());
}

#[test]
fn a_database_that_hangs_costs_no_call_and_no_record() {
    let postgres = Postgres::start();
    Office::open(&postgres).lives_through(|| postgres.freeze(), || postgres.thaw());
}
