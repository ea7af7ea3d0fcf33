//! Sample values for the store tests.
#![allow(dead_code, unreachable_pub)]

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use base::Timestamp;
use centralita_store::{Audit, Store};
use model::journal::{Binding, DialogSnapshot, ListenerId};
use model::voicemail::PinProof;
use model::{
    ApiKey, ApiKeyId, CallDirection, CallId, CallRecord, CallStatus, Credential, DialPermissions,
    DialledNumber, Extension, ExtensionId, ExtensionNumber, ExtensionStatus, FollowMe, FollowMode,
    FollowStep, Forwarding, ForwardingMode, Ha1, Language, LegRecord, LegRole, Mailbox, MessageId,
    MessageState, Permission, Quality, TraceStep, User, UserId, VoicemailMessage,
};

#[path = "../../../../e2e/src/postgres.rs"]
mod postgres;

pub use postgres::Postgres;

/// Database of a test: a folder that is removed after the test, and the URL.
///
/// SQLite, or with `CENTRALITA_TEST_STORE=postgres` a PostgreSQL started by this process: every test here runs on both.
pub struct Folder(pub PathBuf, pub String);

pub fn on_postgres() -> bool {
    match std::env::var("CENTRALITA_TEST_STORE").as_deref() {
        Err(_) | Ok("sqlite") => false,
        Ok("postgres") => true,
        Ok(other) => panic!("CENTRALITA_TEST_STORE={other}: write sqlite or postgres"),
    }
}

