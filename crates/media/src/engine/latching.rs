//! RTP latching (RFC 7362; `strictrtp` of Asterisk): which source address a stream accepts packets from.
//!
//! SDP's address latches at once. The signalling host latches after a probation, a run of packets in sequence: an attacker who sprays ports
//! sends single packets, a phone behind NAT sends a run. The probation is longer where SDP names the signalling host too, which then should know
//! its port. SDP's own address may replace a latched address for a short time, and at any time where it is the signalling host. Otherwise a
//! latched source changes only after a new SDP or a period of silence.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use base::Instant;

use super::rtp::Header;
use crate::limits::{LATCH_CANDIDATES, NAT_PROBATION, PROBATION};

/// A latched source that has been silent for this time may be replaced.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(2);
/// Minimum duration of a probation: real audio is paced, a burst of forged packets is not.
const PROBATION_TIME: Duration = Duration::from_millis(40);
/// The same where SDP names the signalling host.
const NAT_PROBATION_TIME: Duration = Duration::from_millis(450);
/// Packets that may be missing within a probation.
const MAX_GAP: u16 = 4;
/// SDP's address replaces a source that was latched by probation within this time.
const SDP_OVERRIDE: Duration = Duration::from_secs(2);
/// Longer than any call.
const MAX_CALL: Duration = Duration::from_secs(7 * 24 * 3600);
/// An RTCP source that has been silent for this time may be replaced: three report intervals.
const RTCP_TIMEOUT: Duration = Duration::from_secs(15);

/// Result of checking a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    /// From the latched source.
    Accept,
    /// From a source that was latched by this packet.
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
    Latched {
        from: SocketAddr,
        ssrc: u32,
        last: Instant,
        /// Time until which SDP's address may replace the latched one; `None` if SDP's address is latched.
        sdp_override_until: Option<Instant>,
        /// Probation of another SSRC from the latched address; a packet of the current SSRC ends it.
        candidate_ssrc: Option<Probation>,
    },
}

