//! The disk of the data directory fills up during calls and writes: calls go on, acknowledged data is kept, and writes recover by themselves.

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use e2e::raw::Raw;
use e2e::{Http, Server, Settings, soon, until};
use serde_json::{Value, json};

/// Time limit for recovery once there is free space.
const RECOVERED: Duration = Duration::from_secs(10);

fn small_disk() -> Server {
    Server::with(Settings { data_mb: Some(32), ..Settings::default() })
}

/// A client that creates extensions all the time, and records which requests were answered with 200.
struct Writer {
    stop: Arc<AtomicBool>,
    made: Arc<Mutex<BTreeSet<String>>>,
    refused: Arc<Mutex<Vec<String>>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Writer {
    fn start(http: Http) -> Writer {
        let (stop, made, refused) =
            (Arc::<AtomicBool>::default(), Arc::<Mutex<_>>::default(), Arc::default());
        let writer = Writer { stop, made, refused, thread: None };
        let (stop, made, refused) =
            (Arc::clone(&writer.stop), Arc::clone(&writer.made), Arc::clone(&writer.refused));
        let work = move || {
            for number in 20_000.. {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let body = json!({ "extensionNumber": number.to_string(), "displayName": "Under pressure" });
                let answer = http.post("/api/v1/voip/extensions/create", &body);
                if answer.status == 200 {
                    made.lock().unwrap().insert(number.to_string());
                    continue;
                }
                assert_eq!(answer.status, 503, "{answer:?}");
                assert!(answer.header("Retry-After").is_some(), "{answer:?}");
                let code = answer.json()["code"].as_str().unwrap_or_default().to_owned();
                refused.lock().unwrap().push(code);
                std::thread::sleep(Duration::from_millis(20)); // a rejected client pauses
            }
        };
        Writer { thread: Some(std::thread::spawn(work)), ..writer }
    }

    fn refusals(&self) -> usize {
        self.refused.lock().unwrap().len()
    }

    fn made(&self) -> usize {
        self.made.lock().unwrap().len()
    }

    /// The extensions that were answered with 200.
    fn stop(mut self) -> BTreeSet<String> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().expect("it was started").join().expect("every refusal was one of a full disk");
        self.made.lock().unwrap().clone()
    }
}

fn numbers(http: &Http) -> BTreeSet<String> {
    let (mut found, mut after) = (BTreeSet::new(), String::new());
    loop {
        let page = http.get(&format!("/api/v1/voip/extensions?limit=100{after}")).expect(200);
        let number = |extension: &Value| extension["extensionNumber"].as_str().map(str::to_owned);
        found.extend(page["extensions"].as_array().into_iter().flatten().filter_map(number));
        match page["nextCursor"].as_str() {
            Some(cursor) => after = format!("&cursor={cursor}"),
            None => return found,
        }
    }
}

fn readiness(server: &Server) -> (u16, Value) {
    let answer = server.http(None).get("/readyz");
    (answer.status, answer.json())
}

/// Contacts of a username in the switch.
fn contacts(server: &Server) -> BTreeSet<String> {
    let answer = server.admin().get("/api/v1/registrations?limit=100").expect(200);
    let contact = |one: &Value| one["contact"].as_str().map(str::to_owned);
    answer["registrations"].as_array().into_iter().flatten().filter_map(contact).collect()
}

/// Bind one more contact of this phone. Returns whether the response was 200.
fn bind(phone: &mut Raw, n: usize) -> Option<String> {
    let contact = format!("sip:{}@127.0.0.1:{}", phone.user, 40_000 + n);
    let to = format!("<sip:{}@localhost>", phone.user);
    let answer = phone.register_with(&to, &format!("Contact: <{contact}>\r\nExpires: 3600\r\n"));
    (answer.status() == Some(200)).then_some(contact)
}

fn check_database_integrity(server: &Server) {
    let database = server.data().join("centralita.db");
    if !database.exists() {
        return; // PostgreSQL has its own disk
    }
    let script = "import sqlite3, sys; print(sqlite3.connect(sys.argv[1]).execute('PRAGMA integrity_check').fetchone()[0])";
    let checked = Command::new("python3").args(["-c", script]).arg(&database).output().expect("python3 runs");
    assert_eq!(String::from_utf8_lossy(&checked.stdout).trim(), "ok", "{checked:?}");
}

