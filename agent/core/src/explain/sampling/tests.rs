use super::*;
use crate::explain::exact::Enumeration;

type Game = fn(&[f32]) -> f64;

const WIDTH: usize = 6;

/// A digest that differs from others in its number.
fn digest(number: u64) -> [u8; 32] {
    let mut digest = [0; 32];
    digest[..8].copy_from_slice(&number.to_le_bytes());
    digest
}

/// Rows whose values hardly ever agree.
fn rows(count: usize, seed: u64) -> Vec<f32> {
    let mut random = Random::new(digest(seed));
    (0..count * WIDTH).map(|_| random.below(2_000) as f32 / 1_000.0 - 1.0).collect()
}

fn ask(game: Game) -> impl Fn(&[f32]) -> Result<Vec<f64>, ExplainError> {
    move |rows| Ok(rows.chunks_exact(WIDTH).map(game).collect())
}

fn sampler(game: Game, background: &[f32]) -> Sampler {
    let outputs: Vec<f64> = background.chunks_exact(WIDTH).map(game).collect();
    Sampler::new(Players::of_row(WIDTH), background, &outputs, digest(1), &ask(game)).expect("a sampler")
}

fn exact(game: Game, row: &[f32], background: &[f32]) -> Vec<f64> {
    let enumeration = Enumeration::new(Players::of_row(WIDTH), background).expect("few features");
    enumeration.attributions(row, ask(game)).expect("answers").attributions
}

fn furthest(found: &[f64], expected: &[f64]) -> f64 {
    found.iter().zip(expected).map(|(found, expected)| (found - expected).abs()).fold(0.0, f64::max)
}

fn sum(x: &[f32]) -> f64 {
    x.iter().zip(1..).map(|(&x, weight)| f64::from(x) * f64::from(weight)).sum()
}

/// Pairs of features, no more.
fn pairs(x: &[f32]) -> f64 {
    sum(x) + 3.0 * f64::from(x[0]) * f64::from(x[1]) - 2.0 * f64::from(x[2]) * f64::from(x[5])
}

/// Features in threes and more: a small network of made-up weights, bent sharply.
fn bent(x: &[f32]) -> f64 {
    let neuron = |shift: usize| {
        let weight = |index: usize| ((index * 7 + shift * 5) % 11) as f64 / 5.0 - 1.0;
        x.iter().enumerate().map(|(index, &x)| weight(index) * f64::from(x)).sum::<f64>().max(0.0)
    };
    (0..5).map(neuron).product::<f64>() * 3.0 + (0..4).map(neuron).sum::<f64>()
}

#[test]
fn a_sum_is_explained_exactly_from_a_few_walks() {
    let (background, row) = (rows(50, 1), rows(1, 2));
    let estimate = sampler(sum, &background).estimate(&row, 200, digest(0), &ask(sum)).expect("an estimate");
    assert!(furthest(&estimate.attributions, &exact(sum, &row, &background)) < 1e-6);
    assert!(estimate.standard_errors.iter().all(|&error| error < 1e-6), "{:?}", estimate.standard_errors);
    assert!(estimate.evaluations <= 200 && estimate.output == sum(&row));
}

#[test]
fn pairs_are_explained_exactly_once_every_background_row_was_visited() {
    let (background, row) = (rows(20, 3), rows(1, 4));
    let estimate = sampler(pairs, &background).estimate(&row, 2_000, digest(0), &ask(pairs)).expect("an estimate");
    assert!(furthest(&estimate.attributions, &exact(pairs, &row, &background)) < 1e-6);
    assert!(estimate.standard_errors.iter().all(|&error| error < 1e-6), "{:?}", estimate.standard_errors);
}

