//! Recurring calls over REST (S76–S84, S92–S94): documented requests, bad values, limits, policy and events.

use crate::test_api;

use model::{ExtensionId, Misfire, Occurrence, OccurrenceState, RecurringCallId, UserId};
use serde_json::{Value, json};
use test_api::{TestApi, assert_shape};

const ONE: &str = "/api/v1/voip/recurring-calls";

/// Create an extension of `user_123`; returns its path.
async fn extension(api: &TestApi, number: &str) -> String {
    let body = json!({"userId": "user_123", "extensionNumber": number});
    let made = api.post(&api.key, "/api/v1/voip/extensions/create", body).await.ok();
    format!("/api/v1/voip/extensions/{}", made["extension"]["id"].as_str().unwrap())
}

fn daily() -> Value {
    json!({"frequency": "daily", "time": "09:00", "timezone": "America/New_York"})
}

async fn plan(api: &TestApi, path: &str, body: Value) -> Value {
    api.post(&api.key, &format!("{path}/recurring-calls"), body).await.ok()["recurringCall"].clone()
}

#[tokio::test]
async fn the_documents_requests_get_the_documents_answers() {
    let api = TestApi::new().await; // it is 2025-01-15T10:30:00Z
    let path = extension(&api, "1001").await;
    let body = json!({"destinationNumber": "+1234567890", "schedule": daily()});
    let answer = api.post(&api.key, &format!("{path}/recurring-calls"), body).await.ok();
    let documented = json!({"success": true, "recurringCall": {
        "id": "rc_1234567890_abc123", "extensionId": "ext_1234567890_abc123", "destinationNumber": "+1234567890",
        "schedule": daily(), "enabled": true, "nextExecution": "2025-01-16T14:00:00.000Z"
    }});
    assert_shape(&answer, &documented); // S77
    let made = &answer["recurringCall"];
    assert_eq!((&made["schedule"], &made["enabled"]), (&daily(), &json!(true)));
    assert_eq!(made["destinationNumber"], "+1234567890"); // S76
    assert_eq!(made["nextExecution"], "2025-01-15T14:00:00.000Z");
    assert!(made["id"].as_str().unwrap().starts_with("rc_"), "S31");

    let weekly =
        json!({"frequency": "weekly", "time": "10:30", "dayOfWeek": 1, "timezone": "America/Los_Angeles"});
    let second = plan(&api, &path, json!({"toNumber": "+1234567890", "schedule": weekly})).await;
    assert_eq!(
        (&second["schedule"], &second["nextExecution"]),
        (&weekly, &json!("2025-01-20T18:30:00.000Z"))
    ); // S79
    let monthly =
        json!({"frequency": "monthly", "time": "15:00", "dayOfMonth": 15, "timezone": "Europe/Madrid"});
    let third = plan(&api, &path, json!({"destinationNumber": "+1234567890", "schedule": monthly})).await;
    assert_eq!((&third["schedule"], &third["nextExecution"]), (&monthly, &json!("2025-01-15T14:00:00.000Z"))); // S80

    let list = api.get(&api.key, &format!("{path}/recurring-calls")).await.ok();
    assert_eq!(list["recurringCalls"].as_array().unwrap().len(), 3); // S82
    let one = format!("{ONE}/{}", made["id"].as_str().unwrap());
    let change = json!({"enabled": false, "destinationNumber": "+9876543210"});
    let off = api.put(&api.key, &one, change).await.ok();
    let off = &off["recurringCall"];
    assert_eq!((&off["enabled"], &off["nextExecution"]), (&json!(false), &Value::Null)); // S83
    assert_eq!((&off["destinationNumber"], &off["schedule"]), (&json!("+9876543210"), &daily()));
    assert_eq!(api.delete(&api.key, &one).await.ok(), json!({"success": true})); // S84
    api.get(&api.key, &one).await.refused(404, "not_found");
    let kinds: Vec<String> = api.events(0).await.into_iter().map(|event| event.kind).collect();
    let ours: Vec<&str> = kinds.iter().map(String::as_str).filter(|kind| kind.starts_with("rec")).collect();
    let made = "recurring_call_created";
    assert_eq!(ours, [made, made, made, "recurring_call_updated", "recurring_call_deleted"]); // S92–S94
}

