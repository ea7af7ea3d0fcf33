//! Directory service: a confirmed change is visible to all, recorded, and durable.

use crate::test_api;

use base::Secret;
use centralita_api::{Actor, Column, DirectoryError, ImportLine};
use model::voicemail::PinKey;
use model::{ExtensionNumber, Language, UserId};
use serde_json::json;
use test_api::TestApi;

fn line(number: u32, username: &str, owner: &str) -> ImportLine {
    ImportLine {
        number: ExtensionNumber::parse(&number.to_string()).unwrap(),
        line: 0,
        username: Some(username.into()),
        password: Some(Secret::new("9c8c".repeat(8))),
        owner: UserId::parse(owner).unwrap(),
        display_name: None,
        pin: None,
    }
}

#[tokio::test]
async fn ten_thousand_extensions_are_imported_in_one_go() {
    let api = TestApi::new().await;
    let lines: Vec<ImportLine> =
        (0..10_000).map(|n| line(100_000 + n, &format!("u{n}"), &format!("owner_{}", n % 50))).collect();
    let before = api.switch.read(|e| e.published.len());
    assert_eq!(
        api.app.directory_service().import(Actor::default(), PinKey::default(), lines).await.unwrap().count,
        10_000
    );
    assert_eq!(api.switch.read(|e| e.published.len()), before + 1);
    let directory = api.store.load_directory().await.unwrap();
    assert_eq!(directory.counts()[2..], [10_000, 10_000]);
    let credential = directory.credential("u77").unwrap();
    assert_eq!(credential.ha1, model::Ha1::new("u77", "sip.nexus-core.com", &"9c8c".repeat(8))); // S40: any length
    // Adding one more is still fast, and so is a page of one owner.
    api.post(&api.key, "/api/v1/voip/extensions", json!({})).await.ok();
    let page = api.get(&api.admin, "/api/v1/voip/extensions/user/owner_7?limit=1000").await.ok();
    assert_eq!(page["extensions"].as_array().unwrap().len(), 200);
}

#[tokio::test]
async fn an_import_with_a_bad_line_imports_nothing() {
    let api = TestApi::new().await;
    api.post(&api.key, "/api/v1/voip/extensions", json!({"extensionNumber": "1001"})).await.ok();
    let office = api.app.directory_service();
    let good = || line(2001, "anna", "user_123");
    for (bad, why) in [
        (line(1001, "berta", "x"), (Column::Number, "\"1001\" already exists")),
        (line(2001, "berta", "x"), (Column::Number, "\"2001\" is the same as in line 1")),
        (line(2002, "anna", "x"), (Column::Username, "\"anna\" is the same as in line 1")),
        (line(2002, "1001", "x"), (Column::Username, "\"1001\" already exists")), // would authenticate for another extension's number (S39)
        (line(2002, "2001", "x"), (Column::Username, "\"2001\" is the number of the extension in line 1")),
        (line(911, "berta", "x"), (Column::Number, "\"911\" is an emergency number")),
    ] {
        let lines = vec![ImportLine { line: 1, ..good() }, ImportLine { line: 41, ..bad }];
        let refused = office.import(Actor::default(), PinKey::default(), lines).await.unwrap_err();
        let DirectoryError::Line(fault) = refused else { panic!("{refused:?}") };
        assert_eq!((fault.line, fault.column), (41, Some(why.0)), "{fault}");
        assert_eq!(fault.sentence(Language::English), why.1);
        assert_eq!(office.directory().counts()[3], 1);
    }
    let own = line(6170, "6170", "user_123"); // S39: the number is the user name
    assert_eq!(office.import(Actor::default(), PinKey::default(), vec![good(), own]).await.unwrap().count, 2);
    let taken = api.post(&api.key, "/api/v1/voip/extensions", json!({"extensionNumber": "6170"})).await;
    taken.refused(409, "extension_exists");
}

