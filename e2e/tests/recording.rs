//! Call recording: one party per channel, pause and resume, crashes, full disks and object stores.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use e2e::{Account, Extension, Phone, Scratch, Server, Settings, soon, tone, until};
use serde_json::{Value, json};

const ONE_SPEAKS: u32 = 440;
const TWO_SPEAKS: u32 = 1000;
/// Bytes per second of a stereo WAV file.
const SECOND: u64 = 32_000;
const LONG: Duration = Duration::from_secs(40);

struct Setup {
    server: Server,
    alice: Extension,
    one: Phone,
    two: Phone,
    scratch: Scratch,
}

impl Setup {
    /// Two phones in a call; `prepare` runs before the call.
    fn start_call(recording: &str, prepare: impl Fn(&Server, &Extension, &Extension)) -> Setup {
        let setup = Setup::connected("PCMU", recording, prepare);
        setup.two.hears(ONE_SPEAKS);
        setup
    }

    /// Two phones with these codecs in a call.
    fn connected(
        codecs: &'static str,
        recording: &str,
        prepare: impl Fn(&Server, &Extension, &Extension),
    ) -> Setup {
        let more = format!("[recording]\n{recording}\n");
        let server = Server::with(Settings { more, ..Settings::default() });
        let (alice, bob) = (server.extension("1001"), server.extension("1002"));
        prepare(&server, &alice, &bob);
        let account = |extension| Account::of(extension, server.sip()).codec(codecs);
        let mut one = Phone::registered("one", ONE_SPEAKS, &account(&alice));
        let two = Phone::registered("two", TWO_SPEAKS, &account(&bob));
        one.dial("1002");
        one.expect("CALL_ESTABLISHED");
        two.expect("CALL_ESTABLISHED");
        Setup { server, alice, one, two, scratch: Scratch::new("recording") }
    }

    fn session(&self) -> String {
        let calls = self.server.calls();
        calls[0]["sessionId"].as_str().expect("a call").to_owned()
    }

    fn post_action(&self, verb: &str) -> Value {
        let path = format!("/api/v1/opensips/call/{}/recording/{verb}", self.session());
        self.server.http(Some(&self.alice.key)).post(&path, &json!({})).expect(200)["recording"].clone()
    }

    /// Codecs of the call's legs.
    fn codecs(&self) -> Vec<Value> {
        let calls = self.server.calls();
        calls[0]["legs"]
            .as_array()
            .map_or_else(Vec::new, |legs| legs.iter().map(|l| l["codec"].clone()).collect())
    }

    /// The first recording in the list.
    fn listed(&self) -> Value {
        soon("the recording is listed", || {
            let list = self.server.http(Some(&self.alice.key)).get("/api/v1/recordings").expect(200);
            list["recordings"].as_array().and_then(|all| all.first().cloned())
        })
    }

    /// The WAV recording contains both tones in its last second and a half.
    fn ends_with_both_tones(&self, id: &str) {
        let (status, head, wav) = self.audio(id, "?format=wav", None);
        assert_eq!(status, 200, "{head}");
        let both = channels(&wav);
        check_tones(&both, both[0].len() / 8 - 1_500, both[0].len() / 8 - 700);
    }

    fn recording(&self, id: &str) -> Value {
        let answer = self.server.http(Some(&self.alice.key)).get(&format!("/api/v1/recordings/{id}"));
        if answer.status == 404 { Value::Null } else { answer.expect(200)["recording"].clone() }
    }

    /// Wait until the recording is in this state.
    fn wait_for_state(&self, id: &str, state: &str) -> Value {
        let what = format!("the recording is {state}");
        until(LONG, &what, || Some(self.recording(id)).filter(|recording| recording["state"] == state))
    }

    fn file(&self, id: &str, ending: &str) -> PathBuf {
        self.server.data().join(format!("recordings/{id}.{ending}"))
    }

    /// Status, head and bytes of the audio.
    fn audio(&self, id: &str, query: &str, range: Option<&str>) -> (u16, String, Vec<u8>) {
        let url = format!("http://{}/api/v1/recordings/{id}/audio{query}", self.server.http_address());
        let key = format!("Authorization: Bearer {}", self.alice.key);
        fetch(self.scratch.path(), &url, &["-H", &key], range)
    }
}

/// Options for curl to sign S3 requests.
const SIGNED: [&str; 4] = ["--aws-sigv4", "aws:amz:us-east-1:s3", "--user", "us:ours"];

