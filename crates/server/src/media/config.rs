//! Configuration of the media workers.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use crate::recording::WriterConfig;

/// Configuration of the workers.
#[derive(Clone, Debug)]
pub struct MediaConfig {
    /// The SIP listeners by index, each with the address that its legs' RTP binds on.
    pub listeners: Vec<(u16, IpAddr)>,
    /// The RTP port range. Ports are used in pairs: RTP on the even one, RTCP on the odd one above it.
    pub ports: RangeInclusive<u16>,
    /// Number of threads; clamped to 1-255.
    pub workers: usize,
    /// Use io_uring if the kernel supports it.
    pub io_uring: bool,
    /// Where recordings are written; if `None`, every recording fails.
    pub recordings: Option<WriterConfig>,
}
