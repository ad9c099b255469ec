#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| harness::json_body(data));
