//! Every route with requests that nobody would write, made by schemathesis out of the OpenAPI document: no 5xx, and no status, type or body
//! that the document does not describe (S23–S27).
//!
//! `CENTRALITA_FUZZ_EXAMPLES` says how many requests each route gets besides those that cover its document, `CENTRALITA_FUZZ_SEED` which,
//! `CENTRALITA_FUZZ_SECONDS` how long each test may take.

use std::path::Path;
use std::process::Command;

use e2e::{Http, Scratch, Server, Settings, soon, text, wire};
use serde_json::{Map, Value, json};

/// What the document says of it is tried below.
const STOP: &str = "/api/v1/opensips/stop";
/// The same under its other name.
const STOP_TOO: &str = "/api/v1/server/stop";
/// A stream has no end, and is read to its end: `crates/api/tests/matrix.rs` tries this route.
const STREAM: &str = "/api/v1/events/stream";

/// A server that lets itself be asked, and asks nobody: SIP is on loopback, from where nothing leaves the machine, and names lead nowhere.
fn server() -> Server {
    let more = "[limits]\nrequests_per_minute = 1000000\nunauthenticated_per_minute = 1000000\n\
                [dns]\nservers = [\"127.0.0.1:9\"]\n";
    Server::with(Settings { more: more.to_owned(), ..Settings::default() })
}

/// Somebody who asks: a key and its id.
struct Asker {
    key: String,
    id: String,
}

impl Asker {
    fn admin(server: &Server) -> Asker {
        let keys = server.admin().get("/api/v1/keys").expect(200);
        Asker { key: server.admin_key(), id: text(&keys["keys"][0]["id"]) }
    }

    fn user(server: &Server) -> Asker {
        let body = json!({"userId": "user_123", "name": "Fuzz", "permissions": ["call", "sip", "recording"]});
        let made = server.admin().post("/api/v1/keys/voip/generate", &body).expect(200);
        Asker { key: text(&made["key"]["key"]), id: text(&made["key"]["id"]) }
    }
}

/// One of each that can be made by a request, so that ids meet something; in the names of their paths.
fn things(server: &Server, own: &Http) -> Map<String, Value> {
    let post = |path: &str, body: Value| own.post(path, &body).expect(200);
    let key = post("/api/v1/keys/voip/generate", json!({"name": "Met"}));
    let extension = post("/api/v1/voip/extensions/create", json!({"displayName": "Met"}));
    let extension = &extension["extension"]["id"];
    let hook = post("/api/v1/webhooks", json!({"url": "https://crm.invalid/hook"}));
    let calls = format!("/api/v1/voip/extensions/{}/recurring-calls", text(extension));
    let daily = json!({"frequency": "daily", "time": "09:00"});
    let recurring = post(&calls, json!({"destinationNumber": "4712", "schedule": daily}));
    let session = post("/api/v1/opensips/call/initiate", json!({"toNumber": "*43"}));
    let session = &session["session"]["sessionId"];
    let trunk = json!({"name": "Met", "hosts": [{"host": "127.0.0.1", "port": 9}], "probe": false});
    let trunk = server.admin().post("/api/v1/trunks", &trunk).expect(200);
    let things = json!({
        "/api/v1/keys/{id}": key["key"]["id"],
        "/api/v1/voip/extensions/{id}": extension,
        "/api/v1/webhooks/{id}": hook["webhook"]["id"],
        "/api/v1/voip/recurring-calls/{id}": recurring["recurringCall"]["id"],
        "/api/v1/opensips/call/{id}": session,
        "/api/v1/calls/{id}": session,
        "/api/v1/trunks/{id}": trunk["trunk"]["id"],
    });
    things.as_object().cloned().unwrap_or_default()
}

/// What a variable says, or this.
fn setting(name: &str, otherwise: &str) -> String {
    std::env::var(name).ok().filter(|value| !value.is_empty()).unwrap_or_else(|| otherwise.to_owned())
}

/// Sends requests with this key, and shows what was found where something was.
#[track_caller]
fn fuzz(server: &Server, asker: &Asker, which: &[&str]) {
    let folder = Scratch::new("fuzz-api");
    let own = server.http(Some(&asker.key));
    let things = Value::from(things(server, &own)).to_string();
    let program = e2e::python::program("schemathesis==4.32.5", "schemathesis");
    let output = Command::new(program)
        .args(["run", &format!("http://{}/openapi.json", server.http_address())])
        .args(["--header", &format!("Authorization: Bearer {}", asker.key)])
        // What no schema can say (that a PIN is too easy, that two names of one field contradict each other) is refused all the same.
        .args(["--checks", "all", "--exclude-checks", "positive_data_acceptance"])
        .args(["--phases", "examples,coverage,fuzzing", "--warnings", "off"])
        .args(["--max-examples", &setting("CENTRALITA_FUZZ_EXAMPLES", "5")])
        .args(["--max-time", &setting("CENTRALITA_FUZZ_SECONDS", "50")])
        .args(["--seed", &setting("CENTRALITA_FUZZ_SEED", "1"), "--generation-database", "none"])
        .args(["--continue-on-failure", "--no-color"])
        .args(which)
        .current_dir(folder.path())
        .env("SCHEMATHESIS_HOOKS", "fuzz_api")
        .env("PYTHONPATH", Path::new(env!("CARGO_MANIFEST_DIR")))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("CENTRALITA_THINGS", things)
        .env("CENTRALITA_OWN_KEY", &asker.id)
        .output()
        .expect("schemathesis runs");
    let (said, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}\n{errors}");
    // A key that was switched off on the way would have been refused from then on, and nothing would have been tried.
    own.get("/api/v1/keys").expect(200);
    assert!(!server.log().contains("panicked"), "{}", server.log());
}

#[test]
fn whatever_an_administrator_sends_is_answered_as_documented() {
    let mut server = server();
    let asker = Asker::admin(&server);
    fuzz(&server, &asker, &["--exclude-path", STOP, "--exclude-path", STOP_TOO, "--exclude-path", STREAM]);
    assert!(server.lives() && wire::alive(server.sip()));
}

#[test]
fn whatever_a_user_sends_is_answered_as_documented() {
    let mut server = server();
    let asker = Asker::user(&server);
    fuzz(&server, &asker, &["--exclude-path", STREAM]);
    // Stopping is an administrator's: it was asked for, too.
    assert!(server.lives() && wire::alive(server.sip()));
}

#[test]
fn whoever_stops_the_exchange_is_answered_as_documented_and_it_starts_again() {
    let server = server();
    let asker = Asker::admin(&server);
    fuzz(&server, &asker, &["--include-path", STOP]);
    soon("the exchange has stopped", || (server.admin().get("/readyz").status == 503).then_some(()));
    server.admin().post("/api/v1/opensips/start", &json!({})).expect(200);
    soon("SIP is answered again", || wire::alive(server.sip()).then_some(()));
}
