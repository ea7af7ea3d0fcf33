//! The integration tests of this crate in one binary: it is linked once, and its tests share one pool of threads.

mod a_database_is_looked_at;
mod calls_are_found;
mod copies_are_inspected;
mod deliveries_go_once;
mod facts_are_told_once;
mod full_disk;
mod journal_is_fed;
mod migrations;
mod moves_to_postgres;
mod nodes_share;
mod occurrences;
mod office_is_kept;
mod outside_time_is_kept;
mod postgres_over_tls;
mod recordings;
mod samples;
mod sounds;
mod voicemail_is_kept;
