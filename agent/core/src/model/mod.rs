//! Models: bundles, networks, tree ensembles.

mod affine;
pub mod bundle;
mod card;
mod columns;
pub mod draft;
mod ensemble;
mod error;
mod golden;
mod graph;
mod halves;
mod labels;
mod linear;
pub mod manifest;
pub mod monitoring;
mod network;
mod operators;
pub mod pack;
mod reconstruction;
pub mod signature;
mod space;
mod sum;
mod table;
pub mod tree;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tract_onnx::pb::ModelProto;
use tract_onnx::prelude::Framework;

pub use self::bundle::Files;
pub use self::card::Card;
use self::ensemble::Ensemble;
pub use self::error::{BundleError, ModelError, Place};
use self::golden::Golden;
pub use self::golden::Verified;
use self::graph::Wiring;
pub use self::halves::Halves;
pub use self::manifest::{Decision, Feature, InputSpec, Manifest, OutputKind, Threshold};
pub use self::monitoring::Monitoring;
use self::network::Network;
use self::operators::{Shown, svm};
use self::space::choose_space;
pub use self::sum::{AddedUp, Sums, WeightedSum};
pub use self::table::Table;
pub use self::tree::{Split, TreeSum};
use crate::domain::prediction::{Digest, ModelKey, Output, Space};

/// A model with all that is needed to run, explain and check it. Immutable; share it in an `Arc`.
#[derive(Debug)]
pub struct Model {
    manifest: Manifest,
    engine: Engine,
    column: usize,
    space: Space,
    trees: Option<TreeSum>,
    background: Table,
    golden: Option<Golden>,
    monitoring: Option<Monitoring>,
    model_digest: Digest,
    background_digest: Digest,
}

/// What a model says of one row.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// What is decided on.
    pub output: Output,
    /// The explained quantity, in [`Model::space`]: what [`Model::explained`] gives for the row, but for what is not finite,
    /// which is refused there.
    pub explained: f64,
}

/// What computes the output tensor.
#[derive(Debug)]
enum Engine {
    Trees(Ensemble),
    Network(General),
}

/// A network, and what is known of it beside.
#[derive(Debug)]
struct General {
    network: Network,
    linear: Option<linear::Form>,
    shown: Shown,
}

impl Engine {
    fn columns(&self) -> usize {
        match self {
            Self::Trees(ensemble) => ensemble.columns(),
            Self::Network(general) => general.network.columns(),
        }
    }

    fn run(&self, rows: &[f32]) -> Result<Vec<f64>, ModelError> {
        match self {
            Self::Trees(ensemble) => ensemble.run(rows),
            Self::Network(general) => general.network.run(rows),
        }
    }

    /// The classes that the columns tell apart: a lone one says how likely the second of two is.
    fn classes(&self) -> usize {
        match (self.columns(), self.shown()) {
            (1, _) => 2,
            (pairs, Shown::Pairs) => svm::classes_of(pairs).unwrap_or(pairs),
            (columns, _) => columns,
        }
    }

    /// Whether a margin stands behind the tensor: a sum, and a function of it.
    fn has_link(&self) -> bool {
        match self {
            Self::Trees(ensemble) => ensemble.has_link(),
            Self::Network(general) => general.linear.as_ref().is_some_and(|form| form.has_link),
        }
    }

    fn shown(&self) -> Shown {
        match self {
            Self::Trees(ensemble) if ensemble.is_raw() => Shown::Scores,
            Self::Trees(_) => Shown::Probabilities,
            Self::Network(general) => general.shown,
        }
    }
}

