//! Fuzz target for `centralita_fuzz::sip::datagram`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| centralita_fuzz::sip::datagram(data));
