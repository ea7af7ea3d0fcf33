//! `trunk add|list|show|remove|test`

use clap::Subcommand;
use serde_json::{Value, json};

use super::{Client, Fault, Shared, reach, shape};
use crate::{lang, tr};

const COLUMNS: [shape::Column; 6] = [
    ("ID", "ID", "id"),
    ("NAME", "NOMBRE", "name"),
    ("STATE", "ESTADO", "status.state"),
    ("REGISTRATION", "REGISTRO", "status.registration"),
    ("CALLS", "LLAMADAS", "status.activeCalls"),
    ("PRIORITY", "PRIORIDAD", "priority"),
];
const CONFIGURED: [shape::Column; 5] = [
    ("HOST", "HOST", "host"),
    ("PORT", "PUERTO", "port"),
    ("TRANSPORT", "TRANSPORTE", "transport"),
    ("PRIORITY", "PRIORIDAD", "priority"),
    ("WEIGHT", "PESO", "weight"),
];
const HOSTS: [shape::Column; 5] = [
    ("HOST", "HOST", "uri"),
    ("ADDRESS", "DIRECCIÓN", "address"),
    ("STATE", "ESTADO", "state"),
    ("ANSWER", "RESPUESTA", "lastStatus"),
    ("MS", "MS", "roundTripMs"),
];

const CALL: [shape::Column; 7] = [
    ("Answered", "Contestada", "answered"),
    ("Code", "Código", "code"),
    ("Reason", "Motivo", "reason"),
    ("SIP status", "Código SIP", "sipStatus"),
    ("Ringing after, ms", "Tiempo hasta timbre (ms)", "ringMs"),
    ("Answered after, ms", "Tiempo hasta respuesta (ms)", "answerMs"),
    ("Steps", "Pasos", "steps"),
];

/// Verbs of `trunk`.
#[derive(Debug, Subcommand)]
pub(super) enum TrunkVerb {
    /// Create a trunk
    Add {
        /// Name of the trunk
        name: String,
        /// A host of the carrier, HOST[:PORT][,priority=N][,weight=N][,transport=udp|tcp]; may be given several times
        #[arg(long = "host", required = true, value_name = "HOST")]
        hosts: Vec<String>,
        /// User name given by the carrier
        #[arg(long)]
        username: Option<String>,
        /// Password given by the carrier; set it in the environment to hide it from other users of the machine
        #[arg(long, env = "CENTRALITA_TRUNK_PASSWORD", hide_env_values = true)]
        password: Option<String>,
        /// Register at the carrier
        #[arg(long)]
        register: bool,
        /// Caller number shown to the called party
        #[arg(long, value_name = "NUMBER")]
        caller: Option<String>,
        /// Address or network that the carrier's calls come from; may be given several times
        #[arg(long = "source", value_name = "NETWORK")]
        sources: Vec<String>,
        /// DID of the trunk, NUMBER[=EXTENSION]; may be given several times
        #[arg(long = "did", value_name = "NUMBER")]
        dids: Vec<String>,
        /// Extension for calls to other numbers
        #[arg(long, value_name = "EXTENSION")]
        default_extension: Option<String>,
        /// Maximum simultaneous calls
        #[arg(long, value_name = "N")]
        max_channels: Option<u32>,
        /// Maximum new calls per second
        #[arg(long, value_name = "N")]
        calls_per_second: Option<u32>,
    },
    /// List trunks
    List,
    /// Show one trunk with its hosts
    Show {
        /// Name or id of the trunk
        trunk: String,
    },
    /// Remove a trunk; calls in progress continue
    Remove {
        /// Name or id of the trunk
        trunk: String,
    },
    /// Check the trunk's hosts now (OPTIONS); with a number, call it and hang up when it answers
    Test {
        /// Name or id of the trunk
        trunk: String,
        /// External number to call
        number: Option<String>,
        /// Ring timeout in seconds
        #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u64).range(5..=45))]
        seconds: u64,
    },
}

