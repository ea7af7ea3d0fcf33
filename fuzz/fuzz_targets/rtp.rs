//! Fuzz target for `centralita_fuzz::media::rtp`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| centralita_fuzz::media::rtp(data));