impl Model {
    /// Loads a bundle and checks everything that can be checked without running it.
    ///
    /// # Errors
    /// The first thing found wrong, as one sentence: a missing, unlisted or changed file, a manifest that contradicts
    /// itself or the model, a model that cannot be run, a background or golden row that cannot be read.
    pub fn load(files: &Files) -> Result<Self, BundleError> {
        bundle::check(files)?;
        let text = bundle::text(files, bundle::MANIFEST)?;
        let mut manifest = Manifest::parse(text)?;
        let onnx = bundle::file(files, bundle::MODEL)?;
        let (engine, carried) = load_engine(onnx, text, &manifest)?;
        let column = choose_column(text, &manifest, &engine)?;
        if manifest.output.labels.is_empty() && carried.len() == engine.classes() {
            manifest.output.labels = carried;
        }
        let space = choose_space(text, &manifest, &engine)?;
        let reconstructs = manifest.output.kind == OutputKind::Reconstruction;
        let trees = match &engine {
            // The score of a reconstruction is made of all columns.
            _ if reconstructs => None,
            Engine::Trees(ensemble) if space == Space::Margin || !ensemble.has_link() => ensemble.tree_sum(column),
            Engine::Trees(_) | Engine::Network(_) => None,
        };
        let background = bundle::file(files, bundle::BACKGROUND)?;
        let background_rows = Table::read(bundle::BACKGROUND, background, &manifest)?;
        if background_rows.len() > manifest::MOST_BACKGROUND_ROWS {
            let (rows, most) = (background_rows.len(), manifest::MOST_BACKGROUND_ROWS);
            let problem = format!("there are {rows} rows; a background has at most {most}, so make the bundle anew");
            return Err(BundleError::at(Place::file(bundle::BACKGROUND), problem));
        }
        let golden = files.get(bundle::GOLDEN).map(|bytes| Golden::read(bytes, &manifest, engine.columns()));
        let monitoring = files.get(bundle::MONITORING).map(|bytes| Monitoring::read(bytes, &manifest));
        Ok(Self {
            monitoring: monitoring.transpose()?,
            background: background_rows,
            golden: golden.transpose()?,
            model_digest: bundle::digest(onnx),
            background_digest: bundle::digest(background),
            manifest,
            engine,
            column,
            space,
            trees,
        })
    }

    /// What the inputs and the output mean.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Values of one input: features, times steps for windows.
    pub fn width(&self) -> usize {
        self.manifest.width()
    }

    /// The reference rows that Shapley values are taken against.
    pub fn background(&self) -> &Table {
        &self.background
    }

    /// What drift, novelty and certainty need; absent from bundles that were made before there was any.
    pub fn monitoring(&self) -> Option<&Monitoring> {
        self.monitoring.as_ref()
    }

    /// How many golden rows there are.
    pub fn golden_rows(&self) -> usize {
        self.golden.as_ref().map_or(0, Golden::len)
    }

    /// Their inputs, flat.
    pub fn golden_inputs(&self) -> &[f32] {
        self.golden.as_ref().map_or(&[], |golden| &golden.rows)
    }

    /// Who computed the golden rows' outputs, where the bundle says: `trainer` or `bundle-create`.
    pub fn golden_origin(&self) -> Option<&str> {
        self.golden.as_ref().and_then(Golden::origin)
    }

    /// Digest of `model.onnx`.
    pub fn model_digest(&self) -> Digest {
        self.model_digest
    }

    /// Digest of `background.csv`.
    pub fn background_digest(&self) -> Digest {
        self.background_digest
    }

    /// Which model it is, under this name in the configuration.
    pub fn key(&self, name: &Arc<str>) -> ModelKey {
        ModelKey { name: Arc::clone(name), model: self.model_digest, background: self.background_digest }
    }

    /// The space that explanations are in, with `auto` resolved.
    pub fn space(&self) -> Space {
        self.space
    }

    /// The explained quantity as a sum of trees, where it is one.
    pub fn trees(&self) -> Option<&TreeSum> {
        self.trees.as_ref()
    }

    /// Runs one row, with values in model order.
    ///
    /// # Errors
    /// [`ModelError`]: the row has another width, the answer is not finite, or the model failed.
    pub fn predict(&self, row: &[f32]) -> Result<Answer, ModelError> {
        if row.len() != self.width() {
            return Err(ModelError::Width { expected: self.width(), found: row.len() });
        }
        let (outputs, margin) = self.answers(row)?;
        if outputs.iter().any(|output| !output.is_finite()) {
            return Err(ModelError::NonFinite);
        }
        if self.is_reconstruction() {
            let value = reconstruction::score(row, &outputs);
            return Ok(Answer { output: Output { value, label: None, probability: None }, explained: value });
        }
        let value = outputs.get(self.column).copied().unwrap_or(f64::NAN);
        let shown = self.engine.shown();
        let probability = self.gives_probability() && is_probability(value);
        let label = self.decided(&outputs, probability, shown).and_then(|class| self.manifest.output.labels.get(class));
        let output = Output { value, label: label.cloned(), probability: probability.then_some(value) };
        Ok(Answer { output, explained: if self.space == Space::Margin { margin } else { value } })
    }

