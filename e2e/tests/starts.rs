//! Starts on data that is wrong, foreign, older or incomplete: no data is lost, no unknown file is deleted, and a failed start can be repeated.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, SystemTime};

use e2e::{Http, Scratch, Server, Settings, soon, text, tone, until};
use serde_json::{Value, json};

const DAY: Duration = Duration::from_hours(24);

/// A server on SQLite, whatever database other tests use, because its file is replaced here.
fn on_sqlite() -> Server {
    Server::with(Settings { store: Some("sqlite:centralita.db".into()), ..Settings::default() })
}

/// Run `serve` where it must end by itself.
fn refused(server: &Server, environment: &[(&str, &str)]) -> String {
    let mut command = Command::new(server.binary());
    command.arg("serve").arg("--config").arg(server.config()).arg("--data").arg(server.data());
    said(command.envs(environment.iter().copied()))
}

/// Error output of a command.
fn said(command: &mut Command) -> String {
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it runs");
    let mut stderr = child.stderr.take().expect("a pipe");
    let begun = std::time::Instant::now();
    let status = loop {
        match child.try_wait().expect("it is ours") {
            Some(status) => break status,
            None if begun.elapsed() > Duration::from_secs(20) => {
                let _ = child.kill();
                let _ = child.wait();
                panic!("it started");
            }
            None => std::thread::sleep(Duration::from_millis(20)),
        }
    };
    let mut text = String::new();
    stderr.read_to_string(&mut text).expect("text");
    assert!(!status.success(), "{text}");
    text
}

/// An audio file older than any that may still be in progress.
fn old_file(path: &Path) {
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    std::fs::write(path, "some audio").expect("a file");
    let file = File::options().write(true).open(path).expect("the file");
    file.set_modified(SystemTime::now() - 2 * DAY).expect("its age");
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder") {
        let path = entry.expect("a file").path();
        let target = to.join(path.file_name().expect("a name"));
        if path.is_file() {
            std::fs::copy(&path, target).expect("a copy");
        }
    }
}

#[test]
fn a_foreign_database_is_rejected_with_a_message_and_not_changed() {
    let mut server = on_sqlite();
    let extension = server.extension("1001");
    let key = server.admin_key();
    server.stop();
    let message = server.data().join(format!("voicemail/{}/msg_1_a.ogg", extension.id));
    old_file(&message);
    // A misspelt name: a new, empty one.
    let said = refused(&server, &[("CENTRALITA__STORE__URL", "sqlite:centralito.db")]);
    assert!(said.contains("is empty") && said.contains("set store.url right"), "{said}");
    // The database of another installation.
    let mut other = on_sqlite();
    other.stop();
    let url = format!("sqlite:{}", other.data().join("centralita.db").display());
    let said = refused(&server, &[("CENTRALITA__STORE__URL", &url)]);
    assert!(said.contains("belongs to inst_") && said.contains("set store.url right"), "{said}");
    // A file that is not a database, and an empty one.
    let photo = server.data().join("photo.db");
    std::fs::write(&photo, vec![7; 5000]).expect("a file");
    let said = refused(&server, &[("CENTRALITA__STORE__URL", "sqlite:photo.db")]);
    assert!(said.contains("is not a SQLite database"), "{said}");
    let said = refused(&server, &[("CENTRALITA__STORE__URL", "sqlite:voicemail")]);
    assert!(said.contains("Is a directory"), "{said}");
    assert!(message.is_file(), "audio was deleted");
    assert_eq!(server.admin_key(), key, "admin.key was written");
    // The command line does not write to it either.
    let mut command = Command::new(server.binary());
    command.args(["key", "create", "--config"]).arg(server.config()).arg("--data").arg(server.data());
    let said = self::said(command.env("CENTRALITA__STORE__URL", &url));
    assert!(said.contains("belongs to inst_"), "{said}");
    server.restart();
    server.admin().get(&format!("/api/v1/voip/extensions/{}", extension.id)).expect(200);
}

#[test]
fn unknown_audio_files_are_moved_aside_and_reported() {
    let mut server = Server::start();
    let extension = server.extension("1001");
    server.stop();
    let strange = format!("voicemail/{}/msg_1_a.ogg", extension.id);
    old_file(&server.data().join(&strange));
    server.restart();
    let aside = server.data().join("unclaimed").join(&strange);
    soon("it is moved aside", || aside.is_file().then_some(()));
    assert!(!server.data().join(&strange).exists());
    let event = soon("the event", || {
        let events = server.admin().get("/api/v1/events?type=voicemail_unclaimed").expect(200);
        events["events"].as_array().and_then(|events| events.first().cloned())
    });
    assert_eq!(event["data"]["moved"], 1, "{event}");
    assert!(server.log().contains("unknown to this database"), "{}", server.log());
}

