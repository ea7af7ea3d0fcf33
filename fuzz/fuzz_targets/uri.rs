//! Fuzz target for `centralita_fuzz::sip::uri`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| centralita_fuzz::sip::uri(data));
