//! RTP latching (RFC 7362; `strictrtp` of Asterisk): which source address a stream accepts packets from.
//!
//! SDP's address latches at once. The signalling host latches after a probation, a run of packets in sequence: an attacker who sprays ports
//! sends single packets, a phone behind NAT sends a run. The probation is longer where SDP names the signalling host too, which then should know
//! its port. SDP's own address may replace a latched address for a short time, and at any time where it is the signalling host. Otherwise a
//! latched source changes only after a new SDP or a period of silence.
//!
//! A host that neither SDP nor signalling names latches only where SDP's address is a private one that cannot be ours too, and only while no
//! named host has been latched: media that bypasses an edge proxy. It needs the longest probation, without a pause and without a competitor, and
//! gives way to a named host at any time.
//!
//! Within the latched address, audio is accepted under one SSRC at a time, and telephone-events under any: some gateways send them under an
//! SSRC of their own.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use base::Instant;

use super::rtp::{Header, PayloadKind};
use crate::limits::{LATCH_CANDIDATES, NAT_PROBATION, PROBATION, UNNAMED_PROBATION};

/// A latched source that has been silent for this time may be replaced.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(2);
/// Packets that may be missing within a probation.
const MAX_GAP: u16 = 4;
/// SDP's address replaces a source that was latched by probation within this time.
const SDP_OVERRIDE: Duration = Duration::from_secs(2);
/// Longer than any call.
const MAX_CALL: Duration = Duration::from_secs(7 * 24 * 3600);
/// An RTCP source that has been silent for this time may be replaced: three report intervals.
const RTCP_TIMEOUT: Duration = Duration::from_secs(15);

/// What a source has to send before it is latched.
struct Requirement {
    /// Packets in sequence.
    length: u8,
    /// Minimum duration: real audio is paced, a burst of forged packets is not.
    time: Duration,
    /// Maximum time between two packets.
    pause: Duration,
}

/// For the signalling host.
const SIGNALLING_HOST: Requirement =
    Requirement { length: PROBATION, time: Duration::from_millis(40), pause: MAX_CALL };
/// For another port of the host that both SDP and signalling name.
const ANOTHER_PORT: Requirement =
    Requirement { length: NAT_PROBATION, time: Duration::from_millis(450), pause: MAX_CALL };
/// For a host that neither of them names.
const UNNAMED_HOST: Requirement = Requirement {
    length: UNNAMED_PROBATION,
    time: Duration::from_millis(950),
    pause: Duration::from_millis(200),
};

/// Result of checking a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    /// From the latched source.
    Accept,
    /// From a source that was latched by this packet, or audio with a new SSRC.
    Latched,
    /// From any other source.
    Reject,
}

/// The latch of one stream.
#[derive(Debug)]
pub(super) struct RtpLatch {
    signalling: IpAddr,
    remote: SocketAddr,
    remote_rtcp: SocketAddr,
    state: State,
    candidates: [Option<Candidate>; LATCH_CANDIDATES],
    /// The address that RTCP came from, and the time of its last packet.
    rtcp: Option<(SocketAddr, Instant)>,
}

#[derive(Debug)]
enum State {
    Learning,
    Latched(Latched),
}

#[derive(Debug)]
struct Latched {
    from: SocketAddr,
    host: Host,
    /// Arrival of the last accepted packet.
    last: Instant,
    /// SSRC of the audio, and arrival of its last packet; `None` before the first.
    audio: Option<(u32, Instant)>,
    /// Time until which SDP's address may replace the latched one; `None` if SDP's address is latched.
    sdp_override_until: Option<Instant>,
    /// Probation of another SSRC from the latched address; a packet of the current SSRC ends it.
    candidate_ssrc: Option<Probation>,
}

/// How a host is known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Host {
    /// SDP or signalling names it.
    Named,
    /// Only its packets do.
    Unnamed,
}

#[derive(Clone, Copy, Debug)]
struct Candidate {
    from: SocketAddr,
    host: Host,
    probation: Probation,
}

/// A run of packets in sequence with one SSRC.
#[derive(Clone, Copy, Debug)]
struct Probation {
    ssrc: u32,
    next: u16,
    length: u8,
    since: Instant,
    last: Instant,
}

impl Probation {
    fn new(now: Instant, header: &Header) -> Probation {
        let next = header.sequence.wrapping_add(1);
        Probation { ssrc: header.ssrc, next, length: 1, since: now, last: now }
    }