pub(super) fn run(shared: &Shared, verb: TrunkVerb) -> Result<(), Fault> {
    let client = reach::client(shared)?;
    match verb {
        TrunkVerb::List => {
            shape::rows(shared, &all(&client)?, &COLUMNS);
            Ok(())
        }
        TrunkVerb::Show { trunk } => {
            let id = id_of(&client, &trunk)?;
            let found = client.get(&format!("/api/v1/trunks/{id}"))?.json()?;
            print(shared, &found["trunk"]);
            Ok(())
        }
        TrunkVerb::Remove { trunk } => {
            let id = id_of(&client, &trunk)?;
            client.delete(&format!("/api/v1/trunks/{id}"))?.json()?;
            shape::say(shared, &json!({ "removed": id }), &tr!("{trunk} removed", "{trunk} eliminado"));
            Ok(())
        }
        TrunkVerb::Test { trunk, number, seconds } => {
            test(shared, &client, &trunk, number.map(|n| (n, seconds)))
        }
        TrunkVerb::Add { .. } => {
            let made = client.post("/api/v1/trunks", Some(&body(verb)?))?.json()?;
            print(shared, &made["trunk"]);
            Ok(())
        }
    }
}

/// Request body that creates a trunk.
fn body(verb: TrunkVerb) -> Result<Value, Fault> {
    let TrunkVerb::Add {
        name,
        hosts,
        username,
        password,
        register,
        caller,
        sources,
        dids,
        default_extension,
        max_channels,
        calls_per_second,
    } = verb
    else {
        return Ok(Value::Null);
    };
    let hosts = hosts.iter().map(|text| host(text)).collect::<Result<Vec<_>, _>>()?;
    let did = |text: &String| match text.split_once('=') {
        Some((number, extension)) => json!({ "number": number, "extension": extension }),
        None => json!({ "number": text }),
    };
    let mut body = json!({
        "name": name, "hosts": hosts, "register": register, "sources": sources,
        "dids": dids.iter().map(did).collect::<Vec<_>>(),
    });
    // A password in the environment without a user name is meant for another trunk.
    let password = password.filter(|_| username.is_some());
    for (name, value) in [
        ("username", username.map(Value::from)),
        ("password", password.map(Value::from)),
        ("callerNumber", caller.map(Value::from)),
        ("defaultExtension", default_extension.map(Value::from)),
        ("maxChannels", max_channels.map(Value::from)),
        ("callsPerSecond", calls_per_second.map(Value::from)),
    ] {
        if let Some(value) = value {
            body[name] = value;
        }
    }
    Ok(body)
}

fn test(shared: &Shared, client: &Client, trunk: &str, call: Option<(String, u64)>) -> Result<(), Fault> {
    let id = id_of(client, trunk)?;
    let body = call.map(|(number, seconds)| json!({ "number": number, "seconds": seconds }));
    let found = client.post(&format!("/api/v1/trunks/{id}/test"), body.as_ref())?.json()?;
    let call = &found["call"];
    if call.is_object() {
        shape::fields(shared, call, &CALL);
        return match call["answered"].as_bool() {
            Some(true) => Ok(()),
            Some(false) | None => Err(Fault::Refused(match call["reason"].as_str() {
                Some(reason) => reason.to_owned(),
                None => tr!("the call was not answered", "nadie contestó"),
            })),
        };
    }
    let hosts = found["trunk"]["status"]["hosts"].as_array().cloned().unwrap_or_default();
    shape::rows(shared, &hosts, &HOSTS);
    if hosts.iter().any(|host| host["state"] == "up") {
        return Ok(());
    }
    Err(Fault::Refused(tr!("no host of {trunk} answers", "no responde ningún host de {trunk}")))
}

