//! Calls at a fixed rate, each ended as soon as it is confirmed.

use std::time::{Duration, Instant};

use crate::args::Args;
use crate::engine::{Engine, Hold};
use crate::net::wait;
use crate::{reg, watch};

/// Accepted arguments.
pub const ARGS: [&str; 7] = ["server", "users", "pid", "rate", "total", "port", "callee-port"];
/// Calls started in one iteration, so that responses are read in between.
const BURST: u64 = 16;

/// Register the callees, run, and return the JSON line.
pub fn run(args: &Args) -> Result<String, String> {
    let (rate, total): (f64, u64) = (args.get("rate", 100.0)?, args.get("total", 1000)?);
    let (pid, users): (u32, usize) = (args.get("pid", 0)?, args.get("users", 1000)?);
    let (server, ports) = (args.server()?, (args.get("port", 5070)?, args.get("callee-port", 5080)?));
    reg::register_all(server, users, ports.1)?;
    let mut engine = Engine::new(server, users, ports, Hold::No, 7000).map_err(|error| error.to_string())?;
    let fds = engine.fds();
    let (cpu, own) = (watch::cpu_of(pid), watch::own_cpu());
    let begin = Instant::now();
    let (mut begun, mut lag) = (0, Duration::ZERO);
    while engine.tally.ended + engine.tally.failed < total {
        let now = Instant::now();
        let due = (((now - begin).as_secs_f64() * rate) as u64 + 1).min(total).min(begun + BURST);
        while begun < due {
            let at = begin + Duration::from_secs_f64(begun as f64 / rate);
            lag = lag.max(now.saturating_duration_since(at));
            engine.begin(now, at, begun as usize % users);
            begun += 1;
        }
        let heard = engine.poll(now);
        let next = Duration::from_secs_f64(begun as f64 / rate);
        let left =
            if begun < total { next.saturating_sub(begin.elapsed()) } else { Duration::from_millis(1) };
        if !heard && !left.is_zero() {
            wait(&fds, libc::POLLIN, left.as_nanos().min(1_000_000) as u64);
        }
    }
    let secs = begin.elapsed().as_secs_f64();
    let (cpu, own) = (watch::cpu_of(pid) - cpu, watch::own_cpu() - own);
    let tally = &mut engine.tally;
    let [p50, p99, max] = watch::percentiles(&mut tally.setup, [0.5, 0.99, 1.0]);
    let refused = tally.refused.map_or("null".to_owned(), |status| status.to_string());
    Ok(format!(
        "{{\"kind\":\"call\",\"rate\":{rate},\"total\":{total},\"secs\":{secs:.3},\"ok\":{},\"failed\":{},\"refused\":{refused},\
         \"retransmissions\":{},\"repeats\":{},\"latency_us\":{{\"p50\":{p50},\"p99\":{p99},\"max\":{max}}},\"lag_ms\":{:.1},\
         \"server_cpu_s\":{cpu:.2},\"own_cpu_s\":{own:.2}}}",
        tally.ended,
        tally.failed,
        tally.retransmissions,
        tally.repeats,
        lag.as_secs_f64() * 1e3,
    ))
}
