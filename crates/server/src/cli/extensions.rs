//! `extension add|list|show|remove|import`

use std::path::{Path, PathBuf};

use api::{Actor, Imported};
use base::Secret;
use clap::Subcommand;
use model::{ExtensionNumber, UserId};
use serde_json::{Value, json};

use super::reach::{self, Local};
use super::{Client, Fault, Shared, shape};
use crate::tr;

const COLUMNS: [shape::Column; 6] = [
    ("ID", "ID", "id"),
    ("NUMBER", "NÚMERO", "extensionNumber"),
    ("NAME", "NOMBRE", "displayName"),
    ("USER", "USUARIO", "userId"),
    ("STATUS", "ESTADO", "status"),
    ("REGISTERED", "REGISTRADA", "registered"),
];

const SHOWN: &[shape::Column] = &[
    ("Id", "Id", "id"),
    ("Number", "Número", "extensionNumber"),
    ("Name", "Nombre", "displayName"),
    ("User", "Usuario", "userId"),
    ("Status", "Estado", "status"),
    ("Registered", "Registrada", "registered"),
    ("User name", "Nombre de usuario", "sipCredentials.username"),
    ("Domain", "Dominio", "sipCredentials.domain"),
    ("Server", "Servidor", "sipCredentials.proxyServer"),
    ("Forwarding", "Desvío", "forwardingEnabled"),
    ("Forwards to", "Desvía a", "forwardingNumber"),
    ("Forwards when", "Desvía cuando", "forwardingMode"),
    ("Voicemail", "Buzón de voz", "voicemailEnabled"),
    ("Do not disturb", "No molestar", "doNotDisturb"),
    ("Call waiting", "Llamada en espera", "callWaiting"),
    ("Rings, seconds", "Suena, segundos", "ringSeconds"),
    ("Recorded calls", "Llamadas grabadas", "recordCalls"),
    ("Zone", "Zona", "timezone"),
];

/// What can be done with extensions.
#[derive(Debug, Subcommand)]
pub(super) enum ExtensionVerb {
    /// Make an extension and show its password, once
    Add {
        /// Its number, 2 to 6 digits [default: the next free one]
        number: Option<String>,
        /// The person's name
        #[arg(long)]
        name: Option<String>,
        /// Whose it is
        #[arg(long, default_value = "admin")]
        user: String,
    },
    /// List extensions
    List,
    /// Show one extension
    Show {
        /// Its number or id
        extension: String,
    },
    /// Remove an extension and its credentials
    Remove {
        /// Its number or id
        extension: String,
        /// Also end its calls
        #[arg(long)]
        force: bool,
    },
    /// Make all extensions of a file, or none: number,username,password[,owner] on each line
    Import {
        /// The file
        file: PathBuf,
    },
}

pub(super) fn run(shared: &Shared, verb: ExtensionVerb) -> Result<(), Fault> {
    match verb {
        ExtensionVerb::Add { number, name, user } => add(shared, number, name, &user),
        ExtensionVerb::List => {
            shape::rows(shared, &all(&reach::client(shared)?)?, &COLUMNS);
            Ok(())
        }
        ExtensionVerb::Show { extension } => show(shared, &extension),
        ExtensionVerb::Remove { extension, force } => remove(shared, &extension, force),
        ExtensionVerb::Import { file } => import(shared, &file),
    }
}

fn add(shared: &Shared, number: Option<String>, name: Option<String>, user: &str) -> Result<(), Fault> {
    let mut body = json!({ "userId": user });
    if let Some(number) = number {
        body["extensionNumber"] = number.into();
    }
    if let Some(name) = name {
        body["displayName"] = name.into();
    }
    let made = reach::client(shared)?.post("/api/v1/voip/extensions/create", Some(&body))?.json()?;
    shape::fields(
        shared,
        &made["extension"],
        &[
            ("Number", "Número", "extensionNumber"),
            ("Name", "Nombre", "displayName"),
            ("User name", "Usuario", "sipCredentials.username"),
            ("Password", "Contraseña", "sipCredentials.password"),
            ("Domain", "Dominio", "sipCredentials.domain"),
            ("Id", "Id", "id"),
        ],
    );
    Ok(())
}

