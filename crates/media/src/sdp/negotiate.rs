//! The offer/answer model (RFC 3264): our offers and answers, and what was negotiated.

use bytes::Bytes;

use super::inspect::{Payload, find, restrict};
use super::{
    Codec, Direction, Line, LocalMedia, Media, Negotiated, Offer, SdpError, SessionDescription, write,
};

/// Attributes that are not forwarded to the other peer: addresses and identity, keys, and what applies only between the peer and us.
/// Lines about payload types and the direction are rewritten.
const NOT_FORWARDED: [&str; 26] = [
    "candidate",
    "connection",
    "crypto",
    "end-of-candidates",
    "extmap",
    "extmap-allow-mixed",
    "fingerprint",
    "group",
    "ice-lite",
    "ice-mismatch",
    "ice-options",
    "ice-pwd",
    "ice-ufrag",
    "identity",
    "key-mgmt",
    "mid",
    "msid",
    "msid-semantic",
    "path",
    "remote-candidates",
    "rtcp",
    "rtcp-fb",
    "setup",
    "source-filter",
    "tls-id",
    "tool",
];
/// Attributes that are rewritten where needed.
const REWRITTEN: [&str; 5] = ["sendrecv", "sendonly", "recvonly", "inactive", "rtcp-mux"];

/// Make an offer. `template` is the description of the other leg's peer: its codecs, payload types and unknown lines are forwarded; its
/// addresses, candidates, crypto and identity are not. G.711 is added where the peer has at least one of the two laws, as we transcode between
/// them. Without a template we offer PCMU, PCMA and telephone-event.
pub fn offer(local: &LocalMedia, template: Option<&SessionDescription>) -> Offer {
    let template = template.and_then(|d| d.audio().map(|(_, media)| (d, media)));
    let template = template.filter(|(_, media)| !media.payloads().is_empty());
    let mut session = write::heading(local);
    let mut lines = Vec::new();
    let formats = if let Some((description, media)) = template {
        session.extend(description.session.iter().filter(|l| l.kind == b'b').cloned());
        session.push(write::line('t', "0 0"));
        session.extend(description.session.iter().filter(|l| is_forwardable(l)).cloned());
        forwarded_formats(media, &mut lines)
    } else {
        session.push(write::line('t', "0 0"));
        default_formats(&mut lines)
    };
    if template.is_some_and(|(_, media)| media.has_rtcp_mux()) {
        lines.push(write::line('a', "rtcp-mux"));
    }
    lines.push(write::direction(local.direction));
    let media = audio_section(local.port, "RTP/AVP", formats, lines);
    let description = SessionDescription { session, media: vec![media] };
    Offer { bytes: description.to_bytes(), description }
}

/// Our audio section.
fn audio_section(port: u16, proto: &str, formats: Vec<String>, lines: Vec<Line>) -> Media {
    Media { kind: "audio".to_owned(), port, count: None, proto: proto.to_owned(), formats, lines }
}

/// Whether an attribute may be forwarded to the other peer.
fn is_forwardable(line: &Line) -> bool {
    let name = line.value.split(|b| *b == b':').next().unwrap_or_default().trim_ascii_end();
    let is_any_of = |names: &[&str]| names.iter().any(|n| name.eq_ignore_ascii_case(n.as_bytes()));
    // Not valid UTF-8: a phone cannot show it, and it may be an attack on the parser.
    line.kind == b'a'
        && std::str::from_utf8(&line.value).is_ok()
        && !is_any_of(&NOT_FORWARDED)
        && !is_any_of(&REWRITTEN)
        && !name.starts_with(b"ssrc")
}

