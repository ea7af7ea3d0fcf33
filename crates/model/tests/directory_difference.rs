//! Difference of a reloaded directory and the old one: every change of every kind of entity.

use std::sync::Arc;

use base::Timestamp;
use centralita_model::recurrence::{Schedule, Written};
use centralita_model::voicemail::PinProof;
use centralita_model::{
    Action, ApiKey, ApiKeyId, Change, Credential, Directory, Extension, ExtensionId, ExtensionNumber,
    ExtensionStatus, Ha1, Mailbox, MessageId, MessageState, Misfire, Permission, RecurringCall,
    RecurringCallId, Trunk, TrunkId, User, UserId, VoicemailMessage,
};

const NOW: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

fn owner() -> UserId {
    UserId::parse("ana").unwrap()
}

fn user(name: &str) -> Change {
    Change::User(User { id: UserId::parse(name).unwrap(), created_at: NOW })
}

fn hash(name: &str) -> [u8; 32] {
    let mut hash = [0; 32];
    hash[..name.len()].copy_from_slice(name.as_bytes());
    hash
}

fn key(name: &str, active: bool) -> Change {
    Change::Key(ApiKey {
        id: ApiKeyId::parse(&format!("key_{name}")).unwrap(),
        user: owner(),
        name: name.into(),
        prefix: "sk_voip_12345678".into(),
        hash: hash(name),
        permissions: [Permission::Call].into_iter().collect(),
        active,
        requests_per_minute: None,
        created_at: NOW,
        expires_at: None,
    })
}

fn extension_id(name: &str) -> ExtensionId {
    ExtensionId::parse(&format!("ext_{name}")).unwrap()
}

fn number(text: &str) -> ExtensionNumber {
    ExtensionNumber::parse(text).unwrap()
}

fn extension(name: &str, dialled: &str, status: ExtensionStatus) -> Change {
    let extension = Extension::new(extension_id(name), owner(), number(dialled), name, NOW);
    Change::Extension(Extension { display_name: name.into(), status, ..extension })
}

fn credential(name: &str, password: &str) -> Change {
    Change::Credential(Credential {
        username: Arc::from(name),
        user: owner(),
        extension: Some(extension_id(name)),
        ha1: Ha1::new(name, "localhost", password),
        ha1_by_number: None,
        created_at: NOW,
    })
}

fn trunk(name: &str, enabled: bool) -> Change {
    let settings = serde_json::json!({
        "hosts": [{"host": "sip.carrier.example"}], "sources": [], "dids": [], "callerId": "fixed", "numberFormat": "e164",
        "codecs": [], "probe": true,
    });
    Change::Trunk(Box::new(Trunk {
        id: TrunkId::parse(&format!("trunk_{name}")).unwrap(),
        name: name.into(),
        enabled,
        priority: 10,
        settings: serde_json::from_value(settings).unwrap(),
        password: None,
        created_at: NOW,
        updated_at: NOW,
    }))
}

fn mailbox(extension: &str, pin: Option<u8>) -> Change {
    let pin = pin.map(|byte| PinProof::from_bytes([byte; 32]));
    Change::Mailbox(Mailbox { pin, ..Mailbox::of(extension_id(extension)) })
}

fn message(name: &str, extension: &str, state: MessageState) -> Change {
    Change::Message(VoicemailMessage {
        id: MessageId::parse(&format!("vm_{name}")).unwrap(),
        extension: extension_id(extension),
        user: owner(),
        state,
        from_number: "1002".into(),
        call: None,
        left_at: NOW,
        millis: 1_000,
        heard_at: None,
    })
}

fn recurring(name: &str, enabled: bool) -> Change {
    let written = Written {
        frequency: "daily".into(),
        time: "09:00".into(),
        timezone: "Europe/Madrid".into(),
        ..Written::default()
    };
    Change::Recurring(Box::new(RecurringCall {
        id: RecurringCallId::parse(&format!("rc_{name}")).unwrap(),
        extension: extension_id("stays"),
        user: owner(),
        destination: "1002".into(),
        schedule: Schedule::try_from(written).unwrap(),
        enabled,
        misfire: Misfire::Skip,
        action: Action::Connect,
        max_attempts: 1,
        retry_minutes: 10,
        since: NOW,
        created_at: NOW,
        updated_at: NOW,
    }))
}

fn directory(changes: &[Change]) -> Directory {
    let mut directory = Directory::default();
    for change in changes {
        directory.apply(change.clone());
    }
    directory
}

