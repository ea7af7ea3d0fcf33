//! A database outage during calls: calls are not affected, the API reports it at once, and no record is lost.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use e2e::postgres::PASSWORD;
use e2e::raw::{EstablishedCall, Raw};
use e2e::{Answer, Http, Postgres, Server, until};
use serde_json::json;

/// Length of the outage in seconds, unless `CENTRALITA_AWAY_SECONDS` is set: 60 are promised, 10 is short enough for every run.
const AWAY: Duration = Duration::from_secs(10);
/// Calls that are active during the whole outage.
const HELD: usize = 3;
/// Pause between two calls.
const PAUSE: Duration = Duration::from_secs(1);
/// Time limit for an API response during the outage.
const RESPONSE_LIMIT: Duration = Duration::from_secs(1);
/// Time limit for full recovery after the outage.
const RECOVERED: Duration = Duration::from_secs(10);

fn outage_duration() -> Duration {
    match std::env::var("CENTRALITA_AWAY_SECONDS") {
        Ok(text) => {
            Duration::from_secs(text.parse().expect("CENTRALITA_AWAY_SECONDS is a number of seconds"))
        }
        Err(_) => AWAY,
    }
}

struct Setup {
    server: Server,
    admin: Http,
    alice: Raw,
    bob: Raw,
    /// Id of the first extension.
    path: String,
    /// The slowest 503 to a write.
    slowest: std::cell::Cell<Duration>,
}

impl Setup {
    fn open(postgres: &Postgres) -> Self {
        let server = Server::start_on(&postgres.database());
        let (alice, bob) = (server.extension("1001"), server.extension("1002"));
        let path = format!("/api/v1/voip/extensions/{}", alice.id);
        let (mut alice, mut bob) = (Raw::new(&server, &alice), Raw::new(&server, &bob));
        alice.register();
        bob.register();
        Setup { admin: server.admin(), server, alice, bob, path, slowest: std::cell::Cell::default() }
    }

    fn hang_up(&mut self, mut up: EstablishedCall) {
        self.alice.hang_up(&mut up.caller);
        let bye = self.bob.expect_request("BYE");
        self.bob.answer(&bye, 200, "", "");
    }

    /// A write gets 503 with Retry-After and without delay. Returns whether it was executed nevertheless.
    fn gets_503(&self, write: impl FnOnce(&Http) -> Answer) -> bool {
        let asked = Instant::now();
        let answer = write(&self.admin);
        let took = asked.elapsed();
        self.slowest.set(self.slowest.get().max(took));
        assert!(took <= RESPONSE_LIMIT, "response after {took:?}: {answer:?}");
        if answer.status == 200 {
            return false;
        }
        assert_eq!((answer.status, answer.json()["code"].as_str()), (503, Some("store_unavailable")));
        let again: u64 = answer.header("Retry-After").expect("when to come back").parse().expect("seconds");
        assert!((1..=60).contains(&again), "{again}");
        true
    }

    fn create_extension(http: &Http, number: u32) -> Answer {
        let body = json!({ "extensionNumber": number.to_string(), "displayName": "Meanwhile" });
        http.post("/api/v1/voip/extensions/create", &body)
    }

    /// Writes of each kind, one after the other.
    fn writes_get_503(&self, round: u32) -> bool {
        self.gets_503(|http| match round % 4 {
            0 => Self::create_extension(http, 30_000 + round),
            1 => http.put(&self.path, &json!({ "displayName": "Meanwhile" })),
            2 => http.post(&format!("{}/credentials/reset", self.path), &json!({})),
            _ => http.post("/api/v1/keys/voip/generate", &json!({ "userId": "meanwhile", "name": "Key" })),
        })
    }

    /// Run the test with an outage made by `begin` and `end`.
    fn run_outage(&mut self, begin: impl FnOnce(), end: impl FnOnce()) {
        let outage_duration = outage_duration();
        let mut held: Vec<EstablishedCall> = (0..HELD).map(|_| self.alice.call(&self.bob)).collect();
        let mut calls = HELD;
        until(Duration::from_secs(10), "the calls are in the database", || {
            (self.server.calls().len() == HELD).then_some(())
        });
        begin();
        let begun = Instant::now();
        let (mut round, mut next) = (0, PAUSE);
        while begun.elapsed() < outage_duration {
            assert!(self.writes_get_503(round), "the database is away, and takes a write");
            round += 1;
            let asked = Instant::now();
            let listed = self.admin.get("/api/v1/calls?active=false");
            assert_eq!(listed.status, 503, "{listed:?}");
            assert!(asked.elapsed() <= RESPONSE_LIMIT, "response after {:?}", asked.elapsed());
            // Reads from memory are as fast as ever.
            self.admin.get("/api/v1/voip/extensions").expect(200);
            // One call after the other: the ports of ended calls are quarantined for a while.
            if begun.elapsed() >= next {
                next = begun.elapsed() + PAUSE;
                for up in &mut held {
                    self.alice.still_up(&mut up.caller);
                }
                self.bob.register();
                let up = self.alice.call(&self.bob);
                self.hang_up(up);
                calls += 1;
            }
        }
        assert!(calls - HELD > outage_duration.as_secs() as usize / 4, "{calls} calls went through");
        for up in held {
            self.hang_up(up);
        }
        end();
        let back = Instant::now();
        let mut number = 40_000;
        until(RECOVERED, "writes are taken again", || {
            number += 1;
            (!self.gets_503(|http| Self::create_extension(http, number))).then_some(())
        });
        let writes = back.elapsed();
        let id = |call: &serde_json::Value| call["sessionId"].as_str().expect("an id").to_owned();
        let complete = until(RECOVERED, "every call has its record", || {
            let listed = self.server.calls();
            let over =
                listed.iter().filter(|call| call["status"] == "completed" && call["endedAt"].is_string());
            (over.count() == calls).then_some(listed)
        });
        println!(
            "away for {} s: {round} writes refused, the slowest after {} ms; {calls} calls, {HELD} of them up all the while; writes taken \
             again after {} ms, all records there after {} ms",
            outage_duration.as_secs(),
            self.slowest.get().as_millis(),
            writes.as_millis(),
            back.elapsed().as_millis()
        );
        let distinct: BTreeSet<String> = complete.iter().map(id).collect();
        assert_eq!((complete.len(), distinct.len()), (calls, calls), "none is missing, none is there twice");
        let extensions = self.admin.get("/api/v1/voip/extensions?limit=100").expect(200);
        let shown: Vec<String> =
            extensions["extensions"].as_array().into_iter().flatten().map(name).collect();
        let last = format!("{number} Meanwhile");
        assert_eq!(shown, ["1001 Phone 1001", "1002 Phone 1002", last.as_str()], "nothing else");
        self.alice.register(); // its password is unchanged
        assert!(!self.server.log().contains(PASSWORD), "the log names the database's password");
    }
}

fn name(extension: &serde_json::Value) -> String {
    let text = |field: &str| extension[field].as_str().unwrap_or_default().to_owned();
    format!("{} {}", text("extensionNumber"), text("displayName"))
}

#[test]
fn a_stopped_database_loses_no_call_and_no_record() {
    let postgres = Postgres::start();
    Setup::open(&postgres).run_outage(|| postgres.stop(), || postgres.run());
}

#[test]
fn a_hanging_database_loses_no_call_and_no_record() {
    let postgres = Postgres::start();
    Setup::open(&postgres).run_outage(|| postgres.freeze(), || postgres.thaw());
}
