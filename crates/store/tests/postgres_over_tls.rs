//! PostgreSQL over TLS: encrypted where the URL says so, and with a verified certificate where it asks for that too.

use crate::samples;

use std::path::Path;

use centralita_store::{Store, StoreError};
use model::Change;
use samples::*;

/// The database name in a URL.
fn name(url: &str) -> &str {
    url.split('?').next().unwrap().rsplit_once('/').unwrap().1
}

/// Writes and reads. Returns whether the connection was encrypted.
async fn encrypted(postgres: &Postgres, url: &str) -> bool {
    let (folder, socket) = (
        Folder::new(),
        format!(
            "SELECT DISTINCT s.ssl FROM pg_stat_ssl s JOIN pg_stat_activity a USING (pid) WHERE a.datname = '{}' AND a.application_name = 'centralita'",
            name(url)
        ),
    );
    let store = Store::open(url, &folder.0).await.unwrap_or_else(|error| panic!("{url}: {error}"));
    store.write(&[Change::User(user("user_1"))], audit("user_created")).await.unwrap();
    assert_eq!(store.load_directory().await.unwrap().counts(), [1, 0, 0, 0]);
    let answer = postgres.psql("postgres", &socket).unwrap();
    store.close().await;
    match answer.as_str() {
        "t" => true,
        "f" => false,
        other => panic!("{other:?}"),
    }
}

/// The error where the store does not open; never with the password.
async fn refused(url: &str) -> (StoreError, String) {
    let folder = Folder::new();
    let error = Store::open(url, &folder.0).await.expect_err(url);
    let said = format!("{error}");
    assert!(!format!("{said} {error:?}").contains("pgtest-hush"), "{said}");
    (error, said)
}

fn verified(mode: &str, root: &Path) -> String {
    format!("sslmode={mode}&sslrootcert={}", root.display())
}

#[tokio::test]
async fn the_connection_is_encrypted_and_verified_as_the_url_says() {
    let postgres = Postgres::start_with_tls();
    let (root, stranger) = (postgres.authority(), postgres.stranger());
    for (host, parameters, over_tls) in [
        ("localhost", verified("verify-full", &root), true),
        ("127.0.0.1", verified("verify-ca", &root), true),
        ("127.0.0.1", "sslmode=require".into(), true),
        ("127.0.0.1", "sslmode=prefer".into(), true),
        ("127.0.0.1", String::new(), true),
        ("127.0.0.1", "sslmode=disable".into(), false),
    ] {
        let url = postgres.database_at(host, &parameters);
        assert_eq!(encrypted(&postgres, &url).await, over_tls, "{parameters}");
    }

    // Signed by another authority, or by none of the public ones.
    for parameters in
        [verified("verify-full", &stranger), verified("verify-ca", &stranger), "sslmode=verify-full".into()]
    {
        let (error, said) = refused(&postgres.database_at("localhost", &parameters)).await;
        assert!(matches!(error, StoreError::Tls { .. }), "{error:?}");
        assert!(said.contains("UnknownIssuer") && said.contains("sslrootcert=FILE"), "{said}");
    }
    // Signed correctly, for another host name.
    let (error, said) = refused(&postgres.database_at("127.0.0.1", &verified("verify-full", &root))).await;
    assert!(matches!(error, StoreError::Tls { .. }), "{error:?}");
    assert!(said.contains("not valid for") && said.contains("host's name"), "{said}");
}

#[tokio::test]
async fn a_url_that_cannot_be_satisfied_gives_a_clear_error() {
    let postgres = Postgres::start_with_tls();
    let missing = postgres.authority().with_file_name("nobody.pem");
    let (error, said) = refused(&postgres.database_at("localhost", &verified("verify-full", &missing))).await;
    assert!(matches!(error, StoreError::Io { .. }) && said.contains("nobody.pem"), "{said}");
    let (_, said) = refused(&postgres.database_at("localhost", "sslmode=verify_full")).await;
    assert!(said.contains("sslmode") && said.contains("verify-ca, verify-full"), "{said}");
    let (_, said) = refused(&postgres.database_at("localhost", "sslrootcrt=pgtest-hush")).await;
    assert!(said.contains("\"sslrootcrt\"") && said.contains("sslrootcert"), "{said}");

    // On a Unix socket PostgreSQL has no TLS.
    let plain = Postgres::shared().database();
    let (error, said) = refused(&format!("{plain}&sslmode=require")).await;
    assert!(matches!(error, StoreError::Tls { .. }) && said.contains("does not support TLS"), "{said}");
}
