//! `monitoring.json`: what the reference looked like, so that drift, novelty and certainty can be told on the device.
//!
//! Of a model that takes windows, what is said of features is about the newest row of each window: that is what comes in
//! live, one row after the other. The output is that of whole windows.

mod calibration;
mod joint;
mod marginal;

use serde::{Deserialize, Serialize};

pub use self::calibration::{Certainty, Measured, Origin, Quality, Score};
pub(super) use self::calibration::{Targets, measure};
pub use self::joint::{Joint, Novelty};
pub use self::marginal::{Marginal, Shape};
use super::bundle::MONITORING;
use super::error::{BundleError, Place};
use super::manifest::Manifest;
use super::table::Table;

/// The newest form.
const SCHEMA: u32 = 1;
/// Values that a distribution is told by: its minimum, each hundredth, its maximum.
pub(super) const QUANTILES: usize = 101;

/// The reference, in figures.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Monitoring {
    /// The form of what follows. A newer one may have more members, which are left alone; 1 is the only one so far.
    pub schema: u32,
    /// Rows of the reference.
    pub rows: u64,
    /// Rows of it that are the background.
    pub background_rows: u64,
    /// Each feature alone, in the manifest's order.
    pub features: Vec<Marginal>,
    /// The features together; absent where they are too many or too few of them vary.
    pub joint: Option<Joint>,
    /// What the model says of the reference: quantiles, from minimum to maximum in equal steps.
    pub output: Vec<f64>,
    /// How far off the model is, for conformal intervals and sets; absent without targets.
    pub certainty: Option<Certainty>,
    /// How good the model is on rows with targets; absent without.
    pub quality: Option<Measured>,
}

impl Monitoring {
    /// Reads `monitoring.json` as the bundle of this manifest has it.
    ///
    /// # Errors
    /// [`BundleError::Invalid`] for what is no such file, or not of this bundle.
    pub fn read(bytes: &[u8], manifest: &Manifest) -> Result<Self, BundleError> {
        let wrong = |problem: String| BundleError::at(Place::file(MONITORING), problem);
        let read: Self = serde_json::from_slice(bytes).map_err(|error| {
            wrong(format!("the file makes no sense ({error}); make the bundle anew with `explaind bundle create`"))
        })?;
        if read.schema != SCHEMA {
            return Err(wrong(format!("schema {} is not known to this version; update explaind", read.schema)));
        }
        let named = |(feature, seen): (&super::Feature, &Marginal)| *feature.name == *seen.name;
        let ours = read.features.len() == manifest.features.len()
            && manifest.features.iter().zip(&read.features).all(named)
            && read.features.iter().all(Marginal::is_sound)
            && read.joint.as_ref().is_none_or(|joint| joint.is_sound(manifest.features.len()))
            && sorted(&read.output)
            && read.certainty.as_ref().is_none_or(|certainty| sorted(&certainty.scores));
        match ours {
            true => Ok(read),
            false => Err(wrong(
                "it does not go with manifest.toml; make the bundle anew with `explaind bundle create`".to_owned(),
            )),
        }
    }
}

/// The figures of a reference; `outputs` are the model's, of as many of its rows as it was run on.
pub(super) fn of(reference: &Table, manifest: &Manifest, background_rows: usize, outputs: &[f64]) -> Monitoring {
    let features = manifest.features.len();
    let newest: Vec<&[f32]> =
        reference.iter().map(|row| row.get(row.len().saturating_sub(features)..).unwrap_or_default()).collect();
    let marginals: Vec<Marginal> = manifest
        .features
        .iter()
        .enumerate()
        .map(|(index, feature)| {
            Marginal::of(feature, newest.iter().filter_map(|row| row.get(index)).map(|value| f64::from(*value)))
        })
        .collect();
    let mut outputs: Vec<f64> = outputs.iter().copied().filter(|output| output.is_finite()).collect();
    outputs.sort_unstable_by(f64::total_cmp);
    let mut found = Monitoring {
        schema: SCHEMA,
        rows: newest.len() as u64,
        background_rows: background_rows as u64,
        joint: Joint::of(&newest, &marginals),
        features: marginals,
        output: quantiles(&outputs, QUANTILES),
        certainty: None,
        quality: None,
    };
    found.round();
    found
}

