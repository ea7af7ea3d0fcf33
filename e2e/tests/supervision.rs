//! Panics of threads and tasks: their effect on the process, on calls and registrations, and what the operator sees.

use std::net::UdpSocket;
use std::time::Duration;

use e2e::raw::Raw;
use e2e::wire::{Wire, options, register_port};
use e2e::{Account, Answering, Phone, Server, Settings, soon, until};
use serde_json::Value;

/// A message or packet with this text makes the thread panic that handles it.
const MARK: &str = "centralita-fault-panic";

fn with_faults() -> Server {
    Server::with(Settings { faults: true, ..Settings::default() })
}

/// The tasks in the status, by name.
fn task(server: &Server, name: &str) -> Option<Value> {
    let status = server.admin().get("/api/v1/opensips/status").expect(200);
    status["tasks"].as_array()?.iter().find(|task| task["name"] == name).cloned()
}

/// Value of a metric, by its name and labels.
fn metric(server: &Server, name: &str) -> Option<f64> {
    let page = server.admin().get("/metrics");
    assert_eq!(page.status, 200, "{}", page.body);
    page.body.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
}

#[test]
fn a_panic_of_the_switch_thread_exits_with_70_and_logs_where_its_input_is() {
    let mut server = with_faults();
    let extension = server.extension("1001");
    register_port(&server, &extension, server.spare_port(0));
    let mut wire = Wire::udp(server.sip());
    let message = options(&wire, 1).replacen(
        "Max-Forwards",
        &format!("X-Secret: {MARK} Jos\u{e9} 5691234567\r\nMax-Forwards"),
        1,
    );
    wire.send(message.as_bytes());
    assert_eq!(server.ends(), Some(70));
    let log = server.log();
    let sentence =
        log.lines().find(|line| line.contains("the exchange panicked at")).unwrap_or_else(|| panic!("{log}"));
    assert!(sentence.contains("exit code 70"), "{sentence}");
    let path =
        sentence.split("is described in ").nth(1).and_then(|rest| rest.split(';').next()).expect("a path");
    let file = std::fs::read_to_string(server.data().join("..").join(path))
        .or_else(|_| std::fs::read_to_string(path));
    let file = file.expect("the input is described");
    assert!(file.contains("OPTIONS ") && file.contains("X-Secret: "), "{file}");
    let whole = std::fs::read_to_string(server.data().join("logs/centralita.log")).expect("a log");
    for text in [&file, &log, &whole] {
        assert!(!text.contains("5691234567") && !text.contains("Jos\u{e9}"), "{text}");
    }
    assert!(whole.contains("the exchange panicked at"), "the log has it too");
    server.restart();
    let status = server.admin().get("/api/v1/opensips/status").expect(200);
    assert_eq!(status["registrations"], 1, "{status}");
    // A client without response retransmits: one request is enough.
    wire.send(message.as_bytes());
    let other = options(&wire, 2);
    wire.send(other.as_bytes());
    assert!(wire.receive(Duration::from_secs(5)).is_some(), "the exchange answers what came after it");
    assert!(server.lives());
}

