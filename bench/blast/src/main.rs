//! Load generator for SIP servers and media relays on loopback: registrations, calls and RTP.
//!
//! One thread, one or a few sockets, batches of messages per system call, open loop: requests are sent when they are due, whether or not earlier
//! ones were answered, and latency counts from the due time. The result is one JSON line.

mod args;
mod call;
mod digest;
mod engine;
mod message;
mod net;
mod reg;
mod rtp;
mod timers;
mod watch;

use args::Args;

const USAGE: &str = "\
blast reg   --rate R --total N    REGISTER, 401, REGISTER with digest, 200
blast call  --rate R --total N    INVITE, 401 or 407, INVITE with digest, 180, 200, ACK, BYE; both sides
blast voice --via sip|ng|none --calls N --secs S    two-way G.711 through calls, through rtpengine's control protocol, or past every server
  all:    --server HOST:PORT (127.0.0.1:5060)  --users N (1000)  --pid P (whose CPU is measured)
  reg:    --first USER (0)  --expires S (3600)  --sockets N (1)  --port P (5070)  --contact-port P
  call:   --port P (5070)  --callee-port P (5080)
  voice:  as call, and --cps R (50)  --media-port P (30000)
Users are u000000, u000001, ... with passwords pw_u000000, ...; the callee of a user is half of the users further on.";

fn main() {
    let mut words = std::env::args().skip(1);
    let verb = words.next().unwrap_or_default();
    let rest: Vec<String> = words.collect();
    let done = match verb.as_str() {
        "reg" => Args::new(rest, &reg::ARGS).and_then(|args| reg::run(&args)),
        "call" => Args::new(rest, &call::ARGS).and_then(|args| call::run(&args)),
        "voice" => Args::new(rest, &rtp::ARGS).and_then(|args| rtp::run(&args)),
        _ => Err(USAGE.to_owned()),
    };
    match done {
        Ok(line) => println!("{line}"),
        Err(fault) => {
            eprintln!("{fault}");
            std::process::exit(2);
        }
    }
}
