//! Events: each fact once, in order, whenever the process is killed (S88, S95).

use std::collections::BTreeMap;
use std::time::Duration;

use e2e::raw::Raw;
use e2e::{Server, until};
use serde_json::Value;

fn events(server: &Server, query: &str) -> Vec<Value> {
    let page = server.admin().get(&format!("/api/v1/events?order=asc&limit=1000&{query}")).expect(200);
    page["events"].as_array().unwrap().clone()
}

/// Kinds of call events, by call.
fn calls(server: &Server) -> BTreeMap<String, Vec<String>> {
    let mut calls: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for event in events(server, "type=call_started,call_ringing,call_answered,call_ended") {
        let text = |name: &str| event[name].as_str().unwrap().to_owned();
        calls.entry(text("subject")).or_default().push(text("type"));
    }
    calls
}

const RINGING_EVENTS: [&str; 4] = ["call_started", "call_ringing", "call_answered", "call_ended"];
const CRASHED: [&str; 3] = ["call_started", "call_answered", "call_ended"];

#[test]
fn events_of_calls_and_phones_are_sent_once_despite_kills() {
    let mut server = Server::start();
    let (alice, bob) = (server.extension("1001"), server.extension("1002"));
    let (mut a, mut b) = (Raw::new(&server, &alice), Raw::new(&server, &bob));
    a.register();
    b.register();
    let body = a.sdp();
    let dialling = a.invite("1002", "", &body);
    a.send(dialling.text.as_bytes());
    let invite = b.expect_request("INVITE");
    b.answer(&invite, 180, "", "");
    b.answer(&invite, 200, "", &b.sdp());
    let ok = a.expect_final("INVITE");
    let mut side = a.send_ack(&dialling, &ok);
    b.expect_request("ACK");
    a.hang_up(&mut side);
    let bye = b.expect_request("BYE");
    b.answer(&bye, 200, "", "");
    let has_events = |wanted: &[&[&str]]| {
        let mut there: Vec<Vec<String>> = calls(&server).into_values().collect();
        there.sort();
        let mut wanted: Vec<Vec<String>> =
            wanted.iter().map(|kinds| kinds.iter().map(|kind| (*kind).to_owned()).collect()).collect();
        wanted.sort();
        (there == wanted).then_some(())
    };
    until(Duration::from_secs(10), "the events of the first call", || has_events(&[&RINGING_EVENTS]));
    // A call that is active when the process is killed, whether it is in the database yet or not.
    a.call(&b);
    server.restart();
    let has_events = |server: &Server| {
        let lengths: Vec<usize> = calls(server).values().map(Vec::len).collect();
        (lengths.iter().sum::<usize>() == RINGING_EVENTS.len() + CRASHED.len()).then_some(())
    };
    until(Duration::from_secs(10), "the events of the second call", || has_events(&server));
    until(Duration::from_secs(20), "the events of both phones", || {
        (events(&server, "type=registration_added").len() >= 2).then_some(())
    });
    // Each start reads the journal again: facts that are in the database already give no new event.
    for _ in 0..2 {
        server.restart();
        let ended = events(&server, "type=call_ended");
        let reasons: Vec<&str> =
            ended.iter().map(|event| event["data"]["endReason"].as_str().unwrap()).collect();
        assert_eq!(reasons, ["completed", "crash"]);
        for kinds in calls(&server).values() {
            assert!(*kinds == RINGING_EVENTS || *kinds == CRASHED, "{kinds:?}");
        }
        assert_eq!(events(&server, "type=registration_added").len(), 2);
    }
}
