//! `doctor`: looks for what would keep phones from working.

use std::net::{IpAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use sip::Transport;

use super::{Fault, Shared, shape};
use crate::config::{Config, PublicAddress};
use crate::data::DataDir;
use crate::serve::{guess_address, public_ip};

/// Less free space than this is too little for a day of calls.
const DISK_BYTES: u64 = 512 * 1024 * 1024;
/// 2026-01-01: no clock that is right shows less.
const EARLIEST: Duration = Duration::from_secs(1_767_225_600);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Verdict {
    Good,
    Warning,
    Bad,
}

struct Finding {
    check: String,
    verdict: Verdict,
    found: String,
}

pub(super) fn run(shared: &Shared) -> Result<(), Fault> {
    let config = shared.loaded()?.config;
    let data = shared.data();
    let running = data.running().is_some();
    let mut findings = vec![Finding {
        check: "server".into(),
        verdict: Verdict::Good,
        found: if running { "runs on this data directory" } else { "does not run" }.into(),
    }];
    ports(&config, running, &mut findings);
    addresses(&config, &mut findings);
    findings.extend([disk(&data), clock(&data), files(), rtp(&config)]);
    let rows: Vec<Value> = findings
        .iter()
        .map(|finding| {
            let verdict = match finding.verdict {
                Verdict::Good => "ok",
                Verdict::Warning => "warning",
                Verdict::Bad => "bad",
            };
            json!({ "check": finding.check, "verdict": verdict, "found": finding.found })
        })
        .collect();
    shape::rows(shared, &rows, &[("CHECK", "check"), ("VERDICT", "verdict"), ("FOUND", "found")]);
    match findings.iter().filter(|finding| finding.verdict == Verdict::Bad).count() {
        0 => Ok(()),
        bad => Err(Fault::Refused(format!("{bad} of {} checks are bad", findings.len()))),
    }
}

fn ports(config: &Config, running: bool, findings: &mut Vec<Finding>) {
    let sip = config.sip.listen.iter().map(|listen| {
        let bound = match listen.transport {
            Transport::Udp => UdpSocket::bind(listen.address).map(drop),
            Transport::Tcp | Transport::Tls | Transport::Ws | Transport::Wss => {
                TcpListener::bind(listen.address).map(drop)
            }
        };
        (listen.to_string(), bound)
    });
    let http = config
        .http
        .listen
        .iter()
        .map(|address| (format!("http://{address}"), TcpListener::bind(address).map(drop)));
    for (check, bound) in sip.chain(http) {
        let held = bound.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::AddrInUse);
        let (verdict, found) = match bound {
            Ok(()) if running => (Verdict::Bad, "free, though the server runs".into()),
            Ok(()) => (Verdict::Good, "free".into()),
            Err(_) if held && running => (Verdict::Good, "held, as it should be".into()),
            Err(_) if held => (Verdict::Bad, "held by another program".into()),
            Err(error) => (Verdict::Bad, error.to_string()),
        };
        findings.push(Finding { check, verdict, found });
    }
}

fn addresses(config: &Config, findings: &mut Vec<Finding>) {
    let (verdict, found) = match (&config.public_address, public_ip(config)) {
        (PublicAddress::Host(host), Ok(Some(ip))) => (Verdict::Good, format!("{host} is {ip}")),
        (PublicAddress::Auto, _) => {
            let only_here = config.sip.listen.iter().all(|listen| listen.address.ip().is_loopback());
            match (only_here, guess_address()) {
                (true, _) => {
                    (Verdict::Warning, "phones on this machine only; others need serve --lan".into())
                }
                (false, IpAddr::V4(ip)) if ip.is_loopback() => {
                    (Verdict::Warning, "this machine has no route out".into())
                }
                (false, ip) => (Verdict::Good, format!("auto, {ip} towards others")),
            }
        }
        (PublicAddress::Host(host), Ok(None)) => (Verdict::Bad, format!("{host} has no address")),
        (PublicAddress::Host(_), Err(error)) => (Verdict::Bad, format!("{error:#}")),
    };
    findings.push(Finding { check: "public address".into(), verdict, found });
}

fn disk(data: &DataDir) -> Finding {
    let existing = data.path().ancestors().find(|path| path.exists()).unwrap_or(Path::new("."));
    let (verdict, found) = match rustix::fs::statvfs(existing) {
        Ok(stat) => {
            let free = stat.f_bavail * stat.f_frsize;
            let verdict = if free < DISK_BYTES { Verdict::Bad } else { Verdict::Good };
            (verdict, format!("{} MB free", free / 1024 / 1024))
        }
        Err(error) => (Verdict::Warning, error.to_string()),
    };
    Finding { check: "disk".into(), verdict, found }
}

fn clock(data: &DataDir) -> Finding {
    let now = SystemTime::now();
    let early = now < SystemTime::UNIX_EPOCH + EARLIEST;
    // A file that was written later than now: the clock was set back.
    let ahead = data
        .log()
        .metadata()
        .and_then(|log| log.modified())
        .is_ok_and(|at| at > now + Duration::from_secs(60));
    let (verdict, found) = match (early, ahead) {
        (true, _) => (Verdict::Bad, "the clock is years late: registrations and records would be wrong"),
        (false, true) => (Verdict::Bad, "the clock was set back: the log was written in the future"),
        (false, false) => (Verdict::Good, "plausible"),
    };
    Finding { check: "clock".into(), verdict, found: found.into() }
}

fn files() -> Finding {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum;
    let (verdict, found) = match limit {
        None => (Verdict::Good, "unlimited".into()),
        Some(limit) if limit < 16_384 => (
            Verdict::Warning,
            format!("{limit} at most; a call needs 4, a TCP phone 1 (raise LimitNOFILE or ulimit -n)"),
        ),
        Some(limit) => (Verdict::Good, format!("{limit} at most")),
    };
    Finding { check: "open files".into(), verdict, found }
}

/// How many calls the ports carry (S103).
fn rtp(config: &Config) -> Finding {
    let (start, end) = (u32::from(*config.media.ports.start()), u32::from(*config.media.ports.end()));
    let pairs = (end + 1).saturating_sub(start.next_multiple_of(2)) / 2;
    let calls = pairs / 2;
    let verdict = if calls < config.limits.calls_per_user { Verdict::Warning } else { Verdict::Good };
    let found = match verdict {
        Verdict::Good | Verdict::Bad => format!("{pairs} port pairs carry {calls} calls of two phones"),
        Verdict::Warning => format!(
            "{pairs} port pairs carry {calls} calls of two phones, fewer than limits.calls_per_user allows one user ({})",
            config.limits.calls_per_user
        ),
    };
    Finding { check: "RTP ports".into(), verdict, found }
}
