//! Recurring calls in the real binary: dialled when due, at the configured pace, and once, however often the process is killed.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use e2e::raw::Raw;
use e2e::recurring::{AutoAnswerPhone, ended_run, now, plan};
use e2e::{Extension, Server, Settings, soon, until};
use serde_json::{Value, json};

#[test]
fn a_due_call_rings_the_extension_then_the_destination() {
    let server = Server::start();
    let (alice, bob) = (server.extension("1001"), server.extension("1002"));
    let (mut a, mut b) = (Raw::new(&server, &alice), Raw::new(&server, &bob));
    a.register();
    b.register();
    let id = plan(&server, &alice, "1002", now() / 1_000_000 + 3);

    // S86: the extension's phone rings first, and the destination only once it has answered.
    let invite = a.expect_request("INVITE");
    assert!(now() / 1000 % 1000 < 700, "S81: not when it was due");
    assert!(b.drain().iter().all(|message| message.method() != Some("INVITE")));
    a.answer(&invite, 200, "", &a.sdp());
    a.expect_request("ACK");
    let called = b.expect_request("INVITE");
    assert!(called.header("From").is_some_and(|from| from.contains("<sip:1001@")), "{}", called.text);
    b.answer(&called, 200, "", &b.sdp());
    b.expect_request("ACK");
    let run = ended_run(&server, &alice, &id);
    assert_eq!((&run["state"], &run["attempts"]), (&json!("done"), &json!(1)), "{run}"); // S85
    let session = run["sessionId"].as_str().expect("its call");
    let http = server.http(Some(&alice.key));
    let call = http.get(&format!("/api/v1/opensips/call/{session}")).expect(200);
    assert_eq!(call["session"]["status"], "in-progress", "{call}");
    assert!(call["session"]["trace"].to_string().contains(&id), "the call says why it was made: {call}");
    let mut side = b.callee_side(&called);
    b.hang_up(&mut side);
    a.expect_request("BYE");

    // S83: disabled, it is never due.
    let path = format!("/api/v1/voip/recurring-calls/{id}");
    let on = http.get(&path).expect(200);
    assert!(on["recurringCall"]["nextExecution"].is_string(), "{on}");
    let off = http.put(&path, &json!({"enabled": false})).expect(200);
    assert!(off["recurringCall"]["nextExecution"].is_null(), "{off}");

    // The same on the command line.
    let next = server.command(&["schedule", "next", &id, "--count", "2", "-o", "json"]);
    let next: Value = serde_json::from_slice(&next.stdout).unwrap_or_else(|_| panic!("{next:?}"));
    assert_eq!(next.as_array().map(Vec::len), Some(2), "{next}");
    let list = server.command(&["schedule", "list"]);
    assert!(String::from_utf8_lossy(&list.stdout).contains(&id), "{list:?}");
}

#[test]
fn an_unanswered_recurring_call_is_recorded_as_failed_with_its_reason() {
    let server = Server::start();
    let alice = server.extension("1001");
    let mut a = Raw::new(&server, &alice);
    a.register();
    let id = plan(&server, &alice, "*43", now() / 1_000_000 + 2);
    let invite = a.expect_request("INVITE");
    a.answer(&invite, 486, "", "");
    let run = ended_run(&server, &alice, &id);
    assert_eq!((&run["state"], &run["endReason"]), (&json!("failed"), &json!("busy")), "{run}"); // S95
    // Its removal ends nothing here, and its history is removed too.
    let path = format!("/api/v1/voip/recurring-calls/{id}");
    server.http(Some(&alice.key)).delete(&path).expect(200);
    assert_eq!(server.http(Some(&alice.key)).get(&path).status, 404);
}

/// Call-ID of the device's leg in a run's call; `None` if there was no such leg.
fn device_leg(server: &Server, extension: &Extension, run: &Value) -> Option<String> {
    let session = run["sessionId"].as_str()?;
    let path = format!("/api/v1/opensips/call/{session}");
    let answer = server.http(Some(&extension.key)).get(&path).expect(200);
    answer["session"]["legs"][0]["sipCallId"].as_str().map(str::to_owned)
}

