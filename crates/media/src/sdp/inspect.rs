//! Interpretation of SDP lines: addresses, directions, payload types.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::{Codec, Direction, Line, Media, SdpError, SessionDescription};

/// One payload type of an audio section.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Payload {
    pub(super) number: u8,
    pub(super) codec: Codec,
    /// The encoding as written in an rtpmap.
    pub(super) map: String,
}

/// The transports that we support: those without SRTP.
fn is_plain(proto: &str) -> bool {
    ["RTP/AVP", "RTP/AVPF"].iter().any(|p| proto.eq_ignore_ascii_case(p))
}

impl Line {
    /// The value of `a=<name>:<value>`; empty for `a=<name>`.
    pub(super) fn attribute(&self, name: &str) -> Option<&[u8]> {
        if self.kind != b'a' {
            return None;
        }
        let rest = self.value.strip_prefix(name.as_bytes())?;
        match rest {
            [] => Some(rest),
            [b':', value @ ..] => Some(value),
            _ => None,
        }
    }

    /// The value of an attribute as text.
    fn attribute_text(&self, name: &str) -> Option<&str> {
        std::str::from_utf8(self.attribute(name)?).ok().map(str::trim)
    }

    /// The payload type of an `a=rtpmap:` or `a=fmtp:` line.
    pub(super) fn payload_of(&self, name: &str) -> Option<u8> {
        self.attribute_text(name)?.split(' ').next()?.parse().ok().filter(|n| *n < 128)
    }
}

/// The value of the first `a=<name>`.
pub(super) fn find<'a>(lines: &'a [Line], name: &str) -> Option<&'a str> {
    lines.iter().find_map(|line| line.attribute_text(name))
}

fn direction_in(lines: &[Line]) -> Option<Direction> {
    lines.iter().filter(|line| line.kind == b'a').find_map(|line| match line.value.trim_ascii_end() {
        b"sendrecv" => Some(Direction::SendRecv),
        b"sendonly" => Some(Direction::SendOnly),
        b"recvonly" => Some(Direction::RecvOnly),
        b"inactive" => Some(Direction::Inactive),
        _ => None,
    })
}

/// The address of a `c=` line. A host name gives the unspecified address: nothing is sent to the peer before a packet from it arrives.
fn connection_in(lines: &[Line]) -> Option<IpAddr> {
    let line = lines.iter().find(|line| line.kind == b'c')?;
    let text = std::str::from_utf8(&line.value).unwrap_or_default();
    let literal = text.split(' ').filter(|w| !w.is_empty()).nth(2).unwrap_or_default();
    Some(literal_address(literal))
}

/// Parse an IP literal, without its `/ttl`. Broadcast and multicast give the unspecified address.
fn literal_address(literal: &str) -> IpAddr {
    let unspecified = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    let address: IpAddr = literal.split('/').next().and_then(|a| a.parse().ok()).unwrap_or(unspecified);
    let address = address.to_canonical();
    let is_group = address.is_multicast() || address == IpAddr::V4(Ipv4Addr::BROADCAST);
    if is_group { unspecified } else { address }
}

impl SessionDescription {
    /// Whether there is an audio section that could be answered at all: a transport that is known, an address, and a codec.
    pub fn check_audio(&self) -> Result<(), SdpError> {
        let (_, section) = self.audio().ok_or_else(|| self.audio_error())?;
        self.remotes(section)?;
        if section.payloads().iter().any(|payload| payload.codec.is_audio()) {
            return Ok(());
        }
        Err(SdpError::NoAudio)
    }

    /// The first usable audio section, and its index.
    pub(super) fn audio(&self) -> Option<(usize, &Media)> {
        self.media.iter().enumerate().find(|(_, m)| m.is_usable_audio())
    }

    /// Why there is no usable audio section.
    pub(super) fn audio_error(&self) -> SdpError {
        let refused = self.media.iter().find(|m| m.is_audio() && m.port != 0);
        refused.map_or(SdpError::NoAudio, |m| SdpError::Transport(m.proto.clone()))
    }

    pub(super) fn direction_of(&self, media: &Media) -> Direction {
        let value = direction_in(&media.lines).or_else(|| direction_in(&self.session)).unwrap_or_default();
        if self.is_hold(media) { restrict(value, Direction::SendOnly) } else { value }
    }

    /// Whether the address is literally `c=0.0.0.0`: a host name or an unusable address is not a hold.
    fn is_hold(&self, media: &Media) -> bool {
        let c = |lines: &[Line]| lines.iter().find(|l| l.kind == b'c').map(|l| l.value.clone());
        let Some(value) = c(&media.lines).or_else(|| c(&self.session)) else { return false };
        let literal = value.split(|b| *b == b' ').filter(|w| !w.is_empty()).nth(2).unwrap_or_default();
        matches!(literal, b"0.0.0.0" | b"::")
    }

