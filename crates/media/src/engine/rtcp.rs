//! RTCP (RFC 3550 §6): reports of a peer are evaluated and forwarded with translated SSRCs and numbers; where no forwarded reports reach a peer,
//! we send our own.

use std::time::Duration;

use base::{Instant, Now, Rng, Timestamp};

use super::quality::ReceiveStats;
use super::sender::RtpSender;

const SR: u8 = 200;
const RR: u8 = 201;
const SDES: u8 = 202;
const BYE: u8 = 203;
/// Bytes of a report block.
const REPORT_BLOCK: usize = 24;
/// The minimum interval of RFC 3550 §6.2, always reached with two participants.
const INTERVAL: Duration = Duration::from_secs(5);
/// Seconds from 1900, the NTP epoch, to 1970.
const NTP_EPOCH: u64 = 2_208_988_800;
/// Sent sender reports whose NTP timestamp is kept to recognise it in LSR.
const KEPT_REPORTS: usize = 4;
/// Characters of our CNAME.
const CNAME: usize = 16;
/// Bytes of our longest report: a sender report with one block, and a source description.
pub(super) const MAX_REPORT: usize = 28 + REPORT_BLOCK + 4 + 4 + 2 + CNAME + 2;

/// RTCP state of one stream.
#[derive(Debug)]
pub(super) struct Rtcp {
    cname: [u8; CNAME],
    /// When our next report is due.
    pub(super) due: Instant,
    /// When a report of another peer was last forwarded to this one.
    last_forwarded: Option<Instant>,
    /// Middle 32 bits of the NTP timestamps of sender reports sent to this peer, and when they were sent.
    sent_reports: [Option<(u32, Instant)>; KEPT_REPORTS],
    /// The same of the last sender report received from this peer, and when it was received.
    last_report: Option<(u32, Instant)>,
    /// Packets sent at the time of our last report.
    packets_at_report: u64,
    /// Round-trip time to the peer.
    pub(super) rtt: Option<Duration>,
    /// The peer's last report on the packets sent to it.
    pub(super) remote: Option<RemoteReport>,
}

/// The content of a peer's report block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct RemoteReport {
    /// Cumulative number of packets lost.
    pub(super) lost: u32,
    /// Interarrival jitter in timestamp units.
    pub(super) jitter: u32,
}

/// SSRCs and offsets for the translation of a compound packet from the reporting peer to the listener.
#[derive(Clone, Copy, Debug)]
pub(super) struct Translation {
    /// Our SSRC towards the listener: replaces the SSRC of the reporting peer.
    pub(super) sender_ssrc: u32,
    pub(super) timestamp_offset: u32,
    /// Our SSRC towards the reporting peer, which its report blocks name, and the listener's SSRC, which replaces it.
    pub(super) block_ssrc: (u32, u32),
    pub(super) sequence_offset: u16,
}

/// Header of one RTCP packet.
struct PacketHeader {
    count: usize,
    kind: u8,
    /// Bytes of the packet, header included.
    length: usize,
}

/// Parse the header of the first packet of a compound. `None`: not RTCP, or longer than the compound.
fn parse_header(compound: &[u8]) -> Option<PacketHeader> {
    let [first, kind, high, low] = *compound.first_chunk::<4>()?;
    let length = 4 + 4 * usize::from(u16::from_be_bytes([high, low]));
    let sound = first >> 6 == 2 && (192..=223).contains(&kind) && length <= compound.len();
    sound.then_some(PacketHeader { count: usize::from(first & 0x1f), kind, length })
}

fn read_u32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn write_u32(bytes: &mut [u8], at: usize, value: u32) {
    if let Some(place) = bytes.get_mut(at..).and_then(|b| b.first_chunk_mut()) {
        *place = value.to_be_bytes();
    }
}