    /// The output tensor of one row, and the margin behind its column; NaN where none is explained.
    fn answers(&self, row: &[f32]) -> Result<(Vec<f64>, f64), ModelError> {
        match &self.engine {
            Engine::Trees(ensemble) => ensemble.answers(row, self.column),
            Engine::Network(general) => {
                let sum = self.linear_in(self.space).filter(|_| self.space == Space::Margin);
                Ok((general.network.run(row)?, sum.map_or(f64::NAN, |sum| sum.of(row))))
            }
        }
    }

    /// The values that are decided on, of flat rows: what [`predict`](Self::predict) gives for each as value.
    ///
    /// # Errors
    /// [`ModelError`]: the values are no whole rows, an answer is not finite, or the model failed.
    pub fn outputs(&self, rows: &[f32]) -> Result<Vec<f64>, ModelError> {
        if !rows.len().is_multiple_of(self.width()) {
            return Err(ModelError::Width { expected: self.width(), found: rows.len() % self.width() });
        }
        let outputs = self.engine.run(rows)?;
        if outputs.iter().any(|output| !output.is_finite()) {
            return Err(ModelError::NonFinite);
        }
        if self.is_reconstruction() {
            return Ok(reconstruction::scores(rows, &outputs, self.width()));
        }
        Ok(outputs.into_iter().skip(self.column).step_by(self.engine.columns()).collect())
    }

    /// How many classes there are, and how likely each is, of flat rows; `None` for models that give no probabilities.
    ///
    /// # Errors
    /// As of [`outputs`](Self::outputs).
    pub fn probabilities(&self, rows: &[f32]) -> Result<Option<(usize, Vec<f64>)>, ModelError> {
        if !self.gives_probability() {
            return Ok(None);
        }
        if self.engine.columns() == 1 {
            let seconds = self.outputs(rows)?;
            return Ok(Some((2, seconds.into_iter().flat_map(|second| [1.0 - second, second]).collect())));
        }
        let outputs = self.engine.run(rows)?;
        match outputs.iter().all(|output| output.is_finite()) {
            true => Ok(Some((self.engine.columns(), outputs))),
            false => Err(ModelError::NonFinite),
        }
    }

    /// The class that the outputs speak for: the first of the largest; for a lone probability, the second above one half,
    /// for a lone score above zero; for scores of pairs, the one that wins most of its pairs.
    fn decided(&self, outputs: &[f64], probability: bool, shown: Shown) -> Option<usize> {
        let sign = if shown == Shown::Reversed { -1.0 } else { 1.0 };
        let better =
            |best: usize, class: usize| if sign * outputs[class] > sign * outputs[best] { class } else { best };
        match (outputs, shown) {
            (_, Shown::Pairs) => svm::voted(outputs),
            (_, Shown::Changed) => None,
            ([score], Shown::Scores) => Some(usize::from(*score > 0.0)),
            ([value], Shown::Probabilities) => probability.then_some(usize::from(*value > 0.5)),
            _ => (0..outputs.len()).reduce(better),
        }
    }

    /// The explained quantity, in [`Model::space`], of flat rows: one number per row.
    ///
    /// # Errors
    /// [`ModelError`]: the values are no whole rows, an answer is not finite, or the model failed.
    pub fn explained(&self, rows: &[f32]) -> Result<Vec<f64>, ModelError> {
        self.explained_in(self.space, rows)
    }

    /// Whether the model gives its input again, and is judged by how well.
    pub fn is_reconstruction(&self) -> bool {
        self.manifest.output.kind == OutputKind::Reconstruction
    }

