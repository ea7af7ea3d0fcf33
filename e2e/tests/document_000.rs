//! The commands of the user's first document, unchanged except for host, key and ids.

use std::process::Command;

use e2e::{Account, Document, Extension, Phone, Server, Settings, soon};

const DOCUMENT: Document =
    Document { text: include_str!("../documents/000.txt"), origin: "http://localhost:5000" };

#[test]
fn the_document_has_the_commands_that_are_run_here() {
    assert_eq!(DOCUMENT.lines("curl").len(), 9, "{:#?}", DOCUMENT.lines("curl"));
}

#[test]
fn every_command_works_with_a_key() {
    let server = Server::start();
    let key = server.key_for("user123");
    let bob = server.extension("1002");
    let with_key = |part: &str| DOCUMENT.line(part).replace("YOUR_API_KEY", &key);

    // S34: start, with an empty body and no content type.
    let (status, answer) =
        DOCUMENT.run(&server, &DOCUMENT.lines("/opensips/start")[0].replace("YOUR_API_KEY", &key));
    assert_eq!(
        (status, &answer["success"], &answer["status"]),
        (200, &true.into(), &"running".into()),
        "{answer}"
    );

    // S36
    let (status, answer) = DOCUMENT.run(&server, &with_key("/opensips/status"));
    assert_eq!(
        (status, &answer["success"], &answer["status"]),
        (200, &true.into(), &"running".into()),
        "{answer}"
    );
    assert!(answer["listeners"].is_array() && answer["activeCalls"] == 0, "{answer}");

    // S38–S44
    let (status, answer) = DOCUMENT.run(&server, &with_key("/opensips/generate-credentials"));
    assert_eq!((status, &answer["success"]), (200, &true.into()), "{answer}");
    let credentials = &answer["credentials"];
    let text =
        |name: &str| credentials[name].as_str().unwrap_or_else(|| panic!("{name}: {answer}")).to_owned();
    assert!(text("username").starts_with("user_"), "{answer}");
    assert_eq!(text("password").len(), 16, "S40");
    assert_eq!(text("sipUri"), format!("sip:{}@{}", text("username"), text("domain")));
    assert_eq!(text("proxyServer"), server.sip().to_string(), "S43: an address that a phone can reach");
    assert_eq!(text("transportProtocol"), "UDP");

    // S37: flat JSON, with a boolean called `uptime`.
    let (status, answer) = DOCUMENT.run(&server, &with_key("/opensips/health"));
    assert_eq!(status, 200);
    assert_eq!(
        (&answer["opensipsStatus"], &answer["serverUptime"]),
        (&"running".into(), &true.into()),
        "{answer}"
    );
    assert!(answer["activeCalls"].is_u64() && answer["success"].is_null(), "{answer}");

    // S49: Twilio is not configured, and the response says so.
    let initiate = with_key("/opensips/call/initiate");
    let (status, answer) = DOCUMENT.run(&server, &initiate);
    assert_eq!(
        (status, &answer["success"], &answer["code"]),
        (503, &false.into(), &"twilio_not_configured".into()),
        "{answer}"
    );
    assert!(answer["error"].is_string(), "S23: {answer}");

    // S46–S48: the user's own phone rings first, then the extension.
    let own = Extension::of(credentials, &key);
    let one = Phone::registered("one", 440, &Account::of(&own, server.sip()));
    let two = Phone::registered("two", 1000, &Account::of(&bob, server.sip()));
    let initiate =
        initiate.replace("\"useTwilio\": true", "\"useTwilio\": false").replace("+0987654321", "1002");
    let (status, answer) = DOCUMENT.run(&server, &initiate);
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
    let details = DOCUMENT.lines("/opensips/call/SESSION_ID \\")[0]
        .replace("YOUR_API_KEY", &key)
        .replace("SESSION_ID", &id);
    let (status, answer) = DOCUMENT.run(&server, &details);
    assert_eq!((status, &answer["session"]["status"]), (200, &"in-progress".into()), "{answer}");

    // S51: ending is idempotent.
    let end = with_key("/SESSION_ID/end").replace("SESSION_ID", &id);
    let (status, answer) = DOCUMENT.run(&server, &end);
    assert_eq!((status, &answer["success"]), (200, &true.into()), "{answer}");
    one.expect("CALL_CLOSED");
    two.expect("CALL_CLOSED");
    let ended = soon("the session is over", || {
        let (status, answer) = DOCUMENT.run(&server, &details);
        assert_eq!(status, 200);
        answer["session"]["endedAt"].is_string().then_some(answer)
    });
    assert_eq!(ended["session"]["status"], "completed", "{ended}");
    let (status, _) = DOCUMENT.run(&server, &end);
    assert_eq!(status, 200);
}

#[test]
fn the_commands_without_a_key_work_on_loopback_if_permitted() {
    // S20
    let local = Server::with(Settings { http: "local_admin = true".to_owned(), ..Settings::default() });
    let without_key = |part: &str| {
        let all = DOCUMENT.lines(part);
        all.into_iter().find(|command| !command.contains("Authorization")).expect("a line without a key")
    };
    let (stop, start) = (without_key("/opensips/stop"), without_key("/opensips/start"));
    let (status, answer) = DOCUMENT.run(&local, &stop);
    assert_eq!((status, &answer["success"]), (200, &true.into()), "{answer}");
    let (status, answer) = DOCUMENT.run(&local, &start);
    assert_eq!((status, &answer["status"]), (200, &"running".into()), "{answer}");
    soon("SIP is answered again", || e2e::wire::alive(local.sip()).then_some(()));

    let strict = Server::start();
    for command in [&stop, &start] {
        let (status, answer) = DOCUMENT.run(&strict, command);
        assert_eq!((status, &answer["success"]), (401, &false.into()), "{answer}");
    }
}

#[test]
fn a_proxy_or_browser_header_disables_the_trust_in_loopback() {
    // S20
    let local = Server::with(Settings { http: "local_admin = true".to_owned(), ..Settings::default() });
    for header in ["Forwarded: for=192.0.2.1", "X-Forwarded-For: 192.0.2.1", "Origin: http://example.com"] {
        let command = format!("curl -X POST http://localhost:5000/api/v1/opensips/start -H '{header}'");
        assert_eq!(DOCUMENT.run(&local, &command).0, 401, "{header}");
    }
}

#[test]
fn the_init_script_creates_the_files_that_the_document_uses() {
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
