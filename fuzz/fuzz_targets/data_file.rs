#![no_main]

#[path = "../../server/tests/properties/mod.rs"]
mod properties;

libfuzzer_sys::fuzz_target!(|input: &[u8]| properties::data_file::data_file(input));
