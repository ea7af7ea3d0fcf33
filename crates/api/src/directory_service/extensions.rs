//! Creating, changing and removing extensions (S62–S75).

use std::sync::Arc;

use base::{Id, Now, Rng, Secret};
use model::recurrence::Zone;
use model::{
    Change, Credential, DialledNumber, Directory, Extension, ExtensionId, ExtensionNumber, ExtensionStatus,
    FollowMe, Forwarding, ForwardingMode, Ha1, RecordCalls, UserId, dialplan, policy,
};
use serde_json::{Value, json};

use super::credentials::new_username;
use super::difference::difference;
use super::{Actor, DirectoryError, DirectoryService};
use crate::Patch;
use crate::input::PermissionsChange;
use crate::input::rule::is_label;
use crate::limits::DISPLAY_NAME_CHARS;
use crate::secret;

/// First number that is assigned automatically (S62).
const FIRST_NUMBER: u32 = 1001;
const LAST_NUMBER: u32 = 999_999;
/// Default ringing time in seconds.
const RING_SECONDS: u16 = 30;

/// Parameters of a new extension.
#[derive(Clone, Debug)]
pub struct NewExtension {
    /// Owner of the extension.
    pub user: UserId,
    /// Extension number; the lowest free one if `None`.
    pub number: Option<ExtensionNumber>,
    /// Display name; the number if `None`.
    pub display_name: Option<String>,
}

/// A new extension, or one whose password was reset, with the password in plain text. It is shown once.
#[derive(Clone, Debug)]
pub struct CreatedExtension {
    /// The extension.
    pub extension: Extension,
    /// The SIP password.
    pub password: Secret<String>,
}

/// Changes of an extension; `None` leaves a value unchanged (S66).
#[derive(Clone, Debug, Default)]
#[allow(missing_docs)]
pub struct ExtensionChanges {
    pub number: Option<ExtensionNumber>,
    pub display_name: Option<String>,
    pub status: Option<ExtensionStatus>,
    pub forwarding_enabled: Option<bool>,
    pub forwarding_number: Patch<DialledNumber>,
    pub forwarding_mode: Option<ForwardingMode>,
    pub voicemail_enabled: Option<bool>,
    pub do_not_disturb: Option<bool>,
    pub call_waiting: Option<bool>,
    pub ring_seconds: Option<u16>,
    /// Cleared: the time zone of the server.
    pub timezone: Patch<Zone>,
    pub record_calls: Option<RecordCalls>,
    pub dial_permissions: PermissionsChange,
    pub follow_me: Patch<FollowMe>,
    /// Whether an administrator asks. Only an administrator may widen dial permissions (S188).
    pub by_admin: bool,
}

impl DirectoryService {
    /// Create an extension with its credential.
    pub async fn create_extension(
        &self,
        actor: Actor,
        wanted: NewExtension,
    ) -> Result<CreatedExtension, DirectoryError> {
        self.commit(actor, move |draft| {
            let number = match wanted.number {
                Some(number) => number,
                None => lowest_free_number(draft.directory)?,
            };
            check_number_free(draft.directory, &number, None)?;
            let name = wanted.display_name.unwrap_or_else(|| number.to_string());
            check_display_name(&name)?;
            draft.ensure_user(&wanted.user);
            let username: Arc<str> = new_username(draft).into();
            let password = secret::password(&mut draft.rng);
            let extension =
                new_extension(draft.now, &mut draft.rng, wanted.user, number, name, Arc::clone(&username));
            draft.changes.push(Change::Extension(extension.clone()));
            let credential = Credential {
                ha1: Ha1::new(&username, draft.domain, password.expose()),
                ha1_by_number: Some(Ha1::new(extension.number.as_str(), draft.domain, password.expose())), // S39
                username,
                user: extension.user.clone(),
                extension: Some(extension.id.clone()),
                created_at: draft.now.wall,
            };
            draft.changes.push(Change::Credential(credential));
            let detail = json!({"after": snapshot(&extension)});
            draft.audit("voip_extension_created", &extension.user, extension.id.as_str(), detail);
            Ok(CreatedExtension { extension, password })
        })
        .await
    }

