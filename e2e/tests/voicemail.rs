//! Voicemail with real phones: a tone is left as message, heard over REST and by phone, saved, deleted, mailed, and not lost with the process
//! (S72).

use std::collections::VecDeque;
use std::f64::consts::TAU;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use e2e::raw::{Raw, rtp_address};
use e2e::{Account, Extension, Phone, Scratch, Server, Settings, Smtp, soon, tone, until};
use serde_json::{Value, json};

const CALLER_SPEAKS: u32 = 440;
const OWNER_SPEAKS: u32 = 700;
const PIN: &str = "4711";

struct Setup {
    server: Server,
    owner: Extension,
    caller: Phone,
}

fn setup(settings: Settings) -> Setup {
    let server = Server::with(settings);
    let owner = server.extension("1002");
    server.with_voicemail(&owner);
    let account = Account::of(&server.extension("1001"), server.sip());
    let caller = Phone::registered("caller", CALLER_SPEAKS, &account);
    Setup { server, owner, caller }
}

impl Setup {
    fn path(&self, rest: &str) -> String {
        format!("/api/v1/voip/extensions/{}/voicemail{rest}", self.owner.id)
    }

    fn set(&self, body: &Value) {
        self.server.http(Some(&self.owner.key)).put(&self.path(""), body).expect(200);
    }

    fn listed(&self) -> Value {
        self.server.http(Some(&self.owner.key)).get(&self.path("")).expect(200)
    }

    fn messages(&self) -> Vec<Value> {
        self.listed()["messages"].as_array().cloned().unwrap_or_default()
    }

    fn status(&self) -> String {
        let messages = self.messages();
        messages
            .iter()
            .map(|m| m["status"].as_str().unwrap_or_default().to_owned())
            .collect::<Vec<_>>()
            .join(" ")
    }

    /// The caller has heard the greeting and has sent audio for some seconds.
    fn speak(&mut self) {
        self.caller.dial("sip:1002@localhost");
        let folder = self.server.data().join("voicemail").join(&self.owner.id);
        until(Duration::from_secs(40), "some seconds of a message lie in a file", || {
            let files = std::fs::read_dir(&folder).ok()?;
            let bytes: u64 = files.filter_map(|file| Some(file.ok()?.metadata().ok()?.len())).sum();
            (bytes > 8_000).then_some(())
        });
    }

    /// Leave a message.
    fn leave(&mut self) {
        self.speak();
        self.caller.hang_up();
        soon("the message is listed", || (self.listed()["unread"] == 1).then_some(()));
    }

    /// The audio of the only message over REST.
    fn audio(&self, query: &str) -> Vec<u8> {
        let id = self.messages()[0]["id"].as_str().expect("an id").to_owned();
        let http = self.server.http(Some(&self.owner.key));
        let answer =
            http.send("GET", &self.path(&format!("/{id}/audio{query}")), "*/*", None).expect("an answer");
        assert_eq!(answer.status, 200, "{}", answer.head);
        answer.bytes
    }
}

/// Whether the tone is in the middle of a WAV file.
fn holds_tone(wav: &[u8], hz: u32) {
    let scratch = Scratch::new("wav");
    let samples = tone::recorded(&scratch.write("message.wav", wav));
    let middle = samples.len() / 2;
    let sound = tone::measure(&samples[middle.saturating_sub(4_000)..middle]);
    assert!(samples.len() > 8_000 && sound.is_tone(hz), "{} samples, {sound:?}", samples.len());
}

#[test]
fn a_message_is_left_heard_over_rest_and_by_phone_saved_and_deleted() {
    let mut setup = setup(Settings::default());
    setup.set(&json!({"pin": PIN, "language": "en"}));
    let mut mwi = Raw::new(&setup.server, &setup.owner);
    let to = "<sip:1002@localhost>";
    let contact =
        format!("Contact: <sip:{}@{}>\r\nEvent: message-summary\r\nExpires: 600\r\n", mwi.user, mwi.local());
    assert_eq!(mwi.ask("SUBSCRIBE", "sip:1002@localhost", to, &contact, "").status(), Some(200));
    let lit = |count: &str| {
        until(Duration::from_secs(10), &format!("MWI shows {count}"), || {
            let notify = mwi.expect_request("NOTIFY");
            mwi.answer(&notify, 200, "", "");
            notify.text.contains(&format!("Voice-Message: {count} (0/0)")).then_some(())
        });
    };
    lit("0/0");

    setup.leave();
    lit("1/0"); // RFC 3842
    let message = setup.messages().remove(0);
    assert_eq!((message["fromNumber"].as_str(), message["status"].as_str()), (Some("1001"), Some("new")));
    holds_tone(&setup.audio("?format=wav"), CALLER_SPEAKS); // S72
    assert_eq!(&setup.audio("?format=ogg")[..4], b"OggS");

    let account = Account::of(&setup.owner, setup.server.sip());
    let mut phone = Phone::registered("owner", OWNER_SPEAKS, &account);
    phone.dial("sip:*97@localhost");
    phone.expect("CALL_ESTABLISHED");
    phone.press("4711#");
    phone.press("1");
    phone.hears(CALLER_SPEAKS);
    phone.press("9");
    soon("it is kept", || (setup.status() == "saved").then_some(()));
    lit("0/1");
    phone.press("1");
    phone.hears(CALLER_SPEAKS);
    phone.press("7");
    soon("it is deleted", || setup.messages().is_empty().then_some(()));
    lit("0/0");
    phone.hang_up();
}

