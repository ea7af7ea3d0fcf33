//! The shell: reads the configuration, opens sockets, performs what the pure crates decide, and shuts down politely; also the command line.

pub mod background;
pub mod cli;
pub mod clock;
pub mod config;
pub mod data;
pub mod dns;
pub mod duty;
pub mod exchange;
mod fault;
pub mod journal;
pub mod limits;
pub mod log;
pub mod mail;
pub mod media;
pub mod metrics;
pub mod net;
pub mod recording;
pub mod schedule;
pub mod serve;
pub mod supervisor;
pub mod voicemail;
pub mod webhooks;
