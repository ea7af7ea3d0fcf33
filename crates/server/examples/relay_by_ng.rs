//! A media relay without SIP that implements the part of rtpengine's control protocol a load generator needs (`offer`, `answer`, `delete`): the
//! same generator then measures this project's workers and rtpengine.
//!
//! `relay_by_ng [CONTROL_ADDRESS] [FIRST_PORT] [LAST_PORT] [WORKERS]`, by default `127.0.0.1:2223 10000 29999 1`.
use std::collections::HashMap;
use std::net::{IpAddr, UdpSocket};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use base::{Instant, Now, Rng, Timestamp};
use media::sdp::{self, Direction, LocalMedia, Offer, SessionDescription};
use media::{MediaCommand, MediaEvent, Source, StreamId};
use server::media::{MediaConfig, MediaWorkers};
use server::supervisor::Supervisor;

const ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

/// A call between its offer and its end.
struct Call {
    worker: u8,
    caller: (StreamId, u16),
    callee: (StreamId, u16),
    offered: SessionDescription,
    offer: Offer,
}

/// The value of `key` in a bencoded dictionary whose values are strings.
fn value<'a>(message: &'a str, key: &str) -> Option<&'a str> {
    let key = format!("{}:{key}", key.len());
    let rest = message.split_once(&key)?.1;
    let (length, rest) = rest.split_once(':')?;
    rest.get(..length.parse().ok()?)
}

fn local(port: u16) -> LocalMedia {
    LocalMedia { address: ADDRESS, port, session: 1, version: 1, direction: Direction::SendRecv }
}

/// Free ports of all workers, as they are reported.
struct Ports {
    events: mpsc::Receiver<(u8, Vec<u16>)>,
    free: Vec<Vec<u16>>,
}

impl Ports {
    fn take(&mut self, worker: u8) -> Option<u16> {
        loop {
            if let Some(port) = self.free.get_mut(usize::from(worker)).and_then(Vec::pop) {
                return Some(port);
            }
            let (worker, mut ports) = self.events.recv_timeout(Duration::from_secs(10)).ok()?;
            self.free.get_mut(usize::from(worker))?.append(&mut ports);
        }
    }
}

struct Relay {
    workers: MediaWorkers,
    ports: Ports,
    calls: HashMap<String, Call>,
    next: u32,
}

impl Relay {
    fn offer(&mut self, id: &str, sdp: &str) -> Option<String> {
        let offered = SessionDescription::parse(sdp.as_bytes()).ok()?;
        let worker = (self.calls.len() % usize::from(self.workers.count())) as u8;
        let mut open = || {
            let port = self.ports.take(worker)?;
            let stream = StreamId(self.next);
            self.next += 1;
            self.workers.send(worker, MediaCommand::Open { stream, port });
            Some((stream, port))
        };
        let (caller, callee) = (open()?, open()?);
        let offer = sdp::offer(&local(callee.1), Some(&offered));
        let reply = String::from_utf8_lossy(&offer.bytes).into_owned();
        self.calls.insert(id.to_owned(), Call { worker, caller, callee, offered, offer });
        Some(reply)
    }

    fn answer(&mut self, id: &str, sdp: &str) -> Option<String> {
        let call = self.calls.get(id)?;
        let answered = SessionDescription::parse(sdp.as_bytes()).ok()?;
        let callee = sdp::apply_answer(&call.offer.description, &answered).ok()?;
        let (reply, caller) = sdp::answer(&call.offered, &local(call.caller.1), Some(&callee)).ok()?;
        let ends = [(call.caller.0, call.callee.0, caller), (call.callee.0, call.caller.0, callee)];
        let commands = ends.into_iter().flat_map(|(stream, other, negotiated)| {
            let signalling = negotiated.remote.ip();
            [
                MediaCommand::Negotiated { stream, signalling, negotiated: Box::new(negotiated) },
                MediaCommand::SetSource { stream, source: Source::Stream(other) },
            ]
        });
        self.workers.send_batch(call.worker, commands);
        Some(String::from_utf8_lossy(&reply).into_owned())
    }

    fn delete(&mut self, id: &str) -> Option<String> {
        let call = self.calls.remove(id)?;
        let streams = [call.caller.0, call.callee.0];
        self.workers.send_batch(call.worker, streams.map(|stream| MediaCommand::Close { stream }));
        Some(String::new())
    }
}

fn main() -> std::io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let argument = |n: usize, default: &str| arguments.get(n).cloned().unwrap_or_else(|| default.to_owned());
    let number = |n: usize, default: &str| argument(n, default).parse::<u16>().expect("a number");
    let control = UdpSocket::bind(argument(0, "127.0.0.1:2223"))?;
    let workers = usize::from(number(3, "1"));
    let config = MediaConfig {
        listeners: vec![(0, ADDRESS)],
        ports: number(1, "10000")..=number(2, "29999"),
        workers,
        io_uring: true,
        recordings: None,
    };

    let start = std::time::Instant::now();
    let clock = Arc::new(move || Now {
        instant: Instant::from_micros(start.elapsed().as_micros() as u64),
        wall: Timestamp::from_micros(start.elapsed().as_micros() as i64),
    });
    let (sender, events) = mpsc::channel();
    let sender = Mutex::new(sender);
    let on_event = Arc::new(move |event| match event {
        MediaEvent::Ports { worker, ports, .. } => {
            let sender = sender.lock().expect("no panic holds it");
            let _ = sender.send((worker, ports)); // fails only at the end of the program
        }
        MediaEvent::Closed { stream, report } if report.lost + report.refused > 0 => {
            eprintln!("{stream:?}: {report:?}");
        }
        _ => {}
    });
    let rng = Rng::from_number(u64::from(std::process::id()));
    let media = MediaWorkers::spawn(&config, rng, clock, on_event, &Supervisor::default())?;
    let ports = Ports { events, free: vec![Vec::new(); workers] };
    let mut relay = Relay { workers: media, ports, calls: HashMap::new(), next: 1 };

    let mut buffer = [0; 8_192];
    loop {
        let (length, from) = control.recv_from(&mut buffer)?;
        let message = String::from_utf8_lossy(&buffer[..length]).into_owned();
        let Some((cookie, body)) = message.split_once(' ') else { continue };
        let id = value(body, "call-id").unwrap_or_default();
        let sdp = value(body, "sdp").unwrap_or_default();
        let reply = match value(body, "command") {
            Some("offer") => relay.offer(id, sdp),
            Some("answer") => relay.answer(id, sdp),
            Some("delete") => relay.delete(id),
            _ => None,
        };
        let reply = match reply {
            Some(sdp) => format!("{cookie} d6:result2:ok3:sdp{}:{sdp}e", sdp.len()),
            None => format!("{cookie} d6:result5:errore"),
        };
        control.send_to(reply.as_bytes(), from)?;
    }
}
