#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| diogenes_fuzz::judge(data));
