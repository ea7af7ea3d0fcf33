//! Voicemail over REST: messages, settings, audio, and visibility (S72).

use crate::test_api;

use std::collections::BTreeMap;
use std::future::ready;
use std::io;
use std::sync::{Arc, Mutex};

use axum::body::Body;
use base::Secret;
use bytes::Bytes;
use centralita_api::{AudioError, AudioFile, AudioFormatRequest, AudioStore, BoxFuture, Opened, Settings};
use model::voicemail::PinProof;
use model::{Change, ExtensionId, MessageId, MessageState, Permission, VoicemailMessage};
use serde_json::{Value, json};
use test_api::{Answer, TestApi, request, settings};

/// Audio store in memory.
#[derive(Default)]
struct MemoryAudio(Mutex<BTreeMap<String, Bytes>>);

impl AudioStore for MemoryAudio {
    fn open(&self, file: AudioFile, wanted: AudioFormatRequest) -> BoxFuture<io::Result<Opened>> {
        let found = self.0.lock().unwrap().get(&file.name).cloned();
        let (bytes, content_type) = match wanted {
            AudioFormatRequest::Wav => (found, "audio/wav"),
            AudioFormatRequest::Stored => (found.map(|_| Bytes::from_static(b"OggS")), "audio/ogg"),
        };
        let opened = bytes.ok_or(io::Error::from(io::ErrorKind::NotFound)).map(|bytes| Opened {
            length: bytes.len() as u64,
            content_type,
            read: Arc::new(move |part| {
                let part = bytes.slice(part.start as usize..part.end as usize);
                Box::pin(ready(Ok(part)))
            }),
        });
        Box::pin(ready(opened))
    }

    fn keep_wav(&self, name: String, wav: Bytes) -> BoxFuture<Result<(), AudioError>> {
        let kept = if wav.starts_with(b"RIFF") {
            self.0.lock().unwrap().insert(name, wav);
            Ok(())
        } else {
            Err(AudioError::Unreadable("no WAV", "no es WAV"))
        };
        Box::pin(ready(kept))
    }

    fn remove(&self, file: AudioFile) -> BoxFuture<io::Result<()>> {
        self.0.lock().unwrap().remove(&file.name);
        Box::pin(ready(Ok(())))
    }
}

struct VoicemailTest {
    api: TestApi,
    audio: Arc<MemoryAudio>,
    extension: ExtensionId,
}

impl VoicemailTest {
    /// Extension 1001 of `user_123` with three messages, one of which is still being recorded.
    async fn new() -> VoicemailTest {
        let api = TestApi::with(Settings { pin_key: Secret::new([3; 32]), ..settings() }).await;
        let audio = Arc::new(MemoryAudio::default());
        api.app.set_audio_store(Arc::<MemoryAudio>::clone(&audio));
        let made =
            api.post(&api.key, "/api/v1/voip/extensions", json!({"extensionNumber": "1001"})).await.ok();
        let extension = ExtensionId::parse(made["extension"]["id"].as_str().unwrap()).unwrap();
        let test = VoicemailTest { api, audio, extension };
        for (name, state) in
            [("vm_1", MessageState::Heard), ("vm_2", MessageState::New), ("vm_3", MessageState::Recording)]
        {
            test.put(name, state).await;
        }
        test
    }

    async fn put(&self, name: &str, state: MessageState) {
        let message = VoicemailMessage {
            id: MessageId::parse(name).unwrap(),
            extension: self.extension.clone(),
            user: model::UserId::parse("user_123").unwrap(),
            state,
            from_number: "+5491155550123".into(),
            call: None,
            left_at: self.api.now(),
            millis: 4_500,
            heard_at: None,
        };
        self.audio.0.lock().unwrap().insert(self.file(name), Bytes::from_static(b"RIFF 0123456789"));
        let directory_service = self.api.app.directory_service();
        directory_service.message_begun(message.clone()).await.unwrap();
        match state {
            MessageState::Recording => {}
            MessageState::New => directory_service.message_left(message).await.unwrap(),
            other => {
                directory_service.message_left(message.clone()).await.unwrap();
                let actor = centralita_api::Actor::default();
                directory_service
                    .mark_message(actor, self.extension.clone(), message.id, other)
                    .await
                    .unwrap();
            }
        }
    }

    fn file(&self, name: &str) -> String {
        format!("voicemail/{}/{name}", self.extension)
    }

    fn path(&self, rest: &str) -> String {
        format!("/api/v1/voip/extensions/{}/voicemail{rest}", self.extension)
    }