/// Of each kind: an entry that stays, one that changes, one that is removed, one that is added.
fn before() -> Vec<Change> {
    use ExtensionStatus::Active;
    vec![
        user("ana"),
        key("stays", true),
        key("changes", true),
        key("goes", true),
        extension("stays", "1001", Active),
        extension("changes", "1002", Active),
        extension("goes", "1003", Active),
        credential("stays", "horse"),
        credential("changes", "horse"),
        credential("goes", "horse"),
        trunk("stays", true),
        trunk("changes", true),
        trunk("goes", true),
        mailbox("stays", Some(1)),
        mailbox("changes", Some(1)),
        mailbox("goes", Some(1)),
        message("stays", "stays", MessageState::New),
        message("changes", "stays", MessageState::New),
        message("goes", "stays", MessageState::New),
        message("goes_with_its_box", "goes", MessageState::New),
        recurring("stays", true),
        recurring("changes", true),
        recurring("goes", true),
    ]
}

fn after() -> Vec<Change> {
    use ExtensionStatus::{Active, Inactive};
    vec![
        user("ana"),
        user("comes"),
        key("stays", true),
        key("changes", false),
        key("comes", true),
        extension("stays", "1001", Active),
        extension("changes", "1002", Inactive),
        extension("comes", "1004", Active),
        credential("stays", "horse"),
        credential("changes", "battery"),
        credential("comes", "horse"),
        trunk("stays", true),
        trunk("changes", false),
        trunk("comes", true),
        mailbox("stays", Some(1)),
        mailbox("changes", Some(2)),
        mailbox("comes", None),
        message("stays", "stays", MessageState::New),
        message("changes", "stays", MessageState::Heard),
        message("comes", "stays", MessageState::New),
        recurring("stays", true),
        recurring("changes", false),
        recurring("comes", true),
    ]
}

fn names(changes: &[Change]) -> Vec<String> {
    let mut names: Vec<String> = changes.iter().map(name).collect();
    names.sort();
    names
}

fn name(change: &Change) -> String {
    match change {
        Change::User(user) => format!("user {}", user.id),
        Change::Key(key) => format!("key {}", key.id),
        Change::KeyGone(id) => format!("no key {id}"),
        Change::Credential(credential) => format!("credential {}", credential.username),
        Change::CredentialGone(username) => format!("no credential {username}"),
        Change::Extension(extension) => format!("extension {}", extension.id),
        Change::ExtensionGone(id) => format!("no extension {id}"),
        Change::Trunk(trunk) => format!("trunk {}", trunk.id),
        Change::TrunkGone(id) => format!("no trunk {id}"),
        Change::Mailbox(mailbox) => format!("mailbox {}", mailbox.extension),
        Change::Message(message) => format!("message {}", message.id),
        Change::MessageGone { id, .. } => format!("no message {id}"),
        Change::Recurring(call) => format!("recurring {}", call.id),
        Change::RecurringGone(id) => format!("no recurring {id}"),
    }
}

#[test]
fn the_difference_has_every_change_and_no_other() {
    // S75, S59: a phone that registered with an old password, and a deactivated key, are no longer accepted.
    let changes = directory(&before()).changes_to(&directory(&after()));
    let expected = [
        "credential changes",
        "credential comes",
        "extension ext_changes",
        "extension ext_comes",
        "key key_changes",
        "key key_comes",
        "mailbox ext_changes",
        "mailbox ext_comes",
        "message vm_changes",
        "message vm_comes",
        "no credential goes",
        "no extension ext_goes",
        "no key key_goes",
        "no message vm_goes",
        "no message vm_goes_with_its_box",
        "no recurring rc_goes",
        "no trunk trunk_goes",
        "recurring rc_changes",
        "recurring rc_comes",
        "trunk trunk_changes",
        "trunk trunk_comes",
        "user comes",
    ];
    assert_eq!(names(&changes), expected);
}

#[test]
fn applying_the_difference_gives_the_same_directory() {
    let (old, fresh) = (directory(&before()), directory(&after()));
    let mut applied = old.clone();
    for change in old.changes_to(&fresh) {
        applied.apply(change);
    }
    assert_eq!((names(&applied.changes_to(&fresh)), names(&fresh.changes_to(&applied))), (vec![], vec![]));
    assert_eq!(applied.counts(), fresh.counts());
    assert!(
        applied.credential("1003").is_none() && applied.credential("1004").is_some(),
        "found by number as well"
    );
    let key_of = |name: &str| applied.key_by_hash(&hash(name)).is_some();
    assert_eq!((key_of("goes"), key_of("comes")), (false, true), "found by hash as well");
    assert_eq!(applied.recurring_calls_of(&extension_id("stays")).count(), 3);
}

#[test]
fn swapped_numbers_lead_to_their_new_extensions() {
    use ExtensionStatus::Active;
    let old = directory(&[extension("a", "1001", Active), extension("b", "1002", Active), user("ana")]);
    let fresh = directory(&[extension("a", "1002", Active), extension("b", "1001", Active), user("ana")]);
    let mut applied = old.clone();
    for change in old.changes_to(&fresh) {
        applied.apply(change);
    }
    let of = |text: &str| applied.extension_by_number(&number(text)).map(|e| e.id.to_string());
    assert_eq!((of("1001").as_deref(), of("1002").as_deref()), (Some("ext_b"), Some("ext_a")));
}
