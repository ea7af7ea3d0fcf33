//! Feeds noise to the exchange as a sequence of inputs.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sim::fuzz::inputs(data));