impl Monitoring {
    /// Twelve digits of every figure: more say nothing, and these read back as they were.
    pub(super) fn round(&mut self) {
        let mut figures: Vec<&mut f64> = self.output.iter_mut().collect();
        figures.extend(self.features.iter_mut().flat_map(Marginal::figures));
        figures.extend(self.joint.iter_mut().flat_map(Joint::figures));
        figures.extend(self.certainty.iter_mut().flat_map(|certainty| &mut certainty.scores));
        for figure in figures {
            *figure = format!("{figure:.11e}").parse().unwrap_or(*figure);
        }
    }
}

/// Values at equal steps through sorted ones, both ends included, by linear interpolation.
/// Source: Hyndman and Fan, "Sample quantiles in statistical packages", 1996, definition 7.
pub(super) fn quantiles(sorted: &[f64], count: usize) -> Vec<f64> {
    let Some(last) = sorted.len().checked_sub(1) else { return Vec::new() };
    let at = |step: usize| {
        let place = last as f64 * step as f64 / (count - 1) as f64;
        let (low, part) = (place.floor() as usize, place.fract());
        let (below, above) = (sorted[low.min(last)], sorted[(low + 1).min(last)]);
        if part == 0.0 { below } else { below + (above - below) * part }
    };
    (0..count).map(at).collect()
}

fn sorted(values: &[f64]) -> bool {
    values.iter().all(|value| value.is_finite()) && values.is_sorted()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_the_fields_own() {
        // numpy.quantile([1, 2, 4, 8], [0, .25, .5, .75, 1])
        assert_eq!(quantiles(&[1.0, 2.0, 4.0, 8.0], 5), [1.0, 1.75, 3.0, 5.0, 8.0]);
        assert_eq!(quantiles(&[3.0], 3), [3.0; 3]);
        assert_eq!(quantiles(&[], 3), [0.0; 0]);
    }

    fn manifest() -> Manifest {
        let text = "schema = 1\nname = \"m\"\nversion = \"1\"\n[input]\nkind = \"window\"\nsteps = 2\n\
                    [[feature]]\nname = \"a\"\n[[feature]]\nname = \"b\"\n\
                    [output]\nkind = \"regression\"\ntensor = \"y\"\n";
        Manifest::parse(text).unwrap()
    }

    #[test]
    fn of_windows_the_newest_row_counts_and_what_is_written_reads_again() {
        let rows = (0..40).flat_map(|n| [900.0, 900.0, n as f32, (n * n) as f32]).collect();
        let table = Table { columns: manifest().columns(), rows };
        let told = of(&table, &manifest(), 7, &[3.0, f64::NAN, 1.0]);
        assert_eq!(
            (told.rows, told.background_rows, told.output.first(), told.output.last()),
            (40, 7, Some(&1.0), Some(&3.0))
        );
        assert_eq!(told.features[0].seen(), "0 to 39");
        assert!(told.joint.is_some());
        let text = serde_json::to_vec(&told).unwrap();
        assert_eq!(Monitoring::read(&text, &manifest()).as_ref(), Ok(&told));
        let text = String::from_utf8(text).unwrap();
        for (ours, theirs) in [
            ("\"schema\":1", "\"schema\":2"),
            ("\"name\":\"b\"", "\"name\":\"c\""),
            ("\"output\":[1.0", "\"output\":[9.0"),
            ("\"features\"", "\"feature\""),
            ("\"columns\":[0,1]", "\"columns\":[0,2]"),
        ] {
            assert!(text.contains(ours), "{ours}");
            let error = Monitoring::read(text.replacen(ours, theirs, 1).as_bytes(), &manifest()).unwrap_err();
            assert!(error.to_string().starts_with("monitoring.json: "), "{error}");
        }
    }
}
