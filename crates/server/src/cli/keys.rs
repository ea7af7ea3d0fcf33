//! `key create|list|revoke`

use api::Actor;
use clap::Subcommand;
use model::{ApiKey, ApiKeyId, UserId};
use serde_json::{Value, json};

use super::reach::{self, Local};
use super::{Fault, Shared, shape};
use crate::tr;

/// Verbs of `key`.
#[derive(Debug, Subcommand)]
pub(super) enum KeyVerb {
    /// Create a key and show its secret, once. Without a running server, an administrator's key is created
    Create {
        /// Owner of the key; created if missing
        #[arg(long, default_value = "admin")]
        user: String,
        /// Name of the key
        #[arg(long, default_value = "Made on the command line")]
        name: String,
        /// Permissions: call, sip, recording, admin
        #[arg(long, value_delimiter = ',', default_value = "admin")]
        permissions: Vec<String>,
    },
    /// List keys, without their secrets
    List {
        /// Only keys of this user
        #[arg(long)]
        user: Option<String>,
    },
    /// Revoke a key, effective at once
    Revoke {
        /// Id of the key, key_…
        id: String,
    },
}

pub(super) fn run(shared: &Shared, verb: KeyVerb) -> Result<(), Fault> {
    match verb {
        KeyVerb::Create { user, name, permissions } => create(shared, &user, &name, &permissions),
        KeyVerb::List { user } => list(shared, user),
        KeyVerb::Revoke { id } => revoke(shared, &id),
    }
}

fn create(shared: &Shared, user: &str, name: &str, permissions: &[String]) -> Result<(), Fault> {
    let made = match reach::find(shared)? {
        Some(client) => {
            let body = json!({ "userId": user, "name": name, "permissions": permissions });
            client.post("/api/v1/keys/voip/generate", Some(&body))?.json()?["key"].take()
        }
        None if permissions != ["admin"] => {
            return Err(Fault::Unreachable(tr!(
                "without a running server only an administrator's key can be created (--permissions admin)",
                "sin un servidor en marcha solo se puede crear una clave de administrador (--permissions admin)"
            )));
        }
        None => create_offline(shared, user, name)?,
    };
    let secret = made["key"].as_str().unwrap_or_default().to_owned();
    let Err(error) = shape::say_once(shared, &made, &secret) else { return Ok(()) };
    // A key whose secret was not shown must not stay valid.
    let id = made["id"].as_str().unwrap_or_default();
    let stored = shared.data().read_admin_key().ok().flatten().is_some_and(|key| *key.expose() == secret);
    let fate = if stored {
        tr!("it is stored in {0}", "está guardada en {0}", shared.data().admin_key().display())
    } else {
        match revoke_by_id(shared, id) {
            Ok(()) => tr!("it was revoked again", "se ha vuelto a revocar"),
            Err(fault) => tr!(
                "and it could not be revoked either ({fault}): revoke {id}",
                "y tampoco se ha podido revocar ({fault}): revoque {id}"
            ),
        }
    };
    Err(Fault::Refused(tr!(
        "the key was created but could not be shown ({error}); {fate}",
        "la clave se ha creado pero no se ha podido mostrar ({error}); {fate}"
    )))
}

fn create_offline(shared: &Shared, user: &str, name: &str) -> Result<Value, Fault> {
    let user = UserId::parse(user).map_err(|error| Fault::Usage(format!("--user: {error}")))?;
    reach::block_on(async {
        let local = Local::open(shared).await?;
        let secret = local.directory_service.new_key_secret();
        // If admin.key was lost, it is created again for later commands. The file comes first: a key without stored secret is useless.
        let stored = local.data.read_admin_key()?;
        if stored.is_none() {
            local.data.write_secret(&local.data.admin_key(), secret.expose())?;
        }
        let created = local.directory_service.enter_admin_key(Actor::default(), user, name, secret).await;
        if created.is_err() && stored.is_none() {
            std::fs::remove_file(local.data.admin_key()).ok();
        }
        let created = created.map_err(|error| Fault::Refused(error.to_string()))?;
        local.close().await;
        let mut shown = row(&created.key);
        shown["key"] = created.secret.expose().as_str().into();
        Ok(shown)
    })
}

fn list(shared: &Shared, user: Option<String>) -> Result<(), Fault> {
    let keys: Vec<Value> = match reach::find(shared)? {
        Some(client) => {
            let filter = user.map(|user| format!("?userId={user}")).unwrap_or_default();
            let answer = client.get(&format!("/api/v1/keys{filter}"))?.json()?;
            answer["keys"].as_array().cloned().unwrap_or_default()
        }
        None => reach::block_on(async {
            let local = Local::open(shared).await?;
            let directory = local.directory_service.directory();
            let mut keys: Vec<_> = directory.keys().cloned().collect();
            local.close().await;
            keys.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
            keys.retain(|key| user.as_deref().is_none_or(|user| key.user.as_str() == user));
            Ok(keys.iter().map(|key| row(key)).collect())
        })?,
    };
    let columns = [
        ("ID", "ID", "id"),
        ("USER", "USUARIO", "userId"),
        ("NAME", "NOMBRE", "name"),
        ("PREFIX", "PREFIJO", "keyPrefix"),
        ("ACTIVE", "ACTIVA", "active"),
    ];
    shape::rows(shared, &keys, &columns);
    Ok(())
}

fn row(key: &ApiKey) -> Value {
    let permissions: Vec<&str> = key.permissions.iter().map(model::Permission::as_str).collect();
    json!({
        "id": key.id, "userId": key.user, "name": key.name, "keyPrefix": key.prefix, "permissions": permissions,
        "active": key.active, "createdAt": key.created_at.to_string(),
    })
}

fn revoke(shared: &Shared, id: &str) -> Result<(), Fault> {
    revoke_by_id(shared, id)?;
    shape::say(shared, &json!({ "revoked": id }), &tr!("{id} revoked", "{id} revocada"));
    Ok(())
}

fn revoke_by_id(shared: &Shared, id: &str) -> Result<(), Fault> {
    let id = ApiKeyId::parse(id).map_err(|error| Fault::Usage(error.to_string()))?;
    match reach::find(shared)? {
        Some(client) => client.delete(&format!("/api/v1/keys/{id}"))?.json().map(drop),
        None => reach::block_on(async {
            let local = Local::open(shared).await?;
            let done = local.directory_service.revoke_key(Actor::default(), id).await;
            local.close().await;
            done.map_err(|error| Fault::Refused(error.to_string()))
        }),
    }
}