#[test]
fn estimates_are_unbiased_and_their_errors_are_as_large_as_they_say() {
    // Budgets that pay for a part of the background, for little more than all of it, and for several rounds.
    let background = rows(40, 5);
    for budget in [160, 300, 480, 2_000] {
        let sampler = sampler(bent, &background);
        let (mut off, mut within_one, mut within_three, mut seen) = ([0.0; WIDTH], 0, 0, 0);
        let mut squares = [0.0; WIDTH];
        const SEEDS: usize = 400;
        for seed in 0..SEEDS {
            let row = rows(1, 6);
            let estimate = sampler.estimate(&row, budget, digest(seed as u64), &ask(bent)).expect("an estimate");
            let expected = exact(bent, &row, &background);
            assert!(estimate.evaluations <= budget, "{} of {budget}", estimate.evaluations);
            for (player, expected) in expected.iter().enumerate() {
                let error = estimate.attributions[player] - expected;
                off[player] += error / SEEDS as f64;
                squares[player] += error * error / SEEDS as f64;
                within_one += usize::from(error.abs() <= estimate.standard_errors[player]);
                within_three += usize::from(error.abs() <= 3.0 * estimate.standard_errors[player]);
                seen += 1;
            }
        }
        let (one, three) = (within_one as f64 / seen as f64, within_three as f64 / seen as f64);
        println!("{budget} evaluations: {one:.3} within one standard error, {three:.4} within three");
        // A normal error is within one in 0.683 of cases, within three in 0.997.
        assert!((0.6..0.8).contains(&one) && three > 0.97, "{budget}: {one} and {three}");
        for (off, square) in off.iter().zip(squares) {
            let of_mean = (square / SEEDS as f64).sqrt();
            assert!(off.abs() < 4.0 * of_mean, "{budget}: off by {off} on average, where chance explains {of_mean}");
        }
    }
}

#[test]
fn every_walk_adds_up_whatever_the_budget() {
    let (background, row) = (rows(30, 7), rows(1, 8));
    let base = background.chunks_exact(WIDTH).map(bent).sum::<f64>() / 30.0;
    for budget in [0, 100, 333, 5_000] {
        let estimate = sampler(bent, &background).estimate(&row, budget, digest(9), &ask(bent)).expect("an estimate");
        let gap = base + estimate.attributions.iter().sum::<f64>() - estimate.output;
        assert!(gap.abs() < 1e-9, "{budget}: {gap}");
    }
}

#[test]
fn the_same_input_gives_the_same_bytes_and_a_larger_budget_a_smaller_error() {
    let (background, row) = (rows(30, 7), rows(1, 8));
    let sampler = sampler(bent, &background);
    let estimate = |budget| sampler.estimate(&row, budget, digest(9), &ask(bent)).expect("an estimate");
    assert_eq!(estimate(300), estimate(300));
    let largest = |estimate: Estimate| estimate.standard_errors.into_iter().fold(0.0, f64::max);
    assert!(largest(estimate(1_000)) < largest(estimate(200)) / 2.0);
    let enough = estimate(1_000_000);
    assert!(enough.evaluations < 10_000, "good enough after {}", enough.evaluations);
    assert!(largest(enough) <= TOLERANCE * variance(background.chunks_exact(WIDTH).map(bent)).sqrt());
    assert_ne!(sampler.estimate(&row, 300, digest(10), &ask(bent)).expect("an estimate"), estimate(300));
}

#[test]
fn features_that_agree_take_no_part_and_a_row_of_the_background_asks_little() {
    let (mut background, row) = (rows(30, 7), rows(1, 8));
    background.iter_mut().skip(2).step_by(WIDTH).for_each(|value| *value = row[2]);
    let estimate = sampler(bent, &background).estimate(&row, 1_000, digest(9), &ask(bent)).expect("an estimate");
    assert_eq!((estimate.attributions[2], estimate.standard_errors[2]), (0.0, 0.0));
    let alone = sampler(bent, &row).estimate(&row, 1_000, digest(9), &ask(bent)).expect("an estimate");
    assert_eq!((alone.attributions, alone.evaluations), (vec![0.0; WIDTH], 1));
}

#[test]
fn against_a_single_background_row_there_is_chance_in_the_orders() {
    const WIDE: usize = 17;
    let product = |x: &[f32]| f64::from(x[3] * x[8] * x[13]);
    let ask = |rows: &[f32]| -> Result<Vec<f64>, ExplainError> { Ok(rows.chunks_exact(WIDE).map(product).collect()) };
    let sampler = Sampler::new(Players::of_row(WIDE), &[0.0; WIDE], &[0.0], digest(1), &ask).expect("a sampler");
    for seed in 0..20 {
        let estimate = sampler.estimate(&[1.0; WIDE], 600, digest(seed), &ask).expect("an estimate");
        for (player, (share, error)) in estimate.attributions.iter().zip(&estimate.standard_errors).enumerate() {
            let expected = if [3, 8, 13].contains(&player) { 1.0 / 3.0 } else { 0.0 };
            assert_eq!(*error > 0.0, expected > 0.0, "{player}: {share} with {error}");
            assert!((share - expected).abs() <= 4.0 * error, "{player}: {share} with {error}");
        }
    }
}

