//! Call statistics (S192).

use crate::test_api;

use base::Timestamp;
use model::journal::Record;
use model::{CallStatus, Cause, LegRecord, LegRole, Quality};
use serde_json::json;
use test_api::{BEGIN, TestApi, call_record};

fn closed(id: &str, user: &str, ago: i64, talk: Option<i64>, mos: Option<f32>) -> Record {
    let at = |seconds: i64| Timestamp::from_micros((BEGIN - ago + seconds) * 1_000_000);
    let mut call = call_record(id, user, BEGIN - ago);
    call.answered_at = talk.map(|_| at(5));
    call.ended_at = Some(at(5 + talk.unwrap_or(0)));
    call.cause = Some(if talk.is_some() { Cause::Completed } else { Cause::Busy });
    call.status = if talk.is_some() { CallStatus::Completed } else { CallStatus::Busy };
    call.legs.push(LegRecord {
        role: LegRole::Caller,
        party: "1001".into(),
        address: None,
        sip_call_id: id.into(),
        started_at: at(0),
        answered_at: None,
        ended_at: None,
        cause: None,
        sip_status: None,
        codec: None,
        quality: mos.map(|mos| Quality { mos, ..Quality::default() }),
    });
    Record::CallClosed(Box::new(call))
}

#[tokio::test]
async fn statistics_cover_the_users_own_calls_of_the_last_day() {
    let api = TestApi::new().await;
    let calls = [
        closed("session_1_a", "user_123", 60, Some(90), Some(4.4)),
        closed("session_2_b", "user_123", 7200, Some(30), Some(3.0)),
        closed("session_3_c", "user_123", 7200, None, None),
        closed("session_4_d", "stranger", 60, None, None),
        closed("session_5_e", "user_123", 200_000, Some(500), Some(1.0)),
    ];
    api.store.feed(&calls).await.unwrap();
    api.switch.change(|e| e.calls.push(call_record("session_6_f", "user_123", BEGIN)));
    let stats = api.get(&api.key, "/api/v1/stats").await.ok()["stats"].clone();
    assert_eq!(
        (&stats["calls"], &stats["answered"], &stats["activeCalls"]),
        (&json!(3), &json!(2), &json!(1))
    );
    assert!(
        (stats["asr"].as_f64().unwrap() - 2.0 / 3.0).abs() < 1e-9 && stats["acd"] == json!(60.0),
        "{stats}"
    );
    assert_eq!(stats["refusals"], json!([{"reason": "busy", "calls": 1}]));
    let quality = &stats["quality"];
    assert_eq!((&quality["measured"], &quality["poorShare"]), (&json!(2), &json!(0.5)));
    assert!((quality["meanMos"].as_f64().unwrap() - 3.7).abs() < 1e-6);
    let hours = stats["byHour"].as_array().unwrap();
    assert_eq!((hours.len(), &hours[23]["at"]), (24, &json!("2025-01-15T10:00:00.000Z")));
    assert_eq!(
        (&hours[23]["calls"], &hours[21]["calls"], &hours[21]["answered"]),
        (&json!(1), &json!(2), &json!(1))
    );
    let all = api.get(&api.admin, "/api/v1/stats").await.ok();
    assert_eq!(all["stats"]["calls"], json!(4));
    let none = api.key_of("nobody", &[model::Permission::Call]).await;
    let stats = api.get(&none, "/api/v1/stats").await.ok()["stats"].clone();
    assert_eq!(
        (&stats["asr"], &stats["acd"], &stats["activeCalls"]),
        (&json!(null), &json!(null), &json!(0))
    );
}
