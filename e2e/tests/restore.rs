//! Restore of a backup: only while no server runs, only a complete backup, and the previous data is kept.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use e2e::raw::Raw;
use e2e::{Extension, Server, Settings};

/// A server on SQLite, whatever database the other tests use.
fn server() -> Server {
    Server::with(Settings { store: Some("sqlite:centralita.db".into()), ..Settings::default() })
}

fn backup(server: &Server) -> PathBuf {
    let copy = server.data().join("../copy.db");
    let made = server.command(&["backup", copy.to_str().expect("a path")]);
    assert!(made.status.success(), "{made:?}");
    copy
}

fn restore(server: &Server, copy: &Path) -> Output {
    server.command(&["store", "restore", copy.to_str().expect("a path")])
}

#[track_caller]
fn refused(output: &Output, because: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && said.contains(because), "{output:?}");
}

/// The files of the data directory whose names begin with the database's name.
fn files(server: &Server) -> Vec<String> {
    let entries = std::fs::read_dir(server.data()).expect("the data directory").flatten();
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.starts_with("centralita.db"))
        .collect();
    names.sort();
    names
}

fn can_register(server: &Server, extension: &Extension) -> bool {
    let mut phone = Raw::new(server, extension);
    let to = format!("<sip:{}@localhost>", extension.username);
    let contact = format!("Contact: <sip:{}@{}>\r\nExpires: 600\r\n", extension.username, phone.local());
    phone.register_with(&to, &contact).status() == Some(200)
}

#[test]
fn a_backup_is_restored_after_a_crash_and_the_previous_data_can_be_restored_too() {
    let mut server = server();
    let before = server.extension("1001");
    let copy = backup(&server);
    let after = server.extension("1002");
    server.kill();
    assert!(
        files(&server).contains(&"centralita.db-wal".to_owned()),
        "the newest changes are in the log only"
    );
    let done = restore(&server, &copy);
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(done.status.success() && said.contains("1 extensions, 0 calls"), "{done:?}");
    server.restart();
    assert!(can_register(&server, &before) && !can_register(&server, &after));
    server.stop();

    let kept = files(&server).into_iter().find(|name| name.contains(".replaced-") && !name.ends_with("-shm"));
    let kept = server.data().join(kept.expect("the database that was there"));
    let back = restore(&server, &kept);
    assert!(back.status.success(), "{back:?}");
    server.restart();
    assert!(can_register(&server, &before) && can_register(&server, &after), "nothing of the log was lost");
}

#[test]
fn a_harmful_restore_is_rejected_and_changes_nothing() {
    let mut server = server();
    let alice = server.extension("1001");
    let copy = backup(&server);
    refused(&restore(&server, &copy), "in use by process");
    server.stop();
    let database = server.data().join("centralita.db");
    let (bytes, before) = (std::fs::read(&database).expect("the database"), files(&server));
    refused(&restore(&server, &database), "is the database itself");
    refused(&restore(&server, Path::new("nowhere.db")), "nowhere.db");
    let broken = server.data().join("../broken.db");
    std::fs::write(&broken, &bytes[..bytes.len() / 2]).expect("a broken copy");
    refused(&restore(&server, &broken), "damaged");
    let log = server.data().join("../copy.db-wal");
    std::fs::write(&log, "x").expect("a log beside the copy");
    refused(&restore(&server, &copy), "not a finished copy");
    assert_eq!((std::fs::read(&database).expect("the database"), files(&server)), (bytes, before));
    server.restart();
    assert!(can_register(&server, &alice));
}

#[test]
fn a_backup_is_restored_on_an_empty_machine() {
    let mut old = server();
    let alice = old.extension("1001");
    let copy = backup(&old);
    let mut new = server();
    new.stop();
    std::fs::remove_dir_all(new.data()).expect("an empty machine");
    std::fs::create_dir(new.data()).expect("a data directory");
    // If we are root, the data belongs to another user, as a service's does.
    let _ = Command::new("chown").arg("65534:65534").arg(new.data()).stderr(Stdio::null()).status();
    let done = restore(&new, &copy);
    assert!(done.status.success() && !String::from_utf8_lossy(&done.stdout).contains("is kept"), "{done:?}");
    assert_eq!(files(&new), ["centralita.db"]);
    let [folder, file] =
        [new.data(), new.data().join("centralita.db")].map(|path| path.metadata().expect("it is there"));
    assert_eq!((file.uid(), file.gid(), file.mode() & 0o777), (folder.uid(), folder.gid(), 0o600));
    new.restart();
    assert!(can_register(&new, &alice));
    old.stop();
}
