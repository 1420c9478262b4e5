#![no_main]

#[path = "../../client/tests/properties/mod.rs"]
mod properties;

libfuzzer_sys::fuzz_target!(|input: &[u8]| properties::cache_file::cache_file(input));
