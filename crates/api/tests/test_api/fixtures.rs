//! Objects of `user_123` that cannot be created by a request.

use model::journal::Record;
use model::{
    CallId, ExtensionId, MessageId, MessageState, Recording, RecordingFormat, RecordingId, RecordingState,
    Sound, SoundId, UserId, VoicemailMessage,
};
use serde_json::json;
use store::Audit;

use super::TestApi;

/// Store a finished recording of `user_123`.
pub async fn recording(api: &TestApi) -> String {
    let row = Recording {
        id: RecordingId::parse("rec_of_user_123").unwrap(),
        call: CallId::parse("session_1736936999_a").unwrap(),
        user: UserId::parse("user_123").unwrap(),
        other_user: None,
        extension: None,
        state: RecordingState::Complete,
        started_at: api.now(),
        ended_at: Some(api.now()),
        format: RecordingFormat::Opus,
        bytes: 10,
        millis: 4_500,
        sha256: None,
        fault: None,
    };
    let id = row.id.to_string();
    api.store.feed(&[Record::Recording(Box::new(row))]).await.unwrap();
    id
}

/// Store a sound of an extension of `user_123`.
pub async fn sound(api: &TestApi, extension: &str) -> String {
    let sound = Sound {
        id: SoundId::parse("snd_of_user_123").unwrap(),
        extension: ExtensionId::parse(extension).unwrap(),
        user: UserId::parse("user_123").unwrap(),
        name: "Good morning".into(),
        millis: 1_000,
        created_at: api.now(),
    };
    let event = Audit {
        at: api.now(),
        kind: "sound_created",
        user: None,
        subject: String::new(),
        key: None,
        ip: None,
        request: String::new(),
        detail: json!({}),
    };
    assert!(api.store.insert_sound(&sound, b"OggS", 9, event).await.unwrap());
    sound.id.to_string()
}

/// Store a voicemail message of an extension of `user_123`.
pub async fn message(api: &TestApi, extension: &str) -> String {
    let message = VoicemailMessage {
        id: MessageId::parse("vm_of_user_123").unwrap(),
        extension: ExtensionId::parse(extension).unwrap(),
        user: UserId::parse("user_123").unwrap(),
        state: MessageState::New,
        from_number: "+5491155550123".into(),
        call: None,
        left_at: api.now(),
        millis: 4_500,
        heard_at: None,
    };
    let id = message.id.to_string();
    api.app.directory_service().message_begun(message.clone()).await.unwrap();
    api.app.directory_service().message_left(message).await.unwrap();
    id
}
