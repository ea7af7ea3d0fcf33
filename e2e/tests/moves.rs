//! Migration from SQLite to PostgreSQL, which phones do not notice.

use e2e::postgres::PASSWORD;
use e2e::raw::Raw;
use e2e::{Postgres, Server, Settings};

#[test]
fn a_migration_to_postgresql_keeps_extensions_keys_and_calls() {
    let mut server =
        Server::with(Settings { store: Some("sqlite:centralita.db".into()), ..Settings::default() });
    let (alice, bob) = (server.extension("1001"), server.extension("1002"));
    let (mut one, mut two) = (Raw::new(&server, &alice), Raw::new(&server, &bob));
    one.register();
    two.register();
    let mut up = one.call(&two);
    one.hang_up(&mut up.caller);
    let bye = two.expect_request("BYE");
    two.answer(&bye, 200, "", "");
    let call = server.finished_call();

    let database = Postgres::shared().database();
    let move_to = ["store", "move", "--to", database.as_str()];
    let refused = server.command(&move_to);
    assert_eq!(refused.status.code(), Some(1), "a server runs on it: {refused:?}");
    server.stop();
    let moved = server.command(&move_to);
    assert!(moved.status.success(), "{moved:?}");
    let again = server.command(&move_to);
    let says = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(again.status.code() == Some(1) && says.contains("not empty"), "{again:?}");
    for output in [&refused, &moved, &again] {
        let all = [output.stdout.as_slice(), &output.stderr].concat();
        assert!(!String::from_utf8_lossy(&all).contains(PASSWORD), "{output:?}");
    }

    server.restart_on(&database);
    assert_eq!(server.finished_call(), call, "the record is the same");
    let listed =
        server.http(Some(&alice.key)).get(&format!("/api/v1/voip/extensions/{}", alice.id)).expect(200);
    assert_eq!(listed["extension"]["registered"], true, "its phone is still known: {listed}");
    // A call reaches the phone that registered before the migration.
    let mut up = one.call(&two);
    one.hang_up(&mut up.caller);
    assert!(!server.log().contains(PASSWORD));
}
