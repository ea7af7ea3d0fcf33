//! SDP of a phone: written by hand, and parsed only as far as an answer needs it.

use std::net::SocketAddr;

/// SDP state of a call.
#[derive(Clone, Debug)]
pub(super) struct Sdp {
    pub(super) session: u32,
    pub(super) version: u32,
    pub(super) port: u16,
    pub(super) direction: &'static str,
}

impl Sdp {
    /// An offer with all codecs of the phone.
    pub(super) fn offer(&self, address: SocketAddr, codecs: &[u8]) -> String {
        let ip = address.ip();
        let formats: String = codecs.iter().map(|c| format!(" {c}")).collect();
        let event = if codecs.contains(&101) {
            "a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\n"
        } else {
            ""
        };
        format!(
            "v=0\r\no=- {} {} IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio {} RTP/AVP{formats}\r\n{event}a={}\r\n",
            self.session, self.version, self.port, self.direction
        )
    }

    /// The answer to an offer; `None` without a common codec.
    pub(super) fn answer(&mut self, address: SocketAddr, codecs: &[u8], offer: &[u8]) -> Option<String> {
        let common: Vec<u8> = formats(offer)?.into_iter().filter(|f| codecs.contains(f)).collect();
        if !common.iter().any(|f| *f < 96) {
            return None;
        }
        let ours = Sdp {
            direction: match direction(offer) {
                "sendonly" => "recvonly",
                "recvonly" => "sendonly",
                "inactive" => "inactive",
                _ => self.direction,
            },
            ..self.clone()
        };
        Some(ours.offer(address, &common))
    }
}

fn text(sdp: &[u8]) -> &str {
    std::str::from_utf8(sdp).unwrap_or_default()
}

/// Payload types of the audio stream; `None` if there is no audio stream.
fn formats(sdp: &[u8]) -> Option<Vec<u8>> {
    let line = text(sdp).lines().find(|line| line.starts_with("m=audio "))?;
    Some(line.split_whitespace().skip(3).filter_map(|f| f.parse().ok()).collect())
}

fn direction(sdp: &[u8]) -> &str {
    let known = |line: &&str| matches!(*line, "a=sendonly" | "a=recvonly" | "a=inactive" | "a=sendrecv");
    text(sdp).lines().map(str::trim_end).find(known).map_or("sendrecv", |line| &line[2..])
}

/// Whether an answer fits its offer (RFC 3264 §6): the same number of streams, and a direction that the offer permits.
pub(super) fn check_answer(offer: &[u8], answer: &[u8]) -> Result<(), String> {
    let streams = |sdp| text(sdp).lines().filter(|line| line.starts_with("m=")).count();
    if streams(offer) != streams(answer) {
        return Err(format!("an answer with {} streams to {}", streams(answer), streams(offer)));
    }
    let allowed: &[&str] = match direction(offer) {
        "sendonly" => &["recvonly", "inactive"],
        "recvonly" => &["sendonly", "inactive"],
        "inactive" => &["inactive"],
        _ => &["sendrecv", "sendonly", "recvonly", "inactive"],
    };
    let (Some(requested), Some(given)) = (formats(offer), formats(answer)) else {
        return Err("no audio".into());
    };
    if !allowed.contains(&direction(answer)) {
        return Err(format!("{} answered with {}", direction(offer), direction(answer)));
    }
    if !given.iter().any(|f| requested.contains(f)) {
        return Err(format!("answered with {given:?} what offered {requested:?}"));
    }
    Ok(())
}
