//! The shell: reads the configuration, opens sockets, performs what the pure crates decide, and shuts down politely; also the command line.

pub mod background;
pub mod cli;
pub mod clock;
pub mod config;
pub mod control;
pub mod data;
pub mod day_log;
pub mod dns;
pub mod duty;
pub mod exchange;
pub mod holder;
pub mod journal;
pub mod lang;
pub mod limits;
pub mod log;
pub mod mail;
pub mod masked;
pub mod media;
pub mod net;
pub mod recording;
pub mod schedule;
pub mod serve;
pub mod voicemail;
pub mod webhooks;
pub mod zoneinfo;
