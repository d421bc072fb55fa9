//! `MLmodel`: what makes the folder a model that MLflow opens.

use std::fmt::Write as _;

use crate::model::manifest::{InputSpec, Manifest};

/// The file. Without a time or an id: the same inputs, the same bytes.
///
/// Rows are told to MLflow as columns, so that `mlflow.pyfunc` takes a data frame with the features' names. It accepts
/// whole numbers for float64 and not for float32, and rounds to what the model takes. Of windows it is told nothing: it
/// takes an array.
pub(super) fn text(manifest: &Manifest) -> String {
    let mut text = "\
flavors:
  onnx:
    code: null
    data: model.onnx
    onnx_session_options: null
    providers:
    - CPUExecutionProvider
  python_function:
    data: model.onnx
    loader_module: mlflow.onnx
"
    .to_owned();
    if manifest.input == InputSpec::Row && manifest.features.iter().all(|feature| feature.categories.is_empty()) {
        let columns: Vec<serde_json::Value> = manifest
            .features
            .iter()
            .map(|feature| serde_json::json!({"name": &*feature.name, "required": true, "type": "double"}))
            .collect();
        let columns = serde_json::Value::from(columns).to_string().replace('\'', "\'\'");
        let _infallible = write!(text, "signature:\n  inputs: '{columns}'\n  outputs: null\n  params: null\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_told_where_a_data_frame_can_have_them() {
        let manifest = |feature: &str| {
            let text = format!(
                "schema = 1\nname = \"m\"\nversion = \"1\"\n[[feature]]\n{feature}\n[output]\nkind = \"regression\"\ntensor = \"y\"\n"
            );
            text_of(&Manifest::parse(&text).unwrap())
        };
        let text_with = manifest("name = \"it's \\\"a\\\"\"");
        let wanted = r#"inputs: '[{"name":"it''s \"a\"","required":true,"type":"double"}]'"#;
        assert!(text_with.contains(wanted), "{text_with}");
        assert!(!manifest("name = \"a\"\ncategories = { L = 0 }").contains("signature"));
    }

    fn text_of(manifest: &Manifest) -> String {
        text(manifest)
    }
}
