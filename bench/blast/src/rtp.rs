//! Two-way G.711 through calls: delay, loss and jitter of the received packets.
//!
//! A call has two legs with a socket each, and 50 packets of 160 bytes per second in both directions. Every payload has its flow, its number and
//! its send time. The kernel's timestamps are used, so our own delay in reading does not count. Each leg is read when it sends: no thread waits on
//! its socket, so the server does not pay for our wake-ups, as it would not for a phone's. The first two seconds do not count either.

mod leg;
mod rtpengine;

use std::time::{Duration, Instant};

use leg::{Leg, Received};

use crate::args::Args;
use crate::engine::{Engine, Hold, State};
use crate::{reg, watch};

/// Accepted arguments.
pub const ARGS: [&str; 11] =
    ["server", "users", "pid", "via", "calls", "secs", "port", "callee-port", "cps", "media-port", "control"];
const WARM_MS: u64 = 2_000;
/// Packets continue for this long after the measurement, so that its end is like its middle, and are awaited a little longer.
const TAIL_MS: u64 = 200;
const DRAIN_MS: u64 = 700;
/// Number of phases within the 20 ms interval; every leg has one.
const PLACES: u64 = 20;

/// The path of the RTP.
enum Carrier {
    /// None: the generator alone.
    None,
    /// Calls through a B2BUA.
    Sip(Box<Engine>),
    /// rtpengine, controlled by us.
    Control(rtpengine::Control),
}

/// One direction of a call, as received.
#[derive(Default, Clone)]
struct Flow {
    got: u64,
    last: u32,
    transit: i64,
    jitter: f64,
    worst_jitter: f64,
    disordered: u64,
    doubled: u64,
}

/// Set up the calls, send RTP, hang up, and return the JSON line.
pub fn run(args: &Args) -> Result<String, String> {
    let (calls, secs): (usize, u64) = (args.get("calls", 10)?, args.get("secs", 30)?);
    let (pid, media_port): (u32, u16) = (args.get("pid", 0)?, args.get("media-port", 30_000)?);
    if usize::from(media_port) + 4 * calls > 65_536 {
        return Err("so many calls have not enough ports".to_owned());
    }
    leg::raise_file_limit();
    let mut legs = (0..2 * calls)
        .map(|n| Leg::open(media_port + 2 * n as u16, n as u32))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| error.to_string())?;
    let via: String = args.get("via", "sip".to_owned())?;
    let mut carrier = match via.as_str() {
        "none" => Carrier::None,
        "ng" => {
            Carrier::Control(rtpengine::Control::open(args.get("control", "127.0.0.1:2223".to_owned())?)?)
        }
        "sip" => Carrier::Sip(Box::new(callers(args, media_port)?)),
        other => return Err(format!("--via cannot be {other}")),
    };
    let up = carrier.connect(&mut legs, args.get("cps", 50.0)?)?;
    let mut talk = RtpRun::new(legs, secs, pid);
    talk.run(&mut carrier);
    carrier.release(calls);
    Ok(talk.report(&via, calls, up))
}

fn callers(args: &Args, media_port: u16) -> Result<Engine, String> {
    let (server, users) = (args.server()?, args.get("users", 1000)?);
    let ports = (args.get("port", 5070)?, args.get("callee-port", 5080)?);
    reg::register_all(server, users, ports.1)?;
    Engine::new(server, users, ports, Hold::UntilHangUp, media_port).map_err(|error| error.to_string())
}