/// Formats and lines of an offer made from another peer's audio section.
fn forwarded_formats(media: &Media, lines: &mut Vec<Line>) -> Vec<String> {
    let mut payloads = media.payloads();
    let known = payloads.clone();
    if known.iter().any(|p| p.codec.is_g711()) {
        for (number, codec, map) in [(0, Codec::Pcmu, "PCMU/8000"), (8, Codec::Pcma, "PCMA/8000")] {
            if !known.iter().any(|p| p.codec == codec || p.number == number) {
                payloads.push(Payload { number, codec, map: map.to_owned() });
            }
        }
    }
    lines.extend(media.lines.iter().filter(|l| l.kind == b'b').cloned());
    lines.extend(payloads.iter().map(rtpmap));
    for line in media.lines.iter().filter(|l| is_forwardable(l) && l.attribute("rtpmap").is_none()) {
        let kept = line.attribute("fmtp").is_none()
            || line.payload_of("fmtp").is_some_and(|n| known.iter().any(|p| p.number == n));
        if kept {
            lines.push(line.clone());
        }
    }
    payloads.iter().map(|p| p.number.to_string()).collect()
}

/// Formats and lines of an offer without a template.
fn default_formats(lines: &mut Vec<Line>) -> Vec<String> {
    for value in [
        "rtpmap:0 PCMU/8000",
        "rtpmap:8 PCMA/8000",
        "rtpmap:101 telephone-event/8000",
        "fmtp:101 0-16",
        "ptime:20",
    ] {
        lines.push(write::line('a', value));
    }
    ["0", "8", "101"].map(str::to_owned).to_vec()
}

fn rtpmap(payload: &Payload) -> Line {
    write::line('a', format!("rtpmap:{} {}", payload.number, payload.map))
}

/// Answer an offer. `partner` is what the other leg has negotiated: its codec is taken where the offer has it (relay), else G.711 if both are
/// G.711 (transcoding), else [`SdpError::NoCommonCodec`]. Without a partner (echo, tones) the first G.711 codec of the offer is taken.
/// The direction is `local.direction` restricted by the offer's. Errors: no usable audio section, no common codec, no `c=` line.
pub fn answer(
    offer: &SessionDescription,
    local: &LocalMedia,
    partner: Option<&Negotiated>,
) -> Result<(Bytes, Negotiated), SdpError> {
    let (audio_index, theirs) = offer.audio().ok_or_else(|| offer.audio_error())?;
    let offered = theirs.payloads();
    let chosen = choose(&offered, partner)?;
    let accepted = accept(&offered, chosen, partner);
    let (remote, remote_rtcp) = offer.remotes(theirs)?;
    let ptime_ms = theirs.ptime_ms().unwrap_or(DEFAULT_PTIME_MS);
    let negotiated = Negotiated {
        remote,
        remote_rtcp,
        rtcp_mux: theirs.has_rtcp_mux(),
        codec: chosen.codec.clone(),
        payload_type: chosen.number,
        alternates: alternates(&accepted, chosen.number),
        dtmf: accepted.iter().find(|p| p.codec.is_dtmf()).map(|p| p.number),
        direction: restrict(local.direction, offer.direction_of(theirs).reversed()),
        ptime_ms,
    };
    let mut lines: Vec<Line> = accepted.iter().map(|p| rtpmap(p)).collect();
    // Format parameters are echoed: where they must match (octet-align of AMR) they have to be, elsewhere they are declarative.
    lines.extend(
        (theirs.lines.iter())
            .filter(|l| l.payload_of("fmtp").is_some_and(|n| accepted.iter().any(|p| p.number == n)))
            .cloned(),
    );
    lines.push(write::line('a', format!("ptime:{ptime_ms}")));
    if negotiated.rtcp_mux {
        lines.push(write::line('a', "rtcp-mux"));
    }
    lines.push(write::direction(negotiated.direction));
    let formats = accepted.iter().map(|p| p.number.to_string()).collect();
    let mut ours = Some(audio_section(local.port, &theirs.proto, formats, lines));

    let mut session = write::heading(local);
    session.extend(time_lines(offer));
    let media =
        offer.media.iter().enumerate().map(|(index, section)| match ours.take_if(|_| index == audio_index) {
            Some(ours) => ours,
            None => Media { port: 0, count: None, lines: Vec::new(), ..section.clone() },
        });
    let description = SessionDescription { session, media: media.collect() };
    Ok((description.to_bytes(), negotiated))
}

/// Milliseconds per packet without `a=ptime` (RFC 3551 §4.2).
const DEFAULT_PTIME_MS: u16 = 20;

