//! Models: bundles, networks, tree ensembles.

pub mod tree;
