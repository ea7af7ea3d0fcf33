//! Fuzz target for `centralita_fuzz::sip::stream`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| centralita_fuzz::sip::stream(data));
