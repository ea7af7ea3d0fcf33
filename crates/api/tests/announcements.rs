//! Recurring calls with announcements, over REST (S86): sounds, prompts, and every contradictory combination.

use crate::test_api;

use std::collections::BTreeMap;
use std::future::ready;
use std::io;
use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::http::Request;
use bytes::Bytes;
use centralita_api::{AudioError, AudioFile, AudioFormatRequest, AudioStore, BoxFuture, Opened};
use serde_json::{Value, json};
use test_api::{Answer, TestApi};

/// Audio store in memory: a WAV is stored as sent, and its Opus data is a placeholder.
#[derive(Default)]
struct MemoryAudio(Mutex<BTreeMap<String, Bytes>>);

impl AudioStore for MemoryAudio {
    fn open(&self, file: AudioFile, wanted: AudioFormatRequest) -> BoxFuture<io::Result<Opened>> {
        let wav = self.0.lock().unwrap().get(&file.name).cloned();
        let (bytes, content_type) = match wanted {
            AudioFormatRequest::Wav => (wav, "audio/wav"),
            AudioFormatRequest::Stored => (wav.map(|_| Bytes::from_static(b"OggS and so on")), "audio/ogg"),
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
            Err(AudioError::Unreadable("no WAV", "no es un WAV"))
        };
        Box::pin(ready(kept))
    }

    fn remove(&self, file: AudioFile) -> BoxFuture<io::Result<()>> {
        self.0.lock().unwrap().remove(&file.name);
        Box::pin(ready(Ok(())))
    }
}

struct AnnouncementTest {
    api: TestApi,
    audio: Arc<MemoryAudio>,
    /// The path of extension 1001 of `user_123`.
    path: String,
}

impl AnnouncementTest {
    async fn open() -> Self {
        let api = TestApi::new().await;
        let audio = Arc::new(MemoryAudio::default());
        api.app.set_audio_store(Arc::<MemoryAudio>::clone(&audio));
        let body = json!({"userId": "user_123", "extensionNumber": "1001"});
        let made = api.post(&api.key, "/api/v1/voip/extensions/create", body).await.ok();
        let path = format!("/api/v1/voip/extensions/{}", made["extension"]["id"].as_str().unwrap());
        AnnouncementTest { api, audio, path }
    }

    async fn send(&self, key: &str, query: &str, kind: &str, bytes: &'static [u8]) -> Answer {
        let request = test_api::request("POST", &format!("{}/sounds{query}", self.path), key);
        let request: Request<Body> = request.header("content-type", kind).body(Body::from(bytes)).unwrap();
        self.api.send(request).await
    }

    /// Upload a sound of 1.5 seconds.
    async fn sound(&self) -> String {
        const WAV: &[u8] = &{
            let mut wav = [0; 44 + 24_000];
            (wav[0], wav[1], wav[2], wav[3]) = (b'R', b'I', b'F', b'F');
            wav
        };
        let sent = self.send(&self.api.key, "?name=Good%20morning", "audio/wav", WAV).await.ok();
        assert_eq!(
            (&sent["sound"]["name"], &sent["sound"]["milliseconds"]),
            (&json!("Good morning"), &json!(1_500))
        );
        sent["sound"]["id"].as_str().unwrap().to_owned()
    }

    fn body(more: &Value) -> Value {
        let daily = json!({"frequency": "daily", "time": "09:00", "timezone": "UTC"});
        let mut body = json!({"destinationNumber": "1002", "schedule": daily});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    }

    async fn plan(&self, more: Value) -> Answer {
        let path = format!("{}/recurring-calls", self.path);
        self.api.post(&self.api.key, &path, AnnouncementTest::body(&more)).await
    }
}