/// The `t=` of an answer equals that of the offer (RFC 3264 §6).
fn time_lines(offer: &SessionDescription) -> Vec<Line> {
    let mut times: Vec<Line> = offer.session.iter().filter(|l| l.kind == b't').take(1).cloned().collect();
    if times.is_empty() {
        times.push(write::line('t', "0 0"));
    }
    times
}

/// Choose the codec of an answer.
fn choose<'a>(offered: &'a [Payload], partner: Option<&Negotiated>) -> Result<&'a Payload, SdpError> {
    let first_g711 = || offered.iter().find(|p| p.codec.is_g711());
    let chosen = match partner {
        // Prefer the partner's payload type: a peer may list one codec twice, with different parameters.
        Some(partner) => offered
            .iter()
            .filter(|p| p.codec.same_as(&partner.codec))
            .max_by_key(|p| p.number == partner.payload_type)
            .or_else(|| first_g711().filter(|_| partner.codec.is_g711())),
        None => first_g711(),
    };
    chosen.ok_or_else(|| no_common_codec(offered))
}

fn no_common_codec(offered: &[Payload]) -> SdpError {
    let names: Vec<&str> = offered.iter().filter(|p| p.codec.is_audio()).map(|p| p.codec.name()).collect();
    SdpError::NoCommonCodec { offered: names.join(", ") }
}

/// The payload types of an answer: the chosen one first, then those that the partner supports too, in the order of the offer.
fn accept<'a>(offered: &'a [Payload], chosen: &'a Payload, partner: Option<&Negotiated>) -> Vec<&'a Payload> {
    let known = |p: &&Payload| match partner {
        Some(partner) if p.codec.is_dtmf() => partner.dtmf.is_some(),
        Some(partner) => partner.alternates.iter().any(|(_, codec)| codec.same_as(&p.codec)),
        None => p.codec.is_dtmf(),
    };
    let mut accepted = vec![chosen];
    for payload in offered.iter().filter(known) {
        if !accepted.iter().any(|a| a.codec.same_as(&payload.codec)) {
            accepted.push(payload);
        }
    }
    accepted
}

fn alternates(payloads: &[&Payload], main: u8) -> Vec<(u8, Codec)> {
    let other = |p: &&&Payload| p.number != main && !p.codec.is_dtmf();
    payloads.iter().filter(other).map(|p| (p.number, p.codec.clone())).collect()
}

/// What our offer and the peer's answer have negotiated. Errors: no usable audio section, no common codec, no `c=` line.
pub fn apply_answer(offer: &SessionDescription, answer: &SessionDescription) -> Result<Negotiated, SdpError> {
    let (index, ours) = offer.audio().ok_or(SdpError::NoAudio)?;
    let theirs = answer.media.get(index).ok_or(SdpError::NoAudio)?;
    if !theirs.is_usable_audio() {
        return Err(answer.audio_error());
    }
    let offered = ours.payloads();
    let answered = theirs.payloads();
    let common: Vec<&Payload> =
        answered.iter().filter(|p| offered.iter().any(|o| o.codec.same_as(&p.codec))).collect();
    let chosen = common.iter().find(|p| p.codec.is_audio()).ok_or_else(|| no_common_codec(&answered))?;
    let mut alternates = alternates(&common, chosen.number);
    for theirs in &common {
        let free =
            |o: &&Payload| o.codec.same_as(&theirs.codec) && !answered.iter().any(|a| a.number == o.number);
        if let Some(own) = offered.iter().find(free) {
            alternates.push((own.number, own.codec.clone()));
        }
    }
    let (remote, remote_rtcp) = answer.remotes(theirs)?;
    let rtcp_mux = ours.has_rtcp_mux() && theirs.has_rtcp_mux();
    let direction: Direction = restrict(offer.direction_of(ours), answer.direction_of(theirs).reversed());
    Ok(Negotiated {
        remote,
        remote_rtcp,
        rtcp_mux,
        codec: chosen.codec.clone(),
        payload_type: chosen.number,
        alternates,
        dtmf: common.iter().find(|p| p.codec.is_dtmf()).map(|p| p.number),
        direction,
        ptime_ms: find(&theirs.lines, "ptime").and(theirs.ptime_ms()).unwrap_or(DEFAULT_PTIME_MS),
    })
}
