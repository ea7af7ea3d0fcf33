//! Things of `user_123` that no request makes.

use model::journal::Record;
use model::{
    CallId, ExtensionId, MessageId, MessageState, Recording, RecordingFormat, RecordingId, RecordingState,
    Sound, SoundId, UserId, VoicemailMessage,
};
use serde_json::json;
use store::Audit;

use super::House;

/// A recording of `user_123` that is over.
pub async fn recording(house: &House) -> String {
    let row = Recording {
        id: RecordingId::parse("rec_of_user_123").unwrap(),
        call: CallId::parse("session_1736936999_a").unwrap(),
        user: UserId::parse("user_123").unwrap(),
        other_user: None,
        extension: None,
        state: RecordingState::Complete,
        started_at: house.now(),
        ended_at: Some(house.now()),
        format: RecordingFormat::Opus,
        bytes: 10,
        millis: 4_500,
        sha256: None,
        fault: None,
    };
    let id = row.id.to_string();
    house.store.feed(&[Record::Recording(Box::new(row))]).await.unwrap();
    id
}

/// A sound of an extension of `user_123`.
pub async fn sound(house: &House, extension: &str) -> String {
    let sound = Sound {
        id: SoundId::parse("snd_of_user_123").unwrap(),
        extension: ExtensionId::parse(extension).unwrap(),
        user: UserId::parse("user_123").unwrap(),
        name: "Good morning".into(),
        millis: 1_000,
        created_at: house.now(),
    };
    let event = Audit {
        at: house.now(),
        kind: "sound_created",
        user: None,
        subject: String::new(),
        key: None,
        ip: None,
        request: String::new(),
        detail: json!({}),
    };
    assert!(house.store.put_sound(&sound, b"OggS", 9, event).await.unwrap());
    sound.id.to_string()
}

/// A message in the box of an extension of `user_123`.
pub async fn message(house: &House, extension: &str) -> String {
    let message = VoicemailMessage {
        id: MessageId::parse("vm_of_user_123").unwrap(),
        extension: ExtensionId::parse(extension).unwrap(),
        user: UserId::parse("user_123").unwrap(),
        state: MessageState::New,
        from_number: "+5491155550123".into(),
        call: None,
        left_at: house.now(),
        millis: 4_500,
        heard_at: None,
    };
    let id = message.id.to_string();
    house.app.directory_service().message_begun(message.clone()).await.unwrap();
    house.app.directory_service().message_left(message).await.unwrap();
    id
}