#[test]
fn a_panic_of_a_media_worker_releases_its_call_and_the_next_one_has_audio() {
    let server = Server::with(Settings { faults: true, more: "workers = 1\n".into(), ..Settings::default() });
    let (first, second) = (server.extension("1001"), server.extension("1002"));
    let account = |extension, answering| Account::of(extension, server.sip()).answering(answering);
    let mut one = Phone::registered("one", 440, &account(&first, Answering::OnCommand));
    let two = Phone::registered("two", 1000, &account(&second, Answering::AtOnce));
    one.dial("sip:1002@localhost");
    one.expect("CALL_ESTABLISHED");
    one.hears(1000);
    // Only ports of active calls are read.
    let stranger = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    for port in server.rtp().filter(|port| port % 2 == 0) {
        let _ = stranger.send_to(MARK.as_bytes(), ("127.0.0.1", port));
    }
    one.expect("CALL_CLOSED");
    two.expect("CALL_CLOSED");
    let call = server.finished_call();
    assert_eq!(
        (call["status"].as_str(), call["endReason"].as_str()),
        (Some("completed"), Some("internal")),
        "{call:#}"
    );
    let worker = until(Duration::from_secs(10), "the worker begins anew", || {
        task(&server, "media-0").filter(|task| task["restarts"] == 1 && task["status"] == "running")
    });
    assert!(worker["lastFault"].as_str().is_some_and(|fault| fault.contains("panicked at")), "{worker}");
    soon("its ports are back", || {
        let status = server.admin().get("/api/v1/opensips/status").expect(200);
        (status["portsInUse"] == 0 && status["activeCalls"] == 0).then_some(())
    });
    one.dial("sip:1002@localhost");
    one.expect("CALL_ESTABLISHED");
    two.expect("CALL_ESTABLISHED");
    one.hears(1000);
    two.hears(440);
    assert!(metric(&server, "centralita_rtp_packets_received_total{worker=\"0\"}") > Some(50.0));
    assert!(metric(&server, "centralita_media_worker_busy_seconds_total{worker=\"0\"}") > Some(0.0));
}

#[test]
fn tasks_that_panic_are_restarted_and_shown() {
    let server = with_faults();
    let mut names = vec![
        "database-upkeep",
        "http-accept",
        "key-usage",
        "mail",
        "recording-keeper",
        "scheduler",
        "sip-accept",
        "voicemail",
        "webhooks",
    ];
    // Needed only by nodes that share a database.
    let shared = ["directory-follow", "registrar-lease"];
    if std::env::var("CENTRALITA_TEST_STORE").is_ok_and(|store| store == "postgres") {
        names.extend(shared);
    } else {
        for name in shared {
            soon(name, || task(&server, name).filter(|task| task["status"] == "ended"));
        }
    }
    for name in names.clone() {
        let before = task(&server, name).unwrap_or_else(|| panic!("{name} is not watched"));
        assert_eq!((before["restarts"].as_u64(), &before["lastFault"]), (Some(0), &Value::Null), "{before}");
        server.fault(name);
        // The API's listener may be away for a moment.
        let after = until(Duration::from_secs(10), name, || {
            let answer = server.admin().send("GET", "/api/v1/opensips/status", "*/*", None).ok()?;
            let status = answer.json();
            let task = status["tasks"].as_array()?.iter().find(|task| task["name"] == name)?.clone();
            (task["restarts"] == 1 && task["status"] == "running").then_some(task)
        });
        assert!(after["lastFault"].as_str().is_some_and(|fault| fault.contains("panicked at")), "{after}");
        let restarts = format!("centralita_task_restarts_total{{task=\"{name}\"}}");
        assert_eq!(metric(&server, &restarts), Some(1.0), "{name}");
        assert_eq!(metric(&server, &format!("centralita_task_up{{task=\"{name}\"}}")), Some(1.0), "{name}");
    }
    let printed = server.command(&["status"]);
    let printed = String::from_utf8_lossy(&printed.stdout).into_owned();
    for name in names {
        assert!(printed.lines().any(|line| line.starts_with(name) && line.contains("running")), "{printed}");
    }
    // A stopped task has ended, and its restart is the same task.
    for (order, state) in [("stop", "ended"), ("start", "running")] {
        server.admin().post(&format!("/api/v1/opensips/{order}"), &serde_json::json!({})).expect(200);
        let task = soon(state, || task(&server, "sip-accept").filter(|task| task["status"] == state));
        assert_eq!(task["restarts"], 1, "{task}");
    }
    // Everything still works.
    let extension = server.extension("1001");
    let wire = Wire::tcp(server.sip());
    register_port(&server, &extension, wire.local().port());
    assert_eq!(task(&server, "exchange").map(|task| task["restarts"].clone()), Some(0.into()));
}

