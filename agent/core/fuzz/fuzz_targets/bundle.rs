//! Any text as a bundle's manifest and, after a zero byte, its tables.

#![no_main]

use explaind_core::model::{Files, Model, bundle};
use libfuzzer_sys::fuzz_target;

const ONNX: &[u8] = include_bytes!("../../../../tests/models/ai4i-mlp/model.onnx");

fuzz_target!(|bytes: &[u8]| {
    let (manifest, table) =
        bytes.iter().position(|&byte| byte == 0).map_or((bytes, &[][..]), |at| (&bytes[..at], &bytes[at + 1..]));
    let mut files = Files::from([
        ("model.onnx".to_owned(), ONNX.to_vec()),
        ("manifest.toml".to_owned(), manifest.to_vec()),
        ("background.csv".to_owned(), table.to_vec()),
        ("golden.csv".to_owned(), table.to_vec()),
    ]);
    let sums: String = files.iter().map(|(name, bytes)| format!("{}  {name}\n", bundle::digest(bytes))).collect();
    files.insert("SHA256SUMS".to_owned(), sums.into_bytes());
    if let Ok(model) = Model::load(&files) {
        let _verified = model.verify();
    }
});
