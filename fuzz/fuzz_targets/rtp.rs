//! Feeds noise to `rtp` of the shared properties.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| centralita_fuzz::media::rtp(data));
