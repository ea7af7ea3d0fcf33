//! Log of a run: a hash over all outputs of the switch, and the last steps as readable lines.

use std::collections::VecDeque;
use std::fmt::{self, Write as _};
use std::net::SocketAddr;

use base::Instant;
use bytes::Bytes;

/// FNV-1a hash, 64 bits: equal on every machine.
#[derive(Clone, Copy, Debug)]
struct Fnv(u64);

impl fmt::Write for Fnv {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.update(text.as_bytes());
        Ok(())
    }
}

impl Fnv {
    fn update(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Packet { from: SocketAddr, to: SocketAddr, bytes: Bytes, delivery: &'static str },
    Note(String),
}

/// The log of one run.
#[derive(Debug)]
pub(crate) struct EventLog {
    trace: Fnv,
    steps: VecDeque<(Instant, Step)>,
    kept: usize,
}

impl EventLog {
    /// `kept`: number of steps kept as text.
    pub(crate) fn new(kept: usize) -> EventLog {
        EventLog { trace: Fnv(0xcbf2_9ce4_8422_2325), steps: VecDeque::new(), kept }
    }

    /// Hash an output that is not a SIP message.
    pub(crate) fn output(&mut self, at: Instant, output: &impl fmt::Debug) {
        let _ = write!(self.trace, "{}{output:?}", at.as_micros());
    }

    /// Hash a SIP message that the switch sent.
    pub(crate) fn message(&mut self, at: Instant, to: SocketAddr, bytes: &[u8]) {
        let _ = write!(self.trace, "{}{to}", at.as_micros());
        self.trace.update(bytes);
    }

    pub(crate) fn packet(
        &mut self,
        at: Instant,
        from: SocketAddr,
        to: SocketAddr,
        bytes: &Bytes,
        delivery: &'static str,
    ) {
        self.keep(at, Step::Packet { from, to, bytes: bytes.clone(), delivery });
    }

    pub(crate) fn note(&mut self, at: Instant, text: String) {
        self.keep(at, Step::Note(text));
    }

    fn keep(&mut self, at: Instant, step: Step) {
        if self.steps.len() == self.kept {
            self.steps.pop_front();
        }
        self.steps.push_back((at, step));
    }

    pub(crate) fn trace(&self) -> u64 {
        self.trace.0
    }

    /// The kept steps, one line each.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.steps
            .iter()
            .map(|(at, step)| format!("{:>12.6} {}", at.as_micros() as f64 / 1e6, line(step)))
            .collect()
    }
}

fn line(step: &Step) -> String {
    match step {
        Step::Note(text) => format!("· {text}"),
        Step::Packet { from, to, bytes, delivery } => {
            let text = String::from_utf8_lossy(bytes);
            let header = |name: &str| {
                let found = text.lines().find(|line| line.starts_with(name));
                found.map_or(String::new(), |line| line.trim_end()[name.len()..].trim().to_string())
            };
            let extras = ["RSeq", "RAck", "Reason", "Expires", "Session-Expires", "Require"];
            let extras = extras.iter().map(|name| (name, header(&format!("{name}:"))));
            let extras: String =
                extras.filter(|(_, v)| !v.is_empty()).map(|(n, v)| format!(" {n}={v}")).collect();
            let media: Vec<&str> = text
                .lines()
                .filter(|l| {
                    l.starts_with("m=") || matches!(l.trim_end(), "a=sendonly" | "a=recvonly" | "a=inactive")
                })
                .map(str::trim_end)
                .collect();
            let tag =
                |value: String| value.split_once(";tag=").map_or(String::new(), |(_, tag)| tag.to_string());
            format!(
                "{from} → {to} {delivery}: {} [{} cseq {}; {}→{}; {}]{extras} {}",
                text.lines().next().unwrap_or_default(),
                header("Call-ID:"),
                header("CSeq:"),
                tag(header("From:")),
                tag(header("To:")),
                header("Via:").split_once("branch=").map_or("", |(_, b)| b.split(';').next().unwrap_or(b)),
                media.join(" "),
            )
        }
    }
}
