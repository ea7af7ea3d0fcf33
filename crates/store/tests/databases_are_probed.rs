//! `doctor` probes a database before a server opens it, and changes nothing.

use centralita_store::{Found, Store, StoreError, probe};

struct Folder(std::path::PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("centralita-probe-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

#[tokio::test]
async fn a_probe_reports_the_database_and_creates_nothing() {
    let folder = Folder::new("lite");
    let url = "sqlite:c.db";
    assert_eq!(probe(url, &folder.0).await.unwrap(), Found::Missing);
    assert!(!folder.0.join("c.db").exists(), "looking makes nothing");
    std::fs::write(folder.0.join("c.db"), "").unwrap();
    assert_eq!(probe(url, &folder.0).await.unwrap(), Found::Empty);
    std::fs::remove_file(folder.0.join("c.db")).unwrap();
    let store = Store::open(url, &folder.0).await.unwrap();
    // Also while a server has it open.
    let Found::Ours { version, newest } = probe(url, &folder.0).await.unwrap() else { panic!("ours") };
    assert_eq!(version, newest);
    store.close().await;
    assert_eq!(probe(url, &folder.0).await.unwrap(), Found::Ours { version, newest });
}

#[tokio::test]
async fn a_file_that_is_no_database_is_an_error_with_its_path() {
    let folder = Folder::new("text");
    std::fs::write(folder.0.join("c.db"), "name;number\n").unwrap();
    let error = probe("sqlite:c.db", &folder.0).await.unwrap_err();
    assert!(matches!(error, StoreError::NoDatabase { .. }), "{error}");
    assert!(error.to_string().contains("c.db is not a SQLite database"), "{error}");
}

// N2
#[tokio::test]
async fn a_postgresql_database_is_probed_and_not_changed() {
    let folder = Folder::new("postgres");
    let url = crate::samples::Postgres::shared().database();
    assert_eq!(probe(&url, &folder.0).await.unwrap(), Found::Empty);
    assert_eq!(probe(&url, &folder.0).await.unwrap(), Found::Empty, "looking makes nothing");
    let store = Store::open(&url, &folder.0).await.unwrap();
    let Found::Ours { version, newest } = probe(&url, &folder.0).await.unwrap() else { panic!("ours") };
    assert_eq!(version, newest);
    store.close().await;
    let unreachable = "postgres://nobody@127.0.0.1:1/nothing";
    assert!(probe(unreachable, &folder.0).await.unwrap_err().is_unavailable(), "nobody listens there");
}
