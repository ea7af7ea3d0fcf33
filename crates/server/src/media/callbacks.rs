//! The callbacks that the media workers are given.

use std::sync::Arc;

use ::base::Now;
use ::media::MediaEvent;

/// Reads the clocks.
pub type ReadClock = Arc<dyn Fn() -> Now + Send + Sync>;
/// Event callback, called on the workers' threads: it must not block.
pub type OnEvent = Arc<dyn Fn(MediaEvent) + Send + Sync>;
