#![no_main]

#[path = "../../codec/tests/properties/mod.rs"]
mod properties;

libfuzzer_sys::fuzz_target!(|input: &[u8]| properties::deframe(input));
