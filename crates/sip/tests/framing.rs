//! Framing of streams, however they are split.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

use bytes::Bytes;
use centralita_sip::{Frame, Framer, Message, limits};
use proptest::prelude::*;

fn message(length: &str, body: &str) -> String {
    format!(
        "OPTIONS sip:h SIP/2.0\r\nVia: SIP/2.0/TCP 192.0.2.7;branch=z9hG4bKone\r\nFrom: <sip:a@h>;tag=a\r\nTo: <sip:b@h>\r\n\
         Call-ID: framing\r\nCSeq: 1 OPTIONS\r\n{length}\r\n{body}"
    )
}

/// All frames, each as a comparable text.
fn frames(parts: &[&[u8]]) -> Vec<String> {
    let mut framer = Framer::default();
    let mut out = Vec::new();
    for part in parts {
        framer.push(part);
        while let Some(frame) = framer.next() {
            out.push(match frame {
                Frame::Message(bytes) => format!("message {}", bytes.escape_ascii()),
                Frame::Ping => "ping".into(),
                Frame::Pong => "pong".into(),
                Frame::Broken { answer, why } => {
                    format!(
                        "broken: {why}; {}",
                        answer.map_or("no answer".into(), |a| a.escape_ascii().to_string())
                    )
                }
            });
        }
    }
    out
}

fn one(text: &str) -> String {
    let all = frames(&[text.as_bytes()]);
    assert_eq!(all.len(), 1, "{all:?}");
    all[0].clone()
}

#[test]
fn a_stream_split_into_bytes_yields_the_same_frames() {
    let text = format!(
        "\r\n\r\n{}{}\r\n{}",
        message("Content-Length: 4\r\n", "body"),
        message("l:\r\n 0\r\n", ""),
        message("L : 2\r\n", "\r\n")
    );
    let bytes: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
    let all = frames(&bytes);
    assert_eq!(all, frames(&[text.as_bytes()]));
    let kinds: Vec<&str> = all.iter().map(|frame| frame.split(' ').next().unwrap()).collect();
    assert_eq!(kinds, ["pong", "ping", "message", "message", "pong", "message"]);
}

#[test]
fn pings_and_pongs_come_at_once() {
    let mut framer = Framer::default();
    framer.push(b"\r\n");
    assert!(matches!(framer.next(), Some(Frame::Pong))); // RFC 5626 §4.4.1: a pong is not held back
    assert!(framer.next().is_none() && !framer.is_midway());
    framer.push(b"\r");
    assert!(framer.next().is_none());
    framer.push(b"\n");
    assert!(matches!(framer.next(), Some(Frame::Ping)));
    framer.push(b"OPTIONS");
    assert!(framer.next().is_none() && framer.is_midway()); // the server gives it 10 s
}

#[test]
fn a_message_without_valid_content_length_closes_the_stream_with_a_response() {
    for (length, status) in [
        ("", "400 Missing Content-Length"),
        ("Content-Length: -1\r\n", "400 Bad Content-Length"),
        ("Content-Length: 0, 0\r\n", "400 Bad Content-Length"),
        ("Content-Length:\r\n", "400 Bad Content-Length"),
        ("Content-Length: 0\r\nl: 0\r\n", "400 Repeated Content-Length"),
        ("l: 0\r\nContent-Length: 900\r\n", "400 Repeated Content-Length"),
        ("Content-Length: 18446744073709551615\r\n", "513 Body Too Large"),
        ("Content-Length: 184467440737095516150000000000\r\n", "513 Body Too Large"),
        ("Content-Length: 262145\r\n", "513 Body Too Large"),
    ] {
        let frame = one(&message(length, "0123456789"));
        assert!(
            frame.starts_with("broken: ") && frame.contains(&format!("SIP/2.0 {status}\\r\\n")),
            "{frame}"
        );
        assert!(frame.contains("CSeq: 1 OPTIONS") && frame.contains("branch=z9hG4bKone"), "{frame}");
    }
    assert!(one("GET / HTTP/1.1\r\nHost: h\r\n\r\n").ends_with("no answer"));
    assert!(
        one(&message("", "").replacen("OPTIONS sip:h SIP/2.0", "SIP/2.0 200 OK", 1)).ends_with("no answer")
    );
    assert!(one(&message("", "").replace("OPTIONS", "ACK")).ends_with("no answer")); // an ACK gets no response
}

#[test]
fn no_frame_follows_a_broken_one() {
    let mut framer = Framer::default();
    framer.push(message("", "").as_bytes());
    assert!(matches!(framer.next(), Some(Frame::Broken { .. })));
    framer.push(message("l: 0\r\n", "").as_bytes());
    assert!(framer.next().is_none() && !framer.is_midway());
}