impl Rtcp {
    pub(super) fn new(now: Now, rng: &mut Rng) -> Rtcp {
        let mut cname = [b'0'; CNAME];
        for (place, letter) in cname.iter_mut().zip(rng.base36(CNAME).bytes()) {
            *place = letter;
        }
        Rtcp {
            cname,
            due: now.instant + INTERVAL.mul_f64(0.5),
            last_forwarded: None,
            sent_reports: [None; KEPT_REPORTS],
            last_report: None,
            packets_at_report: 0,
            rtt: None,
            remote: None,
        }
    }

    /// Evaluate a compound packet of this peer. `ours` is our SSRC towards it. `false`: not RTCP.
    pub(super) fn on_compound(&mut self, now: Instant, mut compound: &[u8], ours: u32) -> bool {
        let mut any = false;
        while let Some(PacketHeader { count, kind, length }) = parse_header(compound) {
            let (part, rest) = compound.split_at_checked(length).unwrap_or_default();
            let blocks = match kind {
                SR => 28,
                RR => 8,
                _ => length,
            };
            if let (SR, Some(high), Some(low)) = (kind, read_u32(part, 8), read_u32(part, 12)) {
                self.last_report = Some((high << 16 | low >> 16, now));
            }
            for block in part.get(blocks..).unwrap_or_default().chunks_exact(REPORT_BLOCK).take(count) {
                if read_u32(block, 0) == Some(ours) {
                    self.on_report_block(now, block);
                }
            }
            (any, compound) = (true, rest);
        }
        any && compound.is_empty()
    }

    fn on_report_block(&mut self, now: Instant, block: &[u8]) {
        let (Some(lost), Some(jitter)) = (read_u32(block, 4), read_u32(block, 12)) else { return };
        let lost = lost & 0x00ff_ffff;
        let lost = if lost & 0x0080_0000 == 0 { lost } else { 0 }; // negative: duplicates
        self.remote = Some(RemoteReport { lost, jitter });
        let (Some(lsr), Some(dlsr)) = (read_u32(block, 16), read_u32(block, 20)) else { return };
        let sent = self.sent_reports.iter().flatten().find(|(middle, _)| lsr != 0 && *middle == lsr);
        if let Some((_, at)) = sent {
            let held = Duration::from_micros(u64::from(dlsr).wrapping_mul(1_000_000) >> 16);
            self.rtt = now.since(*at).checked_sub(held).or(Some(Duration::ZERO));
        }
    }

    /// Translate a compound packet of another peer for this one, in place. Returns the length to send; `None`: nothing.
    pub(super) fn translate(
        &mut self,
        now: Instant,
        compound: &mut [u8],
        translation: Translation,
    ) -> Option<usize> {
        let mut length = 0;
        while let Some(part) = parse_header(compound.get(length..).unwrap_or_default()) {
            let Some(bytes) = compound.get_mut(length..length + part.length) else { break };
            if !self.translate_packet(now, part.kind, part.count, bytes, translation) {
                break; // application packets and feedback refer to sequence numbers that we changed
            }
            length += part.length;
        }
        if length == 0 {
            return None;
        }
        self.last_forwarded = Some(now);
        Some(length)
    }

    fn translate_packet(
        &mut self,
        now: Instant,
        kind: u8,
        count: usize,
        bytes: &mut [u8],
        translation: Translation,
    ) -> bool {
        let blocks = match (kind, count) {
            (SR, _) if bytes.len() >= 28 => 28,
            (RR, _) if bytes.len() >= 8 => 8,
            (SDES | BYE, 1) if bytes.len() >= 8 => bytes.len(),
            _ => return false,
        };
        write_u32(bytes, 4, translation.sender_ssrc);
        if kind == SR {
            let middle = read_u32(bytes, 8).unwrap_or(0) << 16 | read_u32(bytes, 12).unwrap_or(0) >> 16;
            self.remember_sender_report(middle, now);
            write_u32(bytes, 16, read_u32(bytes, 16).unwrap_or(0).wrapping_add(translation.timestamp_offset));
        }
        for block in bytes.get_mut(blocks..).unwrap_or_default().chunks_exact_mut(REPORT_BLOCK).take(count) {
            if read_u32(block, 0) == Some(translation.block_ssrc.0) {
                write_u32(block, 0, translation.block_ssrc.1);
                let highest = read_u32(block, 8).unwrap_or(0);
                write_u32(block, 8, highest.wrapping_sub(u32::from(translation.sequence_offset)));
            }
        }
        true
    }

