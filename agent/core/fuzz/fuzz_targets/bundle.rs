//! Any text as a bundle's manifest and, after a zero byte, its tables; the first byte picks the model: a network, trees, or
//! a network over windows.

#![no_main]

use std::sync::{Arc, OnceLock};

use explaind_core::explain::{Budget, Explainer};
use explaind_core::model::{Files, Model, bundle};
use libfuzzer_sys::fuzz_target;

const MODELS: [&[u8]; 3] = [
    include_bytes!("../../../../tests/models/ai4i-mlp/model.onnx"),
    include_bytes!("../../../../tests/models/ai4i-gbt/model.onnx"),
    include_bytes!("../../../../tests/models/cmapss-rul-cnn/model.onnx"),
];

fuzz_target!(|bytes: &[u8]| {
    let Some((&which, bytes)) = bytes.split_first() else { return };
    static QUIET: OnceLock<()> = OnceLock::new();
    QUIET.get_or_init(|| std::panic::set_hook(Box::new(|_| {})));
    let (manifest, table) =
        bytes.iter().position(|&byte| byte == 0).map_or((bytes, &[][..]), |at| (&bytes[..at], &bytes[at + 1..]));
    let mut files = Files::from([
        ("model.onnx".to_owned(), MODELS[usize::from(which) % MODELS.len()].to_vec()),
        ("manifest.toml".to_owned(), manifest.to_vec()),
        ("background.csv".to_owned(), table.to_vec()),
        ("golden.csv".to_owned(), table.to_vec()),
    ]);
    let sums: String = files.iter().map(|(name, bytes)| format!("{}  {name}\n", bundle::digest(bytes))).collect();
    files.insert("SHA256SUMS".to_owned(), sums.into_bytes());
    let loaded = std::panic::catch_unwind(|| {
        if let Ok(model) = Model::load(&files) {
            let _verified = model.verify();
            let row: Vec<f32> = model.background().iter().next().map_or_else(Vec::new, <[f32]>::to_vec);
            if let Ok(explainer) = Explainer::new(Arc::new(model), Budget { evaluations: 64 }) {
                let _explained = explainer.explain(&row, None);
            }
        }
    });
    assert!(loaded.is_ok(), "a panic came through");
});