    /// Count a packet of the run, or start a new run with it. Whether the requirement is met.
    fn extend(&mut self, now: Instant, header: &Header, requirement: &Requirement) -> bool {
        let is_next = header.ssrc == self.ssrc && header.sequence.wrapping_sub(self.next) <= MAX_GAP;
        if !is_next || now.since(self.last) > requirement.pause {
            *self = Probation::new(now, header);
            return false;
        }
        self.next = header.sequence.wrapping_add(1);
        self.length = self.length.saturating_add(1);
        self.last = now;
        self.length >= requirement.length && self.last.since(self.since) >= requirement.time
    }
}

impl RtpLatch {
    /// Start learning.
    pub(super) fn new(signalling: IpAddr, remote: SocketAddr, remote_rtcp: SocketAddr) -> RtpLatch {
        let candidates = [None; LATCH_CANDIDATES];
        RtpLatch { signalling, remote, remote_rtcp, state: State::Learning, candidates, rtcp: None }
    }

    /// Apply a later SDP. The latch is reset only by a changed address that is not the latched one. An unusable address (hold by RFC 2543)
    /// changes nothing: the peer has not moved.
    pub(super) fn renegotiate(&mut self, signalling: IpAddr, remote: SocketAddr, remote_rtcp: SocketAddr) {
        self.signalling = signalling;
        if !is_sendable(remote) {
            return;
        }
        if remote != self.remote && self.source() != Some(remote) {
            *self = RtpLatch::new(signalling, remote, remote_rtcp);
            return;
        }
        if remote_rtcp != self.remote_rtcp {
            self.rtcp = None;
        }
        (self.remote, self.remote_rtcp) = (remote, remote_rtcp);
    }

    fn latched(&self) -> Option<&Latched> {
        match &self.state {
            State::Latched(latched) => Some(latched),
            State::Learning => None,
        }
    }

    /// The latched source address.
    pub(super) fn source(&self) -> Option<SocketAddr> {
        self.latched().map(|latched| latched.from)
    }

    /// The SSRC of the audio from the latched source.
    pub(super) fn ssrc(&self) -> Option<u32> {
        Some(self.latched()?.audio?.0)
    }

    /// Destination of RTP: the latched source, else SDP's address if it is usable.
    pub(super) fn target(&self) -> Option<SocketAddr> {
        self.source().or_else(|| is_sendable(self.remote).then_some(self.remote))
    }

    /// Destination of RTCP on its own port: the address RTCP came from, else SDP's address, unless RTP was latched on another host.
    pub(super) fn rtcp_target(&self) -> Option<SocketAddr> {
        let there = self.source().is_none_or(|from| from.ip() == self.remote_rtcp.ip());
        let from_sdp = (there && is_sendable(self.remote_rtcp)).then_some(self.remote_rtcp);
        self.rtcp.map(|(from, _)| from).or(from_sdp)
    }

    /// Check an RTP packet.
    pub(super) fn check(
        &mut self,
        now: Instant,
        from: SocketAddr,
        header: &Header,
        kind: PayloadKind,
    ) -> Verdict {
        let State::Latched(latched) = &mut self.state else {
            return self.learn(now, from, header, kind);
        };
        if from != latched.from {
            let silent = now.since(latched.last) > SILENCE_TIMEOUT;
            let overrides = from == self.remote
                && latched.sdp_override_until.is_some_and(|until| now < until)
                || from.ip() == self.signalling && latched.host == Host::Unnamed;
            return if silent || overrides { self.learn(now, from, header, kind) } else { Verdict::Reject };
        }
        let is_audio = kind != PayloadKind::Event;
        match latched.audio {
            Some((ssrc, _)) if ssrc == header.ssrc => {}
            _ if !is_audio => {
                latched.last = now;
                return Verdict::Accept;
            }
            Some((_, last)) if now.since(last) <= SILENCE_TIMEOUT => {
                if !latched.candidate_ssrc_passes(now, header) {
                    return Verdict::Reject;
                }
            }
            Some(_) | None => {}
        }
        let before = latched.audio.replace((header.ssrc, now));
        (latched.last, latched.candidate_ssrc) = (now, None);
        if before.is_some_and(|(ssrc, _)| ssrc == header.ssrc) { Verdict::Accept } else { Verdict::Latched }
    }

