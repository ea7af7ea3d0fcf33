//! `guard list|lift`: sources that are ignored after too many wrong passwords.

use std::fmt::Write as _;
use std::net::IpAddr;

use clap::Subcommand;
use serde_json::Value;

use super::{Fault, Shared, reach, shape};
use crate::tr;

const COLUMNS: [shape::Column; 3] =
    [("ADDRESS", "DIRECCIÓN", "address"), ("USER NAME", "USUARIO", "username"), ("UNTIL", "HASTA", "until")];

/// What can be done with bans.
#[derive(Debug, Subcommand)]
pub(super) enum GuardVerb {
    /// List sources that are ignored after too many wrong passwords
    List,
    /// End the bans of a source, once its phone has the right password
    Lift {
        /// Its address, as `guard list` shows it
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
                shape::say(shared, &Value::Array(bans), &tr!("Nobody is banned.", "No hay nadie bloqueado."));
            } else {
                shape::rows(shared, &bans, &COLUMNS);
            }
        }
        GuardVerb::Lift { address, user } => {
            let source = address.trim_end_matches("/64").parse::<IpAddr>().map_err(|_| {
                Fault::Usage(tr!(
                    "{address:?} is no address; write one of `centralita guard list`",
                    "{address:?} no es una dirección; escriba una de `centralita guard list`"
                ))
            })?;
            let mut path = format!("/api/v1/guard/bans?address={source}");
            if let Some(user) = &user {
                write!(path, "&username={}", escaped(user)).ok();
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
            tr!("{user} from {address} is heard again", "se vuelve a escuchar a {user} desde {address}")
        }
        None => tr!("{address} is heard again", "se vuelve a escuchar a {address}"),
    }
}

/// Percent-encoding (RFC 3986 §2.1) for a value of a query.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            write!(escaped, "%{byte:02X}").ok();
        }
    }
    escaped
}