#[tokio::test]
async fn of_concurrent_requests_for_one_number_one_succeeds() {
    let api = TestApi::new().await;
    let office = api.app.directory_service();
    let attempts: Vec<_> = (0..20)
        .map(|_| {
            let office = office.clone();
            tokio::spawn(async move {
                let wanted = centralita_api::NewExtension {
                    user: UserId::parse("user_123").unwrap(),
                    number: Some(ExtensionNumber::parse("1001").unwrap()),
                    display_name: None,
                };
                office.create_extension(Actor::default(), wanted).await
            })
        })
        .collect();
    let mut made = 0;
    for attempt in attempts {
        match attempt.await.unwrap() {
            Ok(_) => made += 1,
            Err(refused) => assert!(matches!(refused, DirectoryError::NumberTaken(_)), "{refused:?}"),
        }
    }
    assert_eq!(made, 1);
}

#[tokio::test]
async fn every_write_has_one_event_with_its_actor_and_without_secrets() {
    let api = TestApi::new().await;
    let before = api.events(3).await.len(); // the keys created by the fixture
    let made = api
        .post(&api.key, "/api/v1/voip/extensions", json!({"extensionNumber": "1001", "displayName": "Ana"}))
        .await;
    let request_id = made.header("x-request-id").to_owned();
    let made = made.ok();
    let password = made["extension"]["sipCredentials"]["password"].as_str().unwrap();
    let id = made["extension"]["id"].as_str().unwrap();
    let path = format!("/api/v1/voip/extensions/{id}");
    api.put(&api.key, &path, json!({"displayName": "Ana María"})).await.ok();
    api.put(&api.key, &path, json!({"displayName": "Ana María"})).await.ok(); // no change, so no event
    api.delete(&api.key, &path).await.ok();
    api.post(&api.key, "/api/v1/opensips/generate-credentials", json!({})).await.ok();
    api.post(&api.key, "/api/v1/opensips/call/initiate", json!({"toNumber": "*43"})).await.ok();
    let events = api.events(before + 5).await;
    let told: Vec<&str> = events[before..].iter().map(|event| event.kind.as_str()).collect();
    assert_eq!(
        told,
        [
            "voip_extension_created",
            "voip_extension_updated",
            "voip_extension_deleted",
            "sip_credentials_generated",
            "call_initiated"
        ]
    ); // S89, S90, S91
    let (created, updated) = (&events[before], &events[before + 1]);
    assert_eq!(
        (created.request.as_str(), created.ip.as_deref(), created.subject.as_str()),
        (request_id.as_str(), Some("192.0.2.77"), id)
    ); // S74
    assert!(created.key.is_some());
    assert_eq!(
        updated.detail,
        json!({"before": {"displayName": "Ana"}, "after": {"displayName": "Ana María"}})
    );
    let everything = format!("{events:?}");
    assert!(!everything.contains(password) && !everything.contains(&api.key));
}

#[tokio::test]
async fn the_use_of_keys_is_counted_by_route_and_outcome() {
    let api = TestApi::new().await;
    api.get(&api.key, "/api/v1/opensips/call/session_1_a").await.refused(404, "not_found");
    api.advance(5);
    api.get(&api.key, "/api/v1/opensips/health").await.ok();
    api.app.flush().await; // S61
    let last = api.store.keys_last_used().await.unwrap();
    assert_eq!(last.values().copied().collect::<Vec<_>>(), [api.now()]);
}

#[tokio::test]
async fn secrets_are_not_in_the_database() {
    let api = TestApi::new().await;
    let made = api.post(&api.key, "/api/v1/voip/extensions", json!({})).await.ok();
    let password = made["extension"]["sipCredentials"]["password"].as_str().unwrap().to_owned();
    let copy = std::env::temp_dir().join(format!("centralita-api-secrets-{}.db", std::process::id()));
    api.store.backup(&copy).await.unwrap();
    let bytes = std::fs::read(&copy).unwrap();
    std::fs::remove_file(&copy).unwrap();
    for secret in [&api.admin, &api.key, &password] {
        assert!(!bytes.windows(secret.len()).any(|window| window == secret.as_bytes())); // security.md rows 19, 20
    }
}
