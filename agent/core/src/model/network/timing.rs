//! What the looking costs, beside tract alone: measured when asked for.
//!
//!     cargo test --workspace --lib what_looking_costs -- --ignored --nocapture

use std::hint::black_box;
use std::time::{Duration, Instant};

use prost::Message;
use tract_onnx::pb::ModelProto;
use tract_onnx::prelude::*;

use super::{BATCH, guarded, plan, prune};

const DENSE: &[u8] = include_bytes!("../../../../../tests/models/ai4i-mlp/model.onnx");
const CONVOLUTION: &[u8] = include_bytes!("../../../../../tests/models/cmapss-rul-cnn/model.onnx");

/// The quickest of many.
fn quickest(times: usize, mut call: impl FnMut()) -> Duration {
    let once = |_| {
        #[expect(clippy::disallowed_methods, reason = "a measurement needs a clock")]
        let started = Instant::now();
        call();
        started.elapsed()
    };
    (0..times).map(once).min().unwrap_or_default()
}

fn alone(model: &ModelProto, shape: &[usize], batch: usize) -> TractResult<Arc<TypedRunnableModel>> {
    let dims: TVec<usize> = std::iter::once(batch).chain(shape.iter().copied()).collect();
    guarded::plain()
        .clone()
        .with_ignore_value_info(true)
        .model_for_proto_model(model)?
        .with_input_fact(0, f32::fact(&*dims).into())?
        .into_optimized()?
        .into_runnable()
}

#[test]
#[ignore = "it measures"]
fn what_looking_costs() {
    for (bytes, tensor, shape) in [(DENSE, "probability", &[6][..]), (CONVOLUTION, "rul", &[30, 14])] {
        let model = prune(&ModelProto::decode(bytes).expect("a file"), tensor, shape).expect("a network");
        for batch in [1, BATCH] {
            let input = vec![0.5_f32; batch * shape.iter().product::<usize>()];
            let dims: Vec<usize> = std::iter::once(batch).chain(shape.iter().copied()).collect();
            let run = |plan: &Arc<TypedRunnableModel>| {
                let given = Tensor::from_shape(&dims, &input).expect("a tensor");
                black_box(plan.run(tvec!(given.into())).expect("an answer"));
            };
            let (ours, _) = plan(&model, shape, batch).expect("a plan");
            let theirs = alone(&model, shape, batch).expect("a plan");
            // In turns, so that both see the same machine.
            let mut found = [Duration::MAX; 2];
            for _ in 0..20 {
                found[0] = found[0].min(quickest(500, || run(&theirs)));
                found[1] = found[1].min(quickest(500, || run(&ours)));
            }
            let made = [
                quickest(20, || drop(black_box(alone(&model, shape, batch)))),
                quickest(20, || drop(black_box(plan(&model, shape, batch)))),
            ];
            println!(
                "{tensor}, {batch} at once: tract alone {:?}, looking {:?}; made in {:?}, and {:?}",
                found[0], found[1], made[0], made[1]
            );
        }
    }
}