#[tokio::test]
async fn every_bad_value_is_refused_and_its_field_is_named() {
    let api = TestApi::new().await;
    let path = format!("{}/recurring-calls", extension(&api, "1001").await);
    let with = |schedule: Value| json!({"destinationNumber": "1002", "schedule": schedule});
    let daily_but = |name: &str, value: Value| {
        let mut schedule = daily();
        schedule[name] = value;
        with(schedule)
    };
    let at = |more: Value| {
        let mut schedule = json!({"time": "09:00"});
        schedule.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        with(schedule)
    };
    let cases = [
        (json!({}), "missing_field", "destinationNumber"),
        (json!({"destinationNumber": "1002"}), "missing_field", "schedule"),
        (json!({"schedule": daily()}), "missing_field", "destinationNumber"),
        (
            json!({"destinationNumber": "1002", "toNumber": "1002", "schedule": daily()}),
            "invalid_value",
            "toNumber",
        ),
        (json!({"destinationNumber": "a b", "schedule": daily()}), "invalid_value", "destinationNumber"),
        (
            json!({"destinationNumber": "sip:1@evil.example", "schedule": daily()}),
            "invalid_value",
            "destinationNumber",
        ),
        (json!({"destinationNumber": 1002, "schedule": daily()}), "wrong_type", "destinationNumber"),
        (json!({"destinationNumber": "1002", "schedule": "daily"}), "wrong_type", "schedule"),
        (with(json!({})), "missing_field", "schedule.frequency"),
        (with(json!({"frequency": "daily"})), "missing_field", "schedule.time"),
        (daily_but("frequency", json!("hourly")), "invalid_value", "schedule.frequency"),
        (daily_but("time", json!("25:61")), "invalid_value", "schedule.time"),
        (daily_but("time", json!("9:00")), "invalid_value", "schedule.time"),
        (daily_but("time", json!(900)), "wrong_type", "schedule.time"),
        (daily_but("timezone", json!("Mars/Olympus")), "invalid_value", "schedule.timezone"),
        (daily_but("timezone", json!("../../etc/passwd")), "invalid_value", "schedule.timezone"),
        (daily_but("timezone", json!(null)), "wrong_type", "schedule.timezone"),
        (daily_but("dayOfWeek", json!(1)), "invalid_value", "schedule.dayOfWeek"),
        (daily_but("dayOfMonth", json!(1)), "invalid_value", "schedule.dayOfMonth"),
        (daily_but("cron", json!("* * * * *")), "unknown_field", "schedule.cron"),
        (at(json!({"frequency": "weekly"})), "invalid_value", "schedule.dayOfWeek"),
        (at(json!({"frequency": "weekly", "dayOfWeek": 7})), "invalid_value", "schedule.dayOfWeek"), // S79
        (at(json!({"frequency": "weekly", "dayOfWeek": -1})), "invalid_value", "schedule.dayOfWeek"),
        (at(json!({"frequency": "weekly", "dayOfWeek": 1.5})), "invalid_value", "schedule.dayOfWeek"),
        (at(json!({"frequency": "weekly", "dayOfWeek": "Monday"})), "wrong_type", "schedule.dayOfWeek"),
        (
            at(json!({"frequency": "weekly", "dayOfWeek": 1, "daysOfWeek": [2]})),
            "invalid_value",
            "schedule.dayOfWeek",
        ),
        (at(json!({"frequency": "weekly", "daysOfWeek": []})), "invalid_value", "schedule.daysOfWeek"),
        (at(json!({"frequency": "weekly", "daysOfWeek": [1, 1]})), "invalid_value", "schedule.daysOfWeek"),
        (at(json!({"frequency": "weekly", "daysOfWeek": ["1"]})), "invalid_value", "schedule.daysOfWeek"),
        (at(json!({"frequency": "monthly"})), "invalid_value", "schedule.dayOfMonth"),
        (at(json!({"frequency": "monthly", "dayOfMonth": 0})), "invalid_value", "schedule.dayOfMonth"), // S80
        (at(json!({"frequency": "monthly", "dayOfMonth": 32})), "invalid_value", "schedule.dayOfMonth"),
        (
            at(json!({"frequency": "monthly", "dayOfMonth": 31, "monthEndPolicy": "last"})),
            "invalid_value",
            "schedule.monthEndPolicy",
        ),
    ];
    for (body, code, field) in cases {
        let refused = api.post(&api.key, &path, body.clone()).await.refused(400, code);
        assert_eq!(refused["field"], field, "{body}");
    }
    let more = |name: &str, value: Value| {
        let mut body = json!({"destinationNumber": "1002", "schedule": daily()});
        body[name] = value;
        body
    };
    for (name, value, code) in [
        ("enabled", json!("yes"), "wrong_type"),
        ("misfire", json!("all"), "invalid_value"),
        ("maxAttempts", json!(0), "invalid_value"),
        ("maxAttempts", json!(11), "invalid_value"),
        ("retryMinutes", json!(0), "invalid_value"),
        ("action", json!("shout"), "invalid_value"),
        ("nextExecution", json!("2025-01-16T14:00:00Z"), "unknown_field"),
    ] {
        let refused = api.post(&api.key, &path, more(name, value)).await.refused(400, code);
        assert_eq!(refused["field"], name);
    }
    // None of these was created.
    assert_eq!(api.get(&api.key, &path).await.ok()["recurringCalls"], json!([]));
}

