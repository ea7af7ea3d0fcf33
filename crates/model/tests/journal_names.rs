//! Wire names of enum variants in journals and in the database. New ones may be added; changing one makes stored records unreadable, or gives
//! them another meaning.

use centralita_model::{
    CallDirection, CallStatus, Cause, LegRole, MessageState, RecordingFormat, RecordingState,
};
use serde::Serialize;

fn word(value: &impl Serialize) -> String {
    rmp_serde::from_slice(&rmp_serde::to_vec_named(value).unwrap()).unwrap()
}

fn words(values: &[impl Serialize]) -> Vec<String> {
    values.iter().map(word).collect()
}

#[test]
fn causes_keep_their_wire_names() {
    let pinned = [
        "completed",
        "cancelled",
        "ended_by_api",
        "busy",
        "no_answer",
        "unreachable",
        "do_not_disturb",
        "declined",
        "refused",
        "not_found",
        "no_route",
        "trunk_down",
        "trunk_busy",
        "forwarding_loop",
        "bad_number",
        "inactive",
        "forbidden",
        "not_permitted",
        "number_blocked",
        "emergency_not_allowed",
        "incompatible_media",
        "codec_not_recordable",
        "bad_media",
        "concurrent_call_limit",
        "overload",
        "draining",
        "max_duration",
        "no_ack",
        "session_expired",
        "peer_lost",
        "media_timeout",
        "no_registered_device",
        "twilio_not_configured",
        "crash",
        "answered_elsewhere",
        "audio_missing",
        "internal",
        "call_rate_limit",
        "outside_minutes_used",
        "emergency_no_route",
    ];
    let mut today = words(Cause::ALL);
    today.sort_unstable();
    let mut pinned = pinned.map(String::from).to_vec();
    pinned.sort_unstable();
    assert_eq!(today, pinned, "a new cause is added here; none of these may change or go");
}

#[test]
fn states_keep_their_wire_names() {
    use CallDirection::{Inbound, Internal, Outbound};
    use CallStatus::{Busy, Canceled, Completed, Failed, InProgress, NoAnswer, Queued, Ringing};
    let statuses = [Queued, Ringing, InProgress, Completed, Busy, Failed, NoAnswer, Canceled];
    let expected =
        ["queued", "ringing", "in-progress", "completed", "busy", "failed", "no-answer", "canceled"];
    assert_eq!(words(&statuses), expected);
    assert_eq!(words(&[Internal, Inbound, Outbound]), ["internal", "inbound", "outbound"]);
    assert_eq!(words(&[LegRole::Caller, LegRole::Callee, LegRole::Trunk]), ["caller", "callee", "trunk"]);
    let states = [MessageState::Recording, MessageState::New, MessageState::Heard, MessageState::Saved];
    assert_eq!(words(&states), ["recording", "new", "heard", "saved"]);
    let states = [
        RecordingState::Recording,
        RecordingState::Complete,
        RecordingState::Failed,
        RecordingState::Deleted,
    ];
    assert_eq!(words(&states), ["recording", "complete", "failed", "deleted"]);
    assert_eq!(words(&[RecordingFormat::Opus, RecordingFormat::Wav]), ["opus", "wav"]);
}
