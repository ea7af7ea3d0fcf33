//! Properties of the SDP parser and the media engine.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use base::{Now, Rng};
use centralita_media::sdp::{
    Codec, Direction, LocalMedia, Negotiated, SessionDescription, answer, apply_answer, offer,
};
use centralita_media::{Component, Engine, MediaCommand, MediaSink, Source, StreamId, Tone};

fn local() -> LocalMedia {
    let address = IpAddr::from([192, 0, 2, 1]);
    LocalMedia { address, port: 10_000, session: 1, version: 1, direction: Direction::SendRecv }
}

/// A description is rejected or parsed; a parsed one survives serialisation, and offers and answers made from it are valid.
pub fn sdp(data: &[u8]) {
    let Ok(description) = SessionDescription::parse(data) else { return };
    let written = SessionDescription::parse(&description.to_bytes());
    assert_eq!(written.as_ref(), Ok(&description));
    let _ = (description.direction(), description.codecs());
    let forwarded_offer = offer(&local(), Some(&description));
    assert_eq!(SessionDescription::parse(&forwarded_offer.bytes).as_ref(), Ok(&forwarded_offer.description));
    let partner = apply_answer(&forwarded_offer.description, &description).ok();
    for partner in [None, partner.as_ref()] {
        if let Ok((bytes, negotiated)) = answer(&description, &local(), partner) {
            let ours = SessionDescription::parse(&bytes).expect("our own answer");
            let theirs = apply_answer(&description, &ours).expect("an answer to it");
            assert_eq!((theirs.codec, theirs.payload_type), (negotiated.codec, negotiated.payload_type));
        }
    }
}

/// Checks that packets are sent to the two phones only.
struct PhonesOnly;

impl MediaSink for PhonesOnly {
    fn send(&mut self, _stream: StreamId, _channel: Component, to: SocketAddr, packet: &[u8]) {
        assert!(is_phone(to) && packet.len() >= 8);
    }
}

fn is_phone(address: SocketAddr) -> bool {
    matches!(address.ip(), IpAddr::V4(v4) if v4.octets()[..3] == [198, 51, 100])
}

fn negotiated(host: u8, codec: Codec, mux: bool) -> Negotiated {
    let remote = SocketAddr::from(([198, 51, 100, host], 4_000));
    Negotiated {
        remote,
        remote_rtcp: SocketAddr::new(remote.ip(), if mux { 4_000 } else { 4_001 }),
        rtcp_mux: mux,
        payload_type: if codec == Codec::Pcmu { 0 } else { 8 },
        codec,
        alternates: vec![(96, Codec::Other("opus/48000/2".into()))],
        dtmf: Some(101),
        direction: Direction::SendRecv,
        ptime_ms: 20,
    }
}

/// Packets into an engine with two bridged legs. The input is a list of `what, length, packet`; `what` selects sender, leg and component, or a new
/// source for a leg.
pub fn rtp(mut data: &[u8]) {
    let (a, b) = (StreamId(1), StreamId(2));
    let mut engine = Engine::new(Rng::from_number(1));
    let (mut now, mut events) = (Now::default(), Vec::new());
    for (stream, other, host, codec, mux) in [(a, b, 1, Codec::Pcmu, true), (b, a, 2, Codec::Pcma, false)] {
        let negotiated = Box::new(negotiated(host, codec, mux));
        let signalling = negotiated.remote.ip();
        for command in [
            MediaCommand::Open { stream, port: 10_000 },
            MediaCommand::Negotiated { stream, signalling, negotiated },
            MediaCommand::SetSource { stream, source: Source::Stream(other) },
        ] {
            engine.command(now, command, &mut PhonesOnly, &mut events);
        }
    }
    let mut packet = Vec::new();
    while let [what, length, rest @ ..] = data {
        let (bytes, rest) = rest.split_at(rest.len().min(usize::from(*length)));
        data = rest;
        now.instant += Duration::from_millis(u64::from(what >> 5) * 10);
        let (stream, host) = if what & 1 == 0 { (a, 1) } else { (b, 2) };
        let channel = if what & 2 == 0 { Component::Rtp } else { Component::Rtcp };
        let from = match (what >> 2) & 3 {
            0 => ([198, 51, 100, host], 4_000),
            1 => ([198, 51, 100, host], 4_001),
            2 => ([198, 51, 100, host], 9_999),
            _ => ([203, 0, 113, 66], 4_000),
        };
        if what & 0x10 != 0 {
            let source = match bytes.first().unwrap_or(&0) % 6 {
                0 => Source::Nothing,
                1 => Source::Echo,
                2 => Source::Tone(Tone::Busy),
                3 => Source::Silence,
                4 => Source::Stream(a),
                _ => Source::Stream(b),
            };
            engine.command(now, MediaCommand::SetSource { stream, source }, &mut PhonesOnly, &mut events);
        }
        packet.clear();
        packet.extend_from_slice(bytes);
        let forward = engine.packet(now, stream, channel, from.into(), &mut packet, &mut events);
        if let Some(forward) = forward {
            assert!(is_phone(from.into()), "a packet of another host was forwarded");
            assert!(is_phone(forward.to) && forward.len <= packet.len());
        }
        engine.tick(now, &mut PhonesOnly, &mut events);
        assert!(events.len() <= 3);
        events.clear();
    }
    for stream in [a, b] {
        engine.command(now, MediaCommand::Close { stream }, &mut PhonesOnly, &mut events);
    }
    assert!(engine.streams() == 0 && engine.deadline().is_none() && events.len() == 2);
}
