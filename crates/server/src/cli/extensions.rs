//! `extension add|list|show|remove|import`

use std::path::{Path, PathBuf};

use api::Actor;
use base::Rng;
use clap::Subcommand;
use model::UserId;
use serde_json::{Value, json};

use super::reach::{self, Local};
use super::{Client, Fault, Shared, shape};
use crate::data;
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
    ("Forwards when", "Desvía si", "forwardingMode"),
    ("Voicemail", "Buzón de voz", "voicemailEnabled"),
    ("Do not disturb", "No molestar", "doNotDisturb"),
    ("Call waiting", "Llamada en espera", "callWaiting"),
    ("Rings, seconds", "Tiempo de timbre (s)", "ringSeconds"),
    ("Recorded calls", "Llamadas grabadas", "recordCalls"),
    ("Time zone", "Zona horaria", "timezone"),
];

/// Columns of the extensions whose passwords an import has generated.
const GENERATED: [shape::Column; 3] = [
    ("NUMBER", "NÚMERO", "extensionNumber"),
    ("USER NAME", "USUARIO", "username"),
    ("PASSWORD", "CONTRASEÑA", "password"),
];

/// Verbs of `extension`.
#[derive(Debug, Subcommand)]
pub(super) enum ExtensionVerb {
    /// Create an extension and show its password, once
    Add {
        /// Its number, 2 to 6 digits [default: the next free one]
        number: Option<String>,
        /// Display name
        #[arg(long)]
        name: Option<String>,
        /// Owner
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
    /// Create all extensions of a table (CSV), or none: columns number, name, username, password, owner, voicemail PIN, named in its first line
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
    let client = reach::client(shared)?;
    let made = client.post("/api/v1/voip/extensions/create", Some(&body))?.json()?;
    let shown = shape::fields_once(
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
    let Err(error) = shown else { return Ok(()) };
    // The generated password cannot be shown again.
    let id = made["extension"]["id"].as_str().unwrap_or_default();
    let outcome =
        match client.delete(&format!("/api/v1/voip/extensions/{id}")).and_then(super::client::Answer::json) {
            Ok(_) => tr!("it was removed again", "se ha vuelto a eliminar"),
            Err(fault) => {
                tr!(
                    "and it could not be removed either ({fault}): remove {id}, or reset its password",
                    "y tampoco se ha podido eliminar ({fault}): elimine {id} o restablezca su contraseña"
                )
            }
        };
    Err(Fault::Refused(tr!(
        "the extension was created but its password could not be shown ({error}); {outcome}",
        "la extensión se ha creado pero no se ha podido mostrar su contraseña ({error}); {outcome}"
    )))
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
    shape::say(shared, &json!({ "removed": id }), &tr!("{wanted} removed", "{wanted} eliminada"));
    Ok(())
}

/// All extensions, page by page.
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
        Fault::Refused(tr!("there is no extension {wanted}", "no existe la extensión {wanted}"))
    })
}

fn import(shared: &Shared, file: &Path) -> Result<(), Fault> {
    let file_error = |why: &str| Fault::Refused(format!("{}: {why}", file.display()));
    let bytes = std::fs::read(file).map_err(|error| file_error(&error.to_string()))?;
    let done = match reach::find(shared)? {
        Some(client) => {
            let answer = client.post_bytes("/api/v1/voip/extensions/import", "text/csv", &bytes)?.json();
            answer.map_err(|fault| match fault {
                Fault::Refused(why) => file_error(&why),
                Fault::Api { why, code, body } => {
                    Fault::Api { why: format!("{}: {why}", file.display()), code, body }
                }
                fault @ (Fault::Usage(_) | Fault::Unreachable(_)) => fault,
            })?
        }
        None => reach::block_on(import_here(shared, &bytes, &file_error))?,
    };
    let count = done["imported"].as_u64().unwrap_or(0);
    let passwords = done["passwords"].as_array().cloned().unwrap_or_default();
    let shown = if passwords.is_empty() || matches!(shared.output, super::Output::Json) {
        let text = match count {
            1 => tr!("1 extension imported", "1 extensión importada"),
            _ => tr!("{count} extensions imported", "{count} extensiones importadas"),
        };
        shape::say_once(shared, &done, &text)
    } else {
        shape::rows_once(shared, &passwords, &GENERATED)
    };
    match shown {
        Err(error) if !passwords.is_empty() => Err(Fault::Refused(tr!(
            "{count} extensions were imported, but their generated passwords could not be shown ({error}): reset them",
            "se importaron {count} extensiones, pero no se pudieron mostrar las contraseñas generadas ({error}): restablézcalas"
        ))),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Import without a running server, with the API's parser and rules.
async fn import_here(
    shared: &Shared,
    bytes: &[u8],
    file_error: &dyn Fn(&str) -> Fault,
) -> Result<Value, Fault> {
    let owner = UserId::parse("admin").map_err(|error| file_error(&error.to_string()))?;
    let lines = api::read_spreadsheet(bytes, &owner).map_err(|fault| file_error(&fault.to_string()))?;
    let local = Local::open(shared).await?;
    let seal = local.data.seal_key(&mut Rng::from_seed(data::seed()?))?;
    let done = local.directory_service.import(Actor::default(), seal.derived("pins"), lines).await;
    local.close().await;
    let done = done.map_err(|error| file_error(&error.to_string()))?;
    let passwords = done.made.iter().map(|made| {
        json!({
            "extensionNumber": made.number, "username": made.username, "password": made.password.expose(),
        })
    });
    Ok(json!({ "imported": done.count, "passwords": passwords.collect::<Vec<_>>() }))
}
