//! Offer and answer with a peer on each side (B2BUA): RFC 3264, RFC 8866.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::net::IpAddr;

use centralita_media::sdp::{
    Codec, Direction, LocalMedia, Negotiated, SdpError, SessionDescription, answer, apply_answer, offer,
};

fn local(direction: Direction) -> LocalMedia {
    LocalMedia { address: IpAddr::from([192, 0, 2, 1]), port: 10_000, session: 77, version: 3, direction }
}

fn parse(text: &str) -> SessionDescription {
    SessionDescription::parse(text.as_bytes()).unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A description with one audio section.
fn peer(formats: &str, lines: &str) -> SessionDescription {
    parse(&format!(
        "v=0\r\no=bob 1 1 IN IP4 198.51.100.7\r\ns=Softphone 9\r\nc=IN IP4 198.51.100.7\r\nt=0 0\r\nm=audio 4000 {formats}\r\n{lines}"
    ))
}

fn agreed(formats: &str, lines: &str) -> Negotiated {
    answer_as(&peer(formats, lines), None).1
}

fn answer_as(offered: &SessionDescription, partner: Option<&Negotiated>) -> (String, Negotiated) {
    let (bytes, negotiated) = answer(offered, &local(Direction::SendRecv), partner).unwrap();
    (text(&bytes), negotiated)
}

#[test]
fn without_a_template_we_offer_g711_and_telephone_event() {
    let ours = offer(&local(Direction::SendRecv), None);
    assert_eq!(
        text(&ours.bytes),
        "v=0\r\no=- 77 3 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 10000 RTP/AVP 0 8 101\r\n\
         a=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\n\
         a=ptime:20\r\na=sendrecv\r\n"
    );
    assert_eq!(SessionDescription::parse(&ours.bytes), Ok(ours.description));
}

#[test]
fn the_capabilities_of_a_peer_are_forwarded_and_its_addresses_are_not() {
    let a = peer(
        "RTP/AVP 111 9 8 100 126",
        "i=a title\r\nb=AS:64\r\nc=IN IP4 198.51.100.8\r\na=rtpmap:111 opus/48000/2\r\na=fmtp:111 useinbandfec=1\r\n\
         a=rtpmap:126 telephone-event/8000\r\na=fmtp:126 0-15\r\na=fmtp:100 gone\r\na=candidate:1 1 UDP 1 198.51.100.7 4000 typ host\r\n\
         a=ice-ufrag:x\r\na=crypto:1 AES inline:k\r\na=ssrc:5 cname:bob@home\r\na=rtcp:4001 IN IP4 198.51.100.7\r\na=x-unknown:kept\r\n\
         a=maxptime:60\r\na=sendonly\r\n",
    );
    let ours = offer(&local(Direction::SendRecv), Some(&a));
    let written = text(&ours.bytes);
    // 100 has no rtpmap and is dropped; PCMU is added to PCMA because we transcode.
    assert!(written.contains("m=audio 10000 RTP/AVP 111 9 8 126 0\r\n"), "{written}");
    for kept in [
        "b=AS:64",
        "a=rtpmap:111 opus/48000/2",
        "a=fmtp:111 useinbandfec=1",
        "a=fmtp:126 0-15",
        "a=x-unknown:kept",
        "a=maxptime:60",
    ] {
        assert!(written.contains(&format!("{kept}\r\n")), "{kept} in {written}");
    }
    for gone in [
        "198.51.100",
        "bob",
        "Softphone",
        "title",
        "candidate",
        "ice",
        "crypto",
        "ssrc",
        "fmtp:100",
        "sendonly",
        "mux",
    ] {
        assert!(!written.contains(gone), "{gone} in {written}");
    }
    assert!(written.ends_with("a=sendrecv\r\n"));
    let opus = peer("RTP/AVP 111", "a=rtpmap:111 opus/48000/2\r\na=rtcp-mux\r\n");
    let written = text(&offer(&local(Direction::SendRecv), Some(&opus)).bytes);
    assert!(written.contains("RTP/AVP 111\r\n") && written.contains("a=rtcp-mux\r\n"), "{written}");
}

#[test]
fn a_recordable_offer_has_only_g711_if_there_is_any() {
    // S177
    let wide = "a=rtpmap:111 opus/48000/2\r\na=fmtp:111 useinbandfec=1\r\na=rtpmap:110 telephone-event/48000\r\n\
                a=rtpmap:126 telephone-event/8000\r\na=fmtp:126 0-15\r\n";
    let ours =
        offer(&local(Direction::SendRecv), Some(&peer("RTP/AVP 111 9 8 13 110 126", wide))).recordable();
    let written = text(&ours.bytes);
    assert!(written.contains("m=audio 10000 RTP/AVP 8 13 126 0\r\n"), "{written}");
    assert!(
        !written.contains("opus") && !written.contains(":111 ") && !written.contains("/48000"),
        "{written}"
    );
    assert!(written.contains("a=fmtp:126 0-15\r\n"), "{written}");
    assert_eq!(SessionDescription::parse(&ours.bytes).as_ref(), Ok(&ours.description));
    let without = offer(&local(Direction::SendRecv), Some(&peer("RTP/AVP 111 110", wide)));
    assert_eq!(without.clone().recordable(), without, "the call has priority over its recording");
}

#[test]
fn other_media_sections_are_rejected_in_place() {
    // RFC 3264 §6
    let offered = parse(
        "v=0\no=- 1 1 IN IP4 198.51.100.7\ns=-\nt=5 6\nm=video 5000 RTP/AVP 96 97\nc=IN IP4 198.51.100.7\na=rtpmap:96 VP8/90000\n\
         m=audio 4000 RTP/AVP 8 0\nc=IN IP6 2001:db8::9\nm=audio 4002 RTP/AVP 0\nm=application 7 UDP/BFCP *\n",
    );
    let (written, negotiated) = answer_as(&offered, None);
    let sections: Vec<&str> = written.lines().filter(|l| l.starts_with("m=")).collect();
    assert_eq!(
        sections,
        [
            "m=video 0 RTP/AVP 96 97",
            "m=audio 10000 RTP/AVP 8",
            "m=audio 0 RTP/AVP 0",
            "m=application 0 UDP/BFCP *"
        ]
    );
    assert!(written.contains("t=5 6\r\n"));
    assert_eq!(negotiated.remote, "[2001:db8::9]:4000".parse().unwrap());
    assert_eq!(negotiated.remote_rtcp.port(), 4001);
    assert_eq!((negotiated.codec, negotiated.payload_type), (Codec::Pcma, 8));
}

#[test]
fn an_offer_with_srtp_only_is_rejected_with_the_name_of_the_transport() {
    for proto in ["RTP/SAVP", "RTP/SAVPF", "UDP/TLS/RTP/SAVPF"] {
        let offered = peer(&format!("{proto} 0"), "");
        let refused = answer(&offered, &local(Direction::SendRecv), None);
        assert_eq!(refused, Err(SdpError::Transport(proto.into())));
    }
    let both = parse("v=0\nc=IN IP4 198.51.100.7\nm=audio 4000 RTP/SAVP 0\nm=audio 4002 RTP/AVP 0\n");
    let (written, negotiated) = answer_as(&both, None);
    assert!(written.contains("m=audio 0 RTP/SAVP 0\r\nm=audio 10000 RTP/AVP 0\r\n"), "{written}");
    assert_eq!(negotiated.remote.port(), 4002);
    for none in ["v=0\n", "v=0\nm=video 4000 RTP/AVP 96\n", "v=0\nm=audio 0 RTP/AVP 0\n"] {
        assert_eq!(answer(&parse(none), &local(Direction::SendRecv), None), Err(SdpError::NoAudio));
    }
    let homeless = answer(&parse("v=0\nm=audio 4000 RTP/AVP 0\n"), &local(Direction::SendRecv), None);
    assert!(matches!(homeless, Err(SdpError::Malformed { .. })));
}

#[test]
fn the_partners_codec_is_relayed_else_g711_is_transcoded_else_the_offer_is_rejected() {
    let opus = Negotiated {
        codec: Codec::Other("opus/48000/2".into()),
        payload_type: 96,
        alternates: vec![(9, Codec::Other("G722/8000".into()))],
        dtmf: Some(101),
        ..agreed("RTP/AVP 0", "")
    };
    let offered = peer(
        "RTP/AVP 0 111 9 3 110 126",
        "a=rtpmap:111 OPUS/48000/2\r\na=rtpmap:110 telephone-event/48000\r\na=rtpmap:126 telephone-event/8000\r\n",
    );
    let (written, negotiated) = answer_as(&offered, Some(&opus));
    assert!(written.contains("RTP/AVP 111 9 126\r\n"), "{written}");
    assert_eq!((negotiated.payload_type, negotiated.dtmf), (111, Some(126)));
    assert_eq!(negotiated.alternates, [(9, Codec::Other("G722/8000".into()))]);

    let a_law = agreed("RTP/AVP 8", "");
    assert_eq!(answer_as(&peer("RTP/AVP 9 0", ""), Some(&a_law)).1.codec, Codec::Pcmu);
    // A partner without telephone-event: the peer has to send in-band DTMF.
    assert!(answer_as(&offered, Some(&a_law)).1.dtmf.is_none());
    let refused = answer(&peer("RTP/AVP 9 3 13", ""), &local(Direction::SendRecv), Some(&a_law));
    assert_eq!(refused, Err(SdpError::NoCommonCodec { offered: "G722, GSM".into() }));
    assert!(answer(&peer("RTP/AVP 9", ""), &local(Direction::SendRecv), None).is_err());
}

#[test]
fn the_payload_type_of_the_answer_is_used_and_that_of_the_offer_still_accepted() {
    // RFC 3264 §6.1
    let ours = offer(
        &local(Direction::SendRecv),
        Some(&peer(
            "RTP/AVP 111 0 101",
            "a=rtpmap:111 opus/48000/2\r\na=rtpmap:101 telephone-event/8000\r\n",
        )),
    );
    let theirs = peer(
        "RTP/AVP 96 97",
        "a=rtpmap:96 opus/48000/2\r\na=rtpmap:97 telephone-event/8000\r\na=ptime:40\r\n",
    );
    let negotiated = apply_answer(&ours.description, &theirs).unwrap();
    assert_eq!((negotiated.payload_type, negotiated.dtmf, negotiated.ptime_ms), (96, Some(97), 40));
    assert_eq!(
        negotiated.alternates,
        [(111, Codec::Other("opus/48000/2".into())), (101, Codec::Other("telephone-event/8000".into()))]
    );
    assert_eq!(
        apply_answer(&ours.description, &peer("RTP/AVP 18", "")),
        Err(SdpError::NoCommonCodec { offered: "G729".into() })
    );
    assert_eq!(apply_answer(&ours.description, &parse("v=0\n")), Err(SdpError::NoAudio));
}

#[test]
fn rtcp_mux_is_accepted_and_rtcp_may_have_another_address() {
    // RFC 5761 §5.1.1, RFC 3605
    let (written, muxed) = answer_as(&peer("RTP/AVP 0", "a=rtcp-mux\r\na=rtcp:4000\r\n"), None);
    assert!(written.contains("a=rtcp-mux\r\n") && muxed.rtcp_mux);
    assert_eq!(muxed.remote_rtcp, muxed.remote);
    let (written, apart) = answer_as(&peer("RTP/AVP 0", "a=rtcp:5007 IN IP4 198.51.100.9\r\n"), None);
    assert!(!written.contains("mux") && !apart.rtcp_mux);
    assert_eq!(apart.remote_rtcp, "198.51.100.9:5007".parse().unwrap());
    // rtcp-mux in an answer without rtcp-mux in the offer is ignored.
    let ours = offer(&local(Direction::SendRecv), None);
    assert!(!apply_answer(&ours.description, &peer("RTP/AVP 0", "a=rtcp-mux\r\n")).unwrap().rtcp_mux);
}

#[test]
fn directions_mirror_and_restrict() {
    // RFC 3264 §6.1
    for (theirs, ours, ours_then) in [
        ("sendrecv", Direction::SendRecv, Direction::SendRecv),
        ("sendonly", Direction::SendRecv, Direction::RecvOnly),
        ("recvonly", Direction::SendRecv, Direction::SendOnly),
        ("inactive", Direction::SendRecv, Direction::Inactive),
        ("sendrecv", Direction::SendOnly, Direction::SendOnly),
        ("sendonly", Direction::SendOnly, Direction::Inactive),
        ("recvonly", Direction::RecvOnly, Direction::Inactive),
    ] {
        let offered = peer("RTP/AVP 0", &format!("a={theirs}\r\n"));
        let (bytes, negotiated) = answer(&offered, &local(ours), None).unwrap();
        assert_eq!(negotiated.direction, ours_then, "{theirs} {ours:?}");
        assert_eq!(parse(&text(&bytes)).direction(), ours_then);
        let concluded = apply_answer(&offer(&local(ours), None).description, &offered).unwrap();
        assert_eq!(concluded.direction, ours_then);
    }
    assert_eq!(parse("v=0\na=sendonly\nm=audio 4 RTP/AVP 0\n").direction(), Direction::SendOnly);
}

#[test]
fn a_hold_by_rfc_2543_stops_only_our_media() {
    // RFC 2543: c=0.0.0.0
    let held = parse("v=0\nc=IN IP4 198.51.100.7\nm=audio 4000 RTP/AVP 0\nc=IN IP4 0.0.0.0\n");
    assert_eq!(held.direction(), Direction::SendOnly);
    let (written, negotiated) = answer_as(&held, None);
    assert_eq!(negotiated.direction, Direction::RecvOnly);
    assert!(negotiated.remote.ip().is_unspecified() && written.contains("a=recvonly"));
}