    /// Change an extension (S66).
    pub async fn change_extension(
        &self,
        actor: Actor,
        id: ExtensionId,
        wanted: ExtensionChanges,
    ) -> Result<Extension, DirectoryError> {
        self.commit(actor, move |draft| {
            let old = Arc::clone(draft.directory.extension(&id).ok_or(DirectoryError::NotFound)?);
            let by_admin = wanted.by_admin;
            let mut new = apply_changes(&old, wanted);
            if !by_admin && !new.dial_permissions.is_subset_of(old.dial_permissions) {
                return Err(DirectoryError::WiderDialling);
            }
            check_display_name(&new.display_name)?;
            if new.number != old.number {
                check_number_free(draft.directory, &new.number, Some(&new.username))?;
            }
            check_forwarding(draft.directory, &new)?;
            if new == *old {
                return Ok(new);
            }
            new.updated_at = draft.now.wall;
            draft.changes.push(Change::Extension(new.clone()));
            if new.number != old.number
                && let Some(credential) = draft.directory.credential(&old.username)
            {
                // The HA1 of the number was computed with the old number, and needs the password to be computed again.
                let credential = Credential { ha1_by_number: None, ..Credential::clone(credential) };
                draft.changes.push(Change::Credential(credential));
            }
            draft.audit(
                "voip_extension_updated",
                &new.user,
                id.as_str(),
                difference(&snapshot(&old), &snapshot(&new)),
            ); // S90
            Ok(new)
        })
        .await
    }

    /// Remove an extension and its credentials (S68).
    pub async fn remove_extension(&self, actor: Actor, id: ExtensionId) -> Result<(), DirectoryError> {
        self.commit(actor, move |draft| {
            let old = Arc::clone(draft.directory.extension(&id).ok_or(DirectoryError::NotFound)?);
            super::recurring::remove_all_of(draft, &id);
            draft.changes.push(Change::CredentialGone(Arc::clone(&old.username)));
            draft.changes.push(Change::ExtensionGone(id.clone()));
            draft.audit("voip_extension_deleted", &old.user, id.as_str(), json!({"before": snapshot(&old)}));
            Ok(())
        })
        .await
    }
}

pub(super) fn new_extension(
    now: Now,
    rng: &mut Rng,
    user: UserId,
    number: ExtensionNumber,
    display_name: String,
    username: Arc<str>,
) -> Extension {
    Extension {
        id: Id::new(now, rng),
        user,
        number,
        display_name,
        status: ExtensionStatus::Active,
        username,
        forwarding: Forwarding::default(),
        voicemail_enabled: true, // S63
        do_not_disturb: false,
        call_waiting: true, // S193
        ring_seconds: RING_SECONDS,
        dial_permissions: model::DialPermissions::default(),
        follow_me: None,
        record_calls: RecordCalls::default(),
        created_at: now.wall,
        updated_at: now.wall,
        timezone: None,
    }
}

fn apply_changes(old: &Extension, wanted: ExtensionChanges) -> Extension {
    Extension {
        id: old.id.clone(),
        user: old.user.clone(),
        number: wanted.number.unwrap_or_else(|| old.number.clone()),
        display_name: wanted.display_name.unwrap_or_else(|| old.display_name.clone()),
        status: wanted.status.unwrap_or(old.status),
        username: Arc::clone(&old.username),
        forwarding: Forwarding {
            enabled: wanted.forwarding_enabled.unwrap_or(old.forwarding.enabled),
            number: wanted.forwarding_number.of(old.forwarding.number.clone()),
            mode: wanted.forwarding_mode.unwrap_or(old.forwarding.mode),
        },
        voicemail_enabled: wanted.voicemail_enabled.unwrap_or(old.voicemail_enabled),
        do_not_disturb: wanted.do_not_disturb.unwrap_or(old.do_not_disturb),
        call_waiting: wanted.call_waiting.unwrap_or(old.call_waiting),
        ring_seconds: wanted.ring_seconds.unwrap_or(old.ring_seconds),
        dial_permissions: wanted.dial_permissions.of(old.dial_permissions),
        follow_me: wanted.follow_me.of(old.follow_me.clone()),
        record_calls: wanted.record_calls.unwrap_or(old.record_calls),
        created_at: old.created_at,
        updated_at: old.updated_at,
        timezone: wanted.timezone.of(old.timezone.clone()),
    }
}

