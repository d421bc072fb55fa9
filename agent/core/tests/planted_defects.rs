//! Defects planted into windows of the real convolution, each in a known sensor and at a known time: the explanation must
//! name that sensor before all others, and of its time that interval.

#[path = "support/reference.rs"]
mod reference;

use std::sync::Arc;

use explaind_core::explain::{Budget, Explainer};
use reference::{Outcome, Reference};

/// What an explanation may cost.
const BUDGET: Budget = Budget { evaluations: 4_000 };
const SENSORS: usize = 14;
/// Steps of an interval: a window of 30 is told in six.
const INTERVAL: usize = 5;
const INTERVALS: usize = 6;
/// Golden rows of engines far from their end of life; a defect is what is most wrong with them.
const HEALTHY: [usize; 3] = [3, 7, 8];
/// How far a sensor is off while it is defective, in standard deviations over the background.
const OFF: f64 = 6.0;
/// Cycles of remaining life by which the defect moves the answer: one that the model hardly heeds explains nothing.
const HEEDED: f64 = 15.0;

/// How much a sensor varies over the background.
fn deviation(background: &[f32], sensor: usize) -> f64 {
    let values: Vec<f64> = background.iter().skip(sensor).step_by(SENSORS).map(|&value| f64::from(value)).collect();
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count).sqrt()
}

#[test]
fn a_defect_is_named_by_its_sensor_first_and_then_by_its_time() -> Outcome<()> {
    let reference = Reference::open("cmapss-rul-cnn")?;
    let explainer = Explainer::new(Arc::new(reference.model()?), BUDGET)?;
    let model = explainer.model();
    let names = reference.features();
    let rows = reference.rows();
    let (mut planted, mut sensors) = (0, [false; SENSORS]);
    for place in HEALTHY {
        let healthy = &rows[place].0;
        let before = model.predict(healthy)?.output.value;
        assert!(before > 110.0, "row {place} is not healthy: {before}");
        for (sensor, name) in names.iter().enumerate() {
            let off = (OFF * deviation(&model.background().rows, sensor)) as f32;
            for interval in 0..INTERVALS {
                let mut window = healthy.clone();
                let steps = interval * INTERVAL..(interval + 1) * INTERVAL;
                steps.clone().for_each(|step| window[step * SENSORS + sensor] += off);
                if (model.predict(&window)?.output.value - before).abs() < HEEDED {
                    continue;
                }
                let mut found = explainer.explain(&window, None)?.attributions;
                found.sort_by(|a, b| b.value.abs().total_cmp(&a.value.abs()));
                let what = format!("row {place}, {name} off in steps {steps:?}");
                assert_eq!(&*found[0].feature, *name, "{what}");
                let most = found[0].intervals.iter().max_by(|a, b| a.value.abs().total_cmp(&b.value.abs()));
                let most = most.map(|most| most.from as usize..most.to as usize);
                assert_eq!(most, Some(steps), "{what}: {:?}", found[0].intervals);
                planted += 1;
                sensors[sensor] = true;
            }
        }
    }
    println!("{planted} defects, all named");
    assert!(planted >= 80 && sensors.iter().filter(|&&planted| planted).count() >= 10, "only {planted} defects");
    Ok(())
}
