//! What the server that runs says of itself, and what the system says of it.

use std::net::{IpAddr, SocketAddr};

use super::{Finding, files};
use crate::config::{KEYS, Loaded};
use crate::control::{self, Facts, SwitchState};
use crate::data::DataDir;
use crate::holder::{Protocol, holders};
use crate::{lang, tr};

/// Ask the server of a data folder, whose process is `pid`.
pub(super) fn look(data: &DataDir, pid: u32, loaded: Option<&Loaded>, findings: &mut Vec<Finding>) {
    let server = lang::current().pick("server", "servidor");
    let report = match control::ask(data.path()) {
        Ok(report) => report,
        Err(error) => {
            findings.push(Finding::bad(
                server,
                tr!(
                    "process {pid} runs on this data directory and does not answer at its control socket: {error}",
                    "el proceso {pid} corre en esta carpeta de datos y no responde en su socket de control: {error}"
                ),
            ));
            return;
        }
    };
    let facts = &report.facts;
    let version = &facts.version;
    findings.push(if version == env!("CARGO_PKG_VERSION") {
        Finding::good(
            server,
            tr!("runs, process {pid}, version {version}", "en marcha, proceso {pid}, versión {version}"),
        )
    } else {
        Finding::warning(
            server,
            tr!(
                "runs version {version}, and this program is {0}: restart it to update",
                "corre la versión {version}, y este programa es la {0}: reinícielo para actualizar",
                env!("CARGO_PKG_VERSION")
            ),
        )
    });
    for (listener, protocol, address) in listeners(facts) {
        let held =
            holders(protocol, address).iter().any(|holder| holder.pid.is_none_or(|other| other == pid));
        findings.push(if held {
            Finding::good(listener, tr!("the server listens", "el servidor escucha"))
        } else {
            Finding::bad(listener, tr!("the server does not listen there", "el servidor no escucha ahí"))
        });
    }
    reach(facts, findings);
    match &report.exchange {
        Some(exchange) => exchange_of(exchange, findings),
        None => findings.push(Finding::bad(
            lang::current().pick("exchange", "centralita"),
            tr!("does not answer within 2 s", "no responde en 2 s"),
        )),
    }
    let database = lang::current().pick("database", "base de datos");
    findings.push(match &report.database_fault {
        None => Finding::good(database, tr!("answers", "responde")),
        Some(fault) => Finding::bad(database, fault.clone()),
    });
    findings.push(files(limit_of(pid)));
    findings
        .push(Finding::good(lang::current().pick("time zones", "zonas horarias"), facts.time_zones.clone()));
    if let Some(loaded) = loaded {
        findings.extend(drift(facts, loaded));
    }
}

fn listeners(facts: &Facts) -> Vec<(String, Protocol, SocketAddr)> {
    let sip = facts.sip.iter().filter_map(|listener| {
        let (scheme, address) = listener.split_once("://")?;
        let protocol = if scheme == "udp" { Protocol::Udp } else { Protocol::Tcp };
        Some((listener.clone(), protocol, address.parse().ok()?))
    });
    let http = facts
        .http
        .iter()
        .filter_map(|address| Some((format!("http://{address}"), Protocol::Tcp, address.parse().ok()?)));
    sip.chain(http).collect()
}

/// Which phones can come.
fn reach(facts: &Facts, findings: &mut Vec<Finding>) {
    let check = lang::current().pick("public address", "dirección pública");
    let (sip, host) = (listeners(facts), &facts.public_host);
    let only_here = sip
        .iter()
        .filter(|(name, ..)| !name.starts_with("http"))
        .all(|(.., address)| address.ip().is_loopback());
    if only_here {
        findings.push(Finding::warning(
            check,
            tr!(
                "phones on this machine only; others need serve --lan",
                "solo teléfonos de este equipo; para los demás, serve --lan"
            ),
        ));
        return;
    }
    findings.push(match host.parse::<IpAddr>() {
        Ok(ip) if ip.is_loopback() => Finding::warning(
            check,
            tr!("this machine has no route out", "este equipo no tiene salida a la red"),
        ),
        _ => Finding::good(check, tr!("phones are told {host}", "a los teléfonos se les dice {host}")),
    });
}

fn exchange_of(exchange: &SwitchState, findings: &mut Vec<Finding>) {
    let (state, calls, phones) = (&exchange.state, exchange.active_calls, exchange.registrations);
    let check = lang::current().pick("exchange", "centralita");
    let said = tr!(
        "{state}; active calls: {calls}, registered phones: {phones}",
        "{state}; llamadas en curso: {calls}, teléfonos registrados: {phones}"
    );
    findings.push(if state == "running" {
        Finding::good(check, said)
    } else {
        Finding::warning(check, said)
    });
    for trunk in &exchange.trunks {
        let check = tr!("trunk {0}", "troncal {0}", trunk.name);
        match trunk.state.as_str() {
            "down" => {
                findings.push(Finding::bad(check, tr!("no host of it answers", "ningún host suyo responde")));
            }
            state => findings.push(Finding::good(check, state)),
        }
    }
    for ban in &exchange.bans {
        let (address, until) = (&ban.address, &ban.until);
        let who = match &ban.username {
            Some(user) => tr!("{user} from {address}", "{user} desde {address}"),
            None => address.clone(),
        };
        findings.push(Finding::warning(
            lang::current().pick("ban", "bloqueo"),
            tr!(
                "{who} is ignored until {until} after too many wrong passwords; centralita guard lift {address}",
                "no se escucha a {who} hasta {until} por demasiadas contraseñas erróneas; centralita guard lift {address}"
            ),
        ));
    }
}

/// What the configuration says now and the server does not know yet.
fn drift(facts: &Facts, loaded: &Loaded) -> Option<Finding> {
    let other_file =
        facts.config_file != loaded.file.as_ref().and_then(|file| std::path::absolute(file).ok());
    let changed: Vec<&str> = KEYS
        .iter()
        .filter(|key| !(facts.lan && key.name == "sip.listen"))
        .filter(|key| (key.show)(&loaded.config) != facts.settings.get(key.name).cloned())
        .map(|key| key.name)
        .collect();
    if changed.is_empty() {
        return None;
    }
    let (check, keys) = (lang::current().pick("configuration", "configuración"), changed.join(", "));
    let running = facts.config_file.as_ref().map_or("-".into(), |file| file.display().to_string());
    Some(Finding::warning(
        check,
        if other_file {
            tr!(
                "the server read {running}, not this one: name it with --config",
                "el servidor leyó {running}, no este: nómbrelo con --config"
            )
        } else {
            tr!(
                "the server runs without what has changed: {keys}; restart it",
                "el servidor no tiene lo que ha cambiado: {keys}; reinícielo"
            )
        },
    ))
}

/// `Max open files            1024                 524288               files`
fn limit_of(pid: u32) -> Option<u64> {
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap_or_default();
    let line = limits.lines().find(|line| line.starts_with("Max open files"))?;
    line.split_whitespace().nth(3)?.parse().ok()
}