#[test]
fn an_uploaded_greeting_is_what_callers_hear() {
    let mut setup = setup(Settings::default());
    let http = setup.server.http(Some(&setup.owner.key));
    let greeting = setup.path("/greeting");
    let sent = http.upload(&greeting, "audio/wav", &tone::wav(&tone::sine(1_000, 10))).expect(200);
    assert!(sent["mailbox"]["greetingAt"].is_string(), "{sent:#}");
    holds_tone(&http.get(&setup.path("/greeting/audio")).bytes, 1_000);
    setup.caller.dial("sip:1002@localhost");
    setup.caller.hears(1_000);
    setup.caller.hang_up();
    assert_eq!(http.upload(&greeting, "audio/wav", b"RIFF nothing").status, 400);
}

/// A caller with hand-made packets: G.711 in real time, without telephone-event.
struct Speaker {
    socket: UdpSocket,
    to: SocketAddr,
    began: Instant,
    packets: u32,
    audio: VecDeque<f64>,
}

impl Speaker {
    fn new(socket: UdpSocket, to: SocketAddr) -> Speaker {
        socket.set_nonblocking(true).expect("a socket that does not wait");
        Speaker { socket, to, began: Instant::now(), packets: 0, audio: VecDeque::new() }
    }

    /// Send the packets that are due: the given audio, followed by silence.
    fn speak(&mut self) {
        while u128::from(self.packets) < self.began.elapsed().as_millis() / 20 {
            let mut packet = vec![0x80, 0];
            packet.extend((self.packets as u16).to_be_bytes());
            packet.extend((self.packets * 160).to_be_bytes());
            packet.extend(77_u32.to_be_bytes());
            packet.extend((0..160).map(|_| mu(self.audio.pop_front().unwrap_or_default())));
            let _ = self.socket.send_to(&packet, self.to);
            self.packets += 1;
        }
    }

    /// Whether audio that is not silence was received.
    fn hears(&self) -> bool {
        let mut packet = [0; 1_500];
        let loud = |byte: &u8| !(0x60..0x80).contains(byte) && *byte < 0xe0;
        std::iter::from_fn(|| self.socket.recv(&mut packet).ok().map(|n| packet[12..n].iter().any(loud)))
            .any(|heard| heard)
    }

    /// The DTMF tones of `#` (ITU-T Q.23).
    fn press_hash(&mut self, millis: u32) {
        let sine = |hz: f64, n: u32| 5_000.0 * (TAU * hz * f64::from(n) / 8_000.0).sin();
        self.audio.extend((0..millis * 8).map(|n| sine(941.0, n) + sine(1_477.0, n)));
    }

    /// Speech-like audio: syllables with a gliding pitch and the overtones of a vowel.
    fn talk(&mut self, millis: u32) {
        let mut phase = 0.0;
        for n in 0..millis * 8 {
            let (time, within) = (f64::from(n) / 8_000.0, f64::from(n % 2_080) / 1_600.0);
            phase += TAU * (140.0 + 40.0 * (TAU * 0.9 * time).sin()) / 8_000.0;
            let overtone = |k: u32| {
                let hz = 140.0 * f64::from(k);
                let near = |formant: f64| 1.0 / (1.0 + ((hz - formant) / 120.0).powi(2));
                (near(700.0) + 0.7 * near(1_220.0) + 0.3 * near(2_600.0)) * (phase * f64::from(k)).sin()
            };
            let loud = if within < 1.0 { (within * TAU / 2.0).sin() } else { 0.0 };
            self.audio.push_back(4_000.0 * loud * (1..24).map(overtone).sum::<f64>());
        }
    }
}

