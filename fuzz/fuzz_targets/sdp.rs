//! Feeds noise to `sdp` of the shared properties.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| centralita_fuzz::media::sdp(data));