/// Status, head and body as bytes.
fn fetch(folder: &Path, url: &str, how: &[&str], range: Option<&str>) -> (u16, String, Vec<u8>) {
    let (head, body) = (folder.join("head"), folder.join("body"));
    std::fs::remove_file(&body).ok();
    let mut curl = Command::new("curl");
    curl.args(["-sS", "-D"]).arg(&head).arg("-o").arg(&body);
    curl.args(how);
    if let Some(range) = range {
        curl.arg("-H").arg(format!("Range: {range}"));
    }
    assert!(curl.arg(url).status().expect("curl").success());
    let head = std::fs::read_to_string(head).expect("a head").to_ascii_lowercase();
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok()).expect("a status");
    (status, head, std::fs::read(body).unwrap_or_default())
}

fn grows_to(file: &Path, bytes: u64) -> u64 {
    let length = || std::fs::metadata(file).map_or(0, |file| file.len());
    until(LONG, &format!("{} has {bytes} bytes", file.display()), || Some(length()).filter(|n| *n >= bytes))
}

/// Left and right channel of a stereo WAV file of ours.
fn channels(wav: &[u8]) -> [Vec<i16>; 2] {
    assert_eq!((&wav[..4], wav[22], &wav[36..40]), (&b"RIFF"[..], 2, &b"data"[..]));
    let said = u32::from_le_bytes(wav[40..44].try_into().expect("four bytes")) as usize;
    assert_eq!(said, wav.len() - 44, "its header is true");
    let samples: Vec<i16> = wav[44..].chunks_exact(2).map(|b| i16::from_le_bytes([b[0], b[1]])).collect();
    [0, 1].map(|side| samples.iter().skip(side).step_by(2).copied().collect())
}

/// Sound of both channels between two times in milliseconds.
fn measure_channels(channels: &[Vec<i16>; 2], from: usize, to: usize) -> [tone::Sound; 2] {
    [0, 1].map(|side| tone::measure(&channels[side][from * 8..to * 8]))
}

fn check_tones(channels: &[Vec<i16>; 2], from: usize, to: usize) {
    let [left, right] = measure_channels(channels, from, to);
    assert!(left.is_tone(ONE_SPEAKS) && right.is_tone(TWO_SPEAKS), "{left:?} {right:?}");
}

#[test]
fn each_party_has_its_channel_and_a_pause_is_silent() {
    // S177, S184
    let setup = Setup::start_call("format = \"wav\"", |_, _, _| {});
    let begun = setup.post_action("start");
    let id = begun["recordingId"].as_str().expect("an id").to_owned();
    assert_eq!((&begun["state"], &begun["paused"]), (&json!("recording"), &json!(false)));
    assert_eq!(setup.post_action("start")["recordingId"], *id, "starting again changes nothing");
    let file = setup.file(&id, "wav");
    let pause = grows_to(&file, 3 * SECOND);
    assert_eq!(setup.post_action("pause")["paused"], true);
    let resume = grows_to(&file, pause + 4 * SECOND);
    assert_eq!(setup.post_action("resume")["paused"], false);
    let end = grows_to(&file, resume + 3 * SECOND);
    // It belongs to the session while it runs, and afterwards.
    let session = format!("/api/v1/opensips/call/{}", setup.session());
    let http = setup.server.http(Some(&setup.alice.key));
    assert_eq!(http.get(&session).expect(200)["session"]["recordings"], json!([id]));
    let running = http.get(&format!("/api/v1/recordings/{id}/audio"));
    assert!(running.status == 409 || running.status == 404, "{running:?}");
    setup.post_action("stop");
    let done = setup.wait_for_state(&id, "complete");
    setup.two.hears(ONE_SPEAKS); // the call continues
    let (status, head, wav) = setup.audio(&id, "", None);
    assert!(status == 200 && head.contains("content-type: audio/wav"), "{head}");
    assert!(wav.len() as u64 >= end);
    assert_eq!((done["bytes"].as_u64(), done["format"].as_str()), (Some(wav.len() as u64), Some("wav")));
    let both = channels(&wav);
    let millis = |bytes: u64| (bytes / 32) as usize;
    check_tones(&both, 500, 2_000);
    let [left, right] = measure_channels(&both, millis(pause) + 1_500, millis(resume) - 500);
    assert!(left.is_silence() && right.is_silence(), "{left:?} {right:?}");
    check_tones(&both, both[0].len() / 8 - 2_000, both[0].len() / 8 - 500);

    // Range requests.
    let (status, head, part) = setup.audio(&id, "", Some("bytes=1000-1999"));
    assert_eq!((status, &part[..]), (206, &wav[1_000..2_000]), "{head}");
    assert!(head.contains(&format!("content-range: bytes 1000-1999/{}", wav.len())), "{head}");
    let (status, _, part) = setup.audio(&id, "", Some("bytes=-500"));
    assert_eq!((status, &part[..]), (206, &wav[wav.len() - 500..]));
    assert_eq!(setup.audio(&id, "", Some("bytes=99999999-")).0, 416);

    // Other users get 404.
    let stranger = setup.server.key_for("user_of_nothing");
    for path in [format!("/api/v1/recordings/{id}"), format!("/api/v1/recordings/{id}/audio")] {
        assert_eq!(setup.server.http(Some(&stranger)).get(&path).status, 404);
    }
    let verb = format!("{session}/recording/start");
    assert_eq!(setup.server.http(Some(&stranger)).post(&verb, &json!({})).status, 404);
    let seen = |key: &str| {
        let list = setup.server.http(Some(key)).get("/api/v1/recordings").expect(200);
        list["recordings"].as_array().map_or(0, Vec::len)
    };
    assert_eq!((seen(&stranger), seen(&setup.alice.key)), (0, 1));
}

