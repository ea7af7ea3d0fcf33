//! The lines of the user's first document, as they stand there: only host, key and ids are filled in.

use std::process::Command;

use e2e::{Account, Phone, Server, Settings, soon};
use serde_json::Value;

/// The commands of the document, one after the other.
const DOCUMENT: &str = include_str!("../documents/000.txt");

/// Every `curl …` of the document whose text contains `part`, in order.
fn lines(part: &str) -> Vec<String> {
    let mut commands: Vec<String> = Vec::new();
    let mut open = false;
    for line in DOCUMENT.lines() {
        if line.starts_with("curl ") {
            commands.push(line.to_owned());
        } else if open {
            let last = commands.last_mut().expect("a command is open");
            last.push('\n');
            last.push_str(line);
        }
        // A command goes on while a line ends in a backslash or a quote is open.
        let quotes = commands.last().map_or(0, |command| command.matches('\'').count());
        open = line.ends_with('\\') || quotes % 2 == 1;
    }
    commands.retain(|command| command.contains(part));
    commands
}

/// The one command that contains `part`.
fn line(part: &str) -> String {
    let mut found = lines(part);
    found.dedup();
    assert_eq!(found.len(), 1, "{part}: {found:#?}");
    found.remove(0)
}

/// Runs a command with the server's address in the place of the documented one.
fn run(server: &Server, command: &str) -> (u16, Value) {
    let command = command.replace("http://localhost:5000", &format!("http://{}", server.http_address()));
    let script = format!("{} -s -w '\\n%{{http_code}}'", command.trim_end());
    let output = Command::new("bash").arg("-c").arg(&script).output().expect("bash runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (body, status) = text.rsplit_once('\n').unwrap_or_else(|| panic!("{script}\n{output:?}"));
    let status = status.trim().parse().unwrap_or_else(|_| panic!("{script}\n{text}"));
    (status, serde_json::from_str(body).unwrap_or(Value::Null))
}

#[test]
fn the_document_has_the_commands_that_are_run_here() {
    assert_eq!(lines("curl").len(), 9, "{:#?}", lines("curl"));
}

#[test]
fn every_line_works_with_a_key() {
    let server = Server::start();
    let key = server.key_for("user123");
    let bob = server.extension("1002");
    let with_key = |part: &str| line(part).replace("YOUR_API_KEY", &key);

    // S34: start, with an empty body and no content type.
    let (status, answer) = run(&server, &lines("/opensips/start")[0].replace("YOUR_API_KEY", &key));
    assert_eq!(
        (status, &answer["success"], &answer["status"]),
        (200, &true.into(), &"running".into()),
        "{answer}"
    );

    // S36
    let (status, answer) = run(&server, &with_key("/opensips/status"));
    assert_eq!(
        (status, &answer["success"], &answer["status"]),
        (200, &true.into(), &"running".into()),
        "{answer}"
    );
    assert!(answer["listeners"].is_array() && answer["activeCalls"] == 0, "{answer}");

    // S38–S44
    let (status, answer) = run(&server, &with_key("/opensips/generate-credentials"));
    assert_eq!((status, &answer["success"]), (200, &true.into()), "{answer}");
    let credentials = &answer["credentials"];
    let text =
        |name: &str| credentials[name].as_str().unwrap_or_else(|| panic!("{name}: {answer}")).to_owned();
    assert!(text("username").starts_with("user_"), "{answer}");
    assert_eq!(text("password").len(), 16, "S40");
    assert_eq!(text("sipUri"), format!("sip:{}@{}", text("username"), text("domain")));
    assert_eq!(text("proxyServer"), server.sip().to_string(), "S43: an address that a phone can reach");
    assert_eq!(text("transportProtocol"), "UDP");

    // S37: flat, with a boolean that is called uptime.
    let (status, answer) = run(&server, &with_key("/opensips/health"));
    assert_eq!(status, 200);
    assert_eq!(
        (&answer["opensipsStatus"], &answer["serverUptime"]),
        (&"running".into(), &true.into()),
        "{answer}"
    );
    assert!(answer["activeCalls"].is_u64() && answer["success"].is_null(), "{answer}");

    // S49: Twilio is not configured, and the line says so.
    let initiate = with_key("/opensips/call/initiate");
    let (status, answer) = run(&server, &initiate);
    assert_eq!(
        (status, &answer["success"], &answer["code"]),
        (503, &false.into(), &"twilio_not_configured".into()),
        "{answer}"
    );
    assert!(answer["error"].is_string(), "S23: {answer}");

    // S46–S48: the user's own phone rings first, then the extension.
    let own = e2e::Extension {
        id: String::new(),
        number: String::new(),
        username: text("username"),
        password: text("password"),
        key: key.clone(),
    };
    let one = Phone::registered("one", 440, &Account::of(&own, server.sip()));
    let two = Phone::registered("two", 1000, &Account::of(&bob, server.sip()));
    let initiate =
        initiate.replace("\"useTwilio\": true", "\"useTwilio\": false").replace("+0987654321", "1002");
    let (status, answer) = run(&server, &initiate);
    assert_eq!((status, &answer["success"]), (200, &true.into()), "{answer}");
    let session = &answer["session"];
    let id = session["sessionId"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned();
    assert!(id.starts_with("session_"), "S31: {id}");
    assert!(["queued", "ringing"].contains(&session["status"].as_str().unwrap_or_default()), "{answer}");
    assert_eq!(session["sipCredentials"]["username"], text("username"), "{answer}");
    assert_eq!(session["sipCredentials"]["domain"], text("domain"), "{answer}");
    assert!(
        session.as_object().is_some_and(|session| session.contains_key("twilioCallSid")),
        "S47: {answer}"
    );
    assert!(session["twilioCallSid"].is_null(), "S47: never invented");
    two.expect("CALL_ESTABLISHED");
    one.hears(1000);
    two.hears(440);

    // S50
    let details =
        lines("/opensips/call/SESSION_ID \\")[0].replace("YOUR_API_KEY", &key).replace("SESSION_ID", &id);
    let (status, answer) = run(&server, &details);
    assert_eq!((status, &answer["session"]["status"]), (200, &"in-progress".into()), "{answer}");

    // S51: ending is idempotent.
    let end = with_key("/SESSION_ID/end").replace("SESSION_ID", &id);
    let (status, answer) = run(&server, &end);
    assert_eq!((status, &answer["success"]), (200, &true.into()), "{answer}");
    one.expect("CALL_CLOSED");
    two.expect("CALL_CLOSED");
    let ended = soon("the session is over", || {
        let (status, answer) = run(&server, &details);
        assert_eq!(status, 200);
        answer["session"]["endedAt"].is_string().then_some(answer)
    });
    assert_eq!(ended["session"]["status"], "completed", "{ended}");
    let (status, _) = run(&server, &end);
    assert_eq!(status, 200);
}

#[test]
fn the_lines_without_a_key_work_on_the_machine_itself_where_that_is_allowed() {
    // S20
    let local = Server::with(Settings { http: "local_admin = true".to_owned(), ..Settings::default() });
    let without_key = |part: &str| {
        let all = lines(part);
        all.into_iter().find(|command| !command.contains("Authorization")).expect("a line without a key")
    };
    let (stop, start) = (without_key("/opensips/stop"), without_key("/opensips/start"));
    let (status, answer) = run(&local, &stop);
    assert_eq!((status, &answer["success"]), (200, &true.into()), "{answer}");
    let (status, answer) = run(&local, &start);
    assert_eq!((status, &answer["status"]), (200, &"running".into()), "{answer}");
    soon("SIP is answered again", || e2e::wire::alive(local.sip()).then_some(()));

    let strict = Server::start();
    for command in [&stop, &start] {
        let (status, answer) = run(&strict, command);
        assert_eq!((status, &answer["success"]), (401, &false.into()), "{answer}");
    }
}

#[test]
fn a_header_of_a_proxy_or_a_browser_ends_the_trust_in_the_local_machine() {
    // S20
    let local = Server::with(Settings { http: "local_admin = true".to_owned(), ..Settings::default() });
    for header in ["Forwarded: for=192.0.2.1", "X-Forwarded-For: 192.0.2.1", "Origin: http://example.com"] {
        let command = format!("curl -X POST http://localhost:5000/api/v1/opensips/start -H '{header}'");
        assert_eq!(run(&local, &command).0, 401, "{header}");
    }
}

#[test]
fn the_init_script_lays_out_what_the_document_looks_at() {
    // S110, S111: `tail -f opensips/logs/opensips.log`, `cat opensips/opensips.cfg`.
    let server = Server::start();
    let folder = e2e::Scratch::new("init");
    let script = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../opensips-init.sh");
    let output = Command::new("bash")
        .arg(script)
        .env("CENTRALITA_BIN", server.binary())
        .current_dir(folder.path())
        .output()
        .expect("bash runs");
    assert!(output.status.success(), "{output:?}");
    for path in ["opensips/opensips.cfg", "opensips/logs"] {
        assert!(folder.path().join(path).exists(), "{path}: {output:?}");
    }
}