#[test]
fn a_full_disk_loses_no_call_and_no_acknowledged_data() {
    let mut server = small_disk();
    let on_disk = server.data().join("centralita.db").exists();
    let (alice, bob) = (server.extension("1001"), server.extension("1002"));
    let (mut alice, mut bob) = (Raw::new(&server, &alice), Raw::new(&server, &bob));
    alice.register();
    bob.register();
    let mut held = alice.call(&bob);
    let mut bound = BTreeSet::new();
    bound.extend(bind(&mut alice, 0));
    let writer = Writer::start(server.admin());
    soon("some writes are made", || (writer.made() > 5).then_some(()));
    let filling = server.mount().fill();
    if on_disk {
        until(Duration::from_secs(30), "writes are refused", || {
            filling.fill_again();
            (writer.refusals() > 5).then_some(())
        });
        let codes: BTreeSet<String> = writer.refused.lock().unwrap().iter().cloned().collect();
        assert!(codes.contains("disk_full"), "{codes:?}");
    }
    let (status, body) =
        soon("readiness shows it", || Some(readiness(&server)).filter(|(code, _)| *code != 200));
    assert_eq!((status, body["status"].as_str()), (503, Some("disk_full")), "{body}");
    let component = if on_disk { "database" } else { "journal" };
    assert_ne!(body[component], "ok", "{body}");
    // The space that the journal has reserved is enough to go on.
    alice.still_up(&mut held.caller);
    for n in 1..6 {
        bound.extend(bind(&mut alice, n));
    }
    assert!(bound.len() > 3, "{bound:?}");
    let mut second = alice.call(&bob);
    alice.hang_up(&mut second.caller);
    let bye = bob.expect_request("BYE");
    bob.answer(&bye, 200, "", "");
    alice.still_up(&mut held.caller);

    let made = writer.made();
    drop(filling);
    let freed = Instant::now();
    until(RECOVERED, "writes are taken again", || (writer.made() > made).then_some(()));
    println!("writes are back {} ms after there is room", freed.elapsed().as_millis());
    until(RECOVERED, "readiness shows it", || (readiness(&server).0 == 200).then_some(()));
    alice.still_up(&mut held.caller);
    alice.hang_up(&mut held.caller);
    let bye = bob.expect_request("BYE");
    bob.answer(&bye, 200, "", "");
    until(RECOVERED, "both calls have their records", || {
        let over = |call: &Value| call["status"] == "completed" && call["endedAt"].is_string();
        (server.calls().iter().filter(|call| over(call)).count() == 2).then_some(())
    });
    let made = writer.stop();
    assert!(made.is_subset(&numbers(&server.admin())), "an extension that was answered is missing");
    assert!(bound.is_subset(&contacts(&server)), "{bound:?} {:?}", contacts(&server));
    server.restart();
    assert!(made.is_subset(&numbers(&server.admin())), "an extension that was answered is missing");
    assert!(bound.is_subset(&contacts(&server)), "{bound:?} {:?}", contacts(&server));
    assert_eq!(server.calls().len(), 2);
    server.stop();
    check_database_integrity(&server);
}

#[test]
fn data_acknowledged_on_a_full_disk_survives_a_kill() {
    let mut server = small_disk();
    let alice = server.extension("1001");
    let mut alice = Raw::new(&server, &alice);
    let writer = Writer::start(server.admin());
    soon("some writes are made", || (writer.made() > 5).then_some(()));
    let filling = server.mount().fill();
    soon("readiness shows it", || {
        filling.fill_again();
        (readiness(&server).0 != 200).then_some(())
    });
    let bound: BTreeSet<String> = (0..6).filter_map(|n| bind(&mut alice, n)).collect();
    assert!(bound.len() > 3, "{bound:?}");
    if server.data().join("centralita.db").exists() {
        let copy = server.data().join("copy.db");
        let backup = server.command(&["backup", copy.to_str().expect("a path")]);
        assert!(!backup.status.success() && !copy.exists(), "half a copy is none: {backup:?}");
    }
    let made = writer.stop();
    server.kill();
    // A start needs a few blocks itself, and says so.
    let refused = server.command(&["serve"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("No space left on device"), "{said}");
    drop(filling);
    server.restart();
    assert!(made.is_subset(&numbers(&server.admin())), "an extension that was answered is missing");
    assert!(bound.is_subset(&contacts(&server)), "{bound:?} {:?}", contacts(&server));
    server.stop();
    check_database_integrity(&server);
}
