#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| harness::tenant_key(data));
