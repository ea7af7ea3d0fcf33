//! Properties of session descriptions: serialising and parsing round-trips, answers stay within their offers, random input does not panic.

use std::net::IpAddr;

use centralita_media::sdp::{Direction, LocalMedia, SessionDescription, answer, apply_answer, offer};
use proptest::prelude::*;

fn local() -> LocalMedia {
    let address = IpAddr::from([192, 0, 2, 1]);
    LocalMedia { address, port: 10_000, session: 1, version: 1, direction: Direction::SendRecv }
}

/// Lines as peers write them, in any order, some of them invalid.
fn line() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("c=IN IP4 198.51.100.7".to_owned()),
        Just("c=IN IP6 2001:db8::1".to_owned()),
        Just("c=IN IP4 0.0.0.0".to_owned()),
        Just("t=0 0".to_owned()),
        Just("a=rtcp-mux".to_owned()),
        Just("a=sendonly".to_owned()),
        Just("a=inactive".to_owned()),
        (any::<u16>()).prop_map(|p| format!("a=rtcp:{p} IN IP4 198.51.100.9")),
        (any::<u16>()).prop_map(|p| format!("a=ptime:{p}")),
        (
            0u8..130,
            prop::sample::select(vec![
                "PCMU/8000",
                "pcma/8000/1",
                "opus/48000/2",
                "telephone-event/8000",
                "CN/8000",
                "x"
            ])
        )
            .prop_map(|(n, map)| format!("a=rtpmap:{n} {map}")),
        (0u8..130).prop_map(|n| format!("a=fmtp:{n} 0-15")),
        ("[a-z]", "[ -~]{0,30}").prop_map(|(kind, value)| format!("{kind}={value}")),
        section(),
        section(),
    ]
}

fn section() -> impl Strategy<Value = String> {
    let kind = prop::sample::select(vec!["audio", "audio", "audio", "video"]);
    let proto = prop::sample::select(vec!["RTP/AVP", "RTP/AVP", "RTP/SAVP"]);
    let formats = prop::collection::vec(prop_oneof![Just(0u8), Just(8), Just(9), 96u8..130], 1..8);
    (kind, any::<u16>(), proto, formats).prop_map(|(kind, port, proto, formats)| {
        let formats: Vec<String> = formats.iter().map(u8::to_string).collect();
        format!("m={kind} {port} {proto} {}", formats.join(" "))
    })
}

fn description() -> impl Strategy<Value = String> {
    prop::collection::vec(line(), 0..24).prop_map(|lines| format!("v=0\r\n{}\r\n", lines.join("\r\n")))
}

/// The formats of every `m=` line, and whether its port is not 0.
fn formats(bytes: &[u8]) -> Vec<(bool, Vec<String>)> {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let sections = text.lines().filter_map(|l| l.strip_prefix("m="));
    sections
        .map(|m| {
            let mut words = m.split(' ').filter(|w| !w.is_empty()).map(str::to_owned);
            let used = words.nth(1).is_some_and(|port| port != "0");
            (used, words.skip(1).collect())
        })
        .collect()
}

proptest! {
    #[test]
    fn a_parsed_description_round_trips(text in description()) {
        if let Ok(first) = SessionDescription::parse(text.as_bytes()) {
            prop_assert_eq!(SessionDescription::parse(&first.to_bytes()), Ok(first));
        }
    }

    #[test]
    fn random_bytes_never_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..400), text in description(), at in any::<prop::sample::Index>()) {
        let mut torn = text.into_bytes();
        let place = at.index(torn.len());
        torn.splice(place..place, bytes.iter().copied());
        let _ = SessionDescription::parse(&torn);
        bytes.splice(0..0, *b"v=0\n");
        let _ = SessionDescription::parse(&bytes);
    }

    /// RFC 3264 §6: as many sections in the same order, formats from the offer only, rejected sections with port 0.
    #[test]
    fn an_answer_stays_within_its_offer(a in description(), b in description()) {
        let (Ok(a), Ok(b)) = (SessionDescription::parse(a.as_bytes()), SessionDescription::parse(b.as_bytes())) else { return Ok(()) };
        let partner = answer(&b, &local(), None).ok().map(|(_, n)| n);
        for partner in [None, partner.as_ref()] {
            let Ok((bytes, negotiated)) = answer(&a, &local(), partner) else { continue };
            let (offered, answered) = (formats(&a.to_bytes()), formats(&bytes));
            prop_assert_eq!(offered.len(), answered.len());
            prop_assert_eq!(answered.iter().filter(|(used, _)| *used).count(), 1);
            for ((was_used, offered), (used, answered)) in offered.iter().zip(&answered) {
                prop_assert!(*was_used || !used);
                prop_assert!(answered.iter().all(|f| offered.contains(f)), "{:?} in {:?}", answered, offered);
            }
            // The offerer's result mirrors ours.
            let ours = SessionDescription::parse(&bytes).map_err(|e| TestCaseError::fail(e.to_string()))?;
            let theirs = apply_answer(&a, &ours).map_err(|e| TestCaseError::fail(e.to_string()))?;
            prop_assert_eq!(theirs.codec, negotiated.codec);
            prop_assert_eq!(theirs.payload_type, negotiated.payload_type);
            prop_assert_eq!(theirs.dtmf, negotiated.dtmf);
        }
    }

    #[test]
    fn a_forwarded_offer_is_valid_and_shows_no_address(a in description()) {
        let Ok(a) = SessionDescription::parse(a.as_bytes()) else { return Ok(()) };
        let ours = offer(&local(), Some(&a));
        prop_assert_eq!(SessionDescription::parse(&ours.bytes), Ok(ours.description.clone()));
        let text = String::from_utf8_lossy(&ours.bytes).into_owned();
        prop_assert!(!text.contains("198.51.100"), "{}", text);
        prop_assert_eq!(formats(&ours.bytes).len(), 1);
        prop_assert_eq!(ours.description.direction(), Direction::SendRecv);
    }
}
