//! A country changes its clock rules: newer time zone data is used and shown, and the server reports the schedules that it moves.

use std::path::Path;

use e2e::{Scratch, Server, Settings, soon};
use serde_json::{Value, json};

/// A compiled zone (TZif, RFC 9636) with a constant offset of so many hours from UTC.
fn tzif(hours: i32, name: &str, footer: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..2 {
        bytes.extend(b"TZif2");
        bytes.extend([0; 15]);
        for count in [0, 0, 0, 0, 1, name.len() as u32 + 1] {
            bytes.extend(count.to_be_bytes());
        }
        bytes.extend((hours * 3600).to_be_bytes());
        bytes.extend([0, 0]);
        bytes.extend(name.as_bytes());
        bytes.push(0);
    }
    bytes.extend(format!("\n{footer}\n").as_bytes());
    bytes
}

fn write_zones(folder: &Path, version: &str, madrid: &[u8]) {
    std::fs::create_dir_all(folder.join("Europe")).expect("a folder");
    std::fs::write(folder.join("Europe/Madrid"), madrid).expect("a zone");
    std::fs::write(folder.join("tzdata.zi"), format!("# version {version}\nR x\n")).expect("a version");
}

#[test]
fn newer_zone_data_is_used_and_moved_schedules_are_reported() {
    let folder = Scratch::new("zoneinfo");
    // Newer than any version that can be built in.
    write_zones(folder.path(), "2198a", &tzif(1, "CET", "<+01>-1"));
    let environment = vec![("TZDIR".to_owned(), folder.path().display().to_string())];
    let mut server = Server::with(Settings { environment, ..Settings::default() });
    let status = |server: &Server| server.admin().get("/api/v1/opensips/status").expect(200);
    assert_eq!(status(&server)["tzdbVersion"], "2198a");
    let (anna, bert) = (server.extension("1001"), server.extension("1002"));
    let body = json!({
        "destinationNumber": bert.number,
        "schedule": {"frequency": "daily", "time": "09:00", "timezone": "Europe/Madrid"},
    });
    let path = format!("/api/v1/voip/extensions/{}/recurring-calls", anna.id);
    let made = server.http(Some(&anna.key)).post(&path, &body).expect(200);
    let call = made["recurringCall"]["id"].as_str().expect("an id").to_owned();
    let path = format!("/api/v1/voip/recurring-calls/{call}");
    let next = |server: &Server| -> String {
        let shown = server.admin().get(&path).expect(200);
        shown["recurringCall"]["nextExecution"].as_str().expect("it is due").to_owned()
    };
    let before = next(&server);
    soon("the forecast is written", || server.data().join("schedules.forecast").is_file().then_some(()));
    // Created after the start: the next start knows when it was due only once the forecast has it.
    server.restart();
    soon("the forecast holds it", || {
        std::fs::read_to_string(server.data().join("schedules.forecast")).ok()?.contains(&call).then_some(())
    });
    let moved_events = |server: &Server| -> Vec<Value> {
        let page = server.admin().get("/api/v1/events?limit=100").expect(200);
        let events = page["events"].as_array().cloned().unwrap_or_default();
        events.into_iter().filter(|event| event["type"] == "recurring_call_rescheduled").collect()
    };
    assert_eq!(moved_events(&server), Vec::<Value>::new(), "the same data moves nothing");
    write_zones(folder.path(), "2199b", &tzif(-5, "EST", "<-05>5"));
    server.restart();
    let after = next(&server);
    assert_ne!(after, before);
    let event = soon("the event", || moved_events(&server).pop());
    let text = event.to_string();
    for part in [call.as_str(), &before[..19], &after[..19], "Europe/Madrid", "2199b", "2198a"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert_eq!(status(&server)["tzdbVersion"], "2199b");
    let doctor = server.command(&["doctor"]);
    let doctor = String::from_utf8_lossy(&doctor.stdout).into_owned();
    assert!(doctor.contains(&format!("2199b ({})", folder.path().display())), "{doctor}");
    // Older data on the system does not replace the built-in data.
    write_zones(folder.path(), "1999a", &tzif(-5, "EST", "<-05>5"));
    server.restart();
    let status: Value = server.admin().get("/api/v1/opensips/status").expect(200);
    assert!(
        status["tzdbVersion"].as_str().is_some_and(|version| version > "2020a" && version < "2198a"),
        "{status}"
    );
    assert!(server.admin().get(&path).expect(200)["recurringCall"] != json!(null));
}
