//! Catalogue of event types: the events of `GET /api/v1/events`, of event streams and of webhooks.

/// A type of event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EventType {
    /// Wire name, `call_started`.
    pub kind: &'static str,
    /// When the event is published, in a sentence.
    pub about: &'static str,
}

macro_rules! events {
    ($($kind:literal: $about:literal;)*) => {
        /// All types, grouped by noun.
        pub const EVENT_TYPES: &[EventType] = &[$(EventType { kind: $kind, about: $about },)*];
    };
}

events! {
    "call_initiated": "A call was asked for over the API.";
    "call_started": "A call began: a phone, a trunk or the API made it.";
    "call_ringing": "The called side rings.";
    "call_answered": "The called side answered.";
    "call_end_requested": "Somebody asked over the API for a call to be ended.";
    "call_ended": "A call is over; `endReason` says why.";
    "emergency_call": "A number that calls for help was dialled.";
    "spend_alert": "A user has spent much of what calls to the outside may take in a day.";
    "registration_added": "A phone registered that was not registered before.";
    "registration_removed": "A phone is not registered any more.";
    "auth_failed": "Somebody answered a SIP challenge wrongly.";
    "auth_banned": "An address answered wrongly so often that it is ignored for a time.";
    "guard_ban_lifted": "An administrator lifted a ban.";
    "voip_extension_created": "An extension was made.";
    "voip_extension_updated": "An extension was changed.";
    "voip_extension_deleted": "An extension was removed.";
    "voip_extensions_imported": "Extensions were imported.";
    "sip_credentials_generated": "SIP credentials without an extension were made.";
    "sip_credentials_reset": "An extension got a new password.";
    "recurring_call_created": "A recurring call was made.";
    "recurring_call_updated": "A recurring call was changed.";
    "recurring_call_deleted": "A recurring call was removed.";
    "recurring_call_executed": "A recurring call was made at its time.";
    "recurring_call_failed": "A recurring call came to nothing.";
    "recurring_call_missed": "No server ran when a recurring call was due.";
    "recurring_call_rescheduled": "Newer time zone data moved the next instant of a recurring call.";
    "recording_wanted": "Somebody asked for a call to be recorded.";
    "recording_started": "A recording began.";
    "recording_paused": "A recording writes silence from now on.";
    "recording_resumed": "A recording goes on after a pause.";
    "recording_stopped": "Somebody asked for a recording to end.";
    "recording_completed": "A recording is whole.";
    "recording_failed": "A recording could not be written.";
    "recording_deleted": "A recording was deleted.";
    "voicemail_begun": "Somebody begins to speak a message.";
    "voicemail_left": "A message is there.";
    "voicemail_dropped": "A message was given up before it was whole.";
    "voicemail_unclaimed": "Audio of a message that the database does not know was moved aside.";
    "voicemail_heard": "A message was heard.";
    "voicemail_saved": "A message is to be kept.";
    "voicemail_unheard": "A message counts as new again.";
    "voicemail_deleted": "A message was deleted.";
    "voicemail_greeting_changed": "A mailbox has another greeting.";
    "voicemail_settings_changed": "A mailbox was changed.";
    "sound_created": "A sound was sent.";
    "sound_deleted": "A sound was deleted.";
    "trunk_created": "A trunk was made.";
    "trunk_updated": "A trunk was changed.";
    "trunk_deleted": "A trunk was removed.";
    "trunk_test_call": "A test call over a trunk was asked for.";
    "webhook_created": "A webhook was made.";
    "webhook_updated": "A webhook was changed.";
    "webhook_deleted": "A webhook was removed.";
    "webhook_secret_rotated": "A webhook got a new secret.";
    "webhook_delivery_retried": "A dead letter is to be sent again.";
    "api_key_created": "An API key was made.";
    "api_key_updated": "An API key was changed, switched on or switched off.";
    "api_key_deleted": "An API key was removed.";
    "opensips_started": "The SIP side was started over the API.";
    "opensips_stopped": "The SIP side was stopped over the API.";
}

/// The type with this wire name.
pub fn event_type(kind: &str) -> Option<&'static EventType> {
    EVENT_TYPES.iter().find(|event| event.kind == kind)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_type_has_a_name_of_its_own_and_a_sentence() {
        let kinds: BTreeSet<&str> = EVENT_TYPES.iter().map(|event| event.kind).collect();
        assert_eq!(kinds.len(), EVENT_TYPES.len());
        let legal =
            |kind: &str| kind.len() <= 64 && kind.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
        for event in EVENT_TYPES {
            assert!(legal(event.kind) && event.about.ends_with('.'), "{event:?}");
        }
        assert!(event_type("call_endd").is_none() && event_type("call_ended").is_some());
    }
}
