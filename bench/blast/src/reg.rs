//! Registrations at a fixed rate.

use std::io::Write as _;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::args::Args;
use crate::digest::Users;
use crate::message::Message;
use crate::net::{Port, wait};
use crate::timers::{Expired, Timers};
use crate::watch;

/// Accepted arguments.
pub const ARGS: [&str; 11] = [
    "server",
    "users",
    "pid",
    "rate",
    "total",
    "first",
    "expires",
    "sockets",
    "port",
    "contact-port",
    "gather",
];
/// Registrations started in one iteration, so that responses are read in between.
const BURST: u64 = 64;

/// A registration in progress.
struct Attempt {
    user: usize,
    due: Instant,
    /// Number of messages ever sent from this slot; 0 if it is free.
    stamp: u64,
    /// The stamp of its first request, which is part of its Call-ID.
    id: u64,
    cseq: u32,
    last: Vec<u8>,
}

struct Load {
    server: SocketAddr,
    uri: String,
    ports: Vec<Port>,
    contact_port: u16,
    /// Distinguishes this run's Call-IDs from those of other runs.
    run: u32,
    expires: u32,
    users: Users,
    attempts: Vec<Attempt>,
    free: Vec<usize>,
    stamps: u64,
    timers: Timers,
    tally: Tally,
}

#[derive(Default)]
struct Tally {
    ok: u64,
    failed: u64,
    retransmissions: u64,
    strays: u64,
    /// Requests of the server, all of which were answered.
    requests: u64,
    refused: Option<u16>,
    latency: Vec<u32>,
}

/// Run, and return the JSON line.
pub fn run(args: &Args) -> Result<String, String> {
    let (rate, total): (f64, u64) = (args.get("rate", 1000.0)?, args.get("total", 10_000)?);
    let (first, sockets): (usize, u16) = (args.get("first", 0)?, args.get("sockets", 1)?);
    let (pid, port): (u32, u16) = (args.get("pid", 0)?, args.get("port", 5070)?);
    // Time to collect messages in µs; 0 answers each at once.
    let gather: u64 = args.get("gather", 0)?;
    let server = args.server()?;
    let ports = (0..sockets)
        .map(|n| Port::open(port + n, server))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| error.to_string())?;
    let mut load = Load {
        server,
        uri: format!("sip:{server}"),
        ports,
        contact_port: args.get("contact-port", 0)?,
        run: std::process::id(),
        expires: args.get("expires", 3600)?,
        users: Users::new(args.get("users", 1000)?),
        attempts: Vec::new(),
        free: Vec::new(),
        stamps: 0,
        timers: Timers::default(),
        tally: Tally::default(),
    };
    let fds: Vec<_> = load.ports.iter().map(|port| port.inbox.fd()).collect();
    let (cpu, own) = (watch::cpu_of(pid), watch::own_cpu());
    let begin = Instant::now();
    let (mut begun, mut lag) = (0, Duration::ZERO);
    loop {
        let now = Instant::now();
        let since = now - begin;
        let due = ((since.as_secs_f64() * rate) as u64 + 1).min(total).min(begun + BURST);
        while begun < due {
            let at = begin + Duration::from_secs_f64(begun as f64 / rate);
            lag = lag.max(now.saturating_duration_since(at));
            load.begin(now, at, (first + begun as usize) % load.users.count());
            begun += 1;
        }
        let heard = load.receive(now);
        load.repeat(now);
        load.ports.iter_mut().for_each(|port| port.out.flush());
        if load.tally.ok + load.tally.failed == total {
            break;
        }
        let next = Duration::from_secs_f64(begun as f64 / rate);
        let left =
            if begun < total { next.saturating_sub(begin.elapsed()) } else { Duration::from_millis(1) };
        if gather > 0 {
            std::thread::sleep(Duration::from_micros(gather));
        } else if !heard && !left.is_zero() {
            wait(&fds, libc::POLLIN, left.as_nanos().min(1_000_000) as u64);
        }
    }
    let secs = begin.elapsed().as_secs_f64();
    let (cpu, own) = (watch::cpu_of(pid) - cpu, watch::own_cpu() - own);
    let tally = &mut load.tally;
    let [p50, p99, max] = watch::percentiles(&mut tally.latency, [0.5, 0.99, 1.0]);
    let refused = tally.refused.map_or("null".to_owned(), |status| status.to_string());
    Ok(format!(
        "{{\"kind\":\"reg\",\"rate\":{rate},\"total\":{total},\"secs\":{secs:.3},\"ok\":{},\"failed\":{},\"refused\":{refused},\
         \"retransmissions\":{},\"strays\":{},\"requests\":{},\"latency_us\":{{\"p50\":{p50},\"p99\":{p99},\"max\":{max}}},\"lag_ms\":{:.1},\
         \"server_cpu_s\":{cpu:.2},\"own_cpu_s\":{own:.2}}}",
        tally.ok,
        tally.failed,
        tally.retransmissions,
        tally.strays,
        tally.requests,
        lag.as_secs_f64() * 1e3,
    ))
}

impl Load {
    fn begin(&mut self, now: Instant, due: Instant, user: usize) {
        let slot = self.free.pop().unwrap_or_else(|| {
            let attempt = Attempt { user, due, stamp: 0, id: 0, cseq: 0, last: Vec::with_capacity(1024) };
            self.attempts.push(attempt);
            self.attempts.len() - 1
        });
        let attempt = &mut self.attempts[slot];
        (attempt.user, attempt.due) = (user, due);
        self.send(now, slot, 1, None);
    }