#[test]
fn a_panic_of_the_recording_writer_loses_no_later_recording() {
    let server = with_faults();
    let (first, second) = (server.extension("1001"), server.extension("1002"));
    let (mut one, mut two) = (Raw::new(&server, &first), Raw::new(&server, &second));
    one.register();
    two.register();
    let mut up = one.call(&two);
    server.fault("recordings");
    let id = server.calls()[0]["sessionId"].as_str().expect("an id").to_owned();
    let path = format!("/api/v1/opensips/call/{id}/recording/start");
    server.admin().post(&path, &serde_json::json!({})).expect(200);
    soon("the thread begins anew", || task(&server, "recordings").filter(|task| task["restarts"] == 1));
    one.hang_up(&mut up.caller);
    let bye = two.expect_request("BYE");
    two.answer(&bye, 200, "", "");
    soon("the recording is complete", || {
        let page = server.admin().get("/api/v1/recordings").expect(200);
        (page["recordings"][0]["state"] == "complete").then_some(())
    });
}

#[test]
fn a_panic_of_an_essential_task_exits_with_70() {
    let mut server = with_faults();
    server.fault("feeder");
    assert_eq!(server.ends(), Some(70));
    assert!(server.log().contains("the feeder panicked at"), "{}", server.log());
    server.restart();
}

#[test]
fn an_unread_stderr_does_not_block_the_server() {
    let mut server = Server::with(Settings {
        unread_stderr: true,
        faults: true,
        more: "[log]\nlevel = \"trace\"\n".into(),
        ..Settings::default()
    });
    let extension = server.extension("1001");
    let mut wire = Wire::udp(server.sip());
    // Far more lines than the pipe and the queue before it hold.
    let dropped = "centralita_log_lines_dropped_total{output=\"stderr\"}";
    let mut n = 0;
    until(Duration::from_secs(60), "lines are dropped, and counted", || {
        for _ in 0..50 {
            n += 1;
            let ask = options(&wire, n);
            wire.send(ask.as_bytes());
            assert!(wire.receive(Duration::from_secs(5)).is_some(), "the exchange answers");
            assert_eq!(server.http(None).get("/healthz").status, 200);
        }
        metric(&server, dropped).filter(|count| *count > 0.0)
    });
    register_port(&server, &extension, server.spare_port(0));
    let file = std::fs::read_to_string(server.data().join("logs/centralita.log")).expect("the log");
    assert!(file.lines().count() > 1_000, "the file goes on");
    // It does not delay the shutdown either, and the log file has the reason.
    server.fault("feeder");
    assert_eq!(server.ends(), Some(70));
    let file = std::fs::read_to_string(server.data().join("logs/centralita.log")).expect("the log");
    assert!(file.contains("the feeder panicked at"), "{}", file.lines().last().unwrap_or_default());
}

#[test]
fn the_metrics_of_the_loops_are_exported() {
    let server = Server::start();
    let extension = server.extension("1001");
    register_port(&server, &extension, server.spare_port(0));
    for name in ["centralita_loop_iteration_seconds_count", "centralita_journal_write_seconds_count"] {
        soon(name, || metric(&server, name).filter(|count| *count > 0.0));
    }
    soon("the feeder catches up", || {
        metric(&server, "centralita_feeder_waiting_records").filter(|n| *n == 0.0)
    });
    assert!(metric(&server, "centralita_feeder_lag_seconds") < Some(5.0));
    for name in [
        "centralita_task_up{task=\"exchange\"}",
        "centralita_rtp_packets_sent_total{worker=\"0\"}",
        "centralita_rtp_packets_dropped_total{reason=\"refused\"}",
        "centralita_log_lines_dropped_total{output=\"file\"}",
        "centralita_loop_iteration_seconds_bucket{le=\"+Inf\"}",
    ] {
        assert!(metric(&server, name).is_some(), "{name}\n{}", server.admin().get("/metrics").body);
    }
}
