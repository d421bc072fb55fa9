//! Models: bundles, networks, tree ensembles.

mod affine;
pub mod bundle;
mod ensemble;
mod error;
mod golden;
pub mod manifest;
mod network;
pub mod pack;
mod reconstruction;
mod table;
pub mod tree;

use std::panic::{AssertUnwindSafe, catch_unwind};

use tract_onnx::pb::ModelProto;
use tract_onnx::prelude::Framework;

pub use self::affine::Affine;
pub use self::bundle::Files;
use self::ensemble::Ensemble;
pub use self::error::{BundleError, ModelError, Place};
use self::golden::Golden;
pub use self::golden::Verified;
pub use self::manifest::{Decision, Feature, InputSpec, Manifest, OutputKind, Threshold};
use self::network::Network;
pub use self::table::Table;
pub use self::tree::TreeSum;
use crate::domain::prediction::{Digest, Output, Space};

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
    model_digest: Digest,
    background_digest: Digest,
}

/// What computes the output tensor.
#[derive(Debug)]
enum Engine {
    Trees(Ensemble),
    Network(Network),
}

impl Engine {
    fn columns(&self) -> usize {
        match self {
            Self::Trees(ensemble) => ensemble.columns(),
            Self::Network(network) => network.columns(),
        }
    }