    fn learn(&mut self, now: Instant, from: SocketAddr, header: &Header, kind: PayloadKind) -> Verdict {
        let is_named = from == self.remote || from.ip() == self.signalling;
        let (host, requirement, sdp_override) = match (is_named, self.sdp_names_signalling()) {
            (true, true) => (Host::Named, ANOTHER_PORT, MAX_CALL),
            (true, false) => (Host::Named, SIGNALLING_HOST, SDP_OVERRIDE),
            (false, _) if self.may_be_behind_edge() => (Host::Unnamed, UNNAMED_HOST, MAX_CALL),
            (false, _) => return Verdict::Reject,
        };
        let is_remote = from == self.remote;
        if !is_remote && !self.completes_probation(now, from, host, header, kind, &requirement) {
            return Verdict::Reject;
        }
        if self.source().is_some_and(|was| was.ip() != from.ip()) {
            self.rtcp = None;
        }
        self.state = State::Latched(Latched {
            from,
            host,
            last: now,
            audio: (kind != PayloadKind::Event).then_some((header.ssrc, now)),
            sdp_override_until: (!is_remote).then_some(now + sdp_override),
            candidate_ssrc: None,
        });
        self.candidates = [None; LATCH_CANDIDATES];
        Verdict::Latched
    }

    /// Whether SDP names the signalling host. Then no NAT is apparent: packets from another port of that host may be those of another program,
    /// need a longer probation, and are replaced by SDP's own address at any time.
    fn sdp_names_signalling(&self) -> bool {
        self.remote.ip() == self.signalling
    }

    /// Whether media may come from a host that neither SDP nor signalling names: SDP's address is private and signalling does not come from the
    /// same private network, where we could reach it; and neither has sent anything.
    fn may_be_behind_edge(&self) -> bool {
        let network = private_network(self.remote.ip());
        let is_unreachable = network.is_some() && network != private_network(self.signalling);
        is_unreachable && self.latched().is_none_or(|latched| latched.host == Host::Unnamed)
    }

    /// Count a packet of a candidate; `true` if it completes the probation.
    fn completes_probation(
        &mut self,
        now: Instant,
        from: SocketAddr,
        host: Host,
        header: &Header,
        kind: PayloadKind,
        requirement: &Requirement,
    ) -> bool {
        let others = self.candidates.iter().flatten().filter(|candidate| candidate.from.ip() != from.ip());
        let is_contested = others.into_iter().any(|other| now.since(other.probation.last) <= SILENCE_TIMEOUT);
        let known = self.candidates.iter_mut().flatten().find(|candidate| candidate.from == from);
        if let Some(Candidate { probation, .. }) = known {
            if kind == PayloadKind::Event && probation.ssrc != header.ssrc {
                return false; // an event beside the audio does not interrupt its run
            }
            return probation.extend(now, header, requirement) && !(host == Host::Unnamed && is_contested);
        }
        // Replace the entry with the least to lose: an empty one, one that went silent, an unnamed host, one with the fewest packets.
        let value = |entry: &Option<Candidate>| match entry {
            None => (0, 0, Instant::ZERO),
            Some(Candidate { probation, .. }) if now.since(probation.last) > SILENCE_TIMEOUT => {
                (1, 0, probation.last)
            }
            Some(Candidate { host: Host::Unnamed, probation, .. }) => (2, probation.length, probation.last),
            Some(Candidate { host: Host::Named, probation, .. }) => (3, probation.length, probation.last),
        };
        let least = self.candidates.iter_mut().min_by_key(|entry| value(entry));
        if let Some(entry) = least.filter(|entry| host == Host::Named || value(entry).0 < 3) {
            *entry = Some(Candidate { from, host, probation: Probation::new(now, header) });
        }
        false
    }

    /// Whether RTCP from this address is accepted: on a shared port from the latched source, else from its host, and only from the port first used.
    pub(super) fn accepts_rtcp(&mut self, now: Instant, from: SocketAddr, shared: bool) -> bool {
        let Some(source) = self.source() else { return from == self.remote_rtcp };
        if shared {
            return from == source;
        }
        let fresh = |(was, last): (SocketAddr, Instant)| was != from && now.since(last) <= RTCP_TIMEOUT;
        // A peer at SDP's address is not behind a NAT that changes the port of its RTCP.
        if source == self.remote && is_sendable(self.remote_rtcp) && from != self.remote_rtcp {
            return false;
        }
        if from.ip() != source.ip() || (from != self.remote_rtcp && self.rtcp.is_some_and(fresh)) {
            return false;
        }
        self.rtcp = Some((from, now));
        true
    }
}

impl Latched {
    /// Count a packet of another SSRC; `true` if it completes the probation.
    fn candidate_ssrc_passes(&mut self, now: Instant, header: &Header) -> bool {
        match &mut self.candidate_ssrc {
            Some(probation) => probation.extend(now, header, &SIGNALLING_HOST),
            None => {
                self.candidate_ssrc = Some(Probation::new(now, header));
                false
            }
        }
    }
}