#[derive(Clone, Copy, Debug)]
struct Candidate {
    from: SocketAddr,
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
        Probation {
            ssrc: header.ssrc,
            next: header.sequence.wrapping_add(1),
            length: 1,
            since: now,
            last: now,
        }
    }

    /// Count a packet of the run, or start a new run with it.
    fn extend(&mut self, now: Instant, header: &Header) {
        if header.ssrc != self.ssrc || header.sequence.wrapping_sub(self.next) > MAX_GAP {
            *self = Probation::new(now, header);
            return;
        }
        self.next = header.sequence.wrapping_add(1);
        self.length = self.length.saturating_add(1);
        self.last = now;
    }

    fn has_passed(&self, length: u8, span: Duration) -> bool {
        self.length >= length && self.last.since(self.since) >= span
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

    /// The latched source address.
    pub(super) fn source(&self) -> Option<SocketAddr> {
        match self.state {
            State::Latched { from, .. } => Some(from),
            State::Learning => None,
        }
    }

    /// The SSRC of the latched source.
    pub(super) fn ssrc(&self) -> Option<u32> {
        match self.state {
            State::Latched { ssrc, .. } => Some(ssrc),
            State::Learning => None,
        }
    }

    /// Destination of RTP: the latched source, else SDP's address if it is usable.
    pub(super) fn target(&self) -> Option<SocketAddr> {
        self.source().or_else(|| is_sendable(self.remote).then_some(self.remote))
    }

    /// Destination of RTCP on its own port: the address RTCP came from, else SDP's address, unless RTP was latched on another host.
    pub(super) fn rtcp_target(&self) -> Option<SocketAddr> {
        let there = self.source().is_none_or(|from| from.ip() == self.remote_rtcp.ip());
        let said = (there && is_sendable(self.remote_rtcp)).then_some(self.remote_rtcp);
        self.rtcp.map(|(from, _)| from).or(said)
    }

    /// Check an RTP packet.
    pub(super) fn check(&mut self, now: Instant, from: SocketAddr, header: &Header) -> Verdict {
        let remote = self.remote;
        let State::Latched { from: latched, ssrc, last, sdp_override_until, candidate_ssrc } =
            &mut self.state
        else {
            return self.learn(now, from, header);
        };
        let silent = now.since(*last) > SILENCE_TIMEOUT;
        if from != *latched {
            let overrides = from == remote && sdp_override_until.is_some_and(|until| now < until);
            return if silent || overrides { self.learn(now, from, header) } else { Verdict::Reject };
        }
        if header.ssrc == *ssrc {
            (*last, *candidate_ssrc) = (now, None);
            return Verdict::Accept;
        }
        let probation = match candidate_ssrc {
            Some(probation) => {
                probation.extend(now, header);
                probation
            }
            None => candidate_ssrc.insert(Probation::new(now, header)),
        };
        if silent || probation.has_passed(PROBATION, PROBATION_TIME) {
            (*ssrc, *last, *candidate_ssrc) = (header.ssrc, now, None);
            return Verdict::Latched;
        }
        Verdict::Reject
    }

    fn learn(&mut self, now: Instant, from: SocketAddr, header: &Header) -> Verdict {
        if from == self.remote {
            return self.latch(now, from, header.ssrc, None);
        }
        if from.ip() == self.signalling && self.completes_probation(now, from, header) {
            let until = if self.sdp_names_signalling() { MAX_CALL } else { SDP_OVERRIDE };
            return self.latch(now, from, header.ssrc, Some(now + until));
        }
        Verdict::Reject
    }

    /// Whether SDP names the signalling host. Then no NAT is apparent: packets from another port of that host may be those of another program,
    /// need a longer probation, and are replaced by SDP's own address at any time.
    fn sdp_names_signalling(&self) -> bool {
        self.remote.ip() == self.signalling
    }

    fn required_probation(&self) -> (u8, Duration) {
        if self.sdp_names_signalling() {
            (NAT_PROBATION, NAT_PROBATION_TIME)
        } else {
            (PROBATION, PROBATION_TIME)
        }
    }

    fn latch(
        &mut self,
        now: Instant,
        from: SocketAddr,
        ssrc: u32,
        sdp_override_until: Option<Instant>,
    ) -> Verdict {
        if self.source().is_some_and(|was| was.ip() != from.ip()) {
            self.rtcp = None;
        }
        self.state = State::Latched { from, ssrc, last: now, sdp_override_until, candidate_ssrc: None };
        self.candidates = [None; LATCH_CANDIDATES];
        Verdict::Latched
    }

    /// Count a packet of a candidate; `true` if it completes the probation.
    fn completes_probation(&mut self, now: Instant, from: SocketAddr, header: &Header) -> bool {
        let (length, span) = self.required_probation();
        let known = self.candidates.iter_mut().flatten().find(|c| c.from == from);
        if let Some(candidate) = known {
            candidate.probation.extend(now, header);
            return candidate.probation.has_passed(length, span);
        }
        // Replace the entry with the least to lose: an empty one, one that went silent, one with the fewest packets.
        let value = |entry: &Option<Candidate>| match entry {
            None => (0, Instant::ZERO),
            Some(c) if now.since(c.probation.last) > SILENCE_TIMEOUT => (1, c.probation.last),
            Some(c) => (1 + c.probation.length, c.probation.last),
        };
        if let Some(entry) = self.candidates.iter_mut().min_by_key(|entry| value(entry)) {
            *entry = Some(Candidate { from, probation: Probation::new(now, header) });
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
    fn feed(latch: &mut RtpLatch, from: &str, ssrc: u32, first: u64, count: u64) -> usize {
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
            let verdict = latch.check(Instant::from_micros(n * 20_000), from, &header);
            accepted += usize::from(verdict != Verdict::Reject);
        }
        accepted
    }

    #[test]
    fn the_address_in_sdp_latches_at_once_and_then_no_other() {
        let mut latch = latch();
        assert_eq!(feed(&mut latch, PHONE, 1, 0, 10), 10);
        for stranger in [NAT, "198.51.100.7:4002", "192.0.2.66:4000"] {
            assert_eq!(feed(&mut latch, stranger, 1, 9, 20), 0, "{stranger}"); // security row 9
        }
    }

    #[test]
    fn behind_nat_a_run_from_the_signalling_host_latches_and_a_spray_does_not() {
        let mut latch = latch();
        for port in 5_000..5_400 {
            assert_eq!(feed(&mut latch, &format!("203.0.113.9:{port}"), 9, 0, 2), 0);
        }
        assert_eq!(feed(&mut latch, "192.0.2.66:4000", 9, 0, 50), 0);
        assert_eq!(feed(&mut latch, NAT, 1, 200, 10), 10 - usize::from(PROBATION) + 1);
        assert_eq!(feed(&mut latch, PHONE, 2, 211, 10), 10); // SDP's address replaces it during set-up
        assert_eq!(feed(&mut latch, NAT, 1, 220, 10), 0);
    }

    #[test]
    fn another_ssrc_is_accepted_when_the_old_one_has_stopped() {
        let mut latch = latch();
        feed(&mut latch, PHONE, 1, 0, 10);
        for n in 10..60 {
            assert_eq!(feed(&mut latch, PHONE, 1, n, 1) + feed(&mut latch, PHONE, 2, n, 1), 1);
        }
        assert_eq!(feed(&mut latch, PHONE, 2, 60, 10), 10 - usize::from(PROBATION) + 2); // the probation began at 59
        assert_eq!(feed(&mut latch, PHONE, 3, 300, 1), 1); // at once after two seconds of silence
    }

    #[test]
    fn two_seconds_of_silence_or_a_new_address_reset_the_latch() {
        let mut latch = latch();
        feed(&mut latch, PHONE, 1, 0, 10);
        assert_eq!(feed(&mut latch, NAT, 1, 111, 10), 10 - usize::from(PROBATION) + 1);
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