#[test]
fn models_too_wide_to_prepare_are_explained_as_well() {
    const WIDE: usize = 400;
    let mut random = Random::new(digest(11));
    let background: Vec<f32> = (0..50 * WIDE).map(|_| random.below(1_000) as f32 / 1_000.0).collect();
    let row: Vec<f32> = (0..WIDE).map(|_| random.below(1_000) as f32 / 500.0).collect();
    let model = |x: &[f32]| f64::from(x[0] * x[1]) + x.iter().map(|&x| f64::from(x)).sum::<f64>();
    let ask = |rows: &[f32]| -> Result<Vec<f64>, ExplainError> { Ok(rows.chunks_exact(WIDE).map(model).collect()) };
    let outputs = ask(&background).expect("answers");
    let sampler = Sampler::new(Players::of_row(WIDE), &background, &outputs, digest(1), &ask).expect("a sampler");
    assert!(sampler.known.is_empty());
    let estimate = sampler.estimate(&row, 20_000, digest(0), &ask).expect("an estimate");
    let base = outputs.iter().sum::<f64>() / 50.0;
    assert!((base + estimate.attributions.iter().sum::<f64>() - estimate.output).abs() < 1e-8);
    for (player, (share, error)) in estimate.attributions.iter().zip(&estimate.standard_errors).enumerate().skip(2) {
        let mean = background.iter().skip(player).step_by(WIDE).map(|&x| f64::from(x)).sum::<f64>() / 50.0;
        assert!((share - (f64::from(row[player]) - mean)).abs() <= 4.5 * error, "{player}: {share} with {error}");
    }
}

#[test]
fn what_was_the_same_in_all_visits_may_differ_in_the_next() {
    // One background row in 50 is another regime, in which the first feature counts.
    let game: Game = |x| if x[5] > 5.0 { 40.0 * f64::from(x[0]) } else { f64::from(x[1] * x[2] * x[3]) };
    let mut background = rows(50, 12);
    background[23 * WIDTH + 5] = 9.0;
    let (row, sampler) = (rows(1, 13), sampler(game, &background));
    let (mut missed, mut seen) = (0, 0);
    for seed in 0..60 {
        let estimate = sampler.estimate(&row, 120, digest(seed), &ask(game)).expect("an estimate");
        if estimate.attributions[4] == 0.0 {
            missed += 1;
            assert!(estimate.standard_errors[4] > 0.0, "of {seed}");
        }
        seen += 1;
    }
    assert!(missed > seen / 2, "{missed} of {seen}");
    // Once all rows were visited it is known.
    let all = sampler.estimate(&row, 50_000, digest(0), &ask(game)).expect("an estimate");
    assert_eq!((all.attributions[4], all.standard_errors[4]), (0.0, 0.0));
}

#[test]
fn a_small_budget_bounds_what_is_prepared_and_what_is_asked() {
    let background = rows(100, 3);
    let outputs: Vec<f64> = background.chunks_exact(WIDTH).map(bent).collect();
    for (budget, walks, most) in [(0, 4, 0), (16, 6, 1_024), (1_000, 8, 64_000)] {
        let asked = std::cell::Cell::new(0_u64);
        let ask = |rows: &[f32]| -> Result<Vec<f64>, ExplainError> {
            asked.set(asked.get() + (rows.len() / WIDTH) as u64);
            Ok(rows.chunks_exact(WIDTH).map(bent).collect())
        };
        let sampler = Sampler::through(None, Players::of_row(WIDTH), &background, &outputs, digest(1), most, &ask);
        assert!(asked.get() <= most.min(PREPARATION), "{} of {most}", asked.get());
        let estimate = sampler.expect("a sampler").estimate(&rows(1, 4), budget, digest(0), &ask).expect("an estimate");
        let price = 2 * (WIDTH as u64 - 1);
        assert!(estimate.evaluations <= budget.max(1 + walks * price), "{} of {budget}", estimate.evaluations);
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let refused = Sampler::new(Players::of_row(WIDTH), &[0.0; 7], &[1.0], digest(0), &ask(sum)).map(|_| ());
    assert_eq!(refused, Err(ExplainError::Background { values: 7, width: WIDTH }));
    let background = rows(3, 1);
    let refused = sampler(sum, &background).estimate(&[1.0], 100, digest(0), &ask(sum));
    assert_eq!(refused, Err(ExplainError::Width { expected: WIDTH, got: 1 }));
}
