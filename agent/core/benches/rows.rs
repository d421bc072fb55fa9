//! What a predicted row and an explained row cost, per reference model, beside tract running the same file.
//!
//! One row at a time on one thread, as the daemon does it; medians and, in brackets, minima over many repetitions of the
//! golden rows.

#[path = "../tests/support/reference.rs"]
mod reference;

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use explaind_core::explain::{Budget, Explainer};
use reference::{Outcome, Reference};
use tract_onnx::prelude::*;

/// Measuring one thing takes about so long.
const LENGTH: Duration = Duration::from_secs(2);

/// What an estimated explanation may cost.
const BUDGET: Budget = Budget { evaluations: 2_600 };

fn main() -> Outcome<()> {
    println!("{:<16} {:>20} {:>20} {:>20} {:>12}", "", "prediction", "the same in tract", "explanation", "prepared in");
    for name in ["ai4i-gbt", "ai4i-forest", "ai4i-mlp", "cmapss-rul-lgbm", "cmapss-rul-cnn"] {
        let reference = Reference::open(name)?;
        let rows: Vec<Vec<f32>> = reference.rows().into_iter().map(|(row, _)| row).collect();
        let model = Arc::new(reference.model()?);
        let predicted = measure(&rows, |row| Ok(model.predict(row)?))?;

        let window = reference.golden["window"].as_array().into_iter().flatten();
        let window: Vec<usize> = window.filter_map(|size| size.as_u64()).map(|size| size as usize).collect();
        let shape: Vec<usize> = match window.as_slice() {
            [] => vec![1, rows[0].len()],
            window => [&[1], window].concat(),
        };

        // tract refuses some of these files; where it does not, its plan is for one row, as fast as it gets.
        let peer = match tract(&reference.onnx, &shape) {
            Ok(plan) => measure(&rows, |row| {
                let input = Tensor::from_shape(&shape, row)?;
                Ok(plan.run(tvec!(input.into()))?)
            })?,
            Err(_) => "refused".to_owned(),
        };

        let start = now();
        let explainer = Explainer::new(Arc::clone(&model), BUDGET)?;
        let prepared = short(now() - start);
        let explained = measure(&rows, |row| Ok(explainer.explain(row, None)?))?;
        println!("{name:<16} {predicted:>20} {peer:>20} {explained:>20} {prepared:>12}");
    }
    estimates()
}

/// What an estimate of the convolution's explanations costs and how far it is off, by budget, against enumeration.
fn estimates() -> Outcome<()> {
    let reference = Reference::open("cmapss-rul-cnn")?;
    let model = Arc::new(reference.model()?);
    println!(
        "\n{:<16} {:>20} {:>20} {:>20} {:>12}",
        "cmapss-rul-cnn", "evaluations", "root mean square", "largest", "time"
    );
    for evaluations in [650, 1_300, 2_600, 5_200, 10_400] {
        let explainer = Explainer::new(Arc::clone(&model), Budget { evaluations })?;
        let (mut errors, mut spent, mut times) = (Vec::new(), 0, Vec::new());
        for (row, golden) in reference.rows() {
            let start = now();
            let explanation = explainer.explain(&row, None)?;
            times.push(now() - start);
            spent = spent.max(explanation.evaluations);
            let expected = reference::numbers(&golden["shap"]);
            errors
                .extend(explanation.attributions.iter().zip(expected).map(|(share, expected)| share.value - expected));
        }
        times.sort_unstable();
        let square = errors.iter().map(|error| error * error).sum::<f64>() / errors.len() as f64;
        let largest = errors.iter().fold(0.0_f64, |largest, error| largest.max(error.abs()));
        let time = short(times[times.len() / 2]);
        println!("{evaluations:<16} {spent:>20} {:>20.3} {largest:>20.3} {time:>12}", square.sqrt());
    }
    Ok(())
}

fn tract(onnx: &[u8], shape: &[usize]) -> TractResult<Arc<TypedRunnableModel>> {
    tract_onnx::onnx()
        .model_for_read(&mut &*onnx)?
        .with_input_fact(0, f32::fact(shape).into())?
        .into_optimized()?
        .into_runnable()
}

/// Median and minimum of many calls, each on the next of the rows.
fn measure<T>(rows: &[Vec<f32>], mut call: impl FnMut(&[f32]) -> Outcome<T>) -> Outcome<String> {
    let mut times = Vec::new();
    let begin = now();
    while now() - begin < LENGTH {
        for row in rows {
            let start = now();
            let answer = black_box(call(black_box(row))?);
            times.push(now() - start);
            drop(answer);
        }
    }
    // The first round warms caches and fills pools.
    let mut times = times.split_off(rows.len().min(times.len() - 1));
    times.sort_unstable();
    Ok(format!("{} ({})", short(times[times.len() / 2]), short(times[0])))
}

fn short(time: Duration) -> String {
    match time.as_secs_f64() {
        seconds if seconds < 1e-3 => format!("{:.1} µs", seconds * 1e6),
        seconds => format!("{:.2} ms", seconds * 1e3),
    }
}

fn now() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "measuring time is what a benchmark does")]
    Instant::now()
}
