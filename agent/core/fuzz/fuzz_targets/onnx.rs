//! Any bytes as `model.onnx` of a bundle: loading says an error or gives a model, and a model answers or says an error.
//!
//! Run in `agent/core`: `cargo +nightly fuzz run onnx fuzz/corpus/onnx -- -max_len=8192 -rss_limit_mb=2048 -timeout=10`. Good
//! seeds are the models in `tests/models/corpus.json`:
//!
//!     python3 -c "import json, pathlib; [pathlib.Path('fuzz/corpus/onnx', str(m['seed'])).write_bytes(bytes.fromhex(m['onnx']))
//!     for m in json.load(open('../../tests/models/corpus.json'))]"

#![no_main]

use std::sync::{Arc, OnceLock};

use explaind_core::explain::{Budget, Explainer};
use explaind_core::model::{Files, Model, bundle};
use libfuzzer_sys::fuzz_target;

const MANIFEST: &str = "schema = 1\nname = \"m\"\nversion = \"1\"\n\
    [[feature]]\nname = \"a\"\n[[feature]]\nname = \"b\"\n[[feature]]\nname = \"c\"\n\
    [output]\nkind = \"regression\"\ntensor = \"scores\"\nindex = 0\nspace = \"value\"\n";
const BACKGROUND: &str = "a,b,c\n0,0,0\n1,-2,3\n";

fuzz_target!(|bytes: &[u8]| {
    // tract's panics are fenced and become errors; libfuzzer would take each for a crash.
    static QUIET: OnceLock<()> = OnceLock::new();
    QUIET.get_or_init(|| std::panic::set_hook(Box::new(|_| {})));
    let loaded = std::panic::catch_unwind(|| {
        if let Ok(model) = Model::load(&bundle_of(bytes)) {
            let _answer = model.predict(&[0.5, f32::NAN, -3.0]);
            let _explained = model.explained(&model.background().rows);
            if let Ok(explainer) = Explainer::new(Arc::new(model), Budget { evaluations: 64 }) {
                let _explanation = explainer.explain(&[0.5, -1.0, 3.0]);
            }
        }
    });
    // What comes through is a panic of ours.
    assert!(loaded.is_ok(), "a panic came through");
});

fn bundle_of(onnx: &[u8]) -> Files {
    let mut files = Files::from([
        ("model.onnx".to_owned(), onnx.to_vec()),
        ("manifest.toml".to_owned(), MANIFEST.as_bytes().to_vec()),
        ("background.csv".to_owned(), BACKGROUND.as_bytes().to_vec()),
    ]);
    let sums: String = files.iter().map(|(name, bytes)| format!("{}  {name}\n", bundle::digest(bytes))).collect();
    files.insert("SHA256SUMS".to_owned(), sums.into_bytes());
    files
}