#[test]
fn an_extension_with_automatic_recording_is_recorded_as_opus() {
    let mut setup = Setup::start_call("", |server, _, bob| {
        let path = format!("/api/v1/voip/extensions/{}", bob.id);
        let changed = server.http(Some(&bob.key)).put(&path, &json!({"recordCalls": "inbound"})).expect(200);
        assert_eq!(changed["extension"]["recordCalls"], "inbound");
    });
    let shown = setup.listed();
    assert_eq!((&shown["extensionNumber"], &shown["format"]), (&json!("1002"), &json!("opus")));
    let id = shown["recordingId"].as_str().expect("an id").to_owned();
    grows_to(&setup.file(&id, "ogg"), 24_000);
    setup.one.hang_up();
    let done = setup.wait_for_state(&id, "complete");
    assert!(done["durationMs"].as_u64() > Some(1_500), "{done:#}");
    let (status, head, ogg) = setup.audio(&id, "", None);
    assert!(status == 200 && head.contains("content-type: audio/ogg") && ogg.starts_with(b"OggS"), "{head}");
    let (status, head, wav) = setup.audio(&id, "?format=wav", None);
    assert!(status == 200 && head.contains("content-type: audio/wav"), "{head}");
    let both = channels(&wav);
    check_tones(&both, both[0].len() / 8 - 1_500, both[0].len() / 8 - 700);
    // A deleted recording is gone, for everybody and from the disk.
    let path = format!("/api/v1/recordings/{id}");
    let http = setup.server.http(Some(&setup.alice.key));
    http.delete(&path).expect(200);
    assert_eq!(setup.audio(&id, "", None).0, 404);
    let file = setup.file(&id, "ogg");
    until(LONG, "the file is gone", || (!file.exists()).then_some(()));
    assert_eq!(http.get(&path).expect(200)["recording"]["state"], "deleted");
    http.delete(&path).expect(200);
}

#[test]
fn phones_that_prefer_wideband_use_g711_with_automatic_recording() {
    // S177
    for (codecs, spoken) in [("opus,PCMU", "PCMU"), ("G722,PCMA", "PCMA")] {
        let mut setup = Setup::connected(codecs, "calls = \"all\"\nformat = \"wav\"", |_, _, _| {});
        assert_eq!(setup.codecs(), [spoken; 2]);
        let id = setup.listed()["recordingId"].as_str().expect("an id").to_owned();
        grows_to(&setup.file(&id, "wav"), 3 * SECOND);
        setup.one.hang_up();
        setup.wait_for_state(&id, "complete");
        setup.ends_with_both_tones(&id);
    }
}

#[test]
fn a_recording_of_phones_without_g711_is_rejected_or_fails_and_is_never_silent() {
    let setup = Setup::connected("opus", "", |_, _, _| {});
    let start = format!("/api/v1/opensips/call/{}/recording/start", setup.session());
    let refused = setup.server.http(Some(&setup.alice.key)).post(&start, &json!({})).expect(409);
    assert_eq!(refused["code"], "codec_not_recordable", "{refused:#}");
    let setup = Setup::connected("opus", "calls = \"all\"", |_, _, _| {});
    let shown = setup.listed();
    assert_eq!((&shown["state"], &shown["fault"]), (&json!("failed"), &json!("codec_not_recordable")));
    assert_eq!(setup.server.calls()[0]["endedAt"], Value::Null, "the call goes on");
}

