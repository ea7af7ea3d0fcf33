//! Two servers on one PostgreSQL: a change on one is effective on the other within a second.

use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use e2e::raw::Raw;
use e2e::wire::Message;
use e2e::{Extension, Postgres, Server, until};
use serde_json::json;

const PROMISED: Duration = Duration::from_secs(1);

struct Nodes {
    a: Server,
    b: Server,
    database: String,
}

impl Nodes {
    fn start() -> Self {
        let database = Postgres::shared().database();
        let (a, mut b) = (Server::start_on(&database), Server::start_on(&database));
        // Secrets sealed by one must be readable by the other.
        let key = |node: &Server| node.data().join("seal.key");
        std::fs::copy(key(&a), key(&b)).expect("the key is copied");
        b.restart();
        Nodes { a, b, database }
    }

    /// Output of `psql` for the shared database.
    fn ask(&self, sql: &str) -> String {
        let name = self.database.split("localhost/").nth(1).and_then(|rest| rest.split('?').next()).unwrap();
        Postgres::shared().psql(name, sql).unwrap()
    }
}

/// Two extensions with phones registered at the second node, to be changed on the first node.
struct Changes {
    alice: Extension,
    bob: Extension,
    phones: [Raw; 2],
    recurring: String,
    password: String,
}

impl Changes {
    fn begin(nodes: &Nodes) -> Changes {
        let (alice, bob) = (nodes.a.extension("1001"), nodes.a.extension("1002"));
        let path = format!("/api/v1/voip/extensions/{}", bob.id);
        until(PROMISED, "the other node knows them", || {
            (nodes.b.http(Some(&bob.key)).get(&path).status == 200).then_some(())
        });
        let mut phones = [Raw::new(&nodes.b, &alice), Raw::new(&nodes.b, &bob)];
        phones.iter_mut().for_each(Raw::register);
        Changes { alice, bob, phones, recurring: String::new(), password: String::new() }
    }

    /// A new password, a recurring call, another mailbox, and an inactive extension.
    fn change(&mut self, node: &Server) {
        let path = |of: &Extension, what: &str| format!("/api/v1/voip/extensions/{}{what}", of.id);
        let alice = node.http(Some(&self.alice.key));
        let reset = alice.post(&path(&self.alice, "/credentials/reset"), &json!({})).expect(200);
        reset["extension"]["sipCredentials"]["password"].as_str().unwrap().clone_into(&mut self.password);
        let schedule = json!({ "frequency": "daily", "time": "03:00", "timezone": "UTC" });
        let body = json!({ "destinationNumber": "1002", "schedule": schedule });
        let made = alice.post(&path(&self.alice, "/recurring-calls"), &body).expect(200);
        made["recurringCall"]["id"].as_str().unwrap().clone_into(&mut self.recurring);
        let mailbox = json!({ "email": "ana@example.com", "pin": "739105" });
        alice.put(&path(&self.alice, "/voicemail"), &mailbox).expect(200);
        let bob = node.http(Some(&self.bob.key));
        bob.put(&path(&self.bob, ""), &json!({ "status": "inactive" })).expect(200);
    }

    /// Whether a node has all changes, and no binding that they remove.
    fn is_known_to(&self, node: &Server, admin: &str) -> bool {
        let alice = node.http(Some(&self.alice.key));
        let voicemail =
            alice.get(&format!("/api/v1/voip/extensions/{}/voicemail", self.alice.id)).expect(200);
        let bob = node.http(Some(&self.bob.key)).get(&format!("/api/v1/voip/extensions/{}", self.bob.id));
        let phones = node.http(Some(admin)).get("/api/v1/registrations").expect(200);
        alice.get(&format!("/api/v1/voip/recurring-calls/{}", self.recurring)).status == 200
            && voicemail["mailbox"]["email"] == "ana@example.com"
            && voicemail["mailbox"]["pinSet"] == true
            && bob.expect(200)["extension"]["status"] == "inactive"
            && phones["registrations"] == json!([])
    }

    /// The phones notice as well: only the new password is accepted, and the inactive extension cannot register.
    fn phones_have_the_changes(mut self) {
        let [alice, bob] = &mut self.phones;
        let register = |phone: &mut Raw| {
            let to = format!("<sip:{}@localhost>", phone.user);
            phone.register_with(&to, "Expires: 300\r\n").status()
        };
        assert_eq!(register(alice), Some(401), "the old password");
        assert_ne!(register(bob), Some(200), "an extension that is inactive");
        alice.password = self.password;
        alice.register();
    }
}