#[test]
fn audio_is_deleted_with_its_extension() {
    let server = Server::start();
    let extension = server.extension("1001");
    server.with_voicemail(&extension);
    let http = server.http(Some(&extension.key));
    let greeting = format!("/api/v1/voip/extensions/{}/voicemail/greeting", extension.id);
    http.upload(&greeting, "audio/wav", &tone::wav(&tone::sine(1_000, 10))).expect(200);
    let folder = server.data().join("voicemail").join(&extension.id);
    assert!(folder.join("greeting.ogg").is_file());
    old_file(&folder.join("msg_1_a.ogg"));
    http.delete(&format!("/api/v1/voip/extensions/{}", extension.id)).expect(200);
    until(Duration::from_secs(60), "its audio is gone", || (!folder.exists()).then_some(()));
}

/// Whether the key in `admin.key` is accepted by a server on this data directory.
fn starts_and_the_key_works(binary: &Path, data: &Path, config: &Path, http: std::net::SocketAddr) {
    let mut child = serve(binary, data, config);
    let ready =
        || Http::new(http, None).send("GET", "/readyz", "*/*", None).is_ok_and(|answer| answer.status == 200);
    let begun = std::time::Instant::now();
    while !ready() {
        assert!(matches!(child.try_wait(), Ok(None)), "the server ended");
        assert!(begun.elapsed() < Duration::from_secs(20), "never ready");
        std::thread::sleep(Duration::from_millis(20));
    }
    let key = std::fs::read_to_string(data.join("admin.key")).expect("a key");
    let keys = Http::new(http, Some(key.trim())).get("/api/v1/keys");
    let _ = child.kill();
    let _ = child.wait();
    let keys = keys.expect(200);
    assert_eq!(keys["keys"].as_array().map(Vec::len), Some(1), "{keys}");
}

fn serve(binary: &Path, data: &Path, config: &Path) -> std::process::Child {
    let mut command = Command::new(binary);
    command.arg("serve").arg("--config").arg(config).arg("--data").arg(data);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it runs")
}

#[test]
fn a_first_start_that_fails_or_is_killed_can_be_repeated() {
    // Its ports and configuration are used for all of them.
    let mut server = on_sqlite();
    let (binary, config, http) = (server.binary(), server.config(), server.http_address());
    server.stop();
    let scratch = Scratch::new("starts");
    // A directory is where a file must be written: each write of the first start fails once.
    let files =
        ["epoch.new", "seal.new", "installation.new", "admin.new", "admin.key", "centralita.db", "journal"];
    for (n, blocked) in files.iter().enumerate() {
        let data = scratch.path().join(format!("blocked-{n}"));
        let obstacle = data.join(blocked);
        std::fs::create_dir_all(&data).expect("a folder");
        if *blocked == "journal" {
            std::fs::write(&obstacle, "").expect("a file");
        } else {
            std::fs::create_dir(&obstacle).expect("a folder");
        }
        let mut command = Command::new(binary);
        command.arg("serve").arg("--config").arg(&config).arg("--data").arg(&data);
        let said = said(&mut command);
        let name = blocked.trim_end_matches(".new");
        assert!(said.contains(name), "{blocked}: {said}");
        let removed = if *blocked == "journal" {
            std::fs::remove_file(&obstacle)
        } else {
            std::fs::remove_dir(&obstacle)
        };
        removed.expect("the obstacle");
        starts_and_the_key_works(binary, &data, &config, http);
    }
    // Killed after so many milliseconds, until a start succeeds.
    let data = scratch.path().join("killed");
    for n in 0..12_u64 {
        let mut child = serve(binary, &data, &config);
        std::thread::sleep(Duration::from_millis(8 * n));
        let _ = child.kill();
        let _ = child.wait();
    }
    starts_and_the_key_works(binary, &data, &config, http);
    // Killed between the file and the row; and the content of the file is not a key of ours.
    for (name, held) in [
        ("between", std::fs::read_to_string(data.join("admin.key")).expect("a key")),
        ("strange", "hello\n".into()),
    ] {
        let data = scratch.path().join(name);
        std::fs::create_dir_all(&data).expect("a folder");
        std::fs::write(data.join("admin.key"), &held).expect("a file");
        if name == "between" {
            starts_and_the_key_works(binary, &data, &config, http);
        } else {
            let mut command = Command::new(binary);
            command.arg("serve").arg("--config").arg(&config).arg("--data").arg(&data);
            let said = said(&mut command);
            assert!(said.contains("admin.key holds no API key"), "{said}");
        }
        assert_eq!(std::fs::read_to_string(data.join("admin.key")).expect("a key"), held);
    }
}