    fn remember_sender_report(&mut self, middle: u32, now: Instant) {
        self.sent_reports.rotate_right(1);
        if let Some(newest) = self.sent_reports.first_mut() {
            *newest = Some((middle, now));
        }
    }

    /// Build our report to this peer, unless reports of another peer are forwarded to it. Sets the time of the next report.
    pub(super) fn report(
        &mut self,
        now: Now,
        sender: &RtpSender,
        received: Option<(u32, &mut ReceiveStats)>,
        rng: &mut Rng,
        report: &mut [u8; MAX_REPORT],
    ) -> Option<usize> {
        // RFC 3550 §6.3.1: randomised between 0.5 and 1.5 of the interval.
        self.due = now.instant + INTERVAL.mul_f64(0.5 + rng.below(1_000) as f64 / 1_000.0);
        if self.last_forwarded.is_some_and(|at| now.instant.since(at) < 2 * INTERVAL) {
            return None;
        }
        let mut out = Writer { bytes: report, length: 0 };
        let sends = sender.packets > self.packets_at_report;
        self.packets_at_report = sender.packets;
        let count = u32::from(received.is_some());
        let words = if sends { 6 } else { 1 } + 6 * count;
        out.u32(0x8000_0000 | (count << 24) | (u32::from(if sends { SR } else { RR }) << 16) | words);
        out.u32(sender.ssrc);
        if sends {
            let (seconds, fraction) = ntp(now.wall);
            self.remember_sender_report(seconds << 16 | fraction >> 16, now.instant);
            out.u32(seconds);
            out.u32(fraction);
            out.u32(sender.timestamp_at(now.instant).unwrap_or(0));
            out.u32(sender.packets as u32);
            out.u32(sender.octets);
        }
        if let Some((ssrc, stats)) = received {
            out.u32(ssrc);
            let lost = stats.lost().min(0x007f_ffff) as u32;
            out.u32(u32::from(stats.interval_loss()) << 24 | lost);
            out.u32(stats.highest());
            out.u32(stats.jitter());
            let (lsr, at) = self.last_report.unwrap_or((0, now.instant));
            out.u32(lsr);
            let held = now.instant.since(at).as_micros() as u64;
            out.u32((held << 16).wrapping_div(1_000_000) as u32);
        }
        // A source description of one chunk: SSRC, CNAME (1), its length and text, and two zeros as end and padding.
        out.u32(0x8100_0000 | (u32::from(SDES) << 16) | ((4 + 2 + CNAME as u32 + 2) / 4));
        out.u32(sender.ssrc);
        out.slice(&[1, CNAME as u8]);
        out.slice(&self.cname);
        out.slice(&[0, 0]);
        Some(out.length)
    }
}

/// Appends to a report.
struct Writer<'a> {
    bytes: &'a mut [u8; MAX_REPORT],
    length: usize,
}

impl Writer<'_> {
    fn u32(&mut self, value: u32) {
        self.slice(&value.to_be_bytes());
    }

    fn slice(&mut self, from: &[u8]) {
        let to = self.bytes.get_mut(self.length..self.length + from.len());
        if let Some(to) = to {
            to.copy_from_slice(from);
            self.length += from.len();
        }
    }
}

/// NTP seconds and fraction.
fn ntp(wall: Timestamp) -> (u32, u32) {
    let micros = wall.as_micros().rem_euclid(1_000_000) as u64;
    let seconds = (wall.as_secs() as u64).wrapping_add(NTP_EPOCH) as u32;
    (seconds, ((micros << 32) / 1_000_000) as u32)
}