#[tokio::test]
async fn a_sound_is_uploaded_downloaded_played_and_deleted() {
    let test = AnnouncementTest::open().await;
    let api = &test.api;
    let id = test.sound().await;
    assert!(test.audio.0.lock().unwrap().is_empty(), "it is stored in the database, not in a file");
    let (one, audio) = (format!("/api/v1/voip/sounds/{id}"), format!("/api/v1/voip/sounds/{id}/audio"));
    let listed = api.get(&api.key, &format!("{}/sounds", test.path)).await.ok();
    assert_eq!(listed["sounds"], json!([api.get(&api.key, &one).await.ok()["sound"]]));
    let heard = api.get(&api.key, &audio).await;
    assert_eq!((heard.header("content-type"), heard.text.as_str()), ("audio/ogg", "OggS and so on"));
    for path in [&one, &audio] {
        api.get(&api.other_key, path).await.refused(404, "not_found"); // S25
    }

    let made = test.plan(json!({"action": "message", "audioId": id})).await.ok();
    let call = &made["recurringCall"];
    assert_eq!((&call["action"], &call["audioId"]), (&json!("message"), &json!(id))); // S86
    api.delete(&api.key, &one).await.refused(409, "sound_in_use");
    let path = format!("/api/v1/voip/recurring-calls/{}", call["id"].as_str().unwrap());
    let changed = api.put(&api.key, &path, json!({"promptId": "goodbye"})).await.ok();
    let call = &changed["recurringCall"];
    assert_eq!((&call["action"], &call["promptId"]), (&json!("message"), &json!("goodbye")));
    assert_eq!(call["audioId"], Value::Null);
    // Absent fields are unchanged: the prompt when the action changes, and both when something else changes.
    let changed = api.put(&api.key, &path, json!({"onAnswer": "play"})).await.ok();
    assert_eq!(changed["recurringCall"]["promptId"], "goodbye");
    let changed = api.put(&api.key, &path, json!({"enabled": false})).await.ok();
    assert_eq!(changed["recurringCall"]["action"], "play");
    let changed = api.put(&api.key, &path, json!({"action": "connect"})).await.ok();
    assert_eq!(
        (&changed["recurringCall"]["action"], &changed["recurringCall"]["promptId"]),
        (&json!("connect"), &Value::Null)
    );
    assert_eq!(api.delete(&api.key, &one).await.ok(), json!({"success": true}));
    api.get(&api.key, &one).await.refused(404, "not_found");
    let kinds: Vec<String> = api.events(0).await.into_iter().map(|event| event.kind).collect();
    for kind in ["sound_created", "sound_deleted"] {
        assert!(kinds.iter().any(|known| known == kind), "{kind}: {kinds:?}");
    }
}

#[tokio::test]
async fn contradictory_actions_are_rejected_with_the_field() {
    let test = AnnouncementTest::open().await;
    let id = test.sound().await;
    let cases = [
        (json!({"action": "play"}), "action"),
        (json!({"action": "message"}), "action"),
        (json!({"action": "shout"}), "action"),
        (json!({"promptId": "goodbye"}), "promptId"),
        (json!({"audioId": id}), "audioId"),
        (json!({"action": "connect", "audioId": id}), "audioId"),
        (json!({"action": "play", "promptId": "goodbye", "audioId": id}), "audioId"),
        (json!({"action": "play", "promptId": "no such prompt"}), "promptId"),
        (json!({"action": "play", "audioId": "snd_nobody_has"}), "audioId"),
        (json!({"action": "play", "audioId": "../../etc/passwd"}), "audioId"),
        (json!({"action": "play", "onAnswer": "play", "promptId": "goodbye"}), "onAnswer"),
        (json!({"action": "play", "promptId": "goodbye", "destinationNumber": "*43"}), "destinationNumber"),
    ];
    for (more, field) in cases {
        let refused = test.plan(more.clone()).await.refused(400, "invalid_value");
        let field_of = |name: &str| refused["field"] == name;
        // A JSON object has no order: either of the two names of one field may be rejected.
        assert!(field_of(field) || field == "onAnswer" && field_of("action"), "{more}: {refused}");
    }
    // A sound of another extension of the same user is not accepted.
    let body = json!({"userId": "user_123", "extensionNumber": "1003"});
    let made = test.api.post(&test.api.key, "/api/v1/voip/extensions/create", body).await.ok();
    let other =
        format!("/api/v1/voip/extensions/{}/recurring-calls", made["extension"]["id"].as_str().unwrap());
    let body = AnnouncementTest::body(&json!({"action": "play", "audioId": id}));
    let refused = test.api.post(&test.api.key, &other, body).await.refused(400, "invalid_value");
    assert_eq!(refused["field"], "audioId");
}

#[tokio::test]
async fn only_a_wav_with_a_name_is_a_sound() {
    let test = AnnouncementTest::open().await;
    let key = &test.api.key;
    test.send(key, "?name=x", "audio/mpeg", b"RIFF").await.refused(415, "unsupported_media_type");
    test.send(key, "?name=x", "audio/wav", b"ID3").await.refused(400, "invalid_value");
    assert_eq!(test.send(key, "", "audio/wav", b"RIFF").await.refused(400, "missing_field")["field"], "name");
    test.send(&test.api.other_key, "?name=x", "audio/wav", b"RIFF").await.refused(404, "not_found");
    for _ in 0..50 {
        test.sound().await;
    }
    test.send(key, "?name=x", "audio/wav", b"RIFF").await.refused(409, "too_many_sounds");
    assert!(test.audio.0.lock().unwrap().is_empty(), "rejected audio is not stored");
}
