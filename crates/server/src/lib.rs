//! The imperative shell of the server: reads the configuration, opens sockets, executes the outputs of the pure crates, and shuts down in order.
//! Also the command line.

pub mod cli;
pub mod clock;
pub mod config;
pub mod control;
pub mod data;
pub mod day_log;
pub mod dns;
mod fault;
pub mod first_key;
pub mod holder;
pub mod installation;
pub mod journal;
pub mod lang;
pub mod limits;
pub mod log;
pub mod low_priority;
pub mod mail;
pub mod masked;
pub mod media;
pub mod metrics;
pub mod net;
pub mod recording;
pub mod schedule;
pub mod serve;
pub mod settings;
pub mod supervisor;
pub mod switch_thread;
pub mod trunk_leader;
pub mod voicemail;
pub mod webhooks;
pub mod zoneinfo;
