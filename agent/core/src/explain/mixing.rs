//! Mixed rows: some players from the explained input, the others from a background row; as inputs, or already as the sums
//! that a network's first half would make of them.

use super::ExplainError;
use super::players::Players;
use super::questions::Ask;
use crate::model::Halves;

/// Most numbers that are kept of the background's sums: 16 MiB.
const MOST_PARTS: usize = 4 << 20;

/// A network in two halves, and what each player of each background row adds to the sums between them.
#[derive(Debug)]
pub(super) struct Sums {
    halves: Halves,
    /// Per background row, per player: what it adds to each sum beyond what the anchor does.
    parts: Vec<f32>,
    /// The sums of each background row.
    starts: Vec<f64>,
}

impl Sums {
    /// Sums between the halves.
    pub(super) fn count(&self) -> usize {
        self.halves.count()
    }

    /// Answers flat rows of sums.
    pub(super) fn explained(&self, rows: &[f32]) -> Result<Vec<f64>, ExplainError> {
        Ok(self.halves.explained(rows)?)
    }

    /// What a player of a background row adds to each sum beyond what the anchor does.
    pub(super) fn part(&self, players: &Players, background: usize, player: usize) -> &[f32] {
        &self.parts[(background * players.count() + player) * self.count()..][..self.count()]
    }

    /// `None` where the sums of all players of all rows would be too many to keep.
    pub(super) fn new(halves: Halves, players: &Players, background: &[f32]) -> Option<Self> {
        let rows = background.chunks_exact(players.width());
        if rows.len().saturating_mul(players.count()).saturating_mul(halves.count()) > MOST_PARTS {
            return None;
        }
        let parts: Vec<f32> = rows.flat_map(|row| parts(&halves, players, row)).collect();
        let rows = parts.chunks_exact(players.count() * halves.count());
        let starts = rows.flat_map(|parts| added_up(&halves, parts)).collect();
        Some(Self { halves, parts, starts })
    }
}

/// What each player of an input adds to each sum beyond what the anchor does.
fn parts(halves: &Halves, players: &Players, row: &[f32]) -> Vec<f32> {
    let mut parts = vec![0.0; players.count() * halves.count()];
    let changes = halves.anchor().iter().zip(row).enumerate();
    changes.for_each(|(column, (&from, &to))| {
        let part = &mut parts[players.owner(column) * halves.count()..][..halves.count()];
        halves.change(part, column, from, to);
    });
    parts.into_iter().map(|part| part as f32).collect()
}

/// What rows are mixed from, and of what.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mixing<'a> {
    pub(super) players: Players,
    pub(super) background: &'a [f32],
    /// Where the model is asked about sums, not about inputs.
    pub(super) sums: Option<&'a Sums>,
}

impl<'a> Mixing<'a> {
    /// Background rows.
    pub(super) fn rows(&self) -> usize {
        self.background.len() / self.players.width()
    }

    /// A background row.
    pub(super) fn row(&self, background: usize) -> &'a [f32] {
        &self.background[background * self.players.width()..][..self.players.width()]
    }

    /// Values of what the model is asked about.
    pub(super) fn width(&self) -> usize {
        self.sums.map_or(self.players.width(), |sums| sums.halves.count())
    }

    /// Answers mixed rows: the second half does where there is one, else `ask`.
    pub(super) fn answers(&self, rows: &[f32], ask: &Ask<'_>) -> Result<Vec<f64>, ExplainError> {
        match self.sums {
            Some(sums) => sums.explained(rows),
            None => ask(rows),
        }
    }

    /// Prepares mixing with an input.
    pub(super) fn with<'b>(&self, row: &'b [f32]) -> Explained<'b>
    where
        'a: 'b,
    {
        let parts = self.sums.map(|sums| parts(&sums.halves, &self.players, row)).unwrap_or_default();
        Explained { mixing: *self, row, parts }
    }
}

/// The input that is explained.
#[derive(Debug)]
pub(super) struct Explained<'a> {
    pub(super) mixing: Mixing<'a>,
    pub(super) row: &'a [f32],
    parts: Vec<f32>,
}

