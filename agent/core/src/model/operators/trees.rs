//! Tree ensembles inside of a graph that only tract can run: our evaluator as an operator.

use tract_onnx::pb::NodeProto;

use super::{Rows, Shape};
use crate::model::ensemble::Ensemble;

/// An ensemble over the columns that it is given.
#[derive(Debug)]
pub(super) struct TreeScores(Ensemble);

impl TreeScores {
    pub(super) fn read(node: &NodeProto) -> Result<Self, String> {
        Ensemble::alone(node).map(Self)
    }
}

impl Rows for TreeScores {
    fn shape(&self, columns: usize) -> Result<Shape, String> {
        if columns < self.0.width() {
            return Err(format!(
                "the trees split on column {}, and are given {columns} columns",
                self.0.width().saturating_sub(1)
            ));
        }
        Ok(Shape::Columns(self.0.columns()))
    }

    fn run(&self, row: &[f64], out: &mut Vec<f64>) -> Result<(), String> {
        self.0.run_exactly(row, out)
    }

    fn work(&self) -> usize {
        self.0.nodes()
    }
}