/// Run a command whose output fails as on a full disk.
fn into_a_full_disk(server: &Server, words: &[&str]) -> Output {
    let full = File::options().write(true).open("/dev/full").expect("/dev/full");
    let mut command = Command::new(server.binary());
    command.args(words).arg("--config").arg(server.config()).arg("--data").arg(server.data());
    command.stdout(full).stderr(Stdio::piped()).output().expect("it runs")
}

#[test]
fn a_secret_that_could_not_be_printed_is_removed() {
    let mut server = Server::start();
    let active = |server: &Server| {
        let keys = server.admin().get("/api/v1/keys").expect(200);
        let keys = keys["keys"].as_array().cloned().unwrap_or_default();
        keys.iter().filter(|key| key["active"] == true).count()
    };
    assert_eq!(active(&server), 1);
    for words in [&["key", "create"][..], &["key", "create", "-o", "json"]] {
        let done = into_a_full_disk(&server, words);
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(
            !done.status.success() && said.contains("could not be shown") && said.contains("revoked again"),
            "{said}"
        );
        assert_eq!(active(&server), 1);
    }
    let done = into_a_full_disk(&server, &["extension", "add", "1001"]);
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(!done.status.success() && said.contains("could not be shown"), "{said}");
    let extensions = server.admin().get("/api/v1/voip/extensions").expect(200);
    assert_eq!(extensions["extensions"], json!([]));
    // Without a running server.
    server.stop();
    let done = into_a_full_disk(&server, &["key", "create"]);
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(!done.status.success() && said.contains("revoked again"), "{said}");
    server.restart();
    assert_eq!(active(&server), 1);
}

#[test]
fn a_wrong_seal_key_is_reported_at_the_start() {
    let mut server = Server::start();
    let trunk = json!({
        "name": "Madrid carrier", "hosts": [{"host": "127.0.0.1", "port": 5999}], "username": "u", "password": "carriers-secret-1",
    });
    server.admin().post("/api/v1/trunks", &trunk).expect(200);
    server.stop();
    let path = server.data().join("seal.key");
    std::fs::write(&path, format!("{}\n", "ab".repeat(32))).expect("another key");
    server.restart();
    let log = server.log();
    assert!(log.contains("seal.key is not the one") && log.contains("Madrid carrier"), "{log}");
    assert!(!log.contains("carriers-secret-1"), "{log}");
}

/// Id of the newest event.
fn newest(server: &Server) -> i64 {
    let page = server.admin().get("/api/v1/events?limit=1").expect(200);
    page["events"][0]["id"]
        .as_i64()
        .or_else(|| page["events"][0]["id"].as_str()?.parse().ok())
        .expect("an id")
}

/// The first event of a stream that resumes after `last`, or the error.
fn resumed(server: &Server, last: i64) -> String {
    let mut stream = TcpStream::connect(server.http_address()).expect("the server");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a limit");
    let key = server.admin_key();
    write!(
        stream,
        "GET /api/v1/events/stream HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\nLast-Event-ID: {last}\r\n\r\n"
    )
    .expect("a request");
    let (mut read, mut buffer) = (String::new(), [0; 4096]);
    while !read.contains("data:") && !read.contains("\"code\"") {
        let count =
            stream.read(&mut buffer).unwrap_or_else(|error| panic!("nothing comes ({error}): {read}"));
        assert!(count > 0, "it was closed: {read}");
        read.push_str(&String::from_utf8_lossy(&buffer[..count]));
    }
    read
}

#[test]
fn event_subscribers_miss_no_event_after_a_restore() {
    let mut server = on_sqlite();
    server.key_for("before");
    server.stop();
    let backup = Scratch::new("backup");
    copy(&server.data(), backup.path());
    server.restart();
    for n in 0..5 {
        server.key_for(&format!("lost_{n}"));
    }
    let last = newest(&server);
    server.stop();
    // All of the data directory is from the backup, whatever the client remembers.
    for old in std::fs::read_dir(server.data()).expect("the data").flatten() {
        if old.path().is_file() {
            std::fs::remove_file(old.path()).expect("an old file");
        }
    }
    copy(backup.path(), &server.data());
    server.restart();
    let unknown = resumed(&server, last);
    assert!(unknown.starts_with("HTTP/1.1 409") && unknown.contains("event_id_unknown"), "{unknown}");
    server.key_for("after");
    let event = resumed(&server, last);
    assert!(event.contains("after"), "{event}");
    let page = server.admin().get(&format!("/api/v1/events?order=asc&cursor={last}")).expect(200);
    let kinds: Vec<String> =
        page["events"].as_array().into_iter().flatten().map(|event: &Value| text(&event["type"])).collect();
    assert!(kinds.contains(&"api_key_created".to_owned()), "{page}");
}
