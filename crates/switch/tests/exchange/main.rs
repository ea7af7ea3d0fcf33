//! Tests of the switch through `Switch::handle`: datagrams, commands and time as inputs; the outputs are checked.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::unused_self, unreachable_pub)]

mod announcements;
mod authentication;
mod basic_calls;
mod bounded_work;
mod call_forwarding;
mod call_hold;
mod call_recording;
mod caller_privacy;
mod click_to_call;
mod clock_changes;
mod crash_recovery;
mod drain_and_stop;
mod emergency_calls;
mod feature_codes;
mod find_me;
mod find_me_outbound;
mod flow_recovery;
mod forged_sources;
mod inbound_trunk_calls;
mod journal_full;
mod media_worker_failure;
mod mwi_notify;
mod outbound_calls;
mod outbound_limits;
mod registration;
mod rejected_calls;
mod ringing;
mod test_switch;
mod trunk_registration;
mod trunk_tcp;
mod trunk_test_calls;
mod unacceptable_offers;
mod voicemail;
