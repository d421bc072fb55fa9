//! How much a network may ask for, counted before it gets any of it.
//!
//! A file of a few hundred bytes can ask for more memory than there is, or for years of work: sizes are only numbers in it.
//! An allocation that fails ends the process, which no fence holds. So every size is known before anything of that size is
//! made: tract follows shapes through a graph without values, all of ours and of tract's operators do so under a guard
//! ([`guarded`](super::guarded)), and what is left of the graph then is counted here, values and work, before a constant is
//! folded or a plan is made.

use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::fmt::Display;

use thiserror::Error;
use tract_onnx::tract_core::ops::cnn::{Conv, Deconv, MaxPool, PoolSpec, SumPool};
use tract_onnx::tract_core::ops::einsum::EinSum;
use tract_onnx::tract_core::ops::gru_seq::GruSeq;
use tract_onnx::tract_core::ops::konst::Const;
use tract_onnx::tract_core::ops::logic::IfThenElse;
use tract_onnx::tract_core::ops::scan::Scan;
use tract_onnx::tract_hir::internal::*;

/// Most values that a network holds at a time for one input (or for one batch), in float32's size: as many as the largest file
/// that a bundle may have (256 MiB) holds weights.
pub(super) const MOST_VALUES: u128 = 1 << 26;
/// Most multiplications of one input or batch. Half a minute to some minutes, whatever the processor.
pub(super) const MOST_WORK: u128 = 1 << 36;
/// Most operators and stored tensors, those in loops and branches with them: what tract does with a graph takes the square
/// of their number, some seconds for 4,000.
pub(super) const MOST_OPERATORS: usize = 5_000;
/// How deep loops and branches may lie in each other: for each, tract looks at all that is in it some times over.
pub(super) const MOST_DEPTH: usize = 4;
/// What starting an operator costs, in multiplications.
const STARTING: u128 = 256;

/// A sentence of ours, to be told from tract's errors.
#[derive(Debug, Error)]
#[error("{0}")]
pub(super) struct Refusal(pub(super) String);

impl Refusal {
    /// `operator` makes room for so many `values`, and the network `held` some before.
    pub(super) fn too_many(operator: impl Display, values: u128, held: u128) -> Self {
        let with = if held > values { format!(", which makes {held}") } else { String::new() };
        Self(format!(
            "{operator} gives {values} values{with}, and a network may hold {MOST_VALUES} of float32's size at a time for \
             one input; export a smaller model"
        ))
    }

    pub(super) fn unknown(operator: impl Display) -> Self {
        Self(format!(
            "how many values {operator} gives cannot be told from the file; export the model with fixed sizes, and without \
             operators whose result's size depends on the input's values"
        ))
    }
}

/// How many values of float32's size one of this kind is: tract keeps whole numbers that may be sizes as formulas.
pub(super) fn weight(kind: DatumType) -> u128 {
    (kind.size_of() / size_of::<f32>()).max(1) as u128
}

/// How many values a shape holds. A size of zero counts as one: what is looped over may be it.
pub(super) fn volume(shape: impl IntoIterator<Item = usize>) -> u128 {
    shape.into_iter().fold(1, |product: u128, size| product.saturating_mul(size.max(1) as u128))
}

thread_local! {
    /// Values of the constants that have been computed for the plan that is being made.
    static SPENT: Cell<u128> = const { Cell::new(0) };
}

/// Starts counting for a new plan.
pub(super) fn start_counting() {
    SPENT.set(0);
}

/// Counts values of a plan, and what they weigh.
pub(super) fn spend(operator: impl Display, values: u128, weight: u128) -> Result<(), Refusal> {
    SPENT.set(SPENT.get().saturating_add(values.saturating_mul(weight)));
    if SPENT.get() > MOST_VALUES { Err(Refusal::too_many(operator, values, SPENT.get())) } else { Ok(()) }
}

/// What a graph asks for when it runs once: the most values that it holds at a time, and multiplications.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Cost {
    pub(super) values: u128,
    pub(super) work: u128,
}

