//! What is asked of whatever a file makes of a model; shared by the fuzz target and by `tests/mutated_models.rs`.

use std::fmt::Write as _;
use std::sync::Arc;

use explaind_core::explain::counterfactual::Search;
use explaind_core::explain::{Budget, Explainer};
use explaind_core::model::{Files, Model, bundle};

/// Features and steps of an input.
const SHAPES: [(usize, usize); 4] = [(3, 1), (5, 1), (18, 1), (17, 3)];
const KINDS: [&str; 4] = ["regression", "classification", "anomaly", "reconstruction"];
const SPACES: [&str; 4] = ["auto", "value", "probability", "margin"];
const TENSORS: [&str; 4] = ["scores", "probabilities", "output_probability", "variable"];
const BACKGROUND_ROWS: usize = 4;

/// Loads a file whose last byte says what the manifest makes of it, and asks all that can be asked. Whether it loaded.
pub(crate) fn asked(bytes: &[u8]) -> bool {
    let Some((&variant, onnx)) = bytes.split_last() else { return false };
    Model::load(&bundle_of(onnx, variant)).map(ask).is_ok()
}

fn ask(model: Model) {
    let row: Vec<f32> = (0..model.width()).map(|at| value(at, 7)).collect();
    let mut unknown = row.clone();
    unknown[0] = f32::NAN;
    let _answers = (model.predict(&unknown), model.predict(&row));
    let _verified = model.verify();
    let model = Arc::new(model);
    for space in model.spaces() {
        let Ok(explainer) = Explainer::in_space(Arc::clone(&model), space, Budget { evaluations: 256 }) else {
            continue;
        };
        for row in [&row, &unknown] {
            if let Ok(explanation) = explainer.explain(row, None) {
                let _faithfulness = explainer.faithfulness(row, &explanation);
            }
        }
    }
    let _prepared = Search::of(&model);
}

/// Some small number; sometimes a whole one.
fn value(column: usize, row: usize) -> f32 {
    let mixed = (column * 31 + row * 17) % 13;
    if column.is_multiple_of(3) { mixed as f32 - 6.0 } else { mixed as f32 / 4.0 - 1.5 }
}

fn bundle_of(onnx: &[u8], variant: u8) -> Files {
    let choose = |shift: u8| usize::from(variant >> shift & 3);
    let (features, steps) = SHAPES[choose(0)];
    let mut manifest = "schema = 1\nname = \"m\"\nversion = \"1\"\n".to_owned();
    if steps > 1 {
        let _ = writeln!(manifest, "[input]\nkind = \"window\"\nsteps = {steps}");
    }
    for feature in 0..features {
        let _ = writeln!(manifest, "[[feature]]\nname = \"f{feature}\"");
    }
    let (kind, space, tensor) = (KINDS[choose(2)], SPACES[choose(4)], TENSORS[choose(6)]);
    let _ = writeln!(manifest, "[output]\nkind = \"{kind}\"\ntensor = \"{tensor}\"\nspace = \"{space}\"");
    if kind != "reconstruction" {
        manifest.push_str("index = 0\n");
    }
    let names: Vec<String> = (0..steps)
        .flat_map(|step| (0..features).map(move |f| if steps > 1 { format!("f{f}@{step}") } else { format!("f{f}") }))
        .collect();
    let mut background = names.join(",") + "\n";
    for row in 0..BACKGROUND_ROWS {
        let cells: Vec<String> = (0..names.len()).map(|column| value(column, row).to_string()).collect();
        background += &(cells.join(",") + "\n");
    }
    let mut files = Files::from([
        ("model.onnx".to_owned(), onnx.to_vec()),
        ("manifest.toml".to_owned(), manifest.into_bytes()),
        ("background.csv".to_owned(), background.into_bytes()),
    ]);
    let sums: String = files.iter().map(|(name, bytes)| format!("{}  {name}\n", bundle::digest(bytes))).collect();
    files.insert("SHA256SUMS".to_owned(), sums.into_bytes());
    files
}
