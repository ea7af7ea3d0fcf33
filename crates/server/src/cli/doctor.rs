//! `doctor`: checks the running server, or, if none runs, what `serve` will need, for problems that keep phones from working.

mod requirements;
mod running;

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::{Fault, Shared, shape};
use crate::config::Config;
use crate::data::DataDir;
use crate::lang;
use crate::tr;

/// 2026-01-01: any correct clock shows a later time.
const EARLIEST: Duration = Duration::from_secs(1_767_225_600);
/// Fewer file descriptors than this get a warning.
const MIN_FILES: u64 = 16_384;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Verdict {
    Good,
    Warning,
    Bad,
}

/// Result of one check.
struct Finding {
    check: String,
    verdict: Verdict,
    found: String,
}

impl Finding {
    fn good(check: impl Into<String>, found: impl Into<String>) -> Finding {
        Finding { check: check.into(), verdict: Verdict::Good, found: found.into() }
    }

    fn warning(check: impl Into<String>, found: impl Into<String>) -> Finding {
        Finding { check: check.into(), verdict: Verdict::Warning, found: found.into() }
    }

    fn bad(check: impl Into<String>, found: impl Into<String>) -> Finding {
        Finding { check: check.into(), verdict: Verdict::Bad, found: found.into() }
    }
}

pub(super) fn run(shared: &Shared) -> Result<(), Fault> {
    let data = shared.data();
    let loaded = shared.loaded();
    let server = lang::current().pick("server", "servidor");
    let mut findings = Vec::new();
    match data.running() {
        Err(error) => findings.push(Finding::bad(server, error.to_string())),
        Ok(Some(running)) => running::check(&data, running.pid, loaded.as_ref().ok(), &mut findings),
        Ok(None) => {
            findings.push(Finding::good(server, tr!("does not run", "no está en marcha")));
            if let Ok(loaded) = &loaded {
                requirements::check(&loaded.config, &data, &mut findings)?;
            }
        }
    }
    match &loaded {
        Ok(loaded) => findings.push(rtp(&loaded.config)),
        Err(fault) => {
            findings.push(Finding::bad(tr!("configuration", "configuración"), fault.to_string()));
        }
    }
    findings.extend([requirements::disk(&data), clock(&data)]);
    let rows: Vec<Value> = findings.iter().map(|finding| row(shared, finding)).collect();
    let columns = [
        ("CHECK", "COMPROBACIÓN", "check"),
        ("VERDICT", "ESTADO", "verdict"),
        ("FOUND", "RESULTADO", "found"),
    ];
    shape::rows(shared, &rows, &columns);
    match findings.iter().filter(|finding| finding.verdict == Verdict::Bad).count() {
        0 => Ok(()),
        1 => Err(Fault::Refused(tr!("1 check failed", "1 comprobación ha fallado"))),
        bad => Err(Fault::Refused(tr!("{bad} checks failed", "{bad} comprobaciones han fallado"))),
    }
}

fn row(shared: &Shared, finding: &Finding) -> Value {
    let (word, spanish) = match finding.verdict {
        Verdict::Good => ("ok", "correcto"),
        Verdict::Warning => ("warning", "aviso"),
        Verdict::Bad => ("bad", "error"),
    };
    // JSON output is the same in every language.
    let word = if shared.output == super::Output::Json { word } else { lang::current().pick(word, spanish) };
    json!({ "check": finding.check, "verdict": word, "found": finding.found })
}

fn clock(data: &DataDir) -> Finding {
    let check = lang::current().pick("clock", "reloj");
    let now = SystemTime::now();
    if now < SystemTime::UNIX_EPOCH + EARLIEST {
        return Finding::bad(
            check,
            tr!(
                "the clock is years slow: registrations and call records would be wrong; set it (NTP)",
                "el reloj está atrasado varios años: los registros y las llamadas tendrían fechas erróneas; póngalo en hora (NTP)"
            ),
        );
    }
    // A file modified in the future: the clock was set back.
    let written = data.log().metadata().and_then(|log| log.modified());
    if written.is_ok_and(|at| at > now + Duration::from_secs(60)) {
        return Finding::bad(
            check,
            tr!(
                "the clock was set back: the log file has a modification time in the future",
                "el reloj se ha atrasado: el archivo de log tiene una fecha futura"
            ),
        );
    }
    Finding::good(check, tr!("plausible", "hora coherente"))
}

/// Check the limit of file descriptors.
fn files(limit: Option<u64>) -> Finding {
    let check = lang::current().pick("open files", "archivos abiertos");
    match limit {
        None => Finding::good(check, tr!("unlimited", "sin límite")),
        Some(limit) if limit < MIN_FILES => Finding::warning(
            check,
            tr!(
                "limit {limit}; a call needs 4, a TCP phone 1 (raise LimitNOFILE or ulimit -n)",
                "límite {limit}; una llamada necesita 4 y un teléfono TCP 1 (aumente LimitNOFILE o ulimit -n)"
            ),
        ),
        Some(limit) => Finding::good(check, tr!("limit {limit}", "límite {limit}")),
    }
}

/// Check how many calls the RTP port range allows (S103).
fn rtp(config: &Config) -> Finding {
    let check = lang::current().pick("RTP ports", "puertos RTP");
    let (start, end) = (u32::from(*config.media.ports.start()), u32::from(*config.media.ports.end()));
    let pairs = (end + 1).saturating_sub(start.next_multiple_of(2)) / 2;
    let (calls, one_user) = (pairs / 2, config.limits.calls_per_user);
    if calls < one_user {
        return Finding::warning(
            check,
            tr!(
                "{pairs} port pairs are enough for {calls} calls between two phones, fewer than limits.calls_per_user ({one_user})",
                "{pairs} pares de puertos permiten {calls} llamadas entre dos teléfonos, menos que limits.calls_per_user ({one_user})"
            ),
        );
    }
    Finding::good(
        check,
        tr!(
            "{pairs} port pairs are enough for {calls} calls between two phones",
            "{pairs} pares de puertos permiten {calls} llamadas entre dos teléfonos"
        ),
    )
}