/// What a graph asks for when it runs once.
///
/// # Errors
/// [`Refusal`], as an error of tract's, when it is more than what a network may have.
pub(super) fn check(model: &TypedModel) -> TractResult<Cost> {
    // The order in which tract runs it, and lets go of what nothing reads any more.
    let order = model.eval_order_opt_ram()?;
    let mut last_use: HashMap<OutletId, usize> = HashMap::new();
    for (at, &id) in order.iter().enumerate() {
        last_use.extend(model.nodes[id].inputs.iter().map(|input| (*input, at)));
    }
    last_use.extend(model.outputs.iter().map(|output| (*output, usize::MAX)));
    // What follows from constants is computed once and kept.
    let mut kept: HashSet<usize> = HashSet::new();
    let (mut held, mut total) = (0_u128, Cost::default());
    for (at, &id) in order.iter().enumerate() {
        let node = &model.nodes[id];
        let own = cost(model, node)?;
        let constant = !node.inputs.is_empty() && node.inputs.iter().all(|input| kept.contains(&input.node));
        if constant || node.op_is::<Const>() {
            kept.insert(id);
        }
        held = held.saturating_add(own.given);
        total.values = total.values.max(held.saturating_add(own.beside.values));
        total.work = total.work.saturating_add(own.beside.work);
        if total.values > MOST_VALUES {
            return Err(
                Refusal::too_many(named(node), own.given.saturating_add(own.beside.values), total.values).into()
            );
        }
        if total.work > MOST_WORK {
            return Err(Refusal(format!(
                "{} takes {} multiplications, and all of a network may take {MOST_WORK} for one input; export a smaller \
                 model",
                named(node),
                own.beside.work
            ))
            .into());
        }
        let read = node.inputs.iter().filter(|input| last_use.get(input) == Some(&at)).copied();
        let unread = (0..node.outputs.len()).map(|slot| OutletId::new(id, slot));
        let unread = unread.filter(|outlet| !last_use.contains_key(outlet));
        for outlet in read.chain(unread).collect::<HashSet<OutletId>>() {
            if !kept.contains(&outlet.node) {
                held = held.saturating_sub(given(&model.outlet_fact(outlet)?.clone()));
            }
        }
    }
    Ok(total)
}

/// How many values of float32's size a tensor has. One of a size that is not known was refused before.
fn given(fact: &TypedFact) -> u128 {
    let sizes = fact.shape.as_concrete().unwrap_or_default();
    volume(sizes.iter().copied()).saturating_mul(weight(fact.datum_type))
}

fn named(node: &TypedNode) -> String {
    format!("the operator {} (node \"{}\")", node.op.name(), crate::model::graph::attributes::brief(&node.name))
}

/// Of one operator.
#[derive(Default)]
struct Own {
    /// Values of its results.
    given: u128,
    /// What it makes room for beside them, and what it multiplies.
    beside: Cost,
}

fn cost(model: &TypedModel, node: &TypedNode) -> TractResult<Own> {
    let sizes = |fact: &TypedFact| fact.shape.as_concrete().map(<[usize]>::to_vec);
    let outputs: Option<Vec<Vec<usize>>> = node.outputs.iter().map(|output| sizes(&output.fact)).collect();
    let outputs = outputs.ok_or_else(|| Refusal::unknown(named(node)))?;
    if node.op_is::<Const>() {
        // Stored in the file, or counted when it was made.
        return Ok(Own::default());
    }
    let facts = model.node_input_facts(node.id)?;
    let inputs: Option<Vec<Vec<usize>>> = facts.iter().map(|fact| sizes(fact)).collect();
    let inputs = inputs.ok_or_else(|| Refusal::unknown(named(node)))?;
    let taken = inputs.iter().fold(0_u128, |sum, shape| sum.saturating_add(volume(shape.iter().copied())));
    let given = node.outputs.iter().fold(0_u128, |sum, output| sum.saturating_add(given(&output.fact)));
    let mut beside = beside(node, &facts, &inputs, &outputs)?;
    beside.work = beside.work.saturating_add(taken).saturating_add(given).saturating_add(STARTING);
    Ok(Own { given, beside })
}

