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

struct Office {
    server: Server,
    alice: Extension,
    one: Phone,
    two: Phone,
    scratch: Scratch,
}

impl Office {
    /// Two phones in a call; `prepare` runs before the call.
    fn talking(recording: &str, prepare: impl Fn(&Server, &Extension, &Extension)) -> Office {
        let office = Office::connected("PCMU", recording, prepare);
        office.two.hears(ONE_SPEAKS);
        office
    }

    /// Two phones with these codecs in a call.
    fn connected(
        codecs: &'static str,
        recording: &str,
        prepare: impl Fn(&Server, &Extension, &Extension),
    ) -> Office {
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
        Office { server, alice, one, two, scratch: Scratch::new("recording") }
    }

    fn session(&self) -> String {
        let calls = self.server.calls();
        calls[0]["sessionId"].as_str().expect("a call").to_owned()
    }

    fn verb(&self, verb: &str) -> Value {
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
        let both = sides(&wav);
        check_tones(&both, both[0].len() / 8 - 1_500, both[0].len() / 8 - 700);
    }

    fn recording(&self, id: &str) -> Value {
        let answer = self.server.http(Some(&self.alice.key)).get(&format!("/api/v1/recordings/{id}"));
        if answer.status == 404 { Value::Null } else { answer.expect(200)["recording"].clone() }
    }

