//! Feeds noise to `stream` of the shared properties.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| centralita_fuzz::sip::stream(data));