#[test]
fn calls_due_together_are_dialled_at_the_pace_and_in_order() {
    // S85
    let more = "[limits]\nrequests_per_minute = 100000\nrecurring_calls_per_second = 5\n".to_owned();
    let server = Server::with(Settings { more, ..Settings::default() });
    let alice = server.extension("1001");
    let mut phone = Raw::new(&server, &alice);
    phone.register();
    let phone = AutoAnswerPhone::start(phone);
    let second = now() / 1_000_000 + 4;
    let mut ids: Vec<String> = (0..10).map(|_| plan(&server, &alice, "*43", second)).collect();
    assert!(now() / 1_000_000 < second, "they were planned in time");
    until(Duration::from_secs(20), "all ring", || (phone.calls().len() == 10).then_some(()));
    let mut came: Vec<Instant> = phone.calls().into_values().collect();
    came.sort();
    // Nine intervals of 200 ms; unpaced calls would arrive within a few milliseconds. The exact pace is tested in simulated time
    // (`crates/switch/tests/recurring_calls.rs`).
    let span = came[came.len() - 1].duration_since(came[0]);
    assert!(span > Duration::from_millis(300), "ten calls within {span:?} at five per second");
    // In the order of their due times and, for equal times, of their ids.
    ids.sort();
    let calls = phone.calls();
    let in_order: Vec<Instant> = ids
        .iter()
        .map(|id| {
            let run = ended_run(&server, &alice, id);
            assert_eq!(run["state"], "done", "{run}");
            calls[&device_leg(&server, &alice, &run).expect("a leg")]
        })
        .collect();
    assert!(in_order.is_sorted());
}

#[test]
fn kills_around_the_due_time_neither_duplicate_nor_lose_a_call() {
    const KILLS: u64 = 20;
    const AT_ONCE: usize = 4;
    // S85: the process is killed between half a second before the due time and half a second after it.
    let more =
        "[limits]\nrequests_per_minute = 100000\nrecurring_calls_per_second = 20\ncalls_per_user = 1000\n"
            .to_owned();
    let mut server = Server::with(Settings { more, ..Settings::default() });
    // One phone per call of a round, so that the ringing phone identifies the call.
    let phones: Vec<(Extension, AutoAnswerPhone)> = (0..AT_ONCE)
        .map(|n| {
            let extension = server.extension(&format!("{}", 1001 + n));
            let mut phone = Raw::new(&server, &extension);
            phone.register();
            (extension, AutoAnswerPhone::start(phone))
        })
        .collect();
    let mut outcomes: BTreeMap<String, usize> = BTreeMap::new();
    let mut rung = [0; AT_ONCE];
    for kill in 0..KILLS {
        let second = now() / 1_000_000 + 2;
        let ids: Vec<String> =
            phones.iter().map(|(extension, _)| plan(&server, extension, "*43", second)).collect();
        let at = second * 1_000_000 - 500_000 + kill * 50_000;
        std::thread::sleep(Duration::from_micros(at.saturating_sub(now())));
        server.kill();
        server.restart();
        for (n, (extension, phone)) in phones.iter().enumerate() {
            let run = ended_run(&server, extension, &ids[n]);
            let state = run["state"].as_str().unwrap_or_default().to_owned();
            assert_ne!(state, "missed", "there was time to dial: {run}");
            let new_calls = phone.calls().len() - rung[n];
            assert!(new_calls <= 1, "kill {kill}: dialled {new_calls} times: {run}");
            let recorded_as_crash = state == "failed" && run["endReason"] == "crash";
            assert!(
                new_calls == 1 || recorded_as_crash,
                "kill {kill}: neither dialled nor recorded as crashed: {run}"
            );
            rung[n] += new_calls;
            *outcomes.entry(format!("{state}, rang {new_calls}")).or_default() += 1;
            let session = run["sessionId"].as_str().expect("its call");
            let http = server.http(Some(&extension.key));
            http.post(&format!("/api/v1/opensips/call/{session}/end"), &json!({})).expect(200);
            http.delete(&format!("/api/v1/voip/recurring-calls/{}", ids[n])).expect(200);
        }
    }
    let (all, rung) = (KILLS as usize * AT_ONCE, rung.iter().sum::<usize>());
    println!("{outcomes:?}");
    assert_eq!(outcomes.values().sum::<usize>(), all, "{outcomes:?}");
    assert!(rung * 100 >= all * 95, "{rung} of {all} rang: {outcomes:?}");
    soon("nothing is left", || server.calls().iter().all(|call| call["endedAt"].is_string()).then_some(()));
    assert_eq!(
        phones.iter().map(|(_, phone)| phone.calls().len()).sum::<usize>(),
        rung,
        "nothing rang later"
    );
}