#[tokio::test]
async fn a_schedule_is_changed_in_part_or_as_a_whole() {
    let api = TestApi::new().await;
    let path = extension(&api, "1001").await;
    let made = plan(&api, &path, json!({"destinationNumber": "1002", "schedule": daily()})).await;
    let one = format!("{ONE}/{}", made["id"].as_str().unwrap());
    for (change, schedule) in [
        (
            json!({"time": "10:15:30"}),
            json!({"frequency": "daily", "time": "10:15:30", "timezone": "America/New_York"}),
        ),
        (
            json!({"frequency": "weekly", "daysOfWeek": [5, 1]}),
            json!({"frequency": "weekly", "time": "10:15:30", "daysOfWeek": [1, 5], "timezone": "America/New_York"}),
        ),
        (
            json!({"dayOfWeek": 0, "timezone": "europe/madrid"}),
            json!({"frequency": "weekly", "time": "10:15:30", "dayOfWeek": 0, "timezone": "Europe/Madrid"}),
        ),
        (
            json!({"frequency": "monthly", "dayOfMonth": 31, "monthEndPolicy": "skip"}),
            json!({"frequency": "monthly", "time": "10:15:30", "dayOfMonth": 31, "monthEndPolicy": "skip", "timezone": "Europe/Madrid"}),
        ),
    ] {
        let answer = api.json("PATCH", &api.key, &one, &json!({"schedule": change})).await.ok();
        assert_eq!(answer["recurringCall"]["schedule"], schedule); // S83
    }
    let refused = api.put(&api.key, &one, json!({"schedule": {"dayOfWeek": 1}})).await;
    assert_eq!(refused.refused(400, "invalid_value")["field"], "schedule.dayOfWeek");
}