#[test]
fn an_endless_head_is_rejected_at_its_limit() {
    let mut framer = Framer::default();
    framer.push(message("", "").trim_end().as_bytes());
    framer.push(b"\r\n");
    let mut pushed = 0;
    let broken = loop {
        framer.push(b"X-Endless: 0123456789012345678901234567890123456789\r\n");
        pushed += 53;
        if let Some(frame) = framer.next() {
            break frame;
        }
        assert!(pushed <= limits::HEAD_BYTES);
    };
    let Frame::Broken { answer: Some(answer), .. } = broken else { panic!("{broken:?}") };
    assert!(answer.starts_with(b"SIP/2.0 513 Head Too Large\r\n"));
    let mut framer = Framer::default();
    framer.push(&vec![b'x'; limits::HEAD_BYTES + 1]);
    assert!(matches!(framer.next(), Some(Frame::Broken { answer: None, .. })));
}

#[test]
fn the_largest_allowed_body_is_accepted() {
    let text =
        message(&format!("Content-Length: {}\r\n", limits::BODY_BYTES), &"b".repeat(limits::BODY_BYTES));
    let mut framer = Framer::default();
    framer.push(text.as_bytes());
    let Some(Frame::Message(bytes)) = framer.next() else { panic!("no message") };
    assert_eq!(Message::parse(bytes).unwrap().body().len(), limits::BODY_BYTES);
}

proptest! {
    #[test]
    fn frames_do_not_depend_on_how_the_stream_is_split(
        pieces in prop::collection::vec(
            prop_oneof![
                Just("\r\n".to_owned()), Just("\r".to_owned()), Just("\n".to_owned()), Just(message("l: 3\r\n", "abc")),
                Just(message("Content-Length : 0\r\n", "")), Just(message("", "")), Just("noise".to_owned()),
                Just(message("l: 2\r\nX: a\n\r\n", "\r\n")), Just(message("l:\r\n\t1\r\n", "x")),
            ],
            0..8,
        ),
        cuts in prop::collection::vec(1usize..40, 1..60),
    ) {
        let text = pieces.concat();
        let mut parts = Vec::new();
        let mut rest = text.as_bytes();
        for cut in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (part, next) = rest.split_at((*cut).min(rest.len()));
            parts.push(part);
            rest = next;
        }
        prop_assert_eq!(frames(&parts), frames(&[text.as_bytes()]));
    }

    /// The parser must find in a frame the same body that the framer cut.
    #[test]
    fn framer_and_parser_agree_on_the_body(lines in prop::collection::vec("(l|Content-Length|X)[ \t]{0,2}:(\r\n )?[ \t]{0,2}[0-9]{0,2}(\r\n\t)?[ ,a-]{0,1}\r\n", 1..4)) {
        let text = message(&lines.concat(), &"0123456789".repeat(11));
        let mut framer = Framer::default();
        framer.push(text.as_bytes());
        let parsed = Message::parse(Bytes::from(text.clone()));
        match framer.next() {
            Some(Frame::Message(bytes)) => {
                let framed = Message::parse(bytes.clone()).unwrap();
                prop_assert_eq!(framed.body(), parsed.unwrap().body());
                prop_assert!(bytes.ends_with(&framed.body()));
            }
            Some(Frame::Broken { why, .. }) => {
                prop_assert_eq!(parsed.err().map_or("Missing Content-Length", |error| error.what), why);
            }
            other => prop_assert!(false, "{:?}", other),
        }
    }
}

#[test]
fn an_unauthenticated_peer_may_send_small_bodies_only() {
    let large = limits::UNAUTHENTICATED_BODY_BYTES + 1;
    let text = message(&format!("Content-Length: {large}\r\n"), &"x".repeat(large));
    let mut framer = Framer::unauthenticated();
    framer.push(text.as_bytes());
    let Some(Frame::Broken { answer: Some(answer), why }) = framer.next() else {
        panic!("the body was accepted")
    };
    assert_eq!(why, "Body Too Large");
    assert!(answer.starts_with(b"SIP/2.0 513 "), "{}", answer.escape_ascii());

    let mut framer = Framer::unauthenticated();
    framer.push(message("Content-Length: 4\r\n", "body").as_bytes());
    assert!(matches!(framer.next(), Some(Frame::Message(_))));
    framer.set_authenticated();
    framer.push(text.as_bytes());
    assert!(matches!(framer.next(), Some(Frame::Message(_))), "the peer has authenticated");
}
