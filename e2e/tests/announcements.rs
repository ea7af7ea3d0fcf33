//! Recurring calls with an announcement, with real phones: the callee hears it, and without an answer it goes to the mailbox (S86).

use std::time::Duration;

use e2e::raw::Raw;
use e2e::recurring::{ended_run, now, plan_with};
use e2e::tone::{self, RATE};
use e2e::{Account, Extension, Phone, Scratch, Server, soon, until};
use serde_json::{Value, json};

/// Frequency in Hz of the sound in these tests: no phone here sends it.
const SOUND: u32 = 1_300;
const PHONE: u32 = 440;

/// Upload a sound of the extension: seconds of a tone.
fn sound(server: &Server, extension: &Extension, seconds: u32) -> String {
    let path = format!("/api/v1/voip/extensions/{}/sounds?name=Tone", extension.id);
    let wav = tone::wav(&tone::sine(SOUND, seconds));
    let sent = server.http(Some(&extension.key)).upload_by("POST", &path, "audio/wav", &wav).expect(200);
    assert_eq!(sent["sound"]["milliseconds"], seconds * 1_000, "{sent}");
    sent["sound"]["id"].as_str().expect("an id").to_owned()
}

/// Due in a few seconds.
fn soon_due() -> u64 {
    now() / 1_000_000 + 3
}

/// The call of a run, once it has ended.
fn call_of(server: &Server, extension: &Extension, run: &Value) -> Value {
    let path = format!("/api/v1/opensips/call/{}", run["sessionId"].as_str().expect("its call"));
    until(Duration::from_secs(15), "the call is over", || {
        let answer = server.http(Some(&extension.key)).get(&path).expect(200);
        (answer["session"]["status"] == "completed").then(|| answer["session"].clone())
    })
}

#[test]
fn the_callee_hears_the_sound_and_the_call_ends() {
    let server = Server::start();
    let (alice, bob) = (server.extension("1001"), server.extension("1002"));
    let phone = Phone::registered("bob", PHONE, &Account::of(&bob, server.sip()));
    let audio = sound(&server, &alice, 4);
    let id = plan_with(&server, &alice, "1002", soon_due(), json!({"action": "play", "audioId": audio}));
    phone.expect("CALL_ESTABLISHED");
    phone.hears(SOUND); // S86
    phone.expect("CALL_CLOSED");
    let run = ended_run(&server, &alice, &id);
    assert_eq!((&run["state"], &run["attempts"]), (&json!("done"), &json!(1)), "{run}");
    let call = call_of(&server, &alice, &run);
    assert_eq!((&call["fromNumber"], &call["toNumber"]), (&json!("1001"), &json!("1002")), "{call}");

    // A built-in prompt is speech: audible, and not a tone.
    let said = json!({"action": "play", "promptId": "greeting"});
    let mut ear = phone.audio_probe();
    let id = plan_with(&server, &alice, "1002", soon_due(), said);
    until(Duration::from_secs(20), "speech is heard", || {
        let heard = ear.listen(RATE as usize / 2, Duration::from_secs(1));
        (heard.samples > 0 && heard.dbfs > -35.0 && heard.purity < 0.5).then_some(())
    });
    phone.expect("CALL_CLOSED");
    assert_eq!(ended_run(&server, &alice, &id)["state"], "done");
    let shown = server.command(&["schedule", "show", &id]);
    assert!(String::from_utf8_lossy(&shown.stdout).contains("greeting"), "{shown:?}");
    let changed =
        server.command(&["schedule", "say", &id, "--action", "message", "--sound", &audio, "-o", "json"]);
    let changed: Value = serde_json::from_slice(&changed.stdout).unwrap_or_else(|_| panic!("{changed:?}"));
    assert_eq!((&changed["action"], &changed["audioId"]), (&json!("message"), &json!(audio)), "{changed}");
    let sounds = server.command(&["schedule", "sounds", &alice.id]);
    assert!(String::from_utf8_lossy(&sounds.stdout).contains(&audio), "{sounds:?}");
}

#[test]
fn without_an_answer_the_mailbox_gets_the_sound_as_a_message() {
    let server = Server::start();
    let (alice, bob) = (server.extension("1001"), server.extension("1002"));
    server.with_voicemail(&bob);
    let mut busy = Raw::new(&server, &bob);
    busy.register();
    let audio = sound(&server, &alice, 3);
    let id = plan_with(&server, &alice, "1002", soon_due(), json!({"action": "message", "audioId": audio}));
    let invite = busy.expect_request("INVITE");
    busy.answer(&invite, 486, "", "");
    let run = ended_run(&server, &alice, &id);
    assert_eq!((&run["state"], &run["attempts"]), (&json!("done"), &json!(1)), "{run}"); // S86
    let (path, http) = (format!("/api/v1/voip/extensions/{}/voicemail", bob.id), server.http(Some(&bob.key)));
    let listed = soon("the message is listed", || {
        let listed = http.get(&path).expect(200);
        (listed["unread"] == 1).then_some(listed)
    });
    assert_eq!(listed["total"], 1, "{listed}");
    let message = &listed["messages"][0];
    assert_eq!((&message["fromNumber"], &message["status"]), (&json!("1001"), &json!("new")), "{listed}");
    let audio = format!("{path}/{}/audio?format=wav", message["id"].as_str().expect("an id"));
    let scratch = Scratch::new("wav");
    let samples = tone::recorded(&scratch.write("message.wav", http.get(&audio).bytes));
    let heard = tone::measure(&samples[RATE as usize..2 * RATE as usize]);
    assert!(
        samples.len() == 3 * RATE as usize && heard.is_tone(SOUND),
        "{} samples, {heard:?}",
        samples.len()
    );
    assert_eq!(call_of(&server, &alice, &run)["toNumber"], "1002");
    // The process is killed; the message survives.
    let mut server = server;
    server.restart();
    assert_eq!(server.http(Some(&bob.key)).get(&path).expect(200)["total"], 1);
}

#[test]
fn a_sound_in_use_cannot_be_deleted_and_a_busy_phone_hears_nothing() {
    let server = Server::start();
    let (alice, bob) = (server.extension("1001"), server.extension("1002"));
    let mut phone = Raw::new(&server, &bob);
    phone.register();
    let audio = sound(&server, &alice, 1);
    let id = plan_with(&server, &alice, "1002", soon_due(), json!({"action": "play", "audioId": audio}));
    let http = server.http(Some(&alice.key));
    assert_eq!(http.delete(&format!("/api/v1/voip/sounds/{audio}")).status, 409);
    let other =
        plan_with(&server, &alice, "1002", soon_due(), json!({"action": "play", "promptId": "goodbye"}));
    let path = format!("/api/v1/voip/recurring-calls/{id}");
    http.put(&path, &json!({"action": "connect"})).expect(200);
    http.delete(&format!("/api/v1/voip/sounds/{audio}")).expect(200);
    assert_eq!(http.put(&path, &json!({"action": "play", "audioId": audio})).status, 400);
    let invite = phone.expect_request("INVITE");
    phone.answer(&invite, 486, "", "");
    let run = ended_run(&server, &alice, &other);
    assert_eq!((&run["state"], &run["endReason"]), (&json!("failed"), &json!("busy")), "{run}");
}
