//! Operator tools: `doctor` checks the running server, a ban is shown and lifted, and the log describes a day.

use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Output};
use std::time::Duration;

use e2e::raw::Raw;
use e2e::{Extension, Scratch, Server, Settings, soon, until};
use serde_json::{Value, json};

/// JSON output of a command.
fn json(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}{}", said(output)))
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Verdict and sentence of one of `doctor`'s checks.
fn found(findings: &Value, check: &str) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let all = findings.as_array().expect("a list of findings");
    let mine = all.iter().filter(|finding| finding["check"] == check);
    mine.map(|finding| (text(&finding["verdict"]), text(&finding["found"]))).collect()
}

#[track_caller]
fn one(findings: &Value, check: &str) -> (String, String) {
    let mut all = found(findings, check);
    assert_eq!(all.len(), 1, "{check}: {findings:#}");
    all.remove(0)
}

fn from(last: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(127, 0, 7, last))
}

/// A REGISTER with this password. Returns the status if there is a response.
fn register(server: &Server, address: IpAddr, extension: &Extension, password: &str) -> Option<u16> {
    let mut raw = Raw::at(address, server.sip(), &extension.username, password);
    let challenge = raw.challenge();
    let proof = challenge.answer(&extension.username, password, "REGISTER", "sip:localhost", 1);
    let (user, id) = (&extension.username, raw.fresh());
    let contact = format!("Contact: <sip:{user}@{}>\r\nAuthorization: {proof}\r\n", raw.local());
    let (line, to) = (format!("<sip:{user}@localhost>;tag=g"), format!("<sip:{user}@localhost>"));
    let text = raw.request("REGISTER", "sip:localhost", &line, &to, &id, 1, &contact, "");
    raw.send(text.as_bytes());
    // An OPTIONS behind it is answered after it.
    let (line, id) = (raw.from_line(), raw.fresh());
    let marker = raw.request("OPTIONS", "sip:localhost", &line, "<sip:localhost>", &id, 1, "", "");
    raw.send(marker.as_bytes());
    let answer = raw.receive(e2e::raw::LIMIT).expect("the OPTIONS behind it is answered");
    (answer.header("Call-ID") != Some(id.as_str())).then(|| answer.status()).flatten()
}

#[test]
fn doctor_checks_the_running_server_and_not_the_configuration() {
    let server = Server::start();
    let findings = json(&server.command(&["doctor", "-o", "json"]));
    let (verdict, sentence) = one(&findings, "server");
    assert_eq!(verdict, "ok");
    assert!(sentence.contains(&format!("process {}", server.pid())), "{sentence}");
    let sip = server.sip();
    for listener in
        [format!("udp://{sip}"), format!("tcp://{sip}"), format!("http://{}", server.http_address())]
    {
        assert_eq!(one(&findings, &listener), ("ok".into(), "the server listens".into()));
    }
    assert_eq!(one(&findings, "database"), ("ok".into(), "answers".into()));
    assert_eq!(one(&findings, "exchange").0, "ok");
    assert!(found(&findings, "configuration").is_empty(), "{findings:#}");
    let socket = server.data().join("control.sock").metadata().expect("the control socket is there");
    assert_eq!(socket.permissions().mode() & 0o777, 0o600);
    // The configuration is changed under the running server: the open ports are the ones that count.
    // No port of the default RTP range, which would be a fault of its own.
    let changed = "[sip]\nlisten = [\"udp://127.0.0.1:9\"]\n";
    std::fs::write(server.config(), changed).expect("the configuration is written");
    let findings = json(&server.command(&["doctor", "-o", "json"]));
    assert_eq!(one(&findings, &format!("udp://{sip}")).0, "ok");
    let (verdict, sentence) = one(&findings, "configuration");
    assert_eq!(verdict, "warning");
    assert!(sentence.contains("sip.listen") && sentence.contains("restart"), "{sentence}");
}

#[test]
fn doctor_knows_the_listeners_of_serve_lan() {
    let everywhere = [("CENTRALITA__SIP__LISTEN", "udp://0.0.0.0:0")];
    let environment = everywhere.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    let server = Server::with(Settings { environment, ..Settings::default() });
    // The doctor's own configuration has loopback.
    let findings = json(&server.command(&["doctor", "-o", "json"]));
    let (_, sentence) = one(&findings, "public address");
    assert!(!sentence.contains("this machine only"), "{sentence}");
}

