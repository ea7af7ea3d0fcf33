//! Recurring calls that say something, over REST (S86): sounds, prompts, and every combination that makes no sense.

use crate::house;

use std::collections::BTreeMap;
use std::future::ready;
use std::io;
use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::http::Request;
use bytes::Bytes;
use centralita_api::{AudioError, AudioFile, AudioFormatRequest, AudioStore, BoxFuture, Opened};
use house::{Answer, House};
use serde_json::{Value, json};

/// Files in memory: a WAV is kept as it came, and its Opus is a word.
#[derive(Default)]
struct Tape(Mutex<BTreeMap<String, Bytes>>);

impl AudioStore for Tape {
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

struct Office {
    house: House,
    tape: Arc<Tape>,
    /// The path of extension 1001 of `user_123`.
    path: String,
}

impl Office {
    async fn open() -> Self {
        let house = House::new().await;
        let tape = Arc::new(Tape::default());
        house.app.set_audio_store(Arc::<Tape>::clone(&tape));
        let body = json!({"userId": "user_123", "extensionNumber": "1001"});
        let made = house.post(&house.key, "/api/v1/voip/extensions/create", body).await.ok();
        let path = format!("/api/v1/voip/extensions/{}", made["extension"]["id"].as_str().unwrap());
        Office { house, tape, path }
    }

    async fn send(&self, key: &str, query: &str, kind: &str, bytes: &'static [u8]) -> Answer {
        let request = house::request("POST", &format!("{}/sounds{query}", self.path), key);
        let request: Request<Body> = request.header("content-type", kind).body(Body::from(bytes)).unwrap();
        self.house.send(request).await
    }

    /// A sound of a second and a half.
    async fn sound(&self) -> String {
        const WAV: &[u8] = &{
            let mut wav = [0; 44 + 24_000];
            (wav[0], wav[1], wav[2], wav[3]) = (b'R', b'I', b'F', b'F');
            wav
        };
        let sent = self.send(&self.house.key, "?name=Good%20morning", "audio/wav", WAV).await.ok();
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
        self.house.post(&self.house.key, &path, Office::body(&more)).await
    }
}

#[tokio::test]
async fn a_sound_is_sent_heard_played_and_removed() {
    let office = Office::open().await;
    let house = &office.house;
    let id = office.sound().await;
    assert!(office.tape.0.lock().unwrap().is_empty(), "it lies in the database, not in a file");
    let (one, audio) = (format!("/api/v1/voip/sounds/{id}"), format!("/api/v1/voip/sounds/{id}/audio"));
    let listed = house.get(&house.key, &format!("{}/sounds", office.path)).await.ok();
    assert_eq!(listed["sounds"], json!([house.get(&house.key, &one).await.ok()["sound"]]));
    let heard = house.get(&house.key, &audio).await;
    assert_eq!((heard.header("content-type"), heard.text.as_str()), ("audio/ogg", "OggS and so on"));
    for path in [&one, &audio] {
        house.get(&house.stranger, path).await.refused(404, "not_found"); // S25
    }

    let made = office.plan(json!({"action": "message", "audioId": id})).await.ok();
    let call = &made["recurringCall"];
    assert_eq!((&call["action"], &call["audioId"]), (&json!("message"), &json!(id))); // S86
    house.delete(&house.key, &one).await.refused(409, "sound_in_use");
    let path = format!("/api/v1/voip/recurring-calls/{}", call["id"].as_str().unwrap());
    let changed = house.put(&house.key, &path, json!({"promptId": "goodbye"})).await.ok();
    let call = &changed["recurringCall"];
    assert_eq!((&call["action"], &call["promptId"]), (&json!("message"), &json!("goodbye")));
    assert_eq!(call["audioId"], Value::Null);
    // What is not said stays: the prompt when the action changes, and both when something else does.
    let changed = house.put(&house.key, &path, json!({"onAnswer": "play"})).await.ok();
    assert_eq!(changed["recurringCall"]["promptId"], "goodbye");
    let changed = house.put(&house.key, &path, json!({"enabled": false})).await.ok();
    assert_eq!(changed["recurringCall"]["action"], "play");
    let changed = house.put(&house.key, &path, json!({"action": "connect"})).await.ok();
    assert_eq!(
        (&changed["recurringCall"]["action"], &changed["recurringCall"]["promptId"]),
        (&json!("connect"), &Value::Null)
    );
    assert_eq!(house.delete(&house.key, &one).await.ok(), json!({"success": true}));
    house.get(&house.key, &one).await.refused(404, "not_found");
    let kinds: Vec<String> = house.events(0).await.into_iter().map(|event| event.kind).collect();
    for kind in ["sound_created", "sound_deleted"] {
        assert!(kinds.iter().any(|known| known == kind), "{kind}: {kinds:?}");
    }
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_and_its_field_is_named() {
    let office = Office::open().await;
    let id = office.sound().await;
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
        let refused = office.plan(more.clone()).await.refused(400, "invalid_value");
        let field_of = |name: &str| refused["field"] == name;
        // A JSON object has no order: of two names of one field either may be the second.
        assert!(field_of(field) || field == "onAnswer" && field_of("action"), "{more}: {refused}");
    }
    // A sound of another extension of the same user is not this one's.
    let body = json!({"userId": "user_123", "extensionNumber": "1003"});
    let made = office.house.post(&office.house.key, "/api/v1/voip/extensions/create", body).await.ok();
    let other =
        format!("/api/v1/voip/extensions/{}/recurring-calls", made["extension"]["id"].as_str().unwrap());
    let body = Office::body(&json!({"action": "play", "audioId": id}));
    let refused = office.house.post(&office.house.key, &other, body).await.refused(400, "invalid_value");
    assert_eq!(refused["field"], "audioId");
}

#[tokio::test]
async fn only_a_wav_with_a_name_is_a_sound() {
    let office = Office::open().await;
    let key = &office.house.key;
    office.send(key, "?name=x", "audio/mpeg", b"RIFF").await.refused(415, "unsupported_media_type");
    office.send(key, "?name=x", "audio/wav", b"ID3").await.refused(400, "invalid_value");
    assert_eq!(
        office.send(key, "", "audio/wav", b"RIFF").await.refused(400, "missing_field")["field"],
        "name"
    );
    office.send(&office.house.stranger, "?name=x", "audio/wav", b"RIFF").await.refused(404, "not_found");
    for _ in 0..50 {
        office.sound().await;
    }
    office.send(key, "?name=x", "audio/wav", b"RIFF").await.refused(409, "too_many_sounds");
    assert!(office.tape.0.lock().unwrap().is_empty(), "what was refused lies nowhere");
}
