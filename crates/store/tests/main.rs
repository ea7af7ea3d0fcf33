//! The integration tests of this crate in one binary: it is linked once, and its tests share one pool of threads.

mod calls_are_found;
mod copies_are_inspected;
mod copies_to_postgres;
mod databases_are_probed;
mod deliveries_go_once;
mod directory_is_stored;
mod events_are_written_once;
mod full_disk;
mod journal_is_fed;
mod migrations;
mod nodes_share_a_database;
mod occurrences;
mod outbound_time_is_stored;
mod postgres_over_tls;
mod recordings;
mod samples;
mod sounds;
mod voicemail_is_stored;
