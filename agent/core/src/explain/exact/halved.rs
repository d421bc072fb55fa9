//! Enumeration through the second half of a network.
//!
//! What a set of players of a background row adds to the sums between the halves is what the set without one of its players
//! adds, and that player: one addition for each sum. Sets come in an order in which that smaller set was just there. The
//! same holds for what the explained row adds with the others. So the first half is never run, and the second is asked
//! about all sets and rows one after the other, about the same sums once.

use super::Enumeration;
use crate::explain::ExplainError;
use crate::explain::mixing::{Mixing, Sums};

/// Rows of sums that are asked about at a time (and at most one background's more).
const BATCH: usize = 256;
/// Most totals that are kept: 8 MiB.
const MOST_CELLS: usize = 1 << 20;
/// No row was asked about yet.
const NOT_YET: u32 = u32::MAX;

/// The attributions of `row`, and how many rows of sums were asked about. `None` where its sums are no numbers, or it
/// agrees with the background's rows in too many different ways.
pub(super) fn attributions(
    enumeration: &Enumeration,
    sums: &Sums,
    row: &[f32],
) -> Result<Option<(Vec<f64>, u64)>, ExplainError> {
    let (players, background) = (enumeration.players, enumeration.background.as_slice());
    let (count, width) = (players.count(), sums.count());
    let mixing = Mixing { players, background, sums: Some(sums) };
    let explained = mixing.with(row);
    let games = Games::of(&enumeration.differences(row));
    if !explained.is_finite() || games.sets.len().saturating_mul(1 << count) > MOST_CELLS {
        return Ok(None);
    }
    let totals = vec![0.0; games.sets.len() << count];
    let mut asked = Asked { sums, rows: Vec::new(), cells: Vec::new(), totals, count: 0 };
    // By the number of players: what the newest such set adds, of every background row. The first player belongs to no set
    // that another one is made of, so sets with it are not kept.
    let mut added = vec![vec![0.0_f32; mixing.rows() * width]; count];
    let mut slots = vec![NOT_YET; mixing.rows()];
    for (set, alike) in enumeration.alike.iter().enumerate() {
        let (player, size) = (set.trailing_zeros() as usize, set.count_ones() as usize);
        // With fewer players from a background row that agrees with the explained one in some the mixed row is the same: it
        // comes with the smaller set.
        let takes_part = |background: &usize| set & !games.sets[games.of_rows[*background]] == 0;
        let kept = set & 1 == 0;
        if kept && set != 0 {
            let (smaller, larger) = added.split_at_mut(size);
            for background in (0..mixing.rows()).filter(takes_part) {
                let place = background * width..(background + 1) * width;
                let parts = smaller[size - 1][place.clone()].iter().zip(sums.part(&players, background, player));
                larger[0][place].iter_mut().zip(parts).for_each(|(sum, (smaller, part))| *sum = smaller + part);
            }
        }
        let own: Vec<f32> = explained.without(|player| set >> player & 1 == 1).iter().map(|&sum| sum as f32).collect();
        let added = &added[if kept { size } else { size - 1 }];
        slots.fill(NOT_YET);
        for background in (0..mixing.rows()).filter(takes_part) {
            let slot = &mut slots[alike[background] as usize];
            if *slot == NOT_YET {
                *slot = (asked.rows.len() / width) as u32;
                let both = own.iter().zip(&added[background * width..][..width]);
                match kept {
                    true => asked.rows.extend(both.map(|(own, other)| own + other)),
                    false => {
                        let parts = sums.part(&players, background, player);
                        asked.rows.extend(both.zip(parts).map(|((own, other), part)| own + (other + part)));
                    }
                }
            }
            asked.cells.push((*slot, games.of_rows[background] << count | set));
        }
        if asked.rows.len() >= BATCH * width || set + 1 == enumeration.alike.len() {
            asked.settle()?;
        }
    }
    let mut attributions = games.shares(enumeration, &asked.totals);
    attributions.iter_mut().for_each(|sum| *sum /= mixing.rows() as f64);
    Ok(Some((attributions, asked.count)))
}

/// Rows that wait for their values, and what became of those before.
struct Asked<'a> {
    sums: &'a Sums,
    rows: Vec<f32>,
    /// Which row's value goes into which total.
    cells: Vec<(u32, usize)>,
    totals: Vec<f64>,
    count: u64,
}