    /// Each feature's part of a reconstruction's score, in the manifest's order; `None` for other models.
    ///
    /// # Errors
    /// [`ModelError`]: the row has another width, or the model failed.
    pub fn score_parts(&self, row: &[f32]) -> Result<Option<Vec<f64>>, ModelError> {
        if !self.is_reconstruction() {
            return Ok(None);
        }
        if row.len() != self.width() {
            return Err(ModelError::Width { expected: self.width(), found: row.len() });
        }
        let outputs = self.engine.run(row)?;
        Ok(Some(reconstruction::parts(row, &outputs, self.manifest.features.len())))
    }

    /// The column of the output tensor that is predicted, decided on and explained; all of them for a reconstruction.
    pub fn column(&self) -> usize {
        self.column
    }

    /// Replays the golden rows, singly and together, and compares with what they must give.
    ///
    /// # Errors
    /// [`BundleError::Golden`] for the first output that is further off than 1e-6 of the largest output (or of 1);
    /// [`BundleError::Invalid`] when the model fails to run, or as of [`check_probabilities`](Self::check_probabilities).
    pub fn verify(&self) -> Result<Verified, BundleError> {
        self.check_probabilities()?;
        let Some(golden) = &self.golden else { return Ok(Verified::default()) };
        let failed =
            |error: ModelError| BundleError::model(format!("{error}, for golden rows; do not use this model here"));
        let together = self.engine.run(&golden.rows).map_err(failed)?;
        let mut singly = Vec::with_capacity(together.len());
        for row in golden.rows.chunks_exact(self.width()) {
            singly.extend(self.engine.run(row).map_err(failed)?);
        }
        let (columns, tensor) = (self.engine.columns(), &self.manifest.output.tensor);
        let together = golden.compare(&together, columns, tensor)?;
        let singly = golden.compare(&singly, columns, tensor)?;
        Ok(if together.largest_error > singly.largest_error { together } else { singly })
    }

    /// Like [`verify`](Self::verify), of a bundle that came from elsewhere: it must have golden rows.
    ///
    /// # Errors
    /// [`BundleError::NoGolden`], and as of [`verify`](Self::verify).
    pub fn verify_fully(&self) -> Result<Verified, BundleError> {
        if self.golden.is_none() { Err(BundleError::NoGolden) } else { self.verify() }
    }

    /// Runs the background and the golden rows, and looks whether what would be called probabilities can be some: exporters
    /// also write classifiers whose output is a score.
    ///
    /// # Errors
    /// [`BundleError::Invalid`] with what to do, when one lies outside of 0 and 1, or when the model fails to run.
    pub fn check_probabilities(&self) -> Result<(), BundleError> {
        if !self.gives_probability() {
            return Ok(());
        }
        let golden = self.golden.iter().map(|golden| (bundle::GOLDEN, golden.rows.as_slice()));
        for (file, rows) in [(bundle::BACKGROUND, self.background.rows.as_slice())].into_iter().chain(golden) {
            let failed = |error: ModelError| BundleError::model(format!("{error}, for the rows of {file}"));
            let outputs = self.engine.run(rows).map_err(failed)?;
            let Some(score) = outputs.iter().find(|output| output.is_finite() && !is_probability(**output)) else {
                continue;
            };
            let tensor = &self.manifest.output.tensor;
            return Err(BundleError::model(format!(
                "\"{tensor}\" gives {score} for a row of {file}, which is no probability; export the model with its softmax \
                 or sigmoid, or write space = \"value\" below [output] if scores are meant"
            )));
        }
        Ok(())
    }

    /// The splits of trees that the values decided on ([`outputs`](Self::outputs)) follow from: between their thresholds
    /// those do not change, whatever function stands behind the trees. `None` for models that are more than trees.
    pub fn splits(&self) -> Option<Vec<Split>> {
        match &self.engine {
            Engine::Trees(ensemble) if !self.is_reconstruction() => Some(ensemble.splits(self.column)),
            Engine::Trees(_) | Engine::Network(_) => None,
        }
    }
}