#[test]
fn a_recording_interrupted_by_a_crash_is_playable() {
    for (format, ending, rate) in [("wav", "wav", SECOND), ("opus", "ogg", 4_000)] {
        let mut setup = Setup::start_call(&format!("format = {format:?}"), |_, _, _| {});
        let id = setup.post_action("start")["recordingId"].as_str().expect("an id").to_owned();
        setup.wait_for_state(&id, "recording");
        let length = grows_to(&setup.file(&id, ending), 6 * rate);
        setup.server.kill();
        setup.server.restart();
        let done = setup.wait_for_state(&id, "complete");
        assert_eq!(done["fault"], "interrupted", "{done:#}");
        assert!(done["bytes"].as_u64() >= Some(length - rate), "{done:#}");
        let (status, head, wav) = setup.audio(&id, "?format=wav", None);
        assert_eq!(status, 200, "{head}");
        let both = channels(&wav);
        assert_eq!(
            done["durationMs"].as_u64().map(|n| n.abs_diff(both[0].len() as u64 / 8) < 50),
            Some(true)
        );
        check_tones(&both, 500, 1_500);
    }
}

#[test]
fn a_full_disk_ends_the_recording_and_not_the_call() {
    let setup = Setup::start_call("reserve_mb = 4000000000", |_, _, _| {});
    let id = setup.post_action("start")["recordingId"].as_str().expect("an id").to_owned();
    let failed = setup.wait_for_state(&id, "failed");
    assert_eq!(failed["fault"], "disk_full");
    setup.two.hears(ONE_SPEAKS);
    setup.one.hears(TWO_SPEAKS);
    let stop = format!("/api/v1/opensips/call/{}/recording/stop", setup.session());
    let refused = setup.server.http(Some(&setup.alice.key)).post(&stop, &json!({})).expect(409);
    assert_eq!(refused["code"], "not_recording");
}

/// An S3 server from PyPI. It is ended when it is dropped.
struct ObjectStore {
    child: Child,
    address: String,
}

impl ObjectStore {
    fn start(port: u16, folder: &Path) -> ObjectStore {
        let mut command = Command::new(e2e::python::program("moto[server]", "moto_server"));
        command.args(["-H", "127.0.0.1", "-p", &port.to_string()]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let objects = ObjectStore {
            child: command.spawn().expect("moto starts"),
            address: format!("http://127.0.0.1:{port}"),
        };
        until(LONG, "the object store has a bucket", || {
            let bucket = format!("{}/tapes", objects.address);
            let mut curl = Command::new("curl");
            curl.args(["-sS", "-f", "-X", "PUT", &bucket, "-o"]).arg(folder.join("bucket"));
            curl.stderr(Stdio::null()).status().is_ok_and(|status| status.success()).then_some(())
        });
        objects
    }
}

impl Drop for ObjectStore {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn recordings_are_uploaded_once_the_object_store_responds() {
    let scratch = Scratch::new("objects");
    let block = e2e::Block::take();
    let store = format!(
        "format = \"wav\"\ns3_bucket = \"tapes\"\ns3_prefix = \"office\"\ns3_endpoint = \"http://127.0.0.1:{}\"\n\
         s3_access_key = \"us\"\ns3_secret_key = \"ours\"",
        block.port(0)
    );
    let setup = Setup::start_call(&store, |_, _, _| {});
    let id = setup.post_action("start")["recordingId"].as_str().expect("an id").to_owned();
    grows_to(&setup.file(&id, "wav"), 2 * SECOND);
    setup.post_action("stop");
    setup.wait_for_state(&id, "complete");
    // The store is down: the recording is served from the local directory, and uploads are retried.
    until(LONG, "an upload was tried", || setup.server.log().contains("cannot be moved").then_some(()));
    let (status, _, wav) = setup.audio(&id, "", None);
    assert_eq!((status, setup.recording(&id)["storedIn"].as_str()), (200, Some("folder")));
    let objects = ObjectStore::start(block.port(0), scratch.path());
    until(LONG, "it is in the object store", || {
        (setup.recording(&id)["storedIn"] == "objects").then_some(())
    });
    let file = setup.file(&id, "wav");
    until(LONG, "the file is gone", || (!file.exists()).then_some(()));
    let object = format!("{}/tapes/office/recordings/{id}.wav", objects.address);
    let (status, _, there) = fetch(scratch.path(), &object, &SIGNED, None);
    assert!(status == 200 && there == wav);
    let (status, _, whole) = setup.audio(&id, "", None);
    assert!(status == 200 && whole == wav);
    let (status, _, part) = setup.audio(&id, "", Some("bytes=100-299"));
    assert_eq!((status, &part[..]), (206, &wav[100..300]));
    check_tones(&channels(&setup.audio(&id, "?format=wav", None).2), 500, 1_500);
    setup.server.http(Some(&setup.alice.key)).delete(&format!("/api/v1/recordings/{id}")).expect(200);
    until(LONG, "the object is gone", || {
        (fetch(scratch.path(), &object, &SIGNED, None).0 == 404).then_some(())
    });
}
