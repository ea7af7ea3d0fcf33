//! Checks of the running server: its report at the control socket, and the state of its process.

use std::net::{IpAddr, SocketAddr};

use super::{Finding, files};
use crate::config::{KEYS, Loaded};
use crate::control::{self, Facts, SwitchState};
use crate::data::DataDir;
use crate::holder::{Protocol, holders};
use crate::{lang, tr};

/// Check the server of a data directory, whose process id is `pid`.
pub(super) fn check(data: &DataDir, pid: u32, loaded: Option<&Loaded>, findings: &mut Vec<Finding>) {
    let server = lang::current().pick("server", "servidor");
    let report = match control::ask(data.path()) {
        Ok(report) => report,
        Err(error) => {
            findings.push(Finding::bad(
                server,
                tr!(
                    "process {pid} uses this data directory but does not answer at its control socket: {error}",
                    "el proceso {pid} usa este directorio de datos pero no responde en su socket de control: {error}"
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
            tr!("running, process {pid}, version {version}", "en marcha, proceso {pid}, versión {version}"),
        )
    } else {
        Finding::warning(
            server,
            tr!(
                "running version {version}, but this program is {0}: restart the server to update it",
                "está en marcha la versión {version}, pero este programa es la {0}: reinicie el servidor para actualizarlo",
                env!("CARGO_PKG_VERSION")
            ),
        )
    });
    for (listener, protocol, address) in listeners(facts) {
        let listening =
            holders(protocol, address).iter().any(|holder| holder.pid.is_none_or(|other| other == pid));
        findings.push(if listening {
            Finding::good(listener, tr!("the server listens", "el servidor está a la escucha"))
        } else {
            Finding::bad(
                listener,
                tr!("the server does not listen on it", "el servidor no escucha en esta dirección"),
            )
        });
    }
    check_address(facts, findings);
    match &report.exchange {
        Some(exchange) => check_switch(exchange, findings),
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

/// Check the advertised address.
fn check_address(facts: &Facts, findings: &mut Vec<Finding>) {
    let name = lang::current().pick("public address", "dirección pública");
    let (sip, host) = (listeners(facts), &facts.public_host);
    let only_here = sip
        .iter()
        .filter(|(name, ..)| !name.starts_with("http"))
        .all(|(.., address)| address.ip().is_loopback());
    if only_here {
        findings.push(Finding::warning(
            name,
            tr!(
                "phones on this machine only; for others use serve --lan",
                "solo accesible desde este equipo; para otros teléfonos use serve --lan"
            ),
        ));
        return;
    }
    findings.push(match host.parse::<IpAddr>() {
        Ok(ip) if ip.is_loopback() => Finding::warning(
            name,
            tr!("this machine has no default route", "este equipo no tiene ruta por defecto"),
        ),
        _ => Finding::good(name, tr!("{host} is advertised to phones", "se anuncia {host} a los teléfonos")),
    });
}

fn check_switch(exchange: &SwitchState, findings: &mut Vec<Finding>) {
    let (state, calls, phones) = (&exchange.state, exchange.active_calls, exchange.registrations);
    let name = lang::current().pick("exchange", "centralita");
    let text = tr!(
        "{state}; active calls: {calls}, registered phones: {phones}",
        "{state}; llamadas en curso: {calls}, teléfonos registrados: {phones}"
    );
    findings.push(if state == "running" { Finding::good(name, text) } else { Finding::warning(name, text) });
    for trunk in &exchange.trunks {
        let name = tr!("trunk {0}", "troncal {0}", trunk.name);
        match trunk.state.as_str() {
            "down" => {
                findings.push(Finding::bad(
                    name,
                    tr!("none of its hosts answers", "no responde ninguno de sus hosts"),
                ));
            }
            state => findings.push(Finding::good(name, state)),
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
                "{who} is banned until {until} after too many wrong passwords; to lift: centralita guard lift {address}",
                "{who}: bloqueado hasta {until} por demasiadas contraseñas incorrectas; para desbloquear: centralita guard lift {address}"
            ),
        ));
    }
}

/// Compare the configuration files with the settings that the server runs with.
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
    let (name, keys) = (lang::current().pick("configuration", "configuración"), changed.join(", "));
    let running = facts.config_file.as_ref().map_or("-".into(), |file| file.display().to_string());
    Some(Finding::warning(
        name,
        if other_file {
            tr!(
                "the server uses {running}, not this file: name it with --config",
                "el servidor usa {running}, no este archivo: indíquelo con --config"
            )
        } else {
            tr!(
                "changed since the server started: {keys}; restart it",
                "ha cambiado desde que arrancó el servidor: {keys}; reinícielo"
            )
        },
    ))
}

/// Soft limit of open files of a process, from its `/proc/PID/limits`.
fn limit_of(pid: u32) -> Option<u64> {
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap_or_default();
    let line = limits.lines().find(|line| line.starts_with("Max open files"))?;
    line.split_whitespace().nth(3)?.parse().ok()
}