    async fn list(&self, query: &str) -> Value {
        self.api.get(&self.api.key, &self.path(query)).await.ok()
    }

    async fn set(&self, body: Value) -> Answer {
        self.api.put(&self.api.key, &self.path(""), body).await
    }
}

fn ids(list: &Value) -> Vec<&str> {
    list["messages"].as_array().unwrap().iter().map(|m| m["id"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn messages_are_listed_newest_first_page_by_page_with_the_unread_count() {
    let test = VoicemailTest::new().await;
    let list = test.list("").await;
    assert_eq!(ids(&list), ["vm_2", "vm_1"]); // S72
    assert_eq!((&list["unread"], &list["total"]), (&json!(1), &json!(2)));
    assert_eq!(list["messages"][0]["durationSeconds"], json!(4.5));
    assert_eq!(list["messages"][0]["status"], json!("new"));
    assert_eq!(
        list["mailbox"],
        json!({"pinSet": false, "language": "es", "email": null, "emailAudio": true, "greetingAt": null})
    );
    let page = test.list("?limit=1").await;
    assert_eq!((ids(&page), page["nextCursor"].is_string()), (vec!["vm_2"], true));
    let rest = test.list(&format!("?limit=1&cursor={}", page["nextCursor"].as_str().unwrap())).await;
    assert_eq!((ids(&rest), &rest["nextCursor"]), (vec!["vm_1"], &json!(null)));
    assert_eq!(ids(&test.list("?status=heard").await), ["vm_1"]);
}

#[tokio::test]
async fn marking_and_deleting_a_message_writes_events() {
    let test = VoicemailTest::new().await;
    let (api, one) = (&test.api, test.path("/vm_2"));
    let marked = api.put(&api.key, &one, json!({"status": "saved"})).await.ok();
    assert_eq!(marked["message"]["status"], json!("saved"));
    assert!(marked["message"]["heardAt"].is_string());
    api.json("PATCH", &api.key, &one, &json!({"status": "heard"})).await.ok();
    api.put(&api.key, &one, json!({"status": "gone"})).await.refused(400, "invalid_value");
    api.put(&api.key, &one, json!({})).await.refused(400, "missing_field");
    api.delete(&api.key, &one).await.ok();
    api.get(&api.key, &one).await.refused(404, "not_found");
    assert!(!test.audio.0.lock().unwrap().contains_key(&test.file("vm_2")), "its audio is deleted too");
    let kinds: Vec<String> = api.events(1).await.into_iter().map(|event| event.kind).collect();
    for kind in ["voicemail_left", "voicemail_heard", "voicemail_saved", "voicemail_deleted"] {
        assert!(kinds.iter().any(|k| k == kind), "{kind} is not among {kinds:?}");
    }
    let gone = |changes: &Arc<[Change]>| changes.iter().any(|c| matches!(c, Change::MessageGone { .. }));
    assert!(
        api.switch.read(|state| state.published.iter().any(gone)),
        "the switch gets the change, so it can update MWI"
    );
}

#[tokio::test]
async fn audio_is_returned_whole_and_in_ranges_with_the_recording_permission() {
    let test = VoicemailTest::new().await;
    let (api, audio) = (&test.api, test.path("/vm_2/audio"));
    let whole = api.get(&api.key, &audio).await;
    assert_eq!(
        (whole.status.as_u16(), whole.header("content-type"), whole.text.as_str()),
        (200, "audio/wav", "RIFF 0123456789")
    );
    let part = request("GET", &audio, &api.key).header("range", "bytes=5-7").body(Body::empty()).unwrap();
    let part = api.send(part).await;
    assert_eq!(
        (part.status.as_u16(), part.text.as_str(), part.header("content-range")),
        (206, "012", "bytes 5-7/15")
    );
    let beyond = request("GET", &audio, &api.key).header("range", "bytes=99-").body(Body::empty()).unwrap();
    assert_eq!(api.send(beyond).await.status.as_u16(), 416);
    let ogg = api.get(&api.key, &format!("{audio}?format=ogg")).await;
    assert_eq!((ogg.header("content-type"), ogg.text.as_str()), ("audio/ogg", "OggS"));
    let deaf = api.key_of("user_123", &[Permission::Call, Permission::Sip]).await;
    api.get(&deaf, &audio).await.refused(403, "insufficient_permissions"); // S56
    api.get(&api.key, &test.path("/vm_3/audio")).await.refused(404, "not_found");
}

#[tokio::test]
async fn voicemail_of_other_users_is_not_found() {
    let test = VoicemailTest::new().await;
    let api = &test.api;
    for path in ["", "/vm_2", "/vm_2/audio", "/vm_9", "/greeting/audio", "/deliveries"] {
        api.get(&api.other_key, &test.path(path)).await.refused(404, "not_found"); // S25
    }
    api.delete(&api.other_key, &test.path("/vm_2")).await.refused(404, "not_found");
    api.put(&api.other_key, &test.path("/vm_2"), json!({"status": "heard"})).await.refused(404, "not_found");
    api.put(&api.other_key, &test.path(""), json!({"pin": "4711"})).await.refused(404, "not_found");
    // A message in another mailbox is not found either.
    let other = api.post(&api.key, "/api/v1/voip/extensions", json!({"extensionNumber": "1009"})).await.ok();
    let path =
        format!("/api/v1/voip/extensions/{}/voicemail/vm_2", other["extension"]["id"].as_str().unwrap());
    api.get(&api.key, &path).await.refused(404, "not_found");
}

#[tokio::test]
async fn settings_are_checked_and_a_pin_is_never_shown() {
    let test = VoicemailTest::new().await;
    let set = test
        .set(json!({"pin": "4711", "language": "en", "email": "ana@example.com", "emailAudio": false}))
        .await;
    assert!(!set.text.contains("4711"));
    let mailbox = set.ok()["mailbox"].clone();
    assert_eq!(
        mailbox,
        json!({"pinSet": true, "language": "en", "email": "ana@example.com", "emailAudio": false, "greetingAt": null})
    );
    let kept = test.api.app.directory_service().directory().mailbox(&test.extension);
    let proof: &PinProof = kept.pin.as_ref().unwrap();
    assert!(proof.holds(&Secret::new([3; 32]), &test.extension, "4711"));
    for (field, bad) in [
        ("pin", json!("12")),
        ("pin", json!("1234")),
        ("pin", json!("1001")),
        ("pin", json!("12a45")),
        ("email", json!("ana")),
        ("email", json!("ana@example.com, evil@example.com")),
        ("language", json!("fr")),
    ] {
        let refused = test.set(json!({field: bad})).await.refused(400, "invalid_value");
        assert_eq!(refused["field"], json!(field));
    }
    let cleared = test.set(json!({"pin": null, "email": null})).await.ok();
    assert_eq!((&cleared["mailbox"]["pinSet"], &cleared["mailbox"]["email"]), (&json!(false), &Value::Null));
    let events = test.api.events(1).await;
    assert!(events.iter().all(|event| !event.detail.to_string().contains("4711")));
}

#[tokio::test]
async fn a_greeting_is_uploaded_downloaded_and_deleted() {
    let test = VoicemailTest::new().await;
    let (api, greeting) = (&test.api, test.path("/greeting"));
    api.get(&api.key, &test.path("/greeting/audio")).await.refused(404, "not_found");
    let send = |kind: &'static str, body: &'static [u8]| {
        let sending = request("PUT", &greeting, &api.key).header("content-type", kind);
        api.send(sending.body(Body::from(body)).unwrap())
    };
    send("application/json", b"{}").await.refused(415, "unsupported_media_type");
    send("audio/wav", b"no audio").await.refused(400, "invalid_value");
    assert!(send("audio/wav", b"RIFF hello").await.ok()["mailbox"]["greetingAt"].is_string());
    assert_eq!(api.get(&api.key, &test.path("/greeting/audio")).await.text, "RIFF hello");
    let gone = api.delete(&api.key, &greeting).await.ok();
    assert_eq!(gone["mailbox"]["greetingAt"], Value::Null);
    assert!(!test.audio.0.lock().unwrap().contains_key(&test.file("greeting")));
}

#[tokio::test]
async fn a_new_message_queues_an_email_if_the_mailbox_has_an_address() {
    let test = VoicemailTest::new().await;
    let log = async || test.api.get(&test.api.key, &test.path("/deliveries")).await.ok();
    assert_eq!(log().await["deliveries"], json!([]));
    test.set(json!({"email": "ana@example.com"})).await.ok();
    test.put("vm_4", MessageState::New).await;
    let mails = log().await["deliveries"].clone();
    assert_eq!(mails.as_array().map(Vec::len), Some(1));
    assert_eq!(
        (&mails[0]["messageId"], &mails[0]["status"], &mails[0]["attempts"]),
        (&json!("vm_4"), &json!("waiting"), &json!(0))
    );
}