/// Whether a text is a display name that SIP can carry and a screen can show.
pub(super) fn check_display_name(name: &str) -> Result<(), DirectoryError> {
    if !is_label(name, DISPLAY_NAME_CHARS) {
        return Err(DirectoryError::BadDisplayName);
    }
    Ok(())
}

fn check_forwarding(directory: &Directory, extension: &Extension) -> Result<(), DirectoryError> {
    for step in extension.follow_me.iter().flat_map(|follow_me| &follow_me.numbers) {
        check_target(directory, &step.number, "followMe")?;
    }
    let Some(number) = &extension.forwarding.number else {
        return if extension.forwarding.enabled { Err(DirectoryError::BadForwarding) } else { Ok(()) }; // S71
    };
    if number.as_str() == extension.number.as_str() {
        return Err(DirectoryError::BadForwarding);
    }
    check_target(directory, number, "forwardingNumber")
}

/// Whether calls may be forwarded to a number at all. The dial permissions of the extension are checked at each call.
fn check_target(
    directory: &Directory,
    number: &DialledNumber,
    field: &'static str,
) -> Result<(), DirectoryError> {
    if directory.credential(number.as_str()).is_some() {
        return Ok(()); // a local user
    }
    policy::check_always_blocked(directory.rules(), policy::CallOrigin::Forward, number)
        .map_err(|cause| DirectoryError::ForbiddenNumber(field, cause))
}

/// Whether a number may be assigned to the extension with this user name, or to a new extension if `None`.
pub(super) fn check_number_free(
    directory: &Directory,
    number: &ExtensionNumber,
    owner: Option<&str>,
) -> Result<(), DirectoryError> {
    let is_emergency = |dialled: &DialledNumber| {
        dialplan::is_emergency(dialled) || policy::emergency(directory.rules(), dialled).is_some()
    };
    if DialledNumber::parse(number.as_str()).is_ok_and(|dialled| is_emergency(&dialled)) {
        return Err(DirectoryError::NumberReserved(number.clone()));
    }
    let named = directory.credential(number.as_str()); // found by extension number or by user name
    if named.is_some_and(|credential| Some(&*credential.username) != owner)
        || directory.extension_by_number(number).is_some()
    {
        return Err(DirectoryError::NumberTaken(number.clone()));
    }
    Ok(())
}

fn lowest_free_number(directory: &Directory) -> Result<ExtensionNumber, DirectoryError> {
    (FIRST_NUMBER..=LAST_NUMBER)
        .filter_map(|n| ExtensionNumber::parse(&n.to_string()).ok())
        .find(|number| check_number_free(directory, number, None).is_ok())
        .ok_or(DirectoryError::NumbersExhausted)
}

/// Snapshot of an extension for the audit.
fn snapshot(extension: &Extension) -> Value {
    json!({
        "extensionNumber": extension.number,
        "displayName": extension.display_name,
        "status": extension.status,
        "forwardingEnabled": extension.forwarding.enabled,
        "forwardingNumber": extension.forwarding.number,
        "forwardingMode": extension.forwarding.mode,
        "voicemailEnabled": extension.voicemail_enabled,
        "doNotDisturb": extension.do_not_disturb,
        "callWaiting": extension.call_waiting,
        "ringSeconds": extension.ring_seconds,
        "dialPermissions": extension.dial_permissions,
        "followMe": extension.follow_me,
        "recordCalls": extension.record_calls,
        "timezone": extension.timezone,
    })
}