#[tokio::test]
async fn a_schedule_without_a_zone_has_the_extensions_then_the_servers_then_utc() {
    // S78
    let api = TestApi::new().await;
    let path = extension(&api, "1001").await;
    let bare = json!({"destinationNumber": "1002", "schedule": {"frequency": "daily", "time": "09:00"}});
    assert_eq!(plan(&api, &path, bare.clone()).await["schedule"]["timezone"], "UTC");
    let set = api.put(&api.key, &path, json!({"timezone": "America/Santiago"})).await.ok();
    assert_eq!(set["extension"]["timezone"], "America/Santiago");
    assert_eq!(plan(&api, &path, bare.clone()).await["schedule"]["timezone"], "America/Santiago");
    api.put(&api.key, &path, json!({"timezone": null})).await.ok();
    assert_eq!(plan(&api, &path, bare.clone()).await["schedule"]["timezone"], "UTC");

    let settings = centralita_api::Settings { default_timezone: "Asia/Tokyo".into(), ..test_api::settings() };
    let api = TestApi::with(settings).await;
    let path = extension(&api, "1001").await;
    assert_eq!(plan(&api, &path, bare).await["schedule"]["timezone"], "Asia/Tokyo");
}

#[tokio::test]
async fn policy_and_limits_are_enforced_and_foreign_calls_are_not_found() {
    let api = TestApi::new().await;
    let path = extension(&api, "1001").await;
    let list = format!("{path}/recurring-calls");
    let to = |number: &str| json!({"destinationNumber": number, "schedule": daily()});
    for number in ["112", "911", "+112"] {
        api.post(&api.key, &list, to(number)).await.refused(403, "emergency_not_allowed");
    }
    let written = api.post(&api.key, &list, to("sip:112@localhost")).await;
    assert_eq!(written.refused(403, "emergency_not_allowed")["field"], "destinationNumber");
    let made = plan(&api, &path, to("+1234567890")).await;
    let one = format!("{ONE}/{}", made["id"].as_str().unwrap());
    api.put(&api.key, &one, json!({"destinationNumber": "911"})).await.refused(403, "emergency_not_allowed");
    let twilio = json!({"destinationNumber": "+1234567890", "schedule": daily(), "useTwilio": true});
    api.post(&api.key, &list, twilio).await.refused(503, "twilio_not_configured"); // S49

    for path in [list.clone(), one.clone(), format!("{one}/next"), format!("{one}/runs")] {
        api.get(&api.other_key, &path).await.refused(404, "not_found"); // S25
        assert_eq!(api.get(&api.admin, &path).await.status, 200);
        api.get("", &path).await.refused(401, "api_key_missing");
    }
    api.put(&api.other_key, &one, json!({"enabled": false})).await.refused(404, "not_found");
    api.delete(&api.other_key, &one).await.refused(404, "not_found");
    api.post(&api.other_key, &list, to("1002")).await.refused(404, "not_found");
    assert_eq!(api.get(&api.other_key, ONE).await.ok()["recurringCalls"], json!([]));
    let sip_only = api.key_of("user_123", &[model::Permission::Sip]).await;
    api.get(&sip_only, &one).await.refused(403, "insufficient_permissions"); // S56

    for _ in 1..100 {
        plan(&api, &path, to("1002")).await;
    }
    api.post(&api.key, &list, to("1002")).await.refused(409, "recurring_call_limit");
    let page = api.get(&api.key, &format!("{ONE}?limit=60")).await.ok();
    let rest = format!("{ONE}?limit=60&cursor={}", page["nextCursor"].as_str().unwrap());
    assert_eq!(api.get(&api.key, &rest).await.ok()["recurringCalls"].as_array().unwrap().len(), 40);
}