/// G.711 µ-law.
fn mu(sample: f64) -> u8 {
    let sample = sample.clamp(-32_635.0, 32_635.0) as i32;
    let magnitude = sample.abs() + 0x84;
    let segment = 31 - magnitude.leading_zeros() as i32 - 7;
    !(if sample < 0 { 0x80 } else { 0 } | (segment << 4) as u8 | (magnitude >> (segment + 3)) as u8 & 0x0f)
}

#[test]
fn in_band_hash_stops_the_greeting_and_ends_a_message_but_speech_does_not() {
    let server = Server::start();
    let owner = server.extension("1002");
    server.with_voicemail(&owner);
    let mut phone = Raw::new(&server, &server.extension("1001"));
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    phone.media = socket.local_addr().expect("an address");
    let body = phone.sdp();
    let dialling = phone.invite("1002", "", &body);
    phone.send(dialling.text.as_bytes());
    let ok = phone.expect_final("INVITE");
    let side = phone.send_ack(&dialling, &ok);
    let mut speaker = Speaker::new(socket, rtp_address(&side.sdp));
    until(Duration::from_secs(20), "the greeting is heard", || {
        speaker.speak();
        speaker.hears().then_some(())
    });
    speaker.press_hash(200); // otherwise it would take longer than the test waits
    let folder = server.data().join("voicemail").join(&owner.id);
    let limit = Duration::from_secs(6);
    until(limit, "a message begins", || {
        speaker.speak();
        folder.read_dir().is_ok_and(|mut files| files.next().is_some()).then_some(())
    });
    speaker.talk(4_000);
    until(limit, "all is said", || {
        speaker.speak();
        speaker.audio.is_empty().then_some(())
    });
    let ended = |message: e2e::wire::Message| message.method() == Some("BYE");
    assert!(!phone.drain().into_iter().any(ended), "a voice is no key");
    speaker.press_hash(150);
    let bye = until(limit, "the message is over", || {
        speaker.speak();
        phone.drain().into_iter().find(|message| message.method() == Some("BYE"))
    });
    phone.answer(&bye, 200, "", "");
    let list = soon("the message is listed", || {
        let path = format!("/api/v1/voip/extensions/{}/voicemail", owner.id);
        let list = server.http(Some(&owner.key)).get(&path).expect(200);
        (list["unread"] == 1).then_some(list)
    });
    // Silence detection would have ended it five seconds later.
    let seconds = list["messages"][0]["durationSeconds"].as_f64().unwrap_or_default();
    assert!((3.5..6.5).contains(&seconds), "{list:#}");
}

#[test]
fn a_message_interrupted_by_a_kill_is_kept() {
    let mut setup = setup(Settings::default());
    setup.speak();
    assert!(setup.messages().is_empty(), "it is not complete");
    setup.server.restart();
    soon("the message is listed", || (setup.listed()["unread"] == 1).then_some(()));
    let message = setup.messages().remove(0);
    assert_eq!(message["fromNumber"], "1001");
    assert!(message["durationSeconds"].as_f64() > Some(1.0), "{message:#}");
    holds_tone(&setup.audio(""), CALLER_SPEAKS);
}

#[test]
fn a_mail_with_the_audio_arrives_although_the_mail_server_was_busy() {
    let smtp = Smtp::start(1);
    let mut setup = setup(smtp.settings());
    setup.set(&json!({"email": "ana@example.com", "language": "en"}));
    setup.leave();
    let mail = smtp.mail(1);
    for part in
        ["From: pbx@example.com", "To: ana@example.com", "Subject: Voice message from 1001", "audio/wav"]
    {
        assert!(
            mail.contains(part),
            "{part} is missing in\n{}",
            mail.chars().take(2_000).collect::<String>()
        );
    }
    assert!(mail.len() > 30_000, "some seconds of audio: {}", mail.len());
    let log = soon("the delivery is logged", || {
        let log = setup.server.http(Some(&setup.owner.key)).get(&setup.path("/deliveries")).expect(200);
        (log["deliveries"][0]["status"] == "sent").then_some(log)
    });
    assert_eq!(log["deliveries"][0]["attempts"], 2, "{log:#}");

    let run = |to: &str| setup.server.command(&["mail", "test", to]);
    let good = run("berta@example.com");
    assert!(good.status.success(), "{}", String::from_utf8_lossy(&good.stderr));
    assert!(smtp.mail(2).contains("To: berta@example.com"));
    let bad = run("refused@example.com");
    let said = String::from_utf8_lossy(&bad.stderr).into_owned();
    assert!(bad.status.code() == Some(1) && said.contains("no such mailbox"), "{said}");
}