impl Folder {
    pub fn new() -> Folder {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name =
            format!("centralita-store-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        let url = if on_postgres() { Postgres::shared().database() } else { "sqlite:test.db".to_owned() };
        Folder(path, url)
    }

    pub async fn open(&self) -> Store {
        Store::open(&self.1, &self.0).await.unwrap()
    }

    /// Query the database without the store.
    pub async fn ask(&self, sql: &str) -> Vec<String> {
        self.try_ask(sql).await.unwrap()
    }

    /// As `ask`, returning the database's error.
    pub async fn try_ask(&self, sql: &str) -> Result<Vec<String>, sqlx::Error> {
        use sqlx::{AssertSqlSafe, ConnectOptions as _, Row as _};
        let sql = AssertSqlSafe(sql.to_owned());
        if on_postgres() {
            let options: sqlx::postgres::PgConnectOptions = self.1.parse().unwrap();
            let rows = sqlx::query(sql).fetch_all(&mut options.connect().await.unwrap()).await?;
            return Ok(rows.iter().map(|row| row.get::<String, _>(0)).collect());
        }
        let file = self.0.join("test.db");
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(file).create_if_missing(true);
        let rows = sqlx::query(sql).fetch_all(&mut options.connect().await.unwrap()).await?;
        Ok(rows.iter().map(|row| row.get::<String, _>(0)).collect())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros((1_700_000_000 + seconds) * 1_000_000)
}

pub fn user(name: &str) -> User {
    User { id: UserId::parse(name).unwrap(), created_at: at(0) }
}

pub fn key(name: &str, hash: u8) -> ApiKey {
    ApiKey {
        id: ApiKeyId::parse(name).unwrap(),
        user: UserId::parse("user_123").unwrap(),
        name: "Production VoIP Key".into(),
        prefix: "sk_voip_12345678".into(),
        hash: [hash; 32],
        permissions: [Permission::Call, Permission::Admin].into_iter().collect(),
        active: false,
        requests_per_minute: Some(7),
        created_at: at(1),
        expires_at: Some(at(9)),
    }
}

pub fn extension(name: &str, number: &str) -> Extension {
    let id = ExtensionId::parse(name).unwrap();
    let (dialled, username) = (ExtensionNumber::parse(number).unwrap(), format!("user_{number}"));
    Extension {
        display_name: "Juan Pérez".into(),
        status: ExtensionStatus::Inactive,
        forwarding: Forwarding {
            enabled: true,
            number: Some(DialledNumber::parse("+1234567890").unwrap()),
            mode: ForwardingMode::NoAnswer,
        },
        do_not_disturb: true,
        call_waiting: false,
        ring_seconds: 21,
        dial_permissions: DialPermissions {
            internal: true,
            national: false,
            international: true,
            premium: true,
        },
        follow_me: Some(FollowMe {
            mode: FollowMode::Simultaneous,
            numbers: vec![FollowStep { number: DialledNumber::parse("1003").unwrap(), ring_seconds: 15 }],
        }),
        record_calls: model::RecordCalls::Outbound,
        updated_at: at(3),
        ..Extension::new(id, UserId::parse("user_123").unwrap(), dialled, username, at(2))
    }
}

pub fn credential(number: &str, extension: Option<&str>) -> Credential {
    let username = format!("user_{number}");
    Credential {
        ha1: Ha1::new(&username, "localhost", "secret"),
        username: username.into(),
        user: UserId::parse("user_123").unwrap(),
        extension: extension.map(|id| ExtensionId::parse(id).unwrap()),
        ha1_by_number: Some(Ha1::new("1001", "localhost", "secret")),
        created_at: at(4),
    }
}

pub fn mailbox(extension: &str) -> Mailbox {
    Mailbox {
        pin: Some(PinProof::from_bytes([9; 32])),
        language: Language::English,
        email: Some("ana@example.com".into()),
        email_audio: false,
        greeting_at: Some(at(6)),
        ..Mailbox::of(ExtensionId::parse(extension).unwrap())
    }
}

pub fn message(name: &str, extension: &str, state: MessageState) -> VoicemailMessage {
    VoicemailMessage {
        id: MessageId::parse(name).unwrap(),
        extension: ExtensionId::parse(extension).unwrap(),
        user: UserId::parse("user_123").unwrap(),
        state,
        from_number: "+5491155550123".into(),
        call: Some(CallId::parse("session_1_a").unwrap()),
        left_at: at(7),
        millis: 4_321,
        heard_at: Some(at(8)),
    }
}

pub fn audit(kind: &'static str) -> Audit {
    Audit {
        at: at(5),
        kind,
        user: Some(UserId::parse("user_123").unwrap()),
        subject: "ext_1".into(),
        key: Some(ApiKeyId::parse("key_1").unwrap()),
        ip: Some([127, 0, 0, 1].into()),
        request: "req_1".into(),
        detail: serde_json::json!({"after": {"displayName": "Juan"}}),
    }
}

pub fn binding(number: u32) -> Binding {
    Binding {
        username: Arc::from(format!("user_{number}")),
        contact: format!("sip:user_{number}@192.0.2.1:5060"),
        path: vec!["<sip:192.0.2.9;lr>".into()],
        call_id: "c1".into(),
        cseq: u32::MAX,
        q: 500,
        expires_at: at(3600),
        created_at: at(0),
        user_agent: "baresip".into(),
        transport: 1,
        listener: ListenerId::Address("0.0.0.0:5060".parse().unwrap()),
        local: "127.0.0.1:5060".parse().unwrap(),
        remote: "[2001:db8::1]:5062".parse().unwrap(),
        flow: (1, u32::MAX),
        instance: Some("\"<urn:uuid:1>\"".into()),
        reg_id: Some("1".into()),
    }
}

pub fn call(name: &str, started: i64) -> CallRecord {
    let (id, user) = (CallId::parse(name).unwrap(), UserId::parse("user_123").unwrap());
    CallRecord {
        other_user: Some(UserId::parse("user_456").unwrap()),
        status: CallStatus::Ringing,
        device: Some("user_1001".into()),
        trace: vec![TraceStep { rule: "extension".into(), outcome: "1002 is an extension".into() }],
        ..CallRecord::new(id, user, CallDirection::Internal, "1001", "1002", at(started))
    }
}

pub fn closed(name: &str, started: i64) -> CallRecord {
    CallRecord {
        status: CallStatus::Completed,
        answered_at: Some(at(started + 3)),
        ended_at: Some(at(started + 10)),
        cause: Some(model::Cause::Completed),
        legs: vec![leg(LegRole::Caller, started), leg(LegRole::Callee, started)],
        ..call(name, started)
    }
}

pub fn leg(role: LegRole, started: i64) -> LegRecord {
    LegRecord {
        address: Some("192.0.2.1:5060".parse().unwrap()),
        sip_call_id: "a84b4c76e66710".into(),
        answered_at: Some(at(started + 3)),
        ended_at: Some(at(started + 10)),
        cause: Some(model::Cause::Completed),
        sip_status: Some(200),
        codec: Some("PCMU".into()),
        quality: Some(Quality { packets_received: 500, jitter_ms: 1.5, mos: 4.4, ..Quality::default() }),
        ..LegRecord::new(role, "1001", at(started))
    }
}

pub fn open_leg(dialog: u8) -> DialogSnapshot {
    DialogSnapshot {
        dialog: vec![dialog, 0, 255],
        transport: 0,
        listener: ListenerId::Address("127.0.0.1:5060".parse().unwrap()),
        local: "127.0.0.1:5060".parse().unwrap(),
        remote: "127.0.0.1:5062".parse().unwrap(),
        place: Some(u32::from(dialog)),
        record: Some(Box::new(leg(LegRole::Callee, 0))),
    }
}
