#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| kestrel_fuzz::open_database::run(data));