    fn run(&self, rows: &[f32]) -> Result<Vec<f64>, ModelError> {
        match self {
            Self::Trees(ensemble) => Ok(ensemble.run(rows)),
            Self::Network(network) => network.run(rows),
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
        let manifest = Manifest::parse(text)?;
        let onnx = bundle::file(files, bundle::MODEL)?;
        let engine = load_engine(onnx, text, &manifest)?;
        let column = choose_column(text, &manifest, engine.columns())?;
        let space = choose_space(text, &manifest, &engine)?;
        let trees = match &engine {
            Engine::Trees(ensemble) if space == Space::Margin || !ensemble.has_link() => {
                Some(ensemble.tree_sum(column))
            }
            Engine::Trees(_) | Engine::Network(_) => None,
        };
        let background = bundle::file(files, bundle::BACKGROUND)?;
        let golden = files.get(bundle::GOLDEN).map(|bytes| Golden::read(bytes, &manifest, engine.columns()));
        Ok(Self {
            background: Table::read(bundle::BACKGROUND, background, &manifest)?,
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

    /// Digest of `model.onnx`.
    pub fn model_digest(&self) -> Digest {
        self.model_digest
    }

    /// Digest of `background.csv`.
    pub fn background_digest(&self) -> Digest {
        self.background_digest
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
    pub fn predict(&self, row: &[f32]) -> Result<Output, ModelError> {
        if row.len() != self.width() {
            return Err(ModelError::Width { expected: self.width(), found: row.len() });
        }
        let outputs = self.engine.run(row)?;
        if outputs.iter().any(|output| !output.is_finite()) {
            return Err(ModelError::NonFinite);
        }
        if self.is_reconstruction() {
            return Ok(Output { value: reconstruction::score(row, &outputs), label: None, probability: None });
        }
        let value = outputs.get(self.column).copied().unwrap_or(f64::NAN);
        let classifier = self.manifest.output.kind == OutputKind::Classification;
        let probability = classifier && self.manifest.output.space != Some(Space::Value) && !self.is_raw();
        let label = self.decided(&outputs, probability).and_then(|class| self.manifest.output.labels.get(class));
        Ok(Output { value, label: label.cloned(), probability: probability.then_some(value) })
    }

    /// The class that the outputs speak for: the first of the largest; for a lone probability, the second above one half.
    fn decided(&self, outputs: &[f64], probability: bool) -> Option<usize> {
        if let [value] = outputs {
            return probability.then_some(usize::from(*value > 0.5));
        }
        let better = |best: usize, class: usize| if outputs[class] > outputs[best] { class } else { best };
        (0..outputs.len()).reduce(better)
    }

    fn is_raw(&self) -> bool {
        matches!(&self.engine, Engine::Trees(ensemble) if ensemble.is_raw())
    }

    /// The explained quantity, in [`Model::space`], of flat rows: one number per row.
    ///
    /// # Errors
    /// [`ModelError`]: the values are no whole rows, an answer is not finite, or the model failed.
    pub fn explained(&self, rows: &[f32]) -> Result<Vec<f64>, ModelError> {
        if !rows.len().is_multiple_of(self.width()) {
            return Err(ModelError::Width { expected: self.width(), found: rows.len() % self.width() });
        }
        let values: Vec<f64> = match &self.engine {
            engine if self.is_reconstruction() => reconstruction::scores(rows, &engine.run(rows)?, self.width()),
            Engine::Trees(ensemble) if self.space == Space::Margin => ensemble.margins(rows, self.column),
            engine => engine.run(rows)?.into_iter().skip(self.column).step_by(engine.columns()).collect(),
        };
        if values.iter().any(|value| !value.is_finite()) {
            return Err(ModelError::NonFinite);
        }
        Ok(values)
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

    /// The output tensor as sums of the input's values times constants, where the model is a network that is no more
    /// than that and its map is of a size to write out.
    ///
    /// # Errors
    /// [`ModelError`] when the model fails to run.
    pub fn affine(&self) -> Result<Option<Affine>, ModelError> {
        let Engine::Network(network) = &self.engine else { return Ok(None) };
        if !network.is_affine() {
            return Ok(None);
        }
        let scale = |column: usize| {
            let values = self.background.rows.iter().skip(column).step_by(self.width());
            values.fold(1.0_f32, |largest, value| largest.max(value.abs()))
        };
        let scales: Vec<f32> = (0..self.width()).map(scale).collect();
        Affine::probe(&scales, network.columns(), |rows| network.run(rows))
    }

    /// The column of the output tensor that is predicted, decided on and explained; all of them for a reconstruction.
    pub fn column(&self) -> usize {
        self.column
    }

    /// Replays the golden rows, singly and together, and compares with what they must give.
    ///
    /// # Errors
    /// [`BundleError::Golden`] for the first output that is further off than 1e-6 of the largest output (or of 1);
    /// [`BundleError::Invalid`] when the model fails to run.
    pub fn verify(&self) -> Result<Verified, BundleError> {
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
}

/// Reads `model.onnx` and prepares what computes the manifest's tensor.
fn load_engine(onnx: &[u8], text: &str, manifest: &Manifest) -> Result<Engine, BundleError> {
    let decoded = catch_unwind(AssertUnwindSafe(|| tract_onnx::onnx().proto_model_for_read(&mut &*onnx)));
    let Ok(Ok(proto)) = decoded else {
        return Err(BundleError::model("the file is not a whole ONNX model; copy or export it again"));
    };
    let graph = proto.graph.as_ref().filter(|graph| !graph.node.is_empty());
    let graph = graph.ok_or_else(|| BundleError::model("the file holds no model; export it again"))?;
    let tensor = &manifest.output.tensor;
    check_tensor(&proto, text, tensor)?;
    if Ensemble::is_in(graph) {
        if manifest.input != InputSpec::Row {
            let problem =
                "a tree ensemble takes rows, not windows; write \"row\", with the windows' figures as features";
            return Err(Manifest::error(text, "input.kind", problem));
        }
        return Ensemble::load(graph, tensor, manifest.width()).map(Engine::Trees).map_err(BundleError::model);
    }
    Network::load(&proto, tensor, &manifest.shape()).map(Engine::Network).map_err(BundleError::model)
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

/// The column of the output tensor that is predicted, decided on and explained.
fn choose_column(text: &str, manifest: &Manifest, columns: usize) -> Result<usize, BundleError> {
    let output = &manifest.output;
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
    let classes = if columns == 1 { 2 } else { columns };
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

/// Resolves `auto`: the margin where a link stands between the trees and the tensor, else the tensor's own value.
fn choose_space(text: &str, manifest: &Manifest, engine: &Engine) -> Result<Space, BundleError> {
    match (manifest.output.space, engine) {
        (Some(Space::Margin), Engine::Network(_)) => {
            let problem =
                "only tree ensembles have a margin in this version; write \"auto\", \"probability\" or \"value\"";
            Err(Manifest::error(text, "output.space", problem))
        }
        (Some(space), _) => Ok(space),
        (None, Engine::Trees(ensemble)) if ensemble.has_link() || ensemble.is_raw() => Ok(Space::Margin),
        (None, _) if manifest.output.kind == OutputKind::Classification => Ok(Space::Probability),
        (None, _) => Ok(Space::Value),
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