impl Asked<'_> {
    fn settle(&mut self) -> Result<(), ExplainError> {
        let values = self.sums.explained(&self.rows)?;
        for &(slot, cell) in &self.cells {
            self.totals[cell] += values.get(slot as usize).copied().unwrap_or(f64::NAN);
        }
        self.count += values.len() as u64;
        self.rows.clear();
        self.cells.clear();
        Ok(())
    }
}

/// Background rows that differ from the explained one in the same players are in one game.
struct Games {
    /// The players in which they differ, of each game.
    sets: Vec<usize>,
    /// The game of each background row.
    of_rows: Vec<usize>,
}

impl Games {
    fn of(differences: &[usize]) -> Self {
        let mut sets = Vec::new();
        let mut game = |set: &usize| {
            sets.iter().position(|other| other == set).unwrap_or_else(|| {
                sets.push(*set);
                sets.len() - 1
            })
        };
        let of_rows = differences.iter().map(&mut game).collect();
        Self { sets, of_rows }
    }

    /// Each player's share in the totals of all games.
    fn shares(&self, enumeration: &Enumeration, totals: &[f64]) -> Vec<f64> {
        let count = enumeration.players.count();
        let mut shares = vec![0.0; count];
        for (&all, totals) in self.sets.iter().zip(totals.chunks_exact(1 << count)) {
            for set in (0..totals.len()).filter(|set| set & !all == 0) {
                let from_row = all & !set;
                let weight = enumeration.weights.pair(from_row.count_ones() as usize, set.count_ones() as usize).row;
                for (player, share) in shares.iter_mut().enumerate().filter(|(player, _)| from_row >> player & 1 == 1) {
                    // By differences: a player that changes nothing gets exactly that.
                    *share += weight * (totals[set] - totals[set | 1 << player]);
                }
            }
        }
        shares
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explain::players::Players;
    use crate::model::Model;
    use crate::model::pack::{self, PackInputs};

    const TYPE: &str = "type";
    const OTHERS: [&str; 5] =
        ["air_temperature_k", "process_temperature_k", "rotational_speed_rpm", "torque_nm", "tool_wear_min"];

    fn model() -> Model {
        let features: String =
            [TYPE].iter().chain(&OTHERS).map(|name| format!("[[feature]]\nname = \"{name}\"\n")).collect();
        let manifest = format!(
            "schema = 1\nname = \"m\"\nversion = \"1\"\n{features}[output]\ntensor = \"probability\"\nkind = \"classification\"\n"
        );
        let model = include_bytes!("../../../../../tests/models/ai4i-mlp/model.onnx").to_vec();
        let reference = include_bytes!("../../../../../tests/models/ai4i-mlp/background.csv").to_vec();
        Model::load(
            &pack::create(PackInputs { model, manifest, reference, golden: None, calibration: None })
                .expect("a bundle"),
        )
        .expect("a model")
    }

    #[test]
    fn sums_are_enumerated_as_whole_rows_are_and_as_few() {
        let (model, players) = (model(), Players::of_row(6));
        let background = &model.background().rows;
        let halves = model.halves_in(model.space()).expect("answers");
        let enumeration = Enumeration::through(halves, players, background).expect("few features");
        // Rows of their own, rows that agree with some of the background, one of the background, one far from it.
        let own = [0.5, 301.3, 311.1, 1402.7, 61.3, 190.1];
        let far = own.map(|value| value * 1.2);
        let mut half = background[18..24].to_vec();
        half[..3].copy_from_slice(&background[..3]);
        for row in [&own[..], &half, &background[..6], &far] {
            let whole = enumeration.attributions(row, |rows| Ok::<_, ExplainError>(model.explained(rows)?));
            let whole = whole.expect("answers");
            let halved = enumeration.by_halves(row).expect("answers").expect("halves");
            // The sums' rows, and the explained row once more, of the whole model.
            assert_eq!(halved.1, whole.evaluations);
            for (halved, whole) in halved.0.iter().zip(&whole.attributions) {
                assert!((halved - whole).abs() < 2e-6, "{halved} and {whole}");
                assert!(*whole != 0.0 || *halved == 0.0);
            }
        }
        let refused = enumeration.by_halves(&[f32::NAN; 6]).expect("no question");
        assert_eq!(refused, None);
    }
}
