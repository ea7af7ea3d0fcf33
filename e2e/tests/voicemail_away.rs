//! Voicemail during a database outage: callers hear the greeting as usual, and their messages are there afterwards, even if the process is killed
//! meanwhile (D4).

use std::time::{Duration, Instant};

use e2e::{Account, Extension, Phone, Postgres, Scratch, Server, soon, tone, until};

const CALLER_SPEAKS: u32 = 440;
const GREETING: u32 = 1_000;

fn path(owner: &Extension, rest: &str) -> String {
    format!("/api/v1/voip/extensions/{}/voicemail{rest}", owner.id)
}

/// Lengths in seconds of the messages in the user's directory.
fn speaks(server: &Server, owner: &Extension, files: usize) {
    let folder = server.data().join("voicemail").join(&owner.id);
    until(Duration::from_secs(40), "some seconds of a message lie in a file", || {
        let messages = std::fs::read_dir(&folder).ok()?.filter_map(|file| {
            let file = file.ok()?;
            file.file_name().to_str()?.starts_with("vm_").then(|| file.metadata().ok())?
        });
        (messages.filter(|file| file.len() > 8_000).count() == files).then_some(())
    });
}

fn holds_tone(wav: &[u8], hz: u32) {
    let scratch = Scratch::new("wav");
    let samples = tone::recorded(&scratch.write("message.wav", wav));
    let middle = samples.len() / 2;
    let sound = tone::measure(&samples[middle.saturating_sub(4_000)..middle]);
    assert!(samples.len() > 8_000 && sound.is_tone(hz), "{} samples, {sound:?}", samples.len());
}

#[test]
fn a_message_left_during_a_database_outage_survives_a_crash() {
    let postgres = Postgres::start();
    let mut server = Server::start_on(&postgres.database());
    let owner = server.extension("1002");
    server.with_voicemail(&owner);
    let greeting = tone::wav(&tone::sine(GREETING, 3));
    server.http(Some(&owner.key)).upload(&path(&owner, "/greeting"), "audio/wav", &greeting).expect(200);
    let account = Account::of(&server.extension("1001"), server.sip());
    let mut caller = Phone::registered("caller", CALLER_SPEAKS, &account);

    postgres.stop();
    // Two messages in a row: the facts of the first one wait for the database, and the second caller hears the greeting nevertheless.
    for call in 1..=2 {
        let dialled = Instant::now();
        caller.dial("sip:1002@localhost");
        caller.hears(GREETING);
        let heard = dialled.elapsed();
        assert!(heard < Duration::from_secs(4), "call {call}: the greeting is heard after {heard:?}");
        speaks(&server, &owner, call);
        caller.hang_up();
        until(Duration::from_secs(20), "the call is over", || {
            (server.admin().get("/api/v1/opensips/status").expect(200)["activeCalls"] == 0).then_some(())
        });
    }
    server.kill();
    postgres.run();
    server.restart();

    let http = server.http(Some(&owner.key));
    let listed = || http.get(&path(&owner, "")).expect(200);
    soon("both messages are listed", || (listed()["unread"] == 2).then_some(()));
    let messages = listed()["messages"].as_array().cloned().unwrap_or_default();
    for message in &messages {
        assert_eq!((message["fromNumber"].as_str(), message["status"].as_str()), (Some("1001"), Some("new")));
        let id = message["id"].as_str().expect("an id");
        let audio = path(&owner, &format!("/{id}/audio?format=wav"));
        holds_tone(&http.send("GET", &audio, "*/*", None).expect("an answer").bytes, CALLER_SPEAKS);
    }
    // The journal repeats them after another crash: nothing is duplicated, and deleted messages stay deleted.
    let gone = messages[0]["id"].as_str().expect("an id");
    http.delete(&path(&owner, &format!("/{gone}"))).expect(200);
    server.restart();
    let left = listed()["messages"].as_array().cloned().unwrap_or_default();
    assert_eq!(left, messages[1..], "one was deleted");
}

#[test]
fn orphaned_audio_is_restored_to_its_mailbox() {
    let mut server = Server::start();
    let owner = server.extension("1002");
    server.with_voicemail(&owner);
    let account = Account::of(&server.extension("1001"), server.sip());
    let mut caller = Phone::registered("caller", CALLER_SPEAKS, &account);
    caller.dial("sip:1002@localhost");
    speaks(&server, &owner, 1);
    caller.hang_up();
    let listed = |server: &Server| server.http(Some(&owner.key)).get(&path(&owner, "")).expect(200);
    soon("the message is listed", || (listed(&server)["unread"] == 1).then_some(()));
    // An older database, as from a backup: it has the mailbox but not the message. Its audio exists twice, once for a mailbox that is gone.
    let id = listed(&server)["messages"][0]["id"].as_str().expect("an id").to_owned();
    server.stop();
    let folder = server.data().join("voicemail");
    let (mine, lost) = (folder.join(&owner.id), "vm_1700000000_lostlost.ogg");
    std::fs::rename(mine.join(format!("{id}.ogg")), mine.join(lost)).expect("the audio is renamed");
    std::fs::create_dir_all(folder.join("ext_gone")).expect("a folder");
    std::fs::copy(mine.join(lost), folder.join("ext_gone").join(lost)).expect("a copy");
    server.restart();
    let found = soon("it is in its box", || {
        let listed = listed(&server);
        let messages = listed["messages"].as_array()?.clone();
        messages.into_iter().find(|message| message["id"] == "vm_1700000000_lostlost")
    });
    assert_eq!((found["status"].as_str(), &found["fromNumber"]), (Some("new"), &serde_json::Value::Null));
    assert!(found["durationSeconds"].as_f64() > Some(1.0), "{found:#}");
    assert!(folder.join("ext_gone").join(lost).exists(), "audio of an unknown mailbox stays");
}
