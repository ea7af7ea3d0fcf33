//! The exchange through its one door: datagrams, commands and time go in, and what comes out is looked at.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::unused_self, unreachable_pub)]

mod a_call_from_the_api;
mod a_call_goes_outside;
mod a_call_is_forwarded;
mod a_call_is_held;
mod a_call_is_made;
mod a_call_is_recorded;
mod a_call_is_refused;
mod a_caller_is_private;
mod a_carrier_calls;
mod a_carrier_speaks_tcp;
mod a_disk_is_full;
mod a_feature_is_dialled;
mod a_lamp_is_lit;
mod a_message_is_left;
mod a_password_is_guessed;
mod a_phone_comes_back;
mod a_phone_registers;
mod a_phone_rings;
mod a_process_dies;
mod a_source_is_forged;
mod a_trunk_is_tested;
mod a_trunk_registers;
mod a_user_spends_minutes;
mod a_worker_ends;
mod an_announcement_is_made;
mod an_offer_cannot_be_met;
mod an_owner_is_followed;
mod an_owner_is_followed_outside;
mod help_is_called;
mod office;
mod the_clock_is_set;
mod the_exchange_does_bounded_work;
mod the_exchange_stops;