#[test]
fn a_key_revoked_on_one_node_is_rejected_on_the_other_within_a_second() {
    // S59
    let Nodes { a, b, .. } = Nodes::start();
    let body = json!({ "userId": "ana", "name": "Short-lived", "permissions": ["call"] });
    let made = a.admin().post("/api/v1/keys/voip/generate", &body).expect(200);
    let (id, key) = (made["key"]["id"].as_str().unwrap(), made["key"]["key"].as_str().unwrap());
    until(PROMISED, "the other node takes the key", || {
        (b.http(Some(key)).get("/api/v1/calls").status == 200).then_some(())
    });
    a.admin().delete(&format!("/api/v1/keys/{id}")).expect(200);
    let revoked = Instant::now();
    assert_eq!(a.http(Some(key)).get("/api/v1/calls").status, 401, "at once where it was revoked");
    until(PROMISED.saturating_sub(revoked.elapsed()), "the other node refuses the key", || {
        (b.http(Some(key)).get("/api/v1/calls").status == 401).then_some(())
    });
}

#[test]
fn an_extension_of_one_node_registers_on_the_other_within_a_second() {
    // S176
    let Nodes { a, b, .. } = Nodes::start();
    let extension = a.extension("1001");
    let made = Instant::now();
    let path = format!("/api/v1/voip/extensions/{}", extension.id);
    let answered = || b.http(Some(&extension.key)).get(&path).status;
    until(PROMISED, "the other node knows it", || (answered() == 200).then_some(()));
    let (mut phone, to) = (Raw::new(&b, &extension), format!("<sip:{}@localhost>", extension.username));
    phone.register();
    assert!(made.elapsed() < PROMISED, "{:?}", made.elapsed());

    a.http(Some(&extension.key)).delete(&path).expect(200);
    until(PROMISED, "the other node forgets it", || (answered() == 404).then_some(()));
    assert_eq!(phone.register_with(&to, "Expires: 300\r\n").status(), Some(401));
}

#[test]
fn both_nodes_may_change_the_same_thing_and_neither_change_is_lost() {
    let nodes = Nodes::start();
    let Nodes { a, b, .. } = &nodes;
    let extension = a.extension("1001");
    let path = format!("/api/v1/voip/extensions/{}", extension.id);
    let key = Some(extension.key.as_str());
    until(PROMISED, "both know it", || (b.http(key).get(&path).status == 200).then_some(()));
    // Each node writes a whole row: its decision must include what the other has just written.
    for round in 0..10 {
        let (name, busy) = (format!("Name {round}"), round % 2 == 0);
        a.http(key).put(&path, &json!({ "displayName": name })).expect(200);
        let answer = b.http(key).put(&path, &json!({ "doNotDisturb": busy })).expect(200);
        assert_eq!(answer["extension"]["displayName"], name.as_str(), "{answer}");
        let answer = a.http(key).put(&path, &json!({ "callWaiting": busy })).expect(200);
        assert_eq!(answer["extension"]["doNotDisturb"], busy, "{answer}");
    }
    // Extensions created without a number get the next free one, on either node.
    let make = |node: &Server| {
        let admin = Some(a.admin_key());
        let body = json!({ "displayName": "Next" });
        let made = node.http(admin.as_deref()).post("/api/v1/voip/extensions/create", &body).expect(200);
        made["extension"]["extensionNumber"].as_str().unwrap().to_owned()
    };
    let numbers: Vec<String> = (0..6).map(|n| make(if n % 2 == 0 { a } else { b })).collect();
    let distinct: std::collections::BTreeSet<&String> = numbers.iter().collect();
    assert_eq!(distinct.len(), numbers.len(), "{numbers:?}");
    let gaps = nodes.ask("SELECT MAX(seq) - COUNT(*) - MIN(seq) + 1 FROM outbox");
    assert_eq!(gaps, "0", "rows of the outbox are numbered without a gap");
}

#[test]
fn changes_on_one_node_are_effective_on_the_other_within_a_second() {
    // S75, S176
    let nodes = Nodes::start();
    let mut changes = Changes::begin(&nodes);
    changes.change(&nodes.a);
    let admin = nodes.a.admin_key();
    assert!(changes.is_known_to(&nodes.a, &admin), "at once where it was changed");
    until(PROMISED, "the other node has the change", || changes.is_known_to(&nodes.b, &admin).then_some(()));
    changes.phones_have_the_changes();
}

