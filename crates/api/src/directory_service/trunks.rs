//! Creating, changing and removing trunks.

use base::{Id, Secret};
use model::trunk::{Did, Source, Trunk, TrunkHost, TrunkSettings};
use model::{CallerId, Change, DialledNumber, ExtensionNumber, NumberFormat, SealKey, SealedSecret, TrunkId};
use serde_json::json;

use super::{Actor, ChangeSet, DirectoryError, DirectoryService, Event};
use crate::Patch;

/// Maximum number of trunks.
const MAX_TRUNKS: usize = 64;
/// Default registration expiry in seconds.
const DEFAULT_EXPIRES: u32 = 600;

/// Settings of a new trunk, or changes of one. An absent value takes its default, or is unchanged.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs)]
pub struct TrunkDraft {
    pub name: Option<String>,
    pub enabled: Option<bool>,
    pub priority: Option<u16>,
    pub hosts: Option<Vec<TrunkHost>>,
    pub username: Patch<String>,
    pub password: Patch<Secret<String>>,
    pub realm: Patch<String>,
    pub register: Option<bool>,
    pub register_expires: Option<u32>,
    pub outbound_proxy: Patch<TrunkHost>,
    pub sources: Option<Vec<Source>>,
    pub dids: Option<Vec<Did>>,
    pub default_extension: Patch<ExtensionNumber>,
    pub caller_id: Option<CallerId>,
    pub caller_number: Patch<DialledNumber>,
    pub number_format: Option<NumberFormat>,
    pub strip_prefix: Patch<DialledNumber>,
    pub add_prefix: Patch<DialledNumber>,
    pub codecs: Option<Vec<String>>,
    pub max_channels: Patch<u32>,
    pub calls_per_second: Patch<u32>,
    pub probe: Option<bool>,
    pub diversion: Option<bool>,
}

impl DirectoryService {
    /// Create a trunk.
    pub async fn create_trunk(
        &self,
        actor: Actor,
        seal: SealKey,
        wanted: TrunkDraft,
    ) -> Result<Trunk, DirectoryError> {
        self.commit(actor, move |draft| {
            if draft.directory.trunks().count() >= MAX_TRUNKS {
                return Err(DirectoryError::TooManyTrunks);
            }
            let id = Id::new(draft.now, &mut draft.rng);
            let mut trunk = new_trunk(id, draft);
            if wanted.caller_id.is_none() && !matches!(wanted.caller_number, Patch::Set(_)) {
                trunk.settings.caller_id = CallerId::Own;
            }
            apply_draft(&mut trunk, wanted, &seal, draft)?;
            audit(draft, "trunk_created", &trunk);
            draft.changes.push(Change::Trunk(Box::new(trunk.clone())));
            Ok(trunk)
        })
        .await
    }

    /// Change a trunk.
    pub async fn change_trunk(
        &self,
        actor: Actor,
        seal: SealKey,
        id: TrunkId,
        wanted: TrunkDraft,
    ) -> Result<Trunk, DirectoryError> {
        self.commit(actor, move |draft| {
            let mut trunk = Trunk::clone(draft.directory.trunk(&id).ok_or(DirectoryError::NotFound)?);
            let before = trunk.clone();
            apply_draft(&mut trunk, wanted, &seal, draft)?;
            if trunk == before {
                return Ok(trunk);
            }
            trunk.updated_at = draft.now.wall;
            audit(draft, "trunk_updated", &trunk);
            draft.changes.push(Change::Trunk(Box::new(trunk.clone())));
            Ok(trunk)
        })
        .await
    }

    /// Remove a trunk. Active calls on it continue.
    pub async fn remove_trunk(&self, actor: Actor, id: TrunkId) -> Result<(), DirectoryError> {
        self.commit(actor, move |draft| {
            let trunk = Trunk::clone(draft.directory.trunk(&id).ok_or(DirectoryError::NotFound)?);
            audit(draft, "trunk_deleted", &trunk);
            draft.changes.push(Change::TrunkGone(id));
            Ok(())
        })
        .await
    }
}

fn new_trunk(id: TrunkId, draft: &ChangeSet<'_>) -> Trunk {
    Trunk {
        id,
        name: String::new(),
        enabled: true,
        priority: 10,
        settings: TrunkSettings::default(),
        password: None,
        created_at: draft.now.wall,
        updated_at: draft.now.wall,
    }
}

/// Apply the settings to the trunk and check the result.
fn apply_draft(
    trunk: &mut Trunk,
    wanted: TrunkDraft,
    seal: &SealKey,
    draft: &mut ChangeSet<'_>,
) -> Result<(), DirectoryError> {
    fn put<T>(place: &mut T, value: Option<T>) {
        if let Some(value) = value {
            *place = value;
        }
    }
    put(&mut trunk.name, wanted.name);
    put(&mut trunk.enabled, wanted.enabled);
    put(&mut trunk.priority, wanted.priority);
    let settings = &mut trunk.settings;
    put(&mut settings.hosts, wanted.hosts);
    wanted.username.apply(&mut settings.username);
    wanted.realm.apply(&mut settings.realm);
    wanted.outbound_proxy.apply(&mut settings.outbound_proxy);
    put(&mut settings.sources, wanted.sources);
    put(&mut settings.dids, wanted.dids);
    wanted.default_extension.apply(&mut settings.default_extension);
    put(&mut settings.caller_id, wanted.caller_id);
    wanted.caller_number.apply(&mut settings.caller_number);
    put(&mut settings.number_format, wanted.number_format);
    wanted.strip_prefix.apply(&mut settings.strip_prefix);
    wanted.add_prefix.apply(&mut settings.add_prefix);
    put(&mut settings.codecs, wanted.codecs);
    wanted.max_channels.apply(&mut settings.max_channels);
    wanted.calls_per_second.apply(&mut settings.calls_per_second);
    put(&mut settings.probe, wanted.probe);
    put(&mut settings.diversion, wanted.diversion);
    let expires = wanted.register_expires.or(settings.register).unwrap_or(DEFAULT_EXPIRES);
    match wanted.register {
        Some(true) => settings.register = Some(expires),
        Some(false) => settings.register = None,
        None => settings.register = settings.register.map(|_| expires),
    }
    match wanted.password {
        Patch::Keep => {}
        Patch::Clear => trunk.password = None,
        Patch::Set(secret) => {
            let sealed = SealedSecret::seal(seal, trunk.id.as_str(), &secret, &mut draft.rng);
            trunk.password = Some(sealed.ok_or(DirectoryError::BadTrunk(model::TrunkError::Account))?);
        }
    }
    Ok(trunk.settings.check(trunk.password.is_some())?)
}

/// Set the event of a trunk change. It contains neither the password nor the numbers.
fn audit(draft: &mut ChangeSet<'_>, kind: &'static str, trunk: &Trunk) {
    let hosts: Vec<&str> = trunk.settings.hosts.iter().map(|host| host.host.as_str()).collect();
    let detail = json!({
        "name": trunk.name, "enabled": trunk.enabled, "priority": trunk.priority, "hosts": hosts,
        "register": trunk.settings.register.is_some(), "sources": trunk.settings.sources, "dids": trunk.settings.dids.len(),
    });
    draft.event = Event { kind, user: None, subject: trunk.id.to_string(), detail };
}
