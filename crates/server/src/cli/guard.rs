//! `guard list|lift`: sources banned after too many wrong passwords.

use std::fmt::Write as _;
use std::net::IpAddr;

use clap::Subcommand;
use serde_json::Value;

use super::{Fault, Shared, reach, shape};
use crate::tr;

const COLUMNS: [shape::Column; 3] =
    [("ADDRESS", "DIRECCIÓN", "address"), ("USER NAME", "USUARIO", "username"), ("UNTIL", "HASTA", "until")];

/// Verbs of `guard`.
#[derive(Debug, Subcommand)]
pub(super) enum GuardVerb {
    /// List sources banned after too many wrong passwords
    List,
    /// Lift the bans of a source, after its phone got the right password
    Lift {
        /// Source address, as `guard list` shows it
        address: String,
        /// Only the ban of this user name
        #[arg(long, value_name = "NAME")]
        user: Option<String>,
    },
}

pub(super) fn run(shared: &Shared, verb: GuardVerb) -> Result<(), Fault> {
    let client = reach::client(shared)?;
    match verb {
        GuardVerb::List => {
            let answer = client.get("/api/v1/guard/bans")?.json()?;
            let bans = answer["bans"].as_array().cloned().unwrap_or_default();
            if bans.is_empty() {
                shape::say(
                    shared,
                    &Value::Array(bans),
                    &tr!("Nobody is banned.", "No hay ningún origen bloqueado."),
                );
            } else {
                shape::rows(shared, &bans, &COLUMNS);
            }
        }
        GuardVerb::Lift { address, user } => {
            let source = address.trim_end_matches("/64").parse::<IpAddr>().map_err(|_| {
                Fault::Usage(tr!(
                    "{address:?} is not an address; write one of `centralita guard list`",
                    "{address:?} no es una dirección; escriba una de las que muestra `centralita guard list`"
                ))
            })?;
            let mut path = format!("/api/v1/guard/bans?address={source}");
            if let Some(user) = &user {
                write!(path, "&username={}", percent_encode(user)).ok();
            }
            let answer = client.delete(&path)?.json()?;
            let bans = answer["bans"].as_array().cloned().unwrap_or_default();
            let lines: Vec<String> = bans.iter().map(lifted).collect();
            shape::say(shared, &Value::Array(bans), &lines.join("\n"));
        }
    }
    Ok(())
}

fn lifted(ban: &Value) -> String {
    let address = ban["address"].as_str().unwrap_or_default();
    match ban["username"].as_str() {
        Some(user) => {
            tr!("{user} from {address} is heard again", "desbloqueado: {user} desde {address}")
        }
        None => tr!("{address} is heard again", "desbloqueado: {address}"),
    }
}

/// Percent-encodes a query value (RFC 3986 §2.1).
fn percent_encode(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            write!(encoded, "%{byte:02X}").ok();
        }
    }
    encoded
}