#[tokio::test]
async fn deleting_an_extension_deletes_its_recurring_calls() {
    let api = TestApi::new().await;
    let path = extension(&api, "1001").await;
    let other = extension(&api, "1002").await;
    for path in [&path, &path, &other] {
        plan(&api, path, json!({"destinationNumber": "*43", "schedule": daily()})).await;
    }
    api.delete(&api.key, &path).await.ok();
    let left = api.get(&api.key, ONE).await.ok();
    assert_eq!(left["recurringCalls"].as_array().unwrap().len(), 1); // S68
    let events = api.events(0).await;
    let gone = events.iter().filter(|event| event.kind == "recurring_call_deleted");
    assert_eq!(gone.count(), 2); // S94
    assert_eq!(events.iter().filter(|event| event.kind == "voip_extension_deleted").count(), 1);
    let reloaded = api.store.load_directory().await.unwrap();
    assert_eq!(reloaded.recurring_calls().count(), 1);
}

#[tokio::test]
async fn the_next_and_past_runs_are_listed() {
    let api = TestApi::new().await;
    let path = extension(&api, "1001").await;
    let schedule = json!({"frequency": "daily", "time": "02:30", "timezone": "America/New_York"});
    let body = json!({"destinationNumber": "1002", "schedule": schedule, "misfire": "run_once", "maxAttempts": 3, "retryMinutes": 10});
    let made = plan(&api, &path, body).await;
    assert_eq!(
        (&made["misfire"], &made["maxAttempts"], &made["retryMinutes"]),
        (&json!("run_once"), &json!(3), &json!(10))
    );
    let one = format!("{ONE}/{}", made["id"].as_str().unwrap());
    let next = api.get(&api.key, &format!("{one}/next?count=60")).await.ok();
    let next = next["next"].as_array().unwrap();
    assert_eq!(next.len(), 60);
    // S81: on 9 March this local time does not exist (daylight saving).
    let skipped = next.iter().find(|run| run["at"].as_str().unwrap().starts_with("2025-03-09")).unwrap();
    assert_eq!(skipped, &json!({"at": "2025-03-09T07:00:00.000Z", "local": "2025-03-09T03:00:00-04:00"}));
    assert_eq!(api.get(&api.key, &format!("{one}/next")).await.ok()["next"].as_array().unwrap().len(), 10);
    api.get(&api.key, &format!("{one}/next?count=0")).await.refused(400, "invalid_value");
    api.get(&api.key, &format!("{one}/next?count=101")).await.refused(400, "invalid_value");

    let directory = api.app.directory_service().directory();
    let id = RecurringCallId::parse(made["id"].as_str().unwrap()).unwrap();
    let call = directory.recurring_call(&id).unwrap();
    assert_eq!(call.misfire, Misfire::RunOnce);
    assert_eq!(call.extension, ExtensionId::parse(made["extensionId"].as_str().unwrap()).unwrap());
    for n in 1..=3 {
        let due = call.since + std::time::Duration::from_secs(86_400 * n);
        let row = Occurrence {
            recurring: id.clone(),
            due,
            user: UserId::parse("user_123").unwrap(),
            state: OccurrenceState::Missed,
            version: 1,
            owner: "node".into(),
            lease_until: due,
            not_before: due,
            attempts: 0,
            call: None,
            cause: None,
            updated_at: due,
        };
        assert!(api.store.claim(&row, call.since, None).await.unwrap());
    }
    let page = api.get(&api.key, &format!("{one}/runs?limit=2")).await.ok();
    let due: Vec<&str> =
        page["runs"].as_array().unwrap().iter().map(|run| run["due"].as_str().unwrap()).collect();
    assert_eq!(due, ["2025-01-18T10:30:00.000Z", "2025-01-17T10:30:00.000Z"]);
    let rest = format!("{one}/runs?cursor={}", page["nextCursor"].as_str().unwrap());
    let rest = api.get(&api.key, &rest).await.ok();
    assert_eq!((&rest["runs"][0]["state"], &rest["nextCursor"]), (&json!("missed"), &Value::Null));
    api.get(&api.key, &format!("{one}/runs?cursor=x")).await.refused(400, "invalid_value");
    assert_eq!(
        api.get(&api.key, "/api/v1/opensips/status").await.ok()["tzdbVersion"],
        model::recurrence::tzdb_version()
    ); // S81
}
