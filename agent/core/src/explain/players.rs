//! Who takes part in the game that Shapley values share out: features, each with all the values it has in an input.

/// The features of an input: single values of a row, or all steps of a window together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Players {
    features: usize,
    steps: usize,
}

impl Players {
    /// One player per value of a row.
    pub fn of_row(features: usize) -> Self {
        Self { features, steps: 1 }
    }

    /// One player per feature of a window, whose values lie step by step, all features of the oldest step first.
    pub fn of_window(features: usize, steps: usize) -> Self {
        Self { features, steps }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.features
    }

    /// Rows of an input.
    pub fn steps(&self) -> usize {
        self.steps
    }

    /// Values of an input.
    pub fn width(&self) -> usize {
        self.features * self.steps
    }

    /// Whose a value is.
    pub(super) fn owner(&self, column: usize) -> usize {
        column % self.features
    }

    /// A player's values from one step up to another.
    pub(super) fn stretch(&self, player: usize, from: usize, to: usize) -> impl Iterator<Item = usize> + use<> {
        let features = self.features;
        (from..to).map(move |step| step * features + player)
    }

    /// The players whose values differ between two inputs: all others take no part.
    pub(super) fn differing(&self, one: &[f32], other: &[f32]) -> Vec<usize> {
        let differs = |player: &usize| {
            self.stretch(*player, 0, self.steps).any(|column| one[column].to_bits() != other[column].to_bits())
        };
        (0..self.features).filter(differs).collect()
    }

    /// Gives `mixed` a player's values from `source`.
    pub(super) fn take(&self, mixed: &mut [f32], source: &[f32], player: usize) {
        self.stretch(player, 0, self.steps).for_each(|column| mixed[column] = source[column]);
    }
}