impl Carrier {
    /// Get a destination for every leg. Returns the number of confirmed calls.
    fn connect(&mut self, legs: &mut [Leg], cps: f64) -> Result<usize, String> {
        let calls = legs.len() / 2;
        match self {
            Carrier::None => {
                for call in 0..calls {
                    let (a, b) = (legs[2 * call].local(), legs[2 * call + 1].local());
                    legs[2 * call].send_to(b);
                    legs[2 * call + 1].send_to(a);
                }
                Ok(calls)
            }
            Carrier::Control(control) => {
                for call in 0..calls {
                    let (a, b) = control.connect(call, legs[2 * call].local(), legs[2 * call + 1].local())?;
                    legs[2 * call].send_to(a);
                    legs[2 * call + 1].send_to(b);
                }
                Ok(calls)
            }
            Carrier::Sip(engine) => {
                let begin = Instant::now();
                let mut begun = 0;
                while (engine.tally.up + engine.tally.failed) < calls as u64
                    || engine.tally.callee_media.len() < engine.tally.up as usize
                {
                    let now = Instant::now();
                    while begun < calls && (now - begin).as_secs_f64() * cps > begun as f64 {
                        engine.begin(now, now, begun);
                        begun += 1;
                    }
                    if !engine.poll(now) {
                        std::thread::sleep(Duration::from_micros(300));
                    }
                }
                for (n, call) in engine.calls.iter().enumerate() {
                    if let Some(media) = call.remote_media {
                        legs[2 * n].send_to(media);
                    }
                }
                for (n, media) in engine.tally.callee_media.iter().enumerate() {
                    if let Some(media) = media {
                        legs[2 * n + 1].send_to(*media);
                    }
                }
                Ok(engine.tally.up as usize)
            }
        }
    }

    /// Handle the signalling during the RTP phase.
    fn handle_signalling(&mut self) {
        if let Carrier::Sip(engine) = self {
            engine.poll(Instant::now());
        }
    }

