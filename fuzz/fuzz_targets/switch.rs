//! Fuzz target for `sim::fuzz::inputs`: a sequence of inputs of the switch.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sim::fuzz::inputs(data));