#[test]
fn an_unreadable_data_directory_is_not_reported_as_a_stopped_server() {
    let server = Server::start();
    let stranger = stranger(&server, &["doctor", "-o", "json"], &server.data());
    let (verdict, sentence) = one(&json(&stranger), "server");
    assert_eq!(verdict, "bad", "{sentence}");
    assert!(sentence.contains("cannot be read") && sentence.contains("ermission denied"), "{sentence}");
    assert_eq!(stranger.status.code(), Some(1));
    // The same for every command that looks for a server.
    let status = self::stranger(&server, &["status"], &server.data());
    assert!(said(&status).contains("cannot be read"), "{}", said(&status));
}

#[test]
fn doctor_checks_the_requirements_of_a_start() {
    let server = Server::start();
    let folder = Scratch::new("doctor");
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).expect("it is ours");
    let data = folder.path().join("data");
    std::fs::create_dir(&data).expect("a data folder");
    std::fs::set_permissions(&data, std::fs::Permissions::from_mode(0o755)).expect("it is ours");
    let findings = json(&stranger(&server, &["doctor", "-o", "json"], &data));
    assert_eq!(one(&findings, "server").1, "does not run");
    let (verdict, sentence) = one(&findings, "data directory");
    assert_eq!(verdict, "bad");
    assert!(sentence.contains("cannot be written"), "{sentence}");
    // A user with permission finds it in order, and an invalid database is named.
    let ours = |data: &std::path::Path| {
        let words = ["doctor", "-o", "json", "--data"];
        json(
            &Command::new(server.binary())
                .args(words)
                .arg(data)
                .current_dir(folder.path())
                .output()
                .expect("it runs"),
        )
    };
    let findings = ours(&data);
    assert_eq!(one(&findings, "data directory").0, "ok", "{findings:#}");
    assert_eq!(one(&findings, "database").0, "ok", "{findings:#}");
    assert_eq!(std::fs::read_dir(&data).expect("it is ours").count(), 0, "looking makes nothing");
    std::fs::write(data.join("centralita.db"), "number;name\n").expect("a file");
    let (verdict, sentence) = one(&ours(&data), "database");
    assert_eq!(verdict, "bad");
    assert!(sentence.contains("is not a SQLite database"), "{sentence}");
}

/// Run a command as a user who owns no file.
fn stranger(server: &Server, words: &[&str], data: &std::path::Path) -> Output {
    let mut command = Command::new(server.binary());
    command.args(words).arg("--data").arg(data).current_dir("/");
    if rustix_is_root() {
        command.uid(65_534).gid(65_534);
    } else {
        std::fs::set_permissions(data, std::fs::Permissions::from_mode(0o500)).expect("it is ours");
    }
    command.output().expect("the binary runs")
}

fn rustix_is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|me| std::os::unix::fs::MetadataExt::uid(&me) == 0)
}

#[test]
fn a_ban_is_shown_in_log_status_and_doctor_and_lifted() {
    let server = Server::start();
    let alice = server.extension("1001");
    let phone = from(1);
    let judged = (0..12).filter(|n| register(&server, phone, &alice, &format!("wrong{n}")).is_some());
    assert_eq!(judged.count(), 10);
    assert_eq!(register(&server, phone, &alice, &alice.password), None, "it is banned");
    let bans = json(&server.command(&["guard", "list", "-o", "json"]));
    assert_eq!(
        (bans[0]["address"].as_str(), bans[0]["username"].as_str()),
        (Some("127.0.7.1"), Some(&*alice.username))
    );
    let until = bans[0]["until"].as_str().expect("when it ends").to_owned();
    let status = server.command(&["status"]);
    let status = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(status.contains("127.0.7.1") && status.contains(&until), "{status}");
    let (verdict, sentence) = one(&json(&server.command(&["doctor", "-o", "json"])), "ban");
    assert_eq!(verdict, "warning");
    assert!(sentence.contains("guard lift 127.0.7.1") && sentence.contains(&alice.username), "{sentence}");
    let line = soon("the log tells of the ban", || {
        server.log().lines().find(|line| line.contains("banned after")).map(str::to_owned)
    });
    assert!(line.contains("WARN") && line.contains("127.0.7.1") && line.contains("until="), "{line}");
    assert!(!line.contains(&alice.username), "the user name is masked: {line}");
    let other = server.command(&["guard", "lift", "127.0.7.9"]);
    assert_eq!(other.status.code(), Some(1), "no ban there");
    let lifted = server.command(&["guard", "lift", "127.0.7.1", "--user", &alice.username]);
    let lifted = String::from_utf8_lossy(&lifted.stdout).into_owned();
    assert_eq!(lifted.trim(), format!("{} from 127.0.7.1 is heard again", alice.username));
    assert_eq!(register(&server, phone, &alice, &alice.password), Some(200));
    let nobody = server.command(&["guard", "list"]);
    assert_eq!(String::from_utf8_lossy(&nobody.stdout).trim(), "Nobody is banned.");
    let event = soon("the lifting is an event", || {
        let page = server.admin().get("/api/v1/events?limit=100").expect(200);
        page["events"].as_array()?.iter().find(|event| event["type"] == "guard_ban_lifted").cloned()
    });
    assert_eq!(event["subject"].as_str().or(event["data"]["subject"].as_str()), Some("127.0.7.1"), "{event}");
}