    fn release(&mut self, calls: usize) {
        match self {
            Carrier::None => {}
            Carrier::Control(control) => (0..calls).for_each(|call| control.delete(call)),
            Carrier::Sip(engine) => {
                for slot in 0..engine.calls.len() {
                    if engine.calls[slot].state == State::Up {
                        engine.hang_up(Instant::now(), slot);
                        engine.poll(Instant::now());
                        std::thread::sleep(Duration::from_micros(600));
                    }
                }
                let begin = Instant::now();
                while begin.elapsed() < Duration::from_secs(4)
                    && engine.calls.iter().any(|call| call.state == State::Terminating)
                {
                    engine.poll(Instant::now());
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
        }
    }
}

/// The RTP of all calls, and the counts.
struct RtpRun {
    legs: Vec<Leg>,
    flows: Vec<Flow>,
    pid: u32,
    end_ms: u64,
    /// Number of packets that each leg had sent at the start and at the end of the measurement.
    first: Vec<u32>,
    last: Vec<u32>,
    latency: Vec<u32>,
    foreign: u64,
    late_turns: u64,
    server_cpu: f64,
    own_cpu: f64,
    counted: Duration,
}

impl RtpRun {
    fn new(legs: Vec<Leg>, secs: u64, pid: u32) -> RtpRun {
        RtpRun {
            flows: vec![Flow::default(); legs.len()],
            latency: Vec::with_capacity(legs.len() * 50 * secs as usize + 1000),
            legs,
            pid,
            end_ms: WARM_MS + secs * 1000,
            first: Vec::new(),
            last: Vec::new(),
            foreign: 0,
            late_turns: 0,
            server_cpu: 0.0,
            own_cpu: 0.0,
            counted: Duration::ZERO,
        }
    }

    fn run(&mut self, carrier: &mut Carrier) {
        let begin = Instant::now();
        let mut began = begin;
        let mut turn = 0;
        let mut received = Vec::new();
        loop {
            let due = begin.elapsed().as_millis() as u64;
            if due >= self.end_ms + DRAIN_MS {
                return;
            }
            if turn <= due {
                self.late_turns += u64::from(due - turn > 20);
                if turn == WARM_MS {
                    began = Instant::now();
                    self.first = self.legs.iter().map(Leg::sent).collect();
                    (self.server_cpu, self.own_cpu) = (watch::cpu_of(self.pid), watch::own_cpu());
                }
                if turn == self.end_ms {
                    self.last = self.legs.iter().map(Leg::sent).collect();
                    self.server_cpu = watch::cpu_of(self.pid) - self.server_cpu;
                    self.own_cpu = watch::own_cpu() - self.own_cpu;
                    self.counted = began.elapsed();
                }
                let speaks = turn < self.end_ms + TAIL_MS;
                for n in (0..self.legs.len()).skip((turn % PLACES) as usize).step_by(PLACES as usize) {
                    if speaks {
                        self.legs[n].send_next();
                    }
                    self.legs[n].receive(&mut received);
                }
                for received in received.drain(..) {
                    self.count(&received);
                }
                if turn.is_multiple_of(10) {
                    carrier.handle_signalling();
                }
                turn += 1;
            }
            let next = Duration::from_millis(turn).saturating_sub(begin.elapsed());
            if !next.is_zero() {
                std::thread::sleep(next);
            }
        }
    }

    fn count(&mut self, received: &Received) {
        let Received::Audio { flow, number, delay_ns } = *received else {
            self.foreign += 1;
            return;
        };
        let (Some(first), Some(counted)) = (self.first.get(flow), self.flows.get_mut(flow)) else { return };
        if number <= *first || self.last.get(flow).is_some_and(|last| number > *last) {
            return;
        }
        if number == counted.last {
            counted.doubled += 1;
            return;
        }
        counted.disordered += u64::from(number < counted.last);
        counted.last = number;
        counted.got += 1;
        let delay = delay_ns as i64;
        if counted.got > 1 {
            // RFC 3550 §6.4.1.
            let change = (delay - counted.transit).abs() as f64;
            counted.jitter += (change - counted.jitter) / 16.0;
            counted.worst_jitter = counted.worst_jitter.max(counted.jitter);
        }
        counted.transit = delay;
        self.latency.push((delay_ns / 1000).min(u64::from(u32::MAX)) as u32);
    }

    fn report(&mut self, via: &str, calls: usize, up: usize) -> String {
        let pairs = self.legs.iter().zip(self.first.iter().zip(&self.last));
        let sent: u64 = pairs
            .filter(|(leg, _)| leg.has_destination())
            .map(|(_, (first, last))| u64::from(last - first))
            .sum();
        let got: u64 = self.flows.iter().map(|flow| flow.got).sum();
        let silent = self.flows.iter().filter(|flow| flow.got == 0).count();
        let disordered: u64 = self.flows.iter().map(|flow| flow.disordered).sum();
        let doubled: u64 = self.flows.iter().map(|flow| flow.doubled).sum();
        let jitter =
            self.flows.iter().map(|flow| flow.jitter).sum::<f64>() / self.flows.len().max(1) as f64 / 1e3;
        let worst = self.flows.iter().map(|flow| flow.worst_jitter).fold(0.0, f64::max) / 1e3;
        let [p50, p99, p999, max] = watch::percentiles(&mut self.latency, [0.5, 0.99, 0.999, 1.0]);
        let loss = 100.0 * (sent as f64 - got as f64) / sent.max(1) as f64;
        format!(
            "{{\"kind\":\"voice\",\"via\":\"{via}\",\"calls\":{calls},\"up\":{up},\"secs\":{:.3},\"sent\":{sent},\"got\":{got},\"lost\":{},\
             \"loss_percent\":{loss:.4},\"silent_flows\":{silent},\"latency_us\":{{\"p50\":{p50},\"p99\":{p99},\"p999\":{p999},\"max\":{max}}},\
             \"jitter_us\":{{\"mean\":{jitter:.1},\"max\":{worst:.1}}},\"disordered\":{disordered},\"doubled\":{doubled},\"foreign\":{},\
             \"late_turns\":{},\"server_cpu_s\":{:.2},\"own_cpu_s\":{:.2}}}",
            self.counted.as_secs_f64(),
            sent.saturating_sub(got),
            self.foreign,
            self.late_turns,
            self.server_cpu,
            self.own_cpu,
        )
    }
}