/// The private network that an address belongs to, by a number of ours; `None` for a public address (RFC 1918, 6598, 3927, 4193, 4291).
fn private_network(address: IpAddr) -> Option<u8> {
    match address {
        IpAddr::V4(v4) => match v4.octets() {
            [10, ..] => Some(0),
            [172, 16..=31, ..] => Some(1),
            [192, 168, ..] => Some(2),
            [100, 64..=127, ..] => Some(3),
            [169, 254, ..] => Some(4),
            [127, ..] => Some(5),
            _ => None,
        },
        IpAddr::V6(v6) if v6.is_unique_local() => Some(6),
        IpAddr::V6(v6) if v6.is_unicast_link_local() => Some(4),
        IpAddr::V6(v6) if v6.is_loopback() => Some(5),
        IpAddr::V6(_) => None,
    }
}

/// Whether an address can be sent to: port 0 and the unspecified address mean no media or an unknown address.
fn is_sendable(address: SocketAddr) -> bool {
    address.port() != 0 && !address.ip().is_unspecified()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PHONE: &str = "198.51.100.7:4000";
    const NAT: &str = "203.0.113.9:61000";

    fn latch() -> RtpLatch {
        let at = |a: &str| a.parse::<SocketAddr>().unwrap();
        RtpLatch::new(at(NAT).ip(), at(PHONE), at("198.51.100.7:4001"))
    }

    /// Send packets at 50 per second; returns the number of accepted ones.
    fn send(latch: &mut RtpLatch, from: &str, ssrc: u32, first: u64, count: u64) -> usize {
        let (mut accepted, from) = (0, from.parse().unwrap());
        for n in first..first + count {
            let header = Header {
                marker: false,
                payload_type: 0,
                sequence: n as u16,
                timestamp: 0,
                ssrc,
                payload: 0..0,
            };
            let verdict = latch.check(Instant::from_micros(n * 20_000), from, &header, PayloadKind::Audio);
            accepted += usize::from(verdict != Verdict::Reject);
        }
        accepted
    }

    #[test]
    fn the_address_in_sdp_latches_at_once_and_then_no_other() {
        let mut latch = latch();
        assert_eq!(send(&mut latch, PHONE, 1, 0, 10), 10);
        for other in [NAT, "198.51.100.7:4002", "192.0.2.66:4000"] {
            assert_eq!(send(&mut latch, other, 1, 9, 20), 0, "{other}"); // security row 9
        }
    }

    #[test]
    fn behind_nat_a_run_from_the_signalling_host_latches_and_a_spray_does_not() {
        let mut latch = latch();
        for port in 5_000..5_400 {
            assert_eq!(send(&mut latch, &format!("203.0.113.9:{port}"), 9, 0, 2), 0);
        }
        assert_eq!(send(&mut latch, "192.0.2.66:4000", 9, 0, 50), 0);
        assert_eq!(send(&mut latch, NAT, 1, 200, 10), 10 - usize::from(PROBATION) + 1);
        assert_eq!(send(&mut latch, PHONE, 2, 211, 10), 10); // SDP's address replaces it during set-up
        assert_eq!(send(&mut latch, NAT, 1, 220, 10), 0);
    }

    #[test]
    fn another_ssrc_is_accepted_when_the_old_one_has_stopped() {
        let mut latch = latch();
        send(&mut latch, PHONE, 1, 0, 10);
        for n in 10..60 {
            assert_eq!(send(&mut latch, PHONE, 1, n, 1) + send(&mut latch, PHONE, 2, n, 1), 1);
        }
        assert_eq!(send(&mut latch, PHONE, 2, 60, 10), 10 - usize::from(PROBATION) + 2); // the probation began at 59
        assert_eq!(send(&mut latch, PHONE, 3, 300, 1), 1); // at once after two seconds of silence
    }

    #[test]
    fn two_seconds_of_silence_or_a_new_address_reset_the_latch() {
        let mut latch = latch();
        send(&mut latch, PHONE, 1, 0, 10);
        assert_eq!(send(&mut latch, NAT, 1, 111, 10), 10 - usize::from(PROBATION) + 1);
        latch.renegotiate(
            NAT.parse::<SocketAddr>().unwrap().ip(),
            NAT.parse().unwrap(),
            NAT.parse().unwrap(),
        );
        assert_eq!(latch.source(), NAT.parse().ok());
        let moved: SocketAddr = "198.51.100.8:7000".parse().unwrap();
        latch.renegotiate(moved.ip(), moved, moved);
        assert_eq!((latch.source(), latch.target()), (None, Some(moved)));
    }
}