#[test]
fn a_node_that_was_down_longer_than_the_outbox_retention_reloads_everything() {
    // S75, S176
    let nodes = Nodes::start();
    let mut changes = Changes::begin(&nodes);
    let node = nodes.b.pid().to_string();
    let signal = |name: &str| assert!(Command::new("kill").args([name, &node]).status().unwrap().success());
    signal("-STOP");
    changes.change(&nodes.a);
    // Changes older than a day are removed, except for the last one.
    nodes.ask("DELETE FROM outbox WHERE seq < (SELECT MAX(seq) FROM outbox)");
    assert_eq!(nodes.ask("SELECT COUNT(*) FROM outbox"), "1");
    signal("-CONT");
    let admin = nodes.a.admin_key();
    until(PROMISED, "the other node has the change", || changes.is_known_to(&nodes.b, &admin).then_some(()));
    changes.phones_have_the_changes();
}

#[test]
fn a_start_of_one_node_does_not_touch_calls_and_bindings_of_the_other() {
    let Nodes { a, mut b, .. } = Nodes::start();
    let (alice, bob) = (a.extension("1001"), a.extension("1002"));
    let (mut caller, mut callee) = (Raw::new(&a, &alice), Raw::new(&a, &bob));
    caller.register();
    callee.register();
    let mut up = caller.call(&callee);
    // The journal has reached the database: the other node could see it there.
    until(Duration::from_secs(10), "the call is in the database", || {
        let listed = b.http(Some(&a.admin_key())).get("/api/v1/calls").expect(200);
        (listed["calls"].as_array().map(Vec::len) == Some(1)).then_some(())
    });
    b.restart();
    let listed = b.http(Some(&a.admin_key())).get("/api/v1/calls").expect(200);
    assert_eq!(listed["calls"][0]["endedAt"], serde_json::Value::Null, "{listed}");
    caller.still_up(&mut up.caller);
    caller.hang_up(&mut up.caller);
    callee.expect_request("BYE");
    assert_eq!(a.finished_call()["status"], "completed");
}

/// A carrier that accepts every registration, and records the port of its contact and its expiry in seconds.
struct Carrier {
    socket: UdpSocket,
    heard: Vec<(u16, u32)>,
    /// The expiry that it grants, if less than requested.
    most: u32,
}

impl Carrier {
    fn open() -> Carrier {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        Carrier { socket, heard: Vec::new(), most: u32::MAX }
    }

    /// Respond to the received messages.
    fn listen(&mut self) {
        let mut buffer = [0_u8; 4096];
        while let Ok((length, from)) = self.socket.recv_from(&mut buffer) {
            let request = Message { text: String::from_utf8_lossy(&buffer[..length]).into_owned() };
            let line = |name: &str| request.header(name).map(str::to_owned).unwrap_or_default();
            let (contact, expires) = (line("Contact"), line("Expires"));
            let granted = expires.parse().unwrap_or(0).min(self.most);
            let answer = format!(
                "SIP/2.0 200 OK\r\nVia: {}\r\nFrom: {}\r\nTo: {};tag=carrier\r\nCall-ID: {}\r\nCSeq: {}\r\nContact: {contact};expires={granted}\r\n\
                 Content-Length: 0\r\n\r\n",
                line("Via"),
                line("From"),
                line("To"),
                line("Call-ID"),
                line("CSeq"),
            );
            self.socket.send_to(answer.as_bytes(), from).unwrap();
            if request.method() == Some("REGISTER") {
                let port =
                    contact.trim_end_matches('>').rsplit(':').next().and_then(|port| port.parse().ok());
                self.heard.push((port.expect("a port in Contact"), expires.parse().expect("Expires")));
            }
        }
    }
}

#[test]
fn one_of_two_nodes_registers_a_trunk_and_the_other_takes_over_on_shutdown() {
    // S119
    let Nodes { mut a, mut b, .. } = Nodes::start();
    let mut carrier = Carrier::open();
    let port = carrier.socket.local_addr().unwrap().port();
    let admin = a.admin_key();
    let trunk = json!({
        "name": "Carrier", "hosts": [{ "host": "127.0.0.1", "port": port }], "username": "trunkuser", "password": "trunk-pass",
        "register": true, "registerExpires": 600, "probe": false,
    });
    let made = a.admin().post("/api/v1/trunks", &trunk).expect(200);
    let path = format!("/api/v1/trunks/{}", made["trunk"]["id"].as_str().unwrap());
    let state = |node: &Server| {
        let shown = node.http(Some(&admin)).get(&path);
        if shown.status == 200 {
            shown.json()["trunk"]["status"]["registration"].clone()
        } else {
            json!(null)
        }
    };
    let a_registers = until(Duration::from_secs(10), "one is registered, and the other knows that", || {
        carrier.listen();
        match (state(&a), state(&b)) {
            (one, other) if one == "registered" && other == "elsewhere" => Some(true),
            (one, other) if one == "elsewhere" && other == "registered" => Some(false),
            _ => None,
        }
    });
    let (first, second) = if a_registers { (&mut a, &mut b) } else { (&mut b, &mut a) };
    let (gone, next) = (first.sip().port(), second.sip().port());
    assert!(
        !carrier.heard.is_empty() && carrier.heard.iter().all(|heard| *heard == (gone, 600)),
        "{:?}",
        carrier.heard
    );
    first.stop();
    until(Duration::from_secs(10), "the other one registers", || {
        carrier.listen();
        carrier.heard.contains(&(next, 600)).then_some(())
    });
    assert!(carrier.heard.contains(&(gone, 0)), "the stopped node has unregistered: {:?}", carrier.heard);
    assert_eq!(carrier.heard.last(), Some(&(next, 600)));
}