#[test]
fn the_log_has_one_line_per_event_and_hides_peoples_numbers() {
    let server = Server::start();
    let (anna, bert) = (server.extension("1001"), server.extension("1002"));
    let (mut caller, mut callee) = (Raw::new(&server, &anna), Raw::new(&server, &bert));
    caller.register();
    callee.register();
    // A refresh is not logged.
    callee.register();
    let mut up = caller.call(&callee);
    caller.hang_up(&mut up.caller);
    let ended = soon("the end of the call is in the log", || {
        server.log().lines().find(|line| line.contains("call ended")).map(str::to_owned)
    });
    let call = server.finished_call();
    let id = call["sessionId"].as_str().expect("an id");
    for part in [" INFO ", &format!("call={id}"), "to=1002", "seconds=", "cause=\"completed\""] {
        assert!(ended.contains(part), "{part}: {ended}");
    }
    let lines = |what: &str| server.log().lines().filter(|line| line.contains(what)).count();
    assert_eq!((lines("call ended"), lines("phone registered")), (1, 2), "{}", server.log());
    let text = server.log();
    assert!(!text.contains(&anna.username) && !text.contains(&bert.username), "masked: {text}");
    // `logs` prints text; with the option it prints the JSON lines.
    let printed = server.command(&["logs"]);
    let printed = String::from_utf8_lossy(&printed.stdout).into_owned();
    let line = printed.lines().find(|line| line.contains("call ended")).expect("the line of the call");
    assert!(line.contains(&format!("call={id}")) && !line.contains('{'), "{line}");
    let printed = server.command(&["logs", "-o", "json"]);
    let printed = String::from_utf8_lossy(&printed.stdout).into_owned();
    let line = printed.lines().find(|line| line.contains("call ended")).expect("the line of the call");
    let line: Value = serde_json::from_str(line).expect("JSON");
    assert_eq!((line["call"].as_str(), line["to"].as_str()), (Some(id), Some("1002")));
}

#[test]
fn the_log_reports_state_changes_of_trunks() {
    let server = Server::start();
    let hosts = json!([{"host": "127.0.0.1", "port": server.spare_port(0)}]);
    let wish = json!({"name": "Carrier", "hosts": hosts, "enabled": false});
    let made = server.admin().post("/api/v1/trunks", &wish).expect(200);
    let told = |what: &str| {
        until(Duration::from_secs(60), what, || {
            server.log().lines().find(|line| line.contains(what)).map(str::to_owned)
        })
    };
    assert!(told("trunk disabled").contains("trunk=\"Carrier\""));
    let path = format!("/api/v1/trunks/{}", made["trunk"]["id"].as_str().expect("an id"));
    server.admin().put(&path, &json!({"enabled": true})).expect(200);
    assert!(told("trunk down").contains(" WARN "), "no host answers");
}

#[test]
fn tables_have_the_documented_columns() {
    let server = Server::start();
    let (anna, bert) = (server.extension("1001"), server.extension("1002"));
    let (mut caller, mut callee) = (Raw::new(&server, &anna), Raw::new(&server, &bert));
    caller.register();
    callee.register();
    let mut up = caller.call(&callee);
    caller.hang_up(&mut up.caller);
    let call = server.finished_call();
    let show = |words: &[&str]| {
        let output = server.command(words);
        assert!(output.status.success(), "{words:?}: {}", said(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let text = show(&["call", "show", call["sessionId"].as_str().expect("an id")]);
    for part in ["The call was completed", "Legs", "caller", "Why it was routed so", "extension"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let text = show(&["extension", "show", "1001", "--lang", "es"]);
    for part in [&*anna.username, "Nombre de usuario", "Desvío", "Buzón de voz", "Registrada"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let port = server.spare_port(0).to_string();
    show(&[
        "trunk",
        "add",
        "carrier",
        "--host",
        &format!("127.0.0.1:{port},priority=3"),
        "--did",
        "+34911000001=1001",
    ]);
    let text = show(&["trunk", "show", "carrier"]);
    for part in ["Registration", "Hosts", "127.0.0.1", &port, "+34911000001=1001"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let nope = server.command(&["call", "show", "session_1_nope", "-o", "json"]);
    let error: Value = serde_json::from_str(&said(&nope)).expect("errors are JSON too");
    assert_eq!((nope.status.code(), error["code"].as_str()), (Some(1), Some("not_found")));
}
