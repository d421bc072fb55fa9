//! The models of the corpus with bytes of theirs changed, as the fuzz target `onnx` is asked about them: an error or a model, and
//! never a panic. A few thousand in each run, the same ones; `EXPLAIND_MUTATIONS=1000000` tries so many.

#![expect(clippy::expect_used, clippy::disallowed_methods, reason = "a test has a clock, and fails by panicking")]

#[path = "../fuzz/fuzz_targets/asked.rs"]
mod asked;

use std::panic::catch_unwind;

use serde_json::Value;

const USUAL: usize = 2_000;

/// A linear congruential generator: the same mutations in every run. Source: Knuth's MMIX.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % end.max(1)
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let corpora =
        [include_str!("../../../tests/models/corpus.json"), include_str!("../../../tests/models/exports.json")];
    let mut seeds = Vec::new();
    for corpus in corpora {
        let cases: Vec<Value> = serde_json::from_str(corpus).expect("the corpus is JSON");
        for case in cases {
            let digits: Vec<u8> = case["onnx"]
                .as_str()
                .expect("a file")
                .chars()
                .map(|digit| digit.to_digit(16).expect("hexadecimal") as u8)
                .collect();
            let mut seed: Vec<u8> = digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect();
            let place = |key: &str, names: [&str; 4]| {
                names.iter().position(|name| case[key] == *name).unwrap_or_default() as u8
            };
            // As fuzz/seeds.py writes it: width, kind, space, tensor.
            let width = match case["width"].as_u64() {
                Some(18) => 2,
                Some(_) => 3,
                None => u8::from(case["name"].is_string()),
            };
            let kind = place("kind", ["regression", "classification", "anomaly", "reconstruction"]);
            let tensor = place("tensor", ["scores", "probabilities", "output_probability", "variable"]);
            seed.push(width | kind << 2 | tensor << 6);
            seeds.push(seed);
        }
    }
    seeds
}

/// One of the ways in which fuzzers change bytes, once or a few times.
fn mutated(seed: &[u8], others: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..=random.below(3) {
        let at = random.below(bytes.len());
        match random.below(8) {
            0 => bytes[at] = random.below(256) as u8,
            1 => bytes[at] ^= 1 << random.below(8),
            2 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][random.below(5)],
            3 => bytes[at] = bytes[at].wrapping_add([1, 255][random.below(2)]),
            4 => {
                let end = (at + 1 + random.below(8)).min(bytes.len());
                bytes.drain(at..end);
            }
            5 => bytes.insert(at, random.below(256) as u8),
            6 => {
                let (from, count) = (random.below(bytes.len()), 1 + random.below(16));
                for step in 0..count {
                    if let (Some(&byte), true) = (bytes.get(from + step), at + step < bytes.len()) {
                        bytes[at + step] = byte;
                    }
                }
            }
            _ => {
                let other = &others[random.below(others.len())];
                let from = random.below(other.len());
                let end = (from + 1 + random.below(32)).min(other.len());
                bytes.splice(at..at, other[from..end].iter().copied());
            }
        }
        if bytes.is_empty() {
            bytes.push(0);
        }
    }
    // Another manifest for the same file, now and then.
    if random.below(4) == 0
        && let Some(variant) = bytes.last_mut()
    {
        *variant ^= 1 << random.below(8);
    }
    bytes
}

#[test]
fn mutated_models_are_refused_or_answer() {
    let tried = std::env::var("EXPLAIND_MUTATIONS").ok().and_then(|number| number.parse().ok()).unwrap_or(USUAL);
    let first = std::env::var("EXPLAIND_MUTATIONS_SEED").ok().and_then(|number| number.parse().ok()).unwrap_or(1);
    let (seeds, mut random) = (seeds(), Random(first));
    std::panic::set_hook(Box::new(|_| {}));
    let (mut loaded, mut slowest) = (0, std::time::Duration::ZERO);
    let mut panicked: Vec<String> = Vec::new();
    for number in 0..tried {
        let bytes = mutated(&seeds[random.below(seeds.len())], &seeds, &mut random);
        let begun = std::time::Instant::now();
        match catch_unwind(|| asked::asked(&bytes)) {
            Ok(whole) => loaded += usize::from(whole),
            Err(panic) => {
                let said = panic.downcast_ref::<String>().cloned();
                let said = said.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
                let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                panicked.push(format!("mutation {number}: {}\n{hex}", said.unwrap_or_default()));
            }
        }
        if begun.elapsed() > slowest {
            slowest = begun.elapsed();
        }
    }
    let _default = std::panic::take_hook();
    println!("{tried} mutations, {loaded} of them load; the slowest took {slowest:.1?}");
    assert!(panicked.is_empty(), "{} panicked:\n{}", panicked.len(), panicked.join("\n"));
    assert!(loaded * 20 > tried, "only {loaded} of {tried} load");
}