/// A proxy to PostgreSQL's socket that can be interrupted for the node that uses it.
struct Proxy {
    folder: PathBuf,
    socket: PathBuf,
    database: String,
}

impl Proxy {
    /// A proxy to a database, and the database's URL through it.
    fn open(url: &str) -> (Proxy, String) {
        let folder = std::env::temp_dir().join(format!("centralita-way-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (address, real) = url.split_once("?host=").expect("a folder with a socket");
        let socket = Path::new(real).join(".s.PGSQL.5432");
        let database = address.rsplit('/').next().expect("a name").to_owned();
        let by_way = format!("{address}?host={}", folder.display());
        let proxy = Proxy { folder, socket, database };
        proxy.restore();
        (proxy, by_way)
    }

    fn restore(&self) {
        std::os::unix::fs::symlink(&self.socket, self.folder.join(".s.PGSQL.5432")).unwrap();
    }

    /// From now on no data passes; nodes that do not use the proxy are not affected.
    fn interrupt(&self) {
        std::fs::remove_file(self.folder.join(".s.PGSQL.5432")).unwrap();
        let sql = "SELECT COUNT(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = ";
        let ended = Postgres::shared().psql("postgres", &format!("{sql}'{}'", self.database)).unwrap();
        assert_ne!(ended, "0", "the nodes had connections");
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.folder).ok();
    }
}

#[test]
fn a_node_cut_off_from_the_database_leaves_trunk_registration_to_the_other() {
    let database = Postgres::shared().database(); // D7
    let (proxy, by_way) = Proxy::open(&database);
    let (a, mut b) = (Server::start_on(&by_way), Server::start_on(&database));
    std::fs::copy(a.data().join("seal.key"), b.data().join("seal.key")).expect("the key is copied");
    let mut carrier = Carrier::open();
    carrier.most = 10; // refreshed after 8 seconds
    let port = carrier.socket.local_addr().unwrap().port();
    b.stop();
    let trunk = json!({
        "name": "Carrier", "hosts": [{ "host": "127.0.0.1", "port": port }], "username": "trunkuser", "password": "trunk-pass",
        "register": true, "registerExpires": 600, "probe": false,
    });
    a.admin().post("/api/v1/trunks", &trunk).expect(200);
    let of = |carrier: &Carrier, node: u16| carrier.heard.iter().filter(|(port, _)| *port == node).count();
    let (first, second) = (a.sip().port(), b.sip().port());
    until(Duration::from_secs(20), "the first one registers", || {
        carrier.listen();
        (of(&carrier, first) > 0).then_some(())
    });
    b.restart();
    until(Duration::from_secs(20), "the first one refreshes", || {
        carrier.listen();
        (of(&carrier, first) > 1).then_some(())
    });
    assert_eq!(of(&carrier, second), 0, "there is one at a time");
    proxy.interrupt();
    until(Duration::from_secs(40), "the other one registers", || {
        carrier.listen();
        (of(&carrier, second) > 0).then_some(())
    });
    let before = of(&carrier, first);
    until(Duration::from_secs(40), "the other one has refreshed twice", || {
        carrier.listen();
        (of(&carrier, second) > 2).then_some(())
    });
    assert_eq!(of(&carrier, first), before, "who is cut off is silent: {:?}", carrier.heard);
    assert!(
        carrier.heard.iter().all(|(_, expires)| *expires > 0),
        "and takes nothing back: {:?}",
        carrier.heard
    );
    // The proxy works again: nothing changes until the other node stops.
    proxy.restore();
    b.stop();
    until(Duration::from_secs(40), "the first one registers anew", || {
        carrier.listen();
        (of(&carrier, first) > before).then_some(())
    });
}