/// What an operator makes room for beside its results, and multiplies.
fn beside(node: &TypedNode, facts: &[&TypedFact], inputs: &[Vec<usize>], outputs: &[Vec<usize>]) -> TractResult<Cost> {
    let of = |shapes: &[Vec<usize>], slot: usize| shapes.get(slot).map_or(0, |shape| volume(shape.iter().copied()));
    let (input, output) = (of(inputs, 0), of(outputs, 0));
    let work = |work: u128| Cost { values: 0, work };
    if let Some(sum) = node.op_as::<EinSum>() {
        let size = |(slot, places): (usize, &TVec<usize>)| {
            places.iter().filter_map(|&place| inputs.get(slot)?.get(place).copied()).max().unwrap_or(1)
        };
        let axes = sum.axes.iter_all_axes();
        return Ok(work(volume(axes.map(|axis| axis.inputs.iter().enumerate().map(size).max().unwrap_or(1)))));
    }
    if let Some(conv) = node.op_as::<Conv>() {
        let taps = taps(&conv.pool_spec);
        let channels = (conv.pool_spec.input_channels / conv.group.max(1)).max(1) as u128;
        // Its input once for each place in the kernel; and its input with what is padded.
        let groups = (conv.pool_spec.output_channels / conv.group.max(1)).max(1) as u128;
        let unrolled = output.saturating_mul(taps).saturating_mul(channels) / groups;
        let values = unrolled.saturating_add(padded(&conv.pool_spec, inputs));
        return Ok(Cost { values, work: output.saturating_mul(taps).saturating_mul(channels) });
    }
    let pool = node.op_as::<MaxPool>().map(|pool| &pool.pool_spec);
    if let Some(spec) = pool.or_else(|| node.op_as::<SumPool>().map(|pool| &pool.pool_spec)) {
        let taps = taps(spec);
        // Where each place of the kernel lies is written down.
        let values = taps.saturating_add(padded(spec, inputs));
        return Ok(Cost { values, work: output.saturating_mul(taps) });
    }
    if let Some(deconv) = node.op_as::<Deconv>() {
        let channels = (deconv.pool_spec.output_channels / deconv.group.max(1)).max(1) as u128;
        let work = input.saturating_mul(taps(&deconv.pool_spec)).saturating_mul(channels);
        let groups = (deconv.pool_spec.input_channels / deconv.group.max(1)).max(1) as u128;
        return Ok(Cost { values: work / groups, work });
    }
    if let Some(gru) = node.op_as::<GruSeq>() {
        let (hidden, columns) = (gru.hidden as u128, inputs.first().and_then(|shape| shape.last()).copied());
        let rows = input / (columns.unwrap_or(1).max(1) as u128);
        let columns = columns.unwrap_or(1) as u128;
        return Ok(Cost {
            values: rows.saturating_mul(3).saturating_mul(hidden),
            work: rows.saturating_mul(3).saturating_mul(hidden).saturating_mul(hidden.saturating_add(columns)),
        });
    }
    if let Some(scan) = node.op_as::<Scan>() {
        let rounds = scan.iteration_count(facts).and_then(|rounds| rounds.to_usize().ok());
        let rounds = rounds.ok_or_else(|| Refusal::unknown(named(node)))?.max(1) as u128;
        let body = check(&scan.body)?;
        return Ok(Cost { work: body.work.saturating_mul(rounds), ..body });
    }
    if let Some(branches) = node.op_as::<IfThenElse>() {
        let (yes, no) = (check(&branches.then_body)?, check(&branches.else_body)?);
        return Ok(Cost { values: yes.values.saturating_add(no.values), work: yes.work.saturating_add(no.work) });
    }
    let name = node.op.name();
    if name.contains("Lrn") || name.contains("Sdpa") || name.contains("Attention") {
        // Sums over many values for each: at most over all of them.
        let others = of(inputs, 1).max(inputs.first().and_then(|shape| shape.get(1)).copied().unwrap_or(1) as u128);
        return Ok(Cost { values: 0, work: input.saturating_mul(others) });
    }
    if name.contains("Multinomial") {
        let classes = inputs.first().and_then(|shape| shape.last()).copied().unwrap_or(1) as u128;
        return Ok(work(output.saturating_mul(classes)));
    }
    if let (true, Some(from), Some(to)) = (name.contains("Resize"), inputs.first(), outputs.first()) {
        // Axis by axis: one may grow before another shrinks.
        let between = |axis: usize| volume(to.iter().take(axis).chain(from.iter().skip(axis)).copied());
        let steps = (0..to.len()).map(|axis| between(axis).saturating_add(between(axis + 1)));
        let (most, all) = steps.fold((0, 0_u128), |(most, all), step| (step.max(most), all.saturating_add(step)));
        return Ok(Cost { values: most, work: all.saturating_mul(4) });
    }
    let costs = node.op.cost(facts)?;
    Ok(work(costs.iter().fold(0, |sum: u128, (_, count)| {
        sum.saturating_add(count.as_i64().and_then(|count| u128::try_from(count).ok()).unwrap_or(MOST_WORK))
    })))
}

fn taps(spec: &PoolSpec) -> u128 {
    volume(spec.kernel_shape.iter().copied())
}

/// How many values an input has with what is padded.
fn padded(spec: &PoolSpec, inputs: &[Vec<usize>]) -> u128 {
    let Some(Ok(shape)) = inputs.first().map(|shape| spec.data_format.shape(shape.as_slice())) else {
        return u128::MAX;
    };
    let sides = spec.computed_padding(shape.hw_dims());
    let places = sides.iter().zip(shape.hw_dims()).fold(1_u128, |product, (side, &size)| {
        product.saturating_mul(
            (size as u128).saturating_add(side.pad_before as u128).saturating_add(side.pad_after as u128),
        )
    });
    let others = (shape.n().copied().unwrap_or(1) as u128).saturating_mul(*shape.c() as u128);
    places.saturating_mul(others.max(1))
}