fn show(shared: &Shared, wanted: &str) -> Result<(), Fault> {
    let client = reach::client(shared)?;
    let id = id_of(&client, wanted)?;
    let found = client.get(&format!("/api/v1/voip/extensions/{id}"))?.json()?;
    shape::fields(shared, &found["extension"], SHOWN);
    Ok(())
}

fn remove(shared: &Shared, wanted: &str, force: bool) -> Result<(), Fault> {
    let client = reach::client(shared)?;
    let id = id_of(&client, wanted)?;
    let force = if force { "?force=true" } else { "" };
    client.delete(&format!("/api/v1/voip/extensions/{id}{force}"))?.json()?;
    shape::say(shared, &json!({ "removed": id }), &tr!("{wanted} is gone", "{wanted} ya no existe"));
    Ok(())
}

/// Every extension, page by page.
fn all(client: &Client) -> Result<Vec<Value>, Fault> {
    let mut found = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let after = cursor.as_ref().map(|cursor| format!("&cursor={cursor}")).unwrap_or_default();
        let mut page = client.get(&format!("/api/v1/voip/extensions?limit=100{after}"))?.json()?;
        if let Value::Array(items) = page["extensions"].take() {
            found.extend(items);
        }
        let next = page["nextCursor"].as_str().map(str::to_owned);
        if next.is_none() || next == cursor {
            return Ok(found);
        }
        cursor = next;
    }
}

fn id_of(client: &Client, wanted: &str) -> Result<String, Fault> {
    if wanted.starts_with("ext_") {
        return Ok(wanted.into());
    }
    let extensions = all(client)?;
    let found = extensions.iter().find(|extension| extension["extensionNumber"] == wanted);
    let id = found.and_then(|extension| extension["id"].as_str());
    id.map(str::to_owned).ok_or_else(|| {
        Fault::Refused(tr!("there is no extension {wanted}", "no hay ninguna extensión {wanted}"))
    })
}

fn import(shared: &Shared, file: &Path) -> Result<(), Fault> {
    let lines = read(file)?;
    let count = match reach::find(shared)? {
        Some(client) => {
            let extensions: Vec<Value> = lines
                .iter()
                .map(|line| {
                    json!({
                        "extensionNumber": line.number, "username": line.username,
                        "password": line.password.expose(), "userId": line.owner,
                    })
                })
                .collect();
            let body = json!({ "extensions": extensions });
            let answer = client.post("/api/v1/voip/extensions/import", Some(&body))?.json()?;
            answer["imported"].as_u64().unwrap_or(lines.len() as u64) as usize
        }
        None => reach::block_on(async {
            let local = Local::open(shared).await?;
            let done = local.office.import(Actor::default(), lines).await;
            local.close().await;
            done.map_err(|error| Fault::Refused(error.to_string()))
        })?,
    };
    shape::say(shared, &json!({ "imported": count }), &format!("{count} extensions imported"));
    Ok(())
}

/// The lines of a file, with every fault named by its line (S40: passwords of any length).
fn read(file: &Path) -> Result<Vec<Imported>, Fault> {
    let refused = |line: u64, what: &str| Fault::Refused(format!("{}:{line}: {what}", file.display()));
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .trim(csv::Trim::All)
        .comment(Some(b'#'))
        .from_path(file)
        .map_err(|error| Fault::Refused(format!("{}: {error}", file.display())))?;
    let mut lines = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|error| {
            refused(
                error.position().map_or(0, csv::Position::line),
                "is not number,username,password[,owner]",
            )
        })?;
        let line = record.position().map_or(0, csv::Position::line);
        let [number, username, password] = [0, 1, 2].map(|n| record.get(n).unwrap_or_default());
        if lines.is_empty() && number.eq_ignore_ascii_case("number") {
            continue;
        }
        if password.is_empty() || username.is_empty() || record.len() > 4 {
            return Err(refused(line, "is not number,username,password[,owner]"));
        }
        let owner = record.get(3).filter(|owner| !owner.is_empty()).unwrap_or("admin");
        lines.push(Imported {
            number: ExtensionNumber::parse(number).map_err(|error| refused(line, &error.to_string()))?,
            username: username.into(),
            password: Secret::new(password.into()),
            owner: UserId::parse(owner).map_err(|error| refused(line, &error.to_string()))?,
            display_name: None,
        });
    }
    Ok(lines)
}