/// Reads `model.onnx` and prepares what computes the manifest's tensor.
/// Also the names of the classes that a classifier's file carries.
fn load_engine(onnx: &[u8], text: &str, manifest: &Manifest) -> Result<(Engine, Vec<String>), BundleError> {
    let decoded = catch_unwind(AssertUnwindSafe(|| tract_onnx::onnx().proto_model_for_read(&mut &*onnx)));
    let Ok(Ok(proto)) = decoded else {
        return Err(BundleError::model("the file is not a whole ONNX model; copy or export it again"));
    };
    if proto.graph.as_ref().is_none_or(|graph| graph.node.is_empty()) {
        return Err(BundleError::model("the file holds no model; export it again"));
    }
    let tensor = &manifest.output.tensor;
    check_tensor(&proto, text, tensor)?;
    let classifier = proto.graph.as_ref().filter(|_| manifest.output.kind == OutputKind::Classification);
    let carried = classifier.map(|graph| labels::carried(graph, tensor)).unwrap_or_default();
    let engine = build_engine(proto, tensor, manifest).map_err(BundleError::model)?;
    Ok((engine, carried))
}

fn build_engine(proto: ModelProto, tensor: &str, manifest: &Manifest) -> Result<Engine, String> {
    let model = graph::simplify(proto, tensor)?;
    let Some(graph) = &model.graph else { return Err("the file holds no model; export it again".to_owned()) };
    // What follows reads rows; a window goes through the network as it is.
    let linear = match manifest.input {
        InputSpec::Row => {
            if let Some(ensemble) = Ensemble::load(graph, tensor, manifest.width())? {
                return Ok(Engine::Trees(ensemble));
            }
            linear::Form::behind(graph, tensor, manifest.width())?
        }
        InputSpec::Window { .. } => None,
    };
    let shown = Wiring::new(graph).source(tensor).map_or(Shown::Probabilities, |source| Shown::by(&source));
    let network = Network::load(&model, tensor, &manifest.shape())?;
    Ok(Engine::Network(General { network, linear, shown }))
}

fn check_tensor(proto: &ModelProto, text: &str, tensor: &str) -> Result<(), BundleError> {
    let outputs: Vec<&str> =
        proto.graph.iter().flat_map(|graph| &graph.output).map(|output| output.name.as_str()).collect();
    if outputs.contains(&tensor) {
        return Ok(());
    }
    let problem = format!("the model has no output \"{tensor}\"; its outputs are {}", outputs.join(", "));
    Err(Manifest::error(text, "output.tensor", problem))
}

/// Whether a number can be a probability, but for what float32 rounds off.
fn is_probability(value: f64) -> bool {
    const ROUNDING: f64 = 1e-5;
    (-ROUNDING..=1.0 + ROUNDING).contains(&value)
}

/// The column of the output tensor that is predicted, decided on and explained.
fn choose_column(text: &str, manifest: &Manifest, engine: &Engine) -> Result<usize, BundleError> {
    let (output, columns) = (&manifest.output, engine.columns());
    if output.kind == OutputKind::Reconstruction {
        if columns == manifest.width() {
            return Ok(0);
        }
        let problem = format!(
            "\"{}\" has {columns} values where the input has {}; a reconstruction has as many",
            output.tensor,
            manifest.width()
        );
        return Err(Manifest::error(text, "output.kind", problem));
    }
    let classes = engine.classes();
    if !output.labels.is_empty() && output.labels.len() != classes {
        let problem = format!("there are {} labels for {classes} classes; write one for each", output.labels.len());
        return Err(Manifest::error(text, "output.labels", problem));
    }
    let wrong = |problem: String| Err(Manifest::error(text, "output.index", problem));
    match output.index {
        Some(index) if index < columns => Ok(index),
        Some(index) => {
            wrong(format!("{index} is no column of \"{}\", which has {columns}; count from 0", output.tensor))
        }
        None if columns == 1 => Ok(0),
        None if columns == 2 && output.kind == OutputKind::Classification => Ok(1),
        None => wrong(format!("\"{}\" has {columns} columns; write which is meant, counted from 0", output.tensor)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_can_be_shared_between_threads() {
        fn shared<T: Send + Sync>() {}
        shared::<Model>();
    }
}