    /// The addresses that the section gives for RTP and RTCP.
    pub(super) fn remotes(&self, media: &Media) -> Result<(SocketAddr, SocketAddr), SdpError> {
        let address = connection_in(&media.lines).or_else(|| connection_in(&self.session));
        let address = address.ok_or(SdpError::Malformed { line: 0, what: "no c= line" })?;
        let rtp = SocketAddr::new(address, media.port);
        if media.has_rtcp_mux() {
            return Ok((rtp, rtp));
        }
        let mut rtcp = SocketAddr::new(address, media.port.saturating_add(1));
        if let Some(value) = find(&media.lines, "rtcp") {
            // RFC 3605: a=rtcp:<port> [IN IP4 <address>]
            let mut words = value.split(' ').filter(|w| !w.is_empty());
            if let Some(port) = words.next().and_then(|p| p.parse().ok()) {
                rtcp.set_port(port);
            }
            if let Some(literal) = words.nth(2) {
                rtcp.set_ip(literal_address(literal));
            }
        }
        Ok((rtp, rtcp))
    }
}

impl Media {
    pub(super) fn is_audio(&self) -> bool {
        self.kind.eq_ignore_ascii_case("audio")
    }

    pub(super) fn is_usable_audio(&self) -> bool {
        self.is_audio() && self.port != 0 && is_plain(&self.proto)
    }

    /// Whether RTCP may share the RTP port (RFC 5761 §5.1.1).
    pub(super) fn has_rtcp_mux(&self) -> bool {
        find(&self.lines, "rtcp-mux").is_some()
    }

    pub(super) fn ptime_ms(&self) -> Option<u16> {
        let value = find(&self.lines, "ptime")?.split('.').next()?;
        value.parse().ok().filter(|ms| (1..=200).contains(ms))
    }

    /// The payload types with a known encoding, in the order of `m=`, each once.
    pub(super) fn payloads(&self) -> Vec<Payload> {
        let mut payloads: Vec<Payload> = Vec::new();
        for number in self.formats.iter().filter_map(|f| f.parse::<u8>().ok()).filter(|n| *n < 128) {
            if payloads.iter().any(|p| p.number == number) {
                continue;
            }
            let value = self.lines.iter().find(|line| line.payload_of("rtpmap") == Some(number));
            let value = value.and_then(|line| line.attribute_text("rtpmap")).and_then(|v| v.split_once(' '));
            let map = match value {
                Some((_, map)) => map.trim(),
                None => static_map(number),
            };
            if let Some(codec) = codec(map) {
                payloads.push(Payload { number, codec, map: map.to_owned() });
            }
        }
        payloads
    }
}

/// Parse a codec from `<name>/<clock>[/<channels>]`.
fn codec(map: &str) -> Option<Codec> {
    let map = map.strip_suffix("/1").filter(|m| m.contains('/')).unwrap_or(map);
    let (name, clock) = map.split_once('/')?;
    if name.is_empty() || !map.bytes().all(|b| b.is_ascii_graphic()) {
        return None;
    }
    Some(match (name, clock) {
        (name, "8000") if name.eq_ignore_ascii_case("PCMU") => Codec::Pcmu,
        (name, "8000") if name.eq_ignore_ascii_case("PCMA") => Codec::Pcma,
        _ => Codec::Other(map.to_owned()),
    })
}

/// The payload types that need no rtpmap (RFC 3551 §6); empty for all others.
fn static_map(number: u8) -> &'static str {
    match number {
        0 => "PCMU/8000",
        3 => "GSM/8000",
        4 => "G723/8000",
        5 => "DVI4/8000",
        6 => "DVI4/16000",
        7 => "LPC/8000",
        8 => "PCMA/8000",
        9 => "G722/8000",
        10 => "L16/44100/2",
        11 => "L16/44100",
        12 => "QCELP/8000",
        13 => "CN/8000",
        15 => "G728/8000",
        18 => "G729/8000",
        _ => "",
    }
}

/// Restrict one direction by another, both seen from the same end.
pub(super) fn restrict(wanted: Direction, limit: Direction) -> Direction {
    match (wanted.sends() && limit.sends(), wanted.receives() && limit.receives()) {
        (true, true) => Direction::SendRecv,
        (true, false) => Direction::SendOnly,
        (false, true) => Direction::RecvOnly,
        (false, false) => Direction::Inactive,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_channel_is_the_default_and_the_clock_rate_distinguishes() {
        assert_eq!(codec("pcmu/8000/1"), Some(Codec::Pcmu));
        assert_eq!(codec("PCMU/16000"), Some(Codec::Other("PCMU/16000".into())));
        assert_eq!(codec("opus/48000/2"), Some(Codec::Other("opus/48000/2".into())));
        assert_eq!((codec("opus"), codec("/8000"), codec("")), (None, None, None));
    }

    #[test]
    fn host_names_multicast_and_broadcast_give_the_unspecified_address() {
        for literal in ["pbx.example.com", "224.1.1.1/127", "255.255.255.255", "ff02::1", ""] {
            assert!(literal_address(literal).is_unspecified(), "{literal}");
        }
        assert_eq!(literal_address("2001:db8::7/3"), "2001:db8::7".parse::<IpAddr>().unwrap());
        assert_eq!(literal_address("::ffff:192.0.2.1"), "192.0.2.1".parse::<IpAddr>().unwrap());
    }
}
