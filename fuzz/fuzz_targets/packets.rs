#![no_main]

#[path = "../../conformance/tests/properties/mod.rs"]
mod properties;

libfuzzer_sys::fuzz_target!(|input: &[u8]| properties::packets(input));
