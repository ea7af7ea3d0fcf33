//! The published torture messages (RFC 4475, RFC 5118), if a copy is present beside the project: the expected parser result of each.
//!
//! `torture.rs` tests the same ideas with messages of our own, and always runs.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

use std::path::PathBuf;

use base::{Now, Rng};
use bytes::Bytes;
use centralita_sip::{Config, Endpoint, Event, Flow, Hop, Input, Message, Output, Start, Transport};

#[derive(Clone, Copy, PartialEq, Debug)]
enum Outcome {
    /// Parsed; semantic faults are for the layers above.
    Accepted,
    /// Rejected with this status, and a response can be sent.
    Answered(u16),
    /// A useless response, or a request that cannot be answered.
    Dropped,
}
use Outcome::{Accepted, Answered, Dropped};

const TABLE: &[(&str, Outcome)] = &[
    ("rfc4475/badaspec", Answered(400)),
    ("rfc4475/badbranch", Accepted),
    ("rfc4475/baddate", Accepted),
    ("rfc4475/baddn", Answered(400)),
    ("rfc4475/badinv01", Answered(400)),
    ("rfc4475/badvers", Answered(505)),
    ("rfc4475/bcast", Accepted),
    ("rfc4475/bext01", Accepted),
    ("rfc4475/bigcode", Dropped),
    ("rfc4475/clerr", Answered(400)),
    ("rfc4475/cparam01", Accepted),
    ("rfc4475/cparam02", Accepted),
    ("rfc4475/dblreq", Accepted),
    ("rfc4475/esc01", Accepted),
    ("rfc4475/esc02", Accepted),
    ("rfc4475/escnull", Accepted),
    ("rfc4475/escruri", Answered(400)),
    ("rfc4475/insuf", Answered(400)),
    ("rfc4475/intmeth", Accepted),
    ("rfc4475/inv2543", Accepted),
    ("rfc4475/invut", Accepted),
    ("rfc4475/longreq", Accepted),
    ("rfc4475/ltgtruri", Answered(400)),
    ("rfc4475/lwsdisp", Accepted),
    ("rfc4475/lwsruri", Answered(400)),
    ("rfc4475/lwsstart", Answered(400)),
    ("rfc4475/mcl01", Answered(400)),
    ("rfc4475/mismatch01", Answered(400)),
    ("rfc4475/mismatch02", Answered(400)),
    ("rfc4475/mpart01", Accepted),
    ("rfc4475/multi01", Answered(400)),
    ("rfc4475/ncl", Answered(400)),
    ("rfc4475/noreason", Accepted),
    ("rfc4475/novelsc", Accepted),
    ("rfc4475/quotbal", Answered(400)),
    ("rfc4475/regaut01", Accepted),
    ("rfc4475/regbadct", Accepted), // its Contact is rejected on access, see below
    ("rfc4475/regescrt", Accepted),
    ("rfc4475/scalar02", Answered(400)),
    ("rfc4475/scalarlg", Dropped),
    ("rfc4475/sdp01", Accepted),
    ("rfc4475/semiuri", Accepted),
    ("rfc4475/transports", Accepted),
    ("rfc4475/trws", Answered(400)),
    ("rfc4475/unkscm", Accepted),
    ("rfc4475/unksm2", Accepted),
    ("rfc4475/unreason", Accepted),
    ("rfc4475/wsinv", Accepted),
    ("rfc4475/zeromf", Accepted),
    ("rfc5118/ipv4-mapped-ipv6", Accepted),
    ("rfc5118/ipv6-bad", Answered(400)),
    ("rfc5118/ipv6-bug-abnf-3-colons", Accepted),
    ("rfc5118/ipv6-correct-abnf-2-colons", Accepted),
    ("rfc5118/ipv6-good", Accepted),
    ("rfc5118/ipv6-in-sdp", Accepted),
    ("rfc5118/mult-ip-in-header", Accepted),
    ("rfc5118/mult-ip-in-sdp", Accepted),
    ("rfc5118/port-ambiguous", Accepted),
    ("rfc5118/port-unambiguous", Accepted),
    ("rfc5118/via-received-param-no-delim", Accepted),
    ("rfc5118/via-received-param-with-delim", Accepted),
];

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/torture")
}

fn outcome_of(bytes: Bytes) -> Outcome {
    match Message::parse(bytes) {
        Ok(_) => Accepted,
        Err(error) if error.answerable.is_some() => Answered(error.status),
        Err(_) => Dropped,
    }
}

#[test]
fn every_published_torture_message_is_handled_as_the_rfc_says() {
    if !folder().is_dir() {
        eprintln!("no copy of the published messages beside the project: only our own are tested");
        return;
    }
    let mut wrong = Vec::new();
    for &(name, expected) in TABLE {
        let path = folder().join(format!("{name}.dat"));
        let bytes =
            Bytes::from(std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())));
        let outcome = outcome_of(bytes.clone());
        if outcome != expected {
            let why = Message::parse(bytes.clone()).err().map(|error| error.what);
            wrong.push(format!("{name}: {outcome:?} ({why:?}), not {expected:?}"));
        }
        if let Ok(message) = Message::parse(bytes) {
            if name.ends_with("regbadct") {
                assert_eq!(message.contacts().unwrap_err().status, 400);
            } else if !matches!(message.start(), Start::Response { .. }) {
                assert!(message.contacts().is_ok(), "{name}");
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The endpoint responds to every request or reports it; a response without transaction has no effect.
#[test]
fn the_endpoint_answers_every_published_request_or_reports_it() {
    if !folder().is_dir() {
        return;
    }
    let hop = Hop {
        transport: Transport::Udp,
        listener: 0,
        local: "192.0.2.1:5060".parse().unwrap(),
        remote: "192.0.2.7:5060".parse().unwrap(),
        flow: Flow::default(),
    };
    let mut wrong = Vec::new();
    for &(name, expected) in TABLE {
        let bytes = Bytes::from(std::fs::read(folder().join(format!("{name}.dat"))).unwrap());
        let response = bytes.starts_with(b"SIP/");
        let mut endpoint = Endpoint::new(Config::default(), Rng::from_number(1));
        let mut out = Vec::new();
        endpoint.handle(Now::default(), Input::Packet { hop, bytes }, &mut out);
        let outputs: Vec<String> = out
            .iter()
            .map(|output| match output {
                Output::Transmit { bytes, .. } => String::from_utf8_lossy(&bytes[8..11]).into_owned(),
                Output::Event(Event::Request(_)) => "reported".into(),
                Output::Event(_) | Output::Received { .. } => "else".into(),
            })
            .collect();
        let fine = match expected {
            _ if response => outputs.is_empty(),
            Answered(status) => outputs == [status.to_string()],
            // Rejected by the endpoint itself (RFC 3261 §8.2): method, body, scheme, extension, Max-Forwards, BYE without dialog.
            Accepted => {
                matches!(outputs.as_slice(), [one] if ["reported", "501", "405", "415", "416", "420", "483", "481"].contains(&one.as_str()))
            }
            Dropped => outputs.is_empty(),
        };
        if !fine {
            wrong.push(format!("{name}: {outputs:?}, not {expected:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
