//! What a predicted row and an explained row cost, per reference model, beside tract running the same file.
//!
//! One row at a time on one thread, as the daemon does it; medians and, in brackets, minima over many repetitions of the
//! golden rows.

#[path = "../tests/support/reference.rs"]
mod reference;

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use explaind_core::explain::Explainer;
use reference::{Outcome, Reference};
use tract_onnx::prelude::*;

/// Measuring one thing takes about so long.
const LENGTH: Duration = Duration::from_secs(2);

fn main() -> Outcome<()> {
    println!("{:<16} {:>20} {:>20} {:>20} {:>12}", "", "prediction", "the same in tract", "explanation", "prepared in");
    for name in ["ai4i-gbt", "ai4i-forest", "ai4i-mlp", "cmapss-rul-lgbm"] {
        let reference = Reference::open(name)?;
        let rows: Vec<Vec<f32>> = reference.rows().into_iter().map(|(row, _)| row).collect();
        let model = Arc::new(reference.model()?);
        let predicted = measure(&rows, |row| Ok(model.predict(row)?))?;

        // tract refuses some of these files; where it does not, its plan is for one row, as fast as it gets.
        let peer = match tract(&reference.onnx, rows[0].len()) {
            Ok(plan) => measure(&rows, |row| {
                let input = Tensor::from_shape(&[1, row.len()], row)?;
                Ok(plan.run(tvec!(input.into()))?)
            })?,
            Err(_) => "refused".to_owned(),
        };

        let start = now();
        let explainer = Explainer::new(Arc::clone(&model))?;
        let prepared = short(now() - start);
        let explained = measure(&rows, |row| Ok(explainer.explain(row)?))?;
        println!("{name:<16} {predicted:>20} {peer:>20} {explained:>20} {prepared:>12}");
    }
    Ok(())
}

fn tract(onnx: &[u8], width: usize) -> TractResult<Arc<TypedRunnableModel>> {
    tract_onnx::onnx()
        .model_for_read(&mut &*onnx)?
        .with_input_fact(0, f32::fact([1, width]).into())?
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