impl Explained<'_> {
    /// Whether what its players add to the sums are numbers.
    pub(super) fn is_finite(&self) -> bool {
        self.parts.iter().all(|part| part.is_finite())
    }

    /// Of sums: what they are without what these players of the input add.
    pub(super) fn without(&self, leaves: impl Fn(usize) -> bool) -> Vec<f64> {
        let mut rest = self.mixing.sums.map(|sums| sums.halves.at_anchor().to_vec()).unwrap_or_default();
        let parts = self.parts.chunks_exact(rest.len().max(1)).enumerate();
        for (_, part) in parts.filter(|(player, _)| !leaves(*player)) {
            rest.iter_mut().zip(part).for_each(|(sum, &part)| *sum += f64::from(part));
        }
        rest
    }

    /// What the model is asked about the input itself.
    pub(super) fn whole(&self) -> Vec<f32> {
        match self.mixing.sums {
            None => self.row.to_vec(),
            Some(sums) => rounded(&added_up(&sums.halves, &self.parts)),
        }
    }

    /// A mixed row that has all from a background row.
    pub(super) fn mixed(&self, background: usize) -> Mixed<'_> {
        let sums = self.mixing.sums.map(|sums| {
            let count = sums.halves.count();
            let size = self.mixing.players.count() * count;
            let start = &sums.starts[background * count..][..count];
            Running {
                halves: &sums.halves,
                parts: &sums.parts[background * size..][..size],
                start,
                now: start.to_vec(),
            }
        });
        let from = self.mixing.row(background);
        let values = match &sums {
            None => from.to_vec(),
            Some(sums) => rounded(&sums.now),
        };
        Mixed { explained: self, from, sums, values }
    }
}

/// The sums to which the parts of all players add up.
fn added_up(halves: &Halves, parts: &[f32]) -> Vec<f64> {
    let mut sums = halves.at_anchor().to_vec();
    for part in parts.chunks_exact(sums.len()) {
        sums.iter_mut().zip(part).for_each(|(sum, &part)| *sum += f64::from(part));
    }
    sums
}

fn rounded(sums: &[f64]) -> Vec<f32> {
    sums.iter().map(|&sum| sum as f32).collect()
}

/// A row between a background row and the explained one.
#[derive(Debug)]
pub(super) struct Mixed<'a> {
    explained: &'a Explained<'a>,
    from: &'a [f32],
    sums: Option<Running<'a>>,
    /// What the model is asked about.
    pub(super) values: Vec<f32>,
}

/// Sums in float64: whichever order the players come in, float32 does not tell.
#[derive(Debug)]
struct Running<'a> {
    halves: &'a Halves,
    /// The background row's.
    parts: &'a [f32],
    start: &'a [f64],
    now: Vec<f64>,
}

impl Running<'_> {
    /// Hands on the sums in float32.
    fn show(&self, values: &mut [f32]) {
        values.iter_mut().zip(&self.now).for_each(|(value, &sum)| *value = sum as f32);
    }
}