    /// Wait until the recording is in this state.
    fn becomes(&self, id: &str, state: &str) -> Value {
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
fn sides(wav: &[u8]) -> [Vec<i16>; 2] {
    assert_eq!((&wav[..4], wav[22], &wav[36..40]), (&b"RIFF"[..], 2, &b"data"[..]));
    let said = u32::from_le_bytes(wav[40..44].try_into().expect("four bytes")) as usize;
    assert_eq!(said, wav.len() - 44, "its header is true");
    let samples: Vec<i16> = wav[44..].chunks_exact(2).map(|b| i16::from_le_bytes([b[0], b[1]])).collect();
    [0, 1].map(|side| samples.iter().skip(side).step_by(2).copied().collect())
}

/// Sound of both channels between two times in milliseconds.
fn heard(sides: &[Vec<i16>; 2], from: usize, to: usize) -> [tone::Sound; 2] {
    [0, 1].map(|side| tone::measure(&sides[side][from * 8..to * 8]))
}

fn check_tones(sides: &[Vec<i16>; 2], from: usize, to: usize) {
    let [left, right] = heard(sides, from, to);
    assert!(left.is_tone(ONE_SPEAKS) && right.is_tone(TWO_SPEAKS), "{left:?} {right:?}");
}

#[test]
fn each_party_is_on_its_side_and_a_pause_is_silent() {
    // S177, S184
    let office = Office::talking("format = \"wav\"", |_, _, _| {});
    let begun = office.verb("start");
    let id = begun["recordingId"].as_str().expect("an id").to_owned();
    assert_eq!((&begun["state"], &begun["paused"]), (&json!("recording"), &json!(false)));
    assert_eq!(office.verb("start")["recordingId"], *id, "starting again changes nothing");
    let file = office.file(&id, "wav");
    let pause = grows_to(&file, 3 * SECOND);
    assert_eq!(office.verb("pause")["paused"], true);
    let resume = grows_to(&file, pause + 4 * SECOND);
    assert_eq!(office.verb("resume")["paused"], false);
    let end = grows_to(&file, resume + 3 * SECOND);
    // It belongs to the session while it runs, and afterwards.
    let session = format!("/api/v1/opensips/call/{}", office.session());
    let http = office.server.http(Some(&office.alice.key));
    assert_eq!(http.get(&session).expect(200)["session"]["recordings"], json!([id]));
    let running = http.get(&format!("/api/v1/recordings/{id}/audio"));
    assert!(running.status == 409 || running.status == 404, "{running:?}");
    office.verb("stop");
    let done = office.becomes(&id, "complete");
    office.two.hears(ONE_SPEAKS); // the call continues
    let (status, head, wav) = office.audio(&id, "", None);
    assert!(status == 200 && head.contains("content-type: audio/wav"), "{head}");
    assert!(wav.len() as u64 >= end);
    assert_eq!((done["bytes"].as_u64(), done["format"].as_str()), (Some(wav.len() as u64), Some("wav")));
    let both = sides(&wav);
    let millis = |bytes: u64| (bytes / 32) as usize;
    check_tones(&both, 500, 2_000);
    let [left, right] = heard(&both, millis(pause) + 1_500, millis(resume) - 500);
    assert!(left.is_silence() && right.is_silence(), "{left:?} {right:?}");
    check_tones(&both, both[0].len() / 8 - 2_000, both[0].len() / 8 - 500);

    // Range requests.
    let (status, head, part) = office.audio(&id, "", Some("bytes=1000-1999"));
    assert_eq!((status, &part[..]), (206, &wav[1_000..2_000]), "{head}");
    assert!(head.contains(&format!("content-range: bytes 1000-1999/{}", wav.len())), "{head}");
    let (status, _, part) = office.audio(&id, "", Some("bytes=-500"));
    assert_eq!((status, &part[..]), (206, &wav[wav.len() - 500..]));
    assert_eq!(office.audio(&id, "", Some("bytes=99999999-")).0, 416);

    // Other users get 404.
    let stranger = office.server.key_for("user_of_nothing");
    for path in [format!("/api/v1/recordings/{id}"), format!("/api/v1/recordings/{id}/audio")] {
        assert_eq!(office.server.http(Some(&stranger)).get(&path).status, 404);
    }
    let verb = format!("{session}/recording/start");
    assert_eq!(office.server.http(Some(&stranger)).post(&verb, &json!({})).status, 404);
    let seen = |key: &str| {
        let list = office.server.http(Some(key)).get("/api/v1/recordings").expect(200);
        list["recordings"].as_array().map_or(0, Vec::len)
    };
    assert_eq!((seen(&stranger), seen(&office.alice.key)), (0, 1));
}

#[test]
fn an_extension_that_wants_it_is_recorded_by_itself_as_opus() {
    let mut office = Office::talking("", |server, _, bob| {
        let path = format!("/api/v1/voip/extensions/{}", bob.id);
        let changed = server.http(Some(&bob.key)).put(&path, &json!({"recordCalls": "inbound"})).expect(200);
        assert_eq!(changed["extension"]["recordCalls"], "inbound");
    });
    let shown = office.listed();
    assert_eq!((&shown["extensionNumber"], &shown["format"]), (&json!("1002"), &json!("opus")));
    let id = shown["recordingId"].as_str().expect("an id").to_owned();
    grows_to(&office.file(&id, "ogg"), 24_000);
    office.one.hang_up();
    let done = office.becomes(&id, "complete");
    assert!(done["durationMs"].as_u64() > Some(1_500), "{done:#}");
    let (status, head, ogg) = office.audio(&id, "", None);
    assert!(status == 200 && head.contains("content-type: audio/ogg") && ogg.starts_with(b"OggS"), "{head}");
    let (status, head, wav) = office.audio(&id, "?format=wav", None);
    assert!(status == 200 && head.contains("content-type: audio/wav"), "{head}");
    let both = sides(&wav);
    check_tones(&both, both[0].len() / 8 - 1_500, both[0].len() / 8 - 700);
    // A deleted recording is gone, for everybody and from the disk.
    let path = format!("/api/v1/recordings/{id}");
    let http = office.server.http(Some(&office.alice.key));
    http.delete(&path).expect(200);
    assert_eq!(office.audio(&id, "", None).0, 404);
    let file = office.file(&id, "ogg");
    until(LONG, "the file is gone", || (!file.exists()).then_some(()));
    assert_eq!(http.get(&path).expect(200)["recording"]["state"], "deleted");
    http.delete(&path).expect(200);
}

#[test]
fn phones_that_prefer_wideband_speak_g711_where_they_are_recorded_by_themselves() {
    // S177
    for (codecs, spoken) in [("opus,PCMU", "PCMU"), ("G722,PCMA", "PCMA")] {
        let mut office = Office::connected(codecs, "calls = \"all\"\nformat = \"wav\"", |_, _, _| {});
        assert_eq!(office.codecs(), [spoken; 2]);
        let id = office.listed()["recordingId"].as_str().expect("an id").to_owned();
        grows_to(&office.file(&id, "wav"), 3 * SECOND);
        office.one.hang_up();
        office.becomes(&id, "complete");
        office.ends_with_both_tones(&id);
    }
}

#[test]
fn a_recording_of_phones_without_g711_is_refused_or_failed_and_never_silence() {
    let office = Office::connected("opus", "", |_, _, _| {});
    let start = format!("/api/v1/opensips/call/{}/recording/start", office.session());
    let refused = office.server.http(Some(&office.alice.key)).post(&start, &json!({})).expect(409);
    assert_eq!(refused["code"], "codec_not_recordable", "{refused:#}");
    let office = Office::connected("opus", "calls = \"all\"", |_, _, _| {});
    let shown = office.listed();
    assert_eq!((&shown["state"], &shown["fault"]), (&json!("failed"), &json!("codec_not_recordable")));
    assert_eq!(office.server.calls()[0]["endedAt"], Value::Null, "the call goes on");
}

#[test]
fn a_crash_in_the_middle_leaves_a_recording_that_plays() {
    for (format, ending, rate) in [("wav", "wav", SECOND), ("opus", "ogg", 4_000)] {
        let mut office = Office::talking(&format!("format = {format:?}"), |_, _, _| {});
        let id = office.verb("start")["recordingId"].as_str().expect("an id").to_owned();
        office.becomes(&id, "recording");
        let length = grows_to(&office.file(&id, ending), 6 * rate);
        office.server.kill();
        office.server.restart();
        let done = office.becomes(&id, "complete");
        assert_eq!(done["fault"], "interrupted", "{done:#}");
        assert!(done["bytes"].as_u64() >= Some(length - rate), "{done:#}");
        let (status, head, wav) = office.audio(&id, "?format=wav", None);
        assert_eq!(status, 200, "{head}");
        let both = sides(&wav);
        assert_eq!(
            done["durationMs"].as_u64().map(|n| n.abs_diff(both[0].len() as u64 / 8) < 50),
            Some(true)
        );
        check_tones(&both, 500, 1_500);
    }
}

#[test]
fn a_full_disk_ends_the_recording_and_not_the_call() {
    let office = Office::talking("reserve_mb = 4000000000", |_, _, _| {});
    let id = office.verb("start")["recordingId"].as_str().expect("an id").to_owned();
    let failed = office.becomes(&id, "failed");
    assert_eq!(failed["fault"], "disk_full");
    office.two.hears(ONE_SPEAKS);
    office.one.hears(TWO_SPEAKS);
    let stop = format!("/api/v1/opensips/call/{}/recording/stop", office.session());
    let refused = office.server.http(Some(&office.alice.key)).post(&stop, &json!({})).expect(409);
    assert_eq!(refused["code"], "not_recording");
}

/// An S3 server from PyPI. It is ended when it is dropped.
struct Objects {
    child: Child,
    address: String,
}

impl Objects {
    fn start(port: u16, folder: &Path) -> Objects {
        let mut command = Command::new(e2e::python::program("moto[server]", "moto_server"));
        command.args(["-H", "127.0.0.1", "-p", &port.to_string()]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let objects = Objects {
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

impl Drop for Objects {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn recordings_go_to_the_object_store_when_it_is_there() {
    let scratch = Scratch::new("objects");
    let block = e2e::Block::take();
    let store = format!(
        "format = \"wav\"\ns3_bucket = \"tapes\"\ns3_prefix = \"office\"\ns3_endpoint = \"http://127.0.0.1:{}\"\n\
         s3_access_key = \"us\"\ns3_secret_key = \"ours\"",
        block.port(0)
    );
    let office = Office::talking(&store, |_, _, _| {});
    let id = office.verb("start")["recordingId"].as_str().expect("an id").to_owned();
    grows_to(&office.file(&id, "wav"), 2 * SECOND);
    office.verb("stop");
    office.becomes(&id, "complete");
    // The store is down: the recording is served from the local directory, and uploads are retried.
    until(LONG, "an upload was tried", || office.server.log().contains("cannot be moved").then_some(()));
    let (status, _, wav) = office.audio(&id, "", None);
    assert_eq!((status, office.recording(&id)["storedIn"].as_str()), (200, Some("folder")));
    let objects = Objects::start(block.port(0), scratch.path());
    until(LONG, "it is in the object store", || {
        (office.recording(&id)["storedIn"] == "objects").then_some(())
    });
    let file = office.file(&id, "wav");
    until(LONG, "the file is gone", || (!file.exists()).then_some(()));
    let object = format!("{}/tapes/office/recordings/{id}.wav", objects.address);
    let (status, _, there) = fetch(scratch.path(), &object, &SIGNED, None);
    assert!(status == 200 && there == wav);
    let (status, _, whole) = office.audio(&id, "", None);
    assert!(status == 200 && whole == wav);
    let (status, _, part) = office.audio(&id, "", Some("bytes=100-299"));
    assert_eq!((status, &part[..]), (206, &wav[100..300]));
    check_tones(&sides(&office.audio(&id, "?format=wav", None).2), 500, 1_500);
    office.server.http(Some(&office.alice.key)).delete(&format!("/api/v1/recordings/{id}")).expect(200);
    until(LONG, "the object is gone", || {
        (fetch(scratch.path(), &object, &SIGNED, None).0 == 404).then_some(())
    });
}
