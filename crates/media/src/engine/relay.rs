//! The path of one received packet: check the source, update statistics and DTMF, feed the tap, rewrite for the listener.

use std::net::SocketAddr;

use base::Now;

use super::Engine;
use super::api::{Component, Forward, MediaEvent};
use super::dtmf::DtmfDigit;
use super::g711;
use super::latching::Verdict;
use super::quality::Paced;
use super::rtcp::Rename;
use super::rtp;
use super::stream::{Forwarding, Kind, Stream};
use crate::limits::PACKET_BYTES;

impl Engine {
    pub(super) fn rtp(
        &mut self,
        now: Now,
        slot: usize,
        from: SocketAddr,
        packet: &mut [u8],
        events: &mut Vec<MediaEvent>,
    ) -> Option<Forward> {
        let stream = self.streams.get_mut(slot)?;
        let Some((mut header, way)) = admit(stream, now, from, packet, events) else {
            stream.refused += 1;
            self.refused += 1;
            return None;
        };
        if let Some(tap) = &mut stream.tap {
            let law = stream.agreed.as_ref().and_then(|agreed| agreed.law_of(header.payload_type));
            let audio = packet.get(header.payload.clone()).unwrap_or_default();
            tap.hear(now, stream.id, law, &header, audio, &mut self.recordings, events);
        }
        let (id, ssrc, listener) = (stream.id, header.ssrc, stream.sink?);
        let listener = self.streams.get_mut(listener)?;
        let Some(to) = listener.agreed.as_ref()?.target else {
            listener.output.switch(); // after a hold, the missed packets count as a pause and not as loss
            return None;
        };
        match way {
            Forwarding::Nowhere => {
                listener.output.skip(id, ssrc);
                return None;
            }
            Forwarding::Same(number) => header.payload_type = number,
            Forwarding::Transcoded(law, number) => {
                header.payload_type = number;
                g711::transcode(packet.get_mut(header.payload.clone())?, law);
            }
        }
        listener.output.relay(now.instant, id, &mut header)?;
        rtp::rewrite(packet, &header);
        Some(Forward { stream: listener.id, channel: Component::Rtp, to, len: packet.len() })
    }

    pub(super) fn rtcp(
        &mut self,
        now: Now,
        slot: usize,
        from: SocketAddr,
        packet: &mut [u8],
    ) -> Option<Forward> {
        let stream = self.streams.get_mut(slot)?;
        let agreed = stream.agreed.as_mut()?;
        let admitted = agreed.lock.admits_rtcp(now.instant, from, agreed.mux);
        if !admitted
            || stream.floods(now.instant)
            || !stream.rtcp.absorb(now.instant, packet, stream.output.ssrc)
        {
            stream.refused += 1;
            self.refused += 1;
            return None;
        }
        // RTCP is forwarded only between two streams that are each other's source: otherwise it reports packets that the listener never sent.
        let other = stream.sink.filter(|other| *other != slot)?;
        let (ssrc, sequence_offset) = (stream.output.ssrc, stream.output.sequence_offset());
        let listener = self.streams.get_mut(other).filter(|l| l.sink == Some(slot))?;
        let rename = Rename {
            reporter: listener.output.ssrc,
            timestamp_offset: listener.output.timestamp_offset(),
            heard: (ssrc, listener.agreed.as_ref()?.lock.ssrc()?),
            sequence_offset,
        };
        let (channel, to) = listener.rtcp_target()?;
        let len = listener.rtcp.pass_on(now.instant, packet, rename)?;
        Some(Forward { stream: listener.id, channel, to, len })
    }
}

/// Check a packet's source and payload type and update the stream's state. `None`: rejected.
fn admit(
    stream: &mut Stream,
    now: Now,
    from: SocketAddr,
    packet: &[u8],
    events: &mut Vec<MediaEvent>,
) -> Option<(rtp::Header, Forwarding)> {
    if packet.len() > PACKET_BYTES {
        return None;
    }
    let header = rtp::parse(packet)?;
    let route = *stream.routes.get(usize::from(header.payload_type))?;
    if route.kind == Kind::Unknown {
        return None;
    }
    let agreed = stream.agreed.as_mut()?;
    let (receives, clock) = (agreed.receives, agreed.clock);
    match agreed.lock.judge(now.instant, from, &header) {
        Verdict::Accept => {}
        Verdict::Locked => {
            stream.reception.restart();
            stream.detector.restart();
            stream.aim();
        }
        Verdict::Refuse => return None,
    }
    // Only packets of the latched source count, so that others cannot exhaust the rate limit.
    if stream.floods(now.instant) {
        return None;
    }
    if !receives {
        stream.reception.restart();
        return None;
    }
    (stream.heard, stream.silent) = (now.instant, false);
    let (paced, press) = match route.kind {
        Kind::Event => {
            let payload = packet.get(header.payload.clone()).unwrap_or_default();
            stream.tap.iter_mut().for_each(|tap| tap.stop_ear());
            (Paced::No, stream.detector.event(header.timestamp, payload))
        }
        Kind::Audio | Kind::Unknown => (Paced::Yes, stream.detector.audio(header.timestamp)),
    };
    stream.reception.take(now.instant, &header, clock, paced);
    if let Some(DtmfDigit { digit, millis }) = press {
        events.push(MediaEvent::Digit { stream: stream.id, digit, millis });
    }
    Some((header, route.forwarding))
}