    /// Send request number `cseq`, with credentials if there was a challenge.
    fn send(&mut self, now: Instant, slot: usize, cseq: u32, challenge: Option<(u16, &[u8])>) {
        self.stamps += 1;
        let (uri, stamp) = (self.uri.as_str(), self.stamps);
        let attempt = &mut self.attempts[slot];
        (attempt.stamp, attempt.cseq) = (stamp, cseq);
        if cseq == 1 {
            attempt.id = stamp;
        }
        let (user, id, out) = (attempt.user, attempt.id, &mut attempt.last);
        let (port_index, ip) = (user % self.ports.len(), self.server.ip());
        let local = self.ports[port_index].number();
        let contact = if self.contact_port == 0 { local } else { self.contact_port };
        out.clear();
        // Writing into a vector cannot fail.
        let _ = write!(
            out,
            "REGISTER {uri} SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:{local};branch=z9hG4bK-{stamp}\r\nMax-Forwards: 70\r\n\
             From: <sip:u{user:06}@{ip}>;tag=r{slot}\r\nTo: <sip:u{user:06}@{ip}>\r\nCall-ID: {slot}-{id}-{run}@b\r\nCSeq: {cseq} REGISTER\r\n\
             Contact: <sip:u{user:06}@127.0.0.1:{contact}>\r\n",
            run = self.run,
        );
        if let Some((status, challenge)) = challenge {
            self.users.answer(user, status, challenge, "REGISTER", uri, out);
        }
        let _ = write!(out, "Expires: {}\r\nUser-Agent: bench\r\nContent-Length: 0\r\n\r\n", self.expires);
        self.ports[port_index].out.put(out);
        self.timers.start(now, slot, stamp, 0);
    }

    /// Receive messages. Returns whether there were any.
    fn receive(&mut self, now: Instant) -> bool {
        let mut heard = false;
        for port in 0..self.ports.len() {
            let got = self.ports[port].inbox.fill();
            heard |= got > 0;
            for n in 0..got {
                let bytes = self.ports[port].inbox.message(n).to_vec();
                if let Some(message) = Message::read(&bytes) {
                    self.response(now, port, &message);
                }
            }
        }
        heard
    }

    fn response(&mut self, now: Instant, port: usize, message: &Message<'_>) {
        if message.status == 0 {
            return self.respond(port, message);
        }
        let slot = crate::message::number(message.call_id).map_or(usize::MAX, |slot| slot as usize);
        let ours = self.attempts.get(slot).is_some_and(|attempt| {
            attempt.stamp != 0 && message.vias.first().is_some_and(|via| ends_with_number(via, attempt.stamp))
        });
        if !ours {
            self.tally.strays += 1;
            return;
        }
        match (message.status, self.attempts[slot].cseq) {
            (100..200, _) => {}
            (200, _) => {
                let waited = now.saturating_duration_since(self.attempts[slot].due);
                self.tally.latency.push(waited.as_micros() as u32);
                self.tally.ok += 1;
                self.end(slot);
            }
            (401 | 407, 1) => self.send(now, slot, 2, Some((message.status, message.challenge))),
            (status, _) => {
                self.tally.refused.get_or_insert(status);
                self.tally.failed += 1;
                self.end(slot);
            }
        }
    }

    /// Respond to a NOTIFY (MWI) or an OPTIONS of the server, as a phone does.
    fn respond(&mut self, port: usize, request: &Message<'_>) {
        self.tally.requests += 1;
        let mut out = b"SIP/2.0 200 OK\r\n".to_vec();
        for via in &request.vias {
            out.extend_from_slice(via);
            out.extend_from_slice(b"\r\n");
        }
        let method = String::from_utf8_lossy(request.method);
        let [from, to, id] = [request.from, request.to, request.call_id].map(String::from_utf8_lossy);
        let _ = write!(
            out,
            "From: {from}\r\nTo: {to};tag=bench\r\nCall-ID: {id}\r\nCSeq: {} {method}\r\nContent-Length: 0\r\n\r\n",
            request.cseq
        );
        self.ports[port].out.put(&out);
    }

    fn end(&mut self, slot: usize) {
        self.attempts[slot].stamp = 0;
        self.free.push(slot);
    }

    fn repeat(&mut self, now: Instant) {
        while let Some(expired) = self.timers.expired(now) {
            let due = match expired {
                Expired::Again(due, _) | Expired::Lost(due) => due,
            };
            let attempt = &self.attempts[due.slot];
            if attempt.stamp != due.stamp {
                continue;
            }
            if let Expired::Again(_, wait) = expired {
                let port = attempt.user % self.ports.len();
                self.ports[port].out.put(&attempt.last);
                self.timers.start(now, due.slot, due.stamp, wait);
                self.tally.retransmissions += 1;
            } else {
                self.tally.failed += 1;
                self.end(due.slot);
            }
        }
    }
}

/// Whether the branch in `via` is that of `stamp`.
fn ends_with_number(via: &[u8], stamp: u64) -> bool {
    let Some(at) = memchr::memmem::find(via, b"z9hG4bK-") else { return false };
    crate::message::number(&via[at + 8..]).is_some_and(|number| u64::from(number) == stamp)
}

/// Register every user from `port`, at a low rate, so that calls reach it.
pub fn register_all(server: SocketAddr, users: usize, port: u16) -> Result<(), String> {
    let words = format!("--server {server} --users {users} --total {users} --rate 2000 --port {port}");
    let line = run(&Args::new(words.split(' ').map(str::to_owned).collect(), &ARGS)?)?;
    if line.contains("\"failed\":0,") { Ok(()) } else { Err(format!("not all could be registered: {line}")) }
}
