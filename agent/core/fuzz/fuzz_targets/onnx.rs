//! Any bytes as `model.onnx` of a bundle: loading says an error or gives a model, and a model answers or says an error.
//!
//! The last byte says what the manifest makes of the file: how wide a row is (or a window), which kind of output, which
//! space, which tensor. Rows of 18 features and windows of 17 are more than can be enumerated, so the estimates are reached.
//!
//! Run in `agent/core`, after `python3 fuzz/seeds.py`:
//!
//!     cargo +nightly fuzz run onnx fuzz/corpus/onnx -- -max_len=12288 -rss_limit_mb=2048 -timeout=20

#![no_main]

mod asked;

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    // tract's panics are fenced and become errors; libfuzzer would take each for a crash.
    static QUIET: OnceLock<()> = OnceLock::new();
    QUIET.get_or_init(|| std::panic::set_hook(Box::new(|_| {})));
    let loaded = std::panic::catch_unwind(|| asked::asked(bytes));
    // What comes through is a panic of ours.
    assert!(loaded.is_ok(), "a panic came through");
});