impl Mixed<'_> {
    /// Gives all players back to the background row.
    pub(super) fn restart(&mut self) {
        match &mut self.sums {
            None => self.values.copy_from_slice(self.from),
            Some(sums) => {
                sums.now.copy_from_slice(sums.start);
                sums.show(&mut self.values);
            }
        }
    }

    /// Takes a player from the explained input. One that was taken before must not be taken again.
    pub(super) fn take(&mut self, player: usize) {
        let Explained { mixing, row, parts } = self.explained;
        let Some(sums) = &mut self.sums else { return mixing.players.take(&mut self.values, row, player) };
        let count = sums.now.len();
        let (old, new) = (&sums.parts[player * count..][..count], &parts[player * count..][..count]);
        let changes = old.iter().zip(new);
        sums.now.iter_mut().zip(changes).for_each(|(sum, (&old, &new))| *sum += f64::from(new) - f64::from(old));
        sums.show(&mut self.values);
    }

    /// Takes a player's values from one step up to another from the explained input, once.
    pub(super) fn take_stretch(&mut self, player: usize, from: usize, to: usize) {
        let Explained { mixing, row, .. } = self.explained;
        let columns = mixing.players.stretch(player, from, to);
        let Some(sums) = &mut self.sums else { return columns.for_each(|column| self.values[column] = row[column]) };
        columns.for_each(|column| sums.halves.change(&mut sums.now, column, self.from[column], row[column]));
        sums.show(&mut self.values);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explain::sampling::Sampler;
    use crate::model::Model;
    use crate::model::pack::{self, PackInputs};

    fn model() -> Model {
        let background = include_str!("../../../../tests/models/cmapss-rul-cnn/background.csv");
        let header = background.lines().next().expect("a header").split(',');
        let sensors: Vec<&str> = header.filter_map(|column| column.strip_suffix("@0")).collect();
        let features: String = sensors.iter().map(|name| format!("[[feature]]\nname = \"{name}\"\n")).collect();
        let manifest = format!(
            "schema = 1\nname = \"m\"\nversion = \"1\"\n[input]\nkind = \"window\"\nsteps = 30\n{features}\
             [output]\ntensor = \"rul\"\nkind = \"regression\"\n"
        );
        let model = include_bytes!("../../../../tests/models/cmapss-rul-cnn/model.onnx").to_vec();
        let reference = background.as_bytes().to_vec();
        Model::load(
            &pack::create(PackInputs { model, manifest, reference, golden: None, calibration: None })
                .expect("a bundle"),
        )
        .expect("a model")
    }

    #[test]
    fn sums_of_mixed_rows_are_answered_as_the_mixed_rows_are() {
        let (model, players) = (model(), Players::of_window(14, 30));
        let background = &model.background().rows;
        let sums = Sums::new(model.halves_in(model.space()).expect("answers").expect("halves"), &players, background);
        let sums = sums.expect("few enough");
        let inputs = Mixing { players, background, sums: None };
        let halved = Mixing { sums: Some(&sums), ..inputs };
        assert_eq!((inputs.rows(), inputs.width(), halved.width()), (100, 420, 96));
        let ask = |rows: &[f32]| -> Result<Vec<f64>, ExplainError> { Ok(model.explained(rows)?) };
        // Far from the background: sums that are counted from it must not lose what differs.
        let row: Vec<f32> = inputs.row(7).iter().map(|value| value * 1.01).collect();
        let (of_inputs, of_sums) = (inputs.with(&row), halved.with(&row));
        let (mut asked, mut sums) = (of_inputs.whole(), of_sums.whole());
        for background in [3, 50, 99] {
            let (mut from_inputs, mut from_sums) = (of_inputs.mixed(background), of_sums.mixed(background));
            for change in 0..14 {
                for mixed in [&mut from_inputs, &mut from_sums] {
                    match change {
                        0 => {}
                        1 => mixed.take_stretch(13, 5, 12),
                        player => mixed.take(player - 1),
                    }
                }
                asked.extend(&from_inputs.values);
                sums.extend(&from_sums.values);
            }
        }
        let whole = inputs.answers(&asked, &ask).expect("answers");
        let halves = halved.answers(&sums, &|_| Ok(Vec::new())).expect("answers");
        assert_eq!((whole.len(), halves.len()), (43, 43));
        for (whole, halves) in whole.iter().zip(&halves) {
            assert!((whole - halves).abs() <= 2e-6 * whole.abs().max(100.0), "{whole} and {halves}");
        }
    }

    #[test]
    fn a_row_with_a_missing_value_is_sampled_whole() {
        let (model, players) = (model(), Players::of_window(14, 30));
        let background = &model.background().rows;
        let asked = std::cell::Cell::new(0);
        // The network, were it to stand in a plain value for a missing one.
        let ask = |rows: &[f32]| -> Result<Vec<f64>, ExplainError> {
            asked.set(asked.get() + rows.len() as u64 / 420);
            let known: Vec<f32> =
                rows.iter().map(|value| if value.is_nan() { background[0] } else { *value }).collect();
            Ok(model.explained(&known)?)
        };
        let outputs = model.explained(background).expect("answers");
        let halves = model.halves_in(model.space()).expect("answers");
        let sampler = Sampler::through(halves, players, background, &outputs, [1; 32], 0, &ask).expect("a sampler");
        let mut row = background[420..840].to_vec();
        for missing in [false, true] {
            if missing {
                row[28] = f32::NAN;
            }
            asked.set(0);
            let found = sampler.estimate(&row, 3_000, [2; 32], &ask).expect("an estimate");
            assert_eq!(asked.get(), if missing { found.evaluations } else { 1 });
            let made = found.attributions.iter().sum::<f64>() + outputs.iter().sum::<f64>() / outputs.len() as f64;
            assert!((made - found.output).abs() < 1e-3, "{made} and {}", found.output);
        }
    }

    #[test]
    fn whichever_order_players_come_in_the_same_is_asked() {
        let (model, players) = (model(), Players::of_window(14, 30));
        let background = &model.background().rows;
        let sums = Sums::new(model.halves_in(model.space()).expect("answers").expect("halves"), &players, background);
        let mixing = Mixing { players, background, sums: sums.as_ref() };
        let explained = mixing.with(mixing.row(1));
        let (mut there, mut back) = (explained.mixed(0), explained.mixed(0));
        (0..14).for_each(|player| there.take(player));
        (0..14).rev().for_each(|player| back.take(player));
        assert_eq!(there.values, back.values);
        assert_eq!(there.values, explained.whole());
    }
}