fn print(shared: &Shared, trunk: &Value) {
    let mut trunk = trunk.clone();
    if matches!(shared.output, super::Output::Table) {
        let did = |did: &Value| match (did["number"].as_str(), did["extension"].as_str()) {
            (Some(number), Some(extension)) => format!("{number}={extension}"),
            (number, _) => number.unwrap_or_default().to_owned(),
        };
        trunk["numbers"] =
            trunk["dids"].as_array().map(|dids| dids.iter().map(did).collect()).unwrap_or_default();
    }
    let trunk = &trunk;
    shape::fields(
        shared,
        trunk,
        &[
            ("Id", "Id", "id"),
            ("Name", "Nombre", "name"),
            ("Enabled", "Activo", "enabled"),
            ("State", "Estado", "status.state"),
            ("Registration", "Registro", "status.registration"),
            ("Registered until", "Registrado hasta", "status.registeredUntil"),
            ("Registration status", "Respuesta al registro", "status.registrationStatus"),
            ("User name", "Usuario", "username"),
            ("Caller number", "Número propio", "callerNumber"),
            ("Sources", "Orígenes", "sources"),
            ("Numbers", "Números", "numbers"),
            ("Default extension", "Extensión por defecto", "defaultExtension"),
            ("Channels", "Canales", "maxChannels"),
            ("Calls per second", "Llamadas por segundo", "callsPerSecond"),
            ("Calls", "Llamadas", "status.activeCalls"),
        ],
    );
    if !matches!(shared.output, super::Output::Table) {
        return;
    }
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    for (english, spanish, rows, columns) in [
        ("Hosts", "Hosts", list(&trunk["hosts"]), &CONFIGURED[..]),
        ("Addresses", "Direcciones", list(&trunk["status"]["hosts"]), &HOSTS[..]),
    ] {
        if !rows.is_empty() {
            shape::heading(shared, lang::current().pick(english, spanish));
            shape::rows(shared, &rows, columns);
        }
    }
}

/// Parses `sip.carrier.example:5060,priority=10,weight=60`.
fn host(text: &str) -> Result<Value, Fault> {
    let bad = |why: &str| Fault::Usage(format!("--host {text}: {why}"));
    let mut parts = text.split(',');
    let place = parts.next().unwrap_or_default();
    let (name, port) = match place.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((name, rest)) => (name, rest.strip_prefix(':')),
        None => place.split_once(':').map_or((place, None), |(name, port)| (name, Some(port))),
    };
    let mut host = json!({ "host": name });
    if let Some(port) = port {
        host["port"] = port
            .parse::<u16>()
            .map_err(|_| bad(&tr!("the port must be 1 to 65535", "el puerto debe estar entre 1 y 65535")))?
            .into();
    }
    for part in parts {
        match part.split_once('=') {
            Some((key @ ("priority" | "weight"), value)) => {
                host[key] = value
                    .parse::<u16>()
                    .map_err(|_| {
                        bad(&tr!("the value must be 0 to 65535", "el valor debe estar entre 0 y 65535"))
                    })?
                    .into();
            }
            Some(("transport", value @ ("udp" | "tcp"))) => host["transport"] = value.into(),
            Some(("transport", _)) => {
                return Err(bad(&tr!(
                    "transport must be udp or tcp in this version",
                    "en esta versión transport debe ser udp o tcp"
                )));
            }
            Some(_) | None => {
                return Err(bad(&tr!(
                    "write priority=N, weight=N or transport=tcp",
                    "escriba priority=N, weight=N o transport=tcp"
                )));
            }
        }
    }
    Ok(host)
}

fn all(client: &Client) -> Result<Vec<Value>, Fault> {
    let found = client.get("/api/v1/trunks")?.json()?;
    Ok(found["trunks"].as_array().cloned().unwrap_or_default())
}

fn id_of(client: &Client, wanted: &str) -> Result<String, Fault> {
    let trunks = all(client)?;
    let found = trunks.iter().find(|trunk| trunk["id"] == wanted || trunk["name"] == wanted);
    let id = found.and_then(|trunk| trunk["id"].as_str());
    id.map(str::to_owned)
        .ok_or_else(|| Fault::Refused(tr!("there is no trunk {wanted}", "no existe el troncal {wanted}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_read_with_its_port_and_its_weight() {
        let read = |text| host(text).map_err(|fault| fault.to_string());
        assert_eq!(read("a.example").unwrap(), json!({"host": "a.example"}));
        assert_eq!(
            read("[2001:db8::1]:5070,priority=1,weight=60").unwrap(),
            json!({"host": "2001:db8::1", "port": 5070, "priority": 1, "weight": 60})
        );
        assert_eq!(read("a,transport=tcp").unwrap(), json!({"host": "a", "transport": "tcp"}));
        for bad in ["a:x", "a:70000", "a,speed=1", "a,weight", "a,transport=tls"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
