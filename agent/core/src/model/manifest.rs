//! `manifest.toml`: what a model's inputs and output mean, and when to raise an alert.
//!
//! Read raw, checked once, then carried in types that cannot be wrong.

mod check;
mod places;
mod raw;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub(crate) use check::{MOST_BACKGROUND_ROWS, is_name};
use toml::de::DeTable;

use super::bundle::MANIFEST;
use super::card::Card;
use super::error::{BundleError, Place};
use crate::domain::alert::{Guidance, Priority, Raised};
use crate::domain::prediction::Space;

/// The only form of manifest that this version reads.
const SCHEMA: i64 = 1;

/// A checked manifest.
#[derive(Debug, Clone, PartialEq)]
pub struct Manifest {
    /// The model's name.
    pub name: Arc<str>,
    /// The bundle's version.
    pub version: Arc<str>,
    /// What one input is.
    pub input: InputSpec,
    /// The features, in the model's order.
    pub features: Vec<Feature>,
    /// What is predicted, decided on and explained.
    pub output: OutputSpec,
    /// When to raise an alert; absent where the model only predicts.
    pub decision: Option<Decision>,
    /// How to explain.
    pub explanation: ExplanationSettings,
    /// What people say of the model, and where and until when it may run.
    pub card: Card,
}

/// What one input is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InputSpec {
    /// One row of features, `[N, features]`.
    Row,
    /// So many rows, the oldest first, `[N, steps, features]`.
    Window {
        /// The rows of a window.
        steps: usize,
        /// How far apart they are; absent where every prediction's trigger brings the next one.
        period: Option<Duration>,
    },
}

/// One input of the model.
#[derive(Debug, Clone, PartialEq)]
pub struct Feature {
    /// Its name.
    pub name: Arc<str>,
    /// Its unit, empty where it has none.
    pub unit: Arc<str>,
    /// What is physically possible; outside is bad input.
    pub range: Option<(f64, f64)>,
    /// The fastest change that is possible, per second.
    pub max_rate: Option<f64>,
    /// The oldest value that may be used.
    pub max_age: Option<Duration>,
    /// What a person may set it to; absent where it cannot be adjusted.
    pub adjustable: Option<Adjustable>,
    /// Words that stand for numbers.
    pub categories: BTreeMap<String, f64>,
    /// Whether values of uncertain quality are refused.
    pub refuse_uncertain: bool,
    /// Whether the model knows what to do without a value: it is given NaN where there is no usable one.
    pub missing: bool,
}

impl Feature {
    /// A value that nothing is demanded of, but that there is a usable one.
    pub(crate) fn plain(name: &str) -> Self {
        Self {
            name: name.into(),
            unit: Arc::default(),
            range: None,
            max_rate: None,
            max_age: None,
            adjustable: None,
            categories: BTreeMap::new(),
            refuse_uncertain: false,
            missing: false,
        }
    }
}

/// What a person may set a feature to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Adjustable {
    /// The lowest value.
    pub low: f64,
    /// The highest value.
    pub high: f64,
    /// The distance between settings, counted from `low`; absent where any value can be set.
    pub step: Option<f64>,
}

impl Adjustable {
    /// Whether a value lies within the limits.
    pub fn contains(&self, value: f64) -> bool {
        self.low <= value && value <= self.high
    }
}

/// What kind of answer the model gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputKind {
    /// Probabilities of classes.
    Classification,
    /// A quantity.
    Regression,
    /// A score of how unusual the input is.
    Anomaly,
    /// The input again, as well as the model can say it. What is predicted, decided on and explained is the score: the
    /// mean, over all values of the input, of the squared difference between the value and its reconstruction.
    Reconstruction,
}

/// What is predicted, decided on and explained.
#[derive(Debug, Clone, PartialEq)]
pub struct OutputSpec {
    /// What kind of answer it is.
    pub kind: OutputKind,
    /// The output tensor.
    pub tensor: String,
    /// Its column; absent where the model's shape says which.
    pub index: Option<usize>,
    /// Names of the classes; of a loaded model those that its file carries, where the manifest gives none.
    pub labels: Vec<String>,
    /// The unit of what is predicted, empty where it has none.
    pub unit: String,
    /// The space to explain in; absent for `auto`.
    pub space: Option<Space>,
    /// The reference's column with the truth.
    pub target: Option<String>,
}

/// One side of a number line.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Threshold {
    /// Holds for values above.
    Above(f64),
    /// Holds for values below.
    Below(f64),
}

impl Threshold {
    /// Whether a value is on this side. NaN is on neither.
    pub fn holds(&self, value: f64) -> bool {
        match *self {
            Self::Above(limit) => value > limit,
            Self::Below(limit) => value < limit,
        }
    }

    /// Which values it holds for.
    pub fn side(&self) -> Raised {
        match self {
            Self::Above(_) => Raised::Above,
            Self::Below(_) => Raised::Below,
        }
    }

    /// The number itself.
    pub fn limit(&self) -> f64 {
        match *self {
            Self::Above(limit) | Self::Below(limit) => limit,
        }
    }
}

impl OutputKind {
    /// The name used in manifests and listings.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Classification => "classification",
            Self::Regression => "regression",
            Self::Anomaly => "anomaly",
            Self::Reconstruction => "reconstruction",
        }
    }
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Above(limit) => write!(f, "above {limit}"),
            Self::Below(limit) => write!(f, "below {limit}"),
        }
    }
}

/// When an alert is raised and cleared.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// Raises, once it has held for `on_delay`.
    pub raise: Threshold,
    /// Clears, once it has held for `off_delay`. Never overlaps `raise`.
    pub clear: Threshold,
    /// How long `raise` must hold.
    pub on_delay: Duration,
    /// How long `clear` must hold.
    pub off_delay: Duration,
    /// How urgent the alert is.
    pub priority: Priority,
    /// Whether the alert stays when its condition is gone, until a person resets it.
    pub latching: bool,
    /// What the technician is told beside the reason.
    pub guidance: Guidance,
}

/// How explanations are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExplanationSettings {
    /// Most rows of the background.
    pub background_rows: usize,
    /// Time that an estimated explanation may take.
    pub budget: Duration,
}

impl Manifest {
    /// Reads and checks a manifest.
    ///
    /// # Errors
    /// [`BundleError::Invalid`] with the key, its line and what to write instead.
    pub fn parse(text: &str) -> Result<Self, BundleError> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        check_schema(text)?;
        let deserializer = toml::Deserializer::parse(text).map_err(|error| syntax(text, "", &error))?;
        let raw: raw::Manifest = serde_path_to_error::deserialize(deserializer).map_err(|error| {
            let key = error.path().to_string();
            syntax(text, if key == "." { "" } else { &key }, error.inner())
        })?;
        check::manifest(raw).map_err(|fault| Self::error(text, &fault.key, fault.problem))
    }

    /// Rows of one input: 1, or a window's steps.
    pub fn steps(&self) -> usize {
        match self.input {
            InputSpec::Row => 1,
            InputSpec::Window { steps, .. } => steps,
        }
    }

    /// Values of one input: features, times steps for windows.
    pub fn width(&self) -> usize {
        self.features.len() * self.steps()
    }

    /// The shape of one input, without the batch.
    pub(crate) fn shape(&self) -> Vec<usize> {
        match self.input {
            InputSpec::Row => vec![self.features.len()],
            InputSpec::Window { steps, .. } => vec![steps, self.features.len()],
        }
    }

    /// The names of an input's values, in model order: features, or for windows `feature@step`, all features of the
    /// oldest step (0) first.
    pub fn columns(&self) -> Vec<Arc<str>> {
        let names = self.features.iter().map(|feature| &feature.name);
        match self.input {
            InputSpec::Row => names.cloned().collect(),
            InputSpec::Window { steps, .. } => {
                (0..steps).flat_map(|step| names.clone().map(move |name| format!("{name}@{step}").into())).collect()
            }
        }
    }

    /// An error at a key of this text, with its line.
    pub(crate) fn error(text: &str, key: &str, problem: impl Into<String>) -> BundleError {
        BundleError::at(Place::file(MANIFEST).line(places::line_of_key(text, key)).key(key), problem)
    }
}

fn shown(schema: Option<i64>) -> String {
    schema.map_or_else(|| "this".to_owned(), |number| number.to_string())
}

/// The schema is looked at before all else, so that a newer manifest is called newer and not full of unknown keys.
fn check_schema(text: &str) -> Result<(), BundleError> {
    let document = DeTable::parse(text).map_err(|error| syntax(text, "", &error))?;
    let Some(value) = document.get_ref().get("schema") else {
        return Err(Manifest::error(text, "schema", format!("the key is missing; write schema = {SCHEMA}")));
    };
    let schema =
        value.get_ref().as_integer().and_then(|number| i64::from_str_radix(number.as_str(), number.radix()).ok());
    if schema != Some(SCHEMA) {
        let problem = format!(
            "{} is not the schema that this version reads; write schema = {SCHEMA}, or update explaind",
            shown(schema)
        );
        return Err(Manifest::error(text, "schema", problem));
    }
    Ok(())
}

/// A document that is no TOML, or not shaped like a manifest.
fn syntax(text: &str, key: &str, error: &toml::de::Error) -> BundleError {
    let line =
        error.span().map_or_else(|| places::line_of_key(text, key), |span| places::line_of_offset(text, span.start));
    let problem = error.message().trim_end().replace('\n', ", ");
    // serde speaks of fields and Rust's types, TOML of keys and numbers.
    let problem = [
        ("unknown field", "unknown key"),
        ("missing field", "missing key"),
        ("expected f64", "expected a number"),
        ("expected usize", "expected a whole number"),
        ("expected u64", "expected a whole number"),
    ]
    .iter()
    .fold(problem, |text, (theirs, ours)| text.replace(theirs, ours));
    BundleError::at(Place::file(MANIFEST).line(line).key(key), problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOUND: &str = r#"
schema = 1
name = "press-failure"
version = "1.4.0"

[input]
kind = "row"

[[feature]]
name = "Torque [Nm]"
unit = "Nm"
range = [0.0, 120]
max_rate = 50.0
max_age = "5s"
adjustable = [10.0, 60.0, 0.5]
refuse_uncertain = true

[[feature]]
name = "Type"
categories = { L = 0, M = 1, H = 2 }

[output]
kind = "classification"
tensor = "probabilities"
index = 1
labels = ["healthy", "failure"]
space = "auto"
target = "failed"

[decision]
raise_above = 0.5
clear_below = 0.4
on_delay = "0s"
off_delay = "10s"
priority = "high"
latching = false
consequence = "The spindle stops."
response = "Change the tool."

[explanation]
background_rows = 50
budget = "20ms"

[card]
purpose = "Stop the spindle before the tool breaks."
expires = "2027-02-28"
hardware = ["aarch64", "x86_64"]
assets = ["press-7"]
"#;

    #[test]
    fn every_documented_key_is_read() {
        let text = SOUND.replace("refuse_uncertain = true", "refuse_uncertain = true\nmissing = true");
        let manifest = Manifest::parse(&text).expect("a sound manifest");
        assert_eq!((&*manifest.name, &*manifest.version), ("press-failure", "1.4.0"));
        let torque = &manifest.features[0];
        assert_eq!((&*torque.name, &*torque.unit), ("Torque [Nm]", "Nm"));
        assert_eq!(torque.range, Some((0.0, 120.0)));
        assert_eq!(torque.adjustable, Some(Adjustable { low: 10.0, high: 60.0, step: Some(0.5) }));
        assert_eq!((torque.max_rate, torque.max_age), (Some(50.0), Some(Duration::from_secs(5))));
        assert!(torque.refuse_uncertain && torque.missing && !manifest.features[1].missing);
        assert_eq!(manifest.features[1].categories.get("H"), Some(&2.0));
        assert_eq!((manifest.output.index, manifest.output.space), (Some(1), None));
        let decision = manifest.decision.expect("a decision");
        assert_eq!((decision.raise, decision.clear), (Threshold::Above(0.5), Threshold::Below(0.4)));
        assert_eq!((decision.off_delay, decision.priority), (Duration::from_secs(10), Priority::High));
        assert_eq!(manifest.explanation.background_rows, 50);
        assert_eq!(manifest.card.assets.as_deref(), Some(&["press-7".to_owned()][..]));
        assert_eq!((manifest.card.expires.as_deref(), manifest.card.approved_on), (Some("2027-02-28"), None));
    }

    #[test]
    fn the_least_that_is_required_is_enough() {
        let least = "schema = 1\nname = \"m\"\nversion = \"1\"\n[[feature]]\nname = \"a\"\n\
                     [output]\nkind = \"regression\"\ntensor = \"y\"\n";
        let manifest = Manifest::parse(least).expect("a sound manifest");
        assert_eq!((manifest.decision, manifest.output.index), (None, None));
        assert_eq!(
            manifest.explanation,
            ExplanationSettings { background_rows: 100, budget: Duration::from_millis(20) }
        );
    }

    #[test]
    fn a_broken_manifest_is_refused_with_line_key_and_remedy() {
        let cases = [
            ("schema = 1", "schema = 2", "line 2, key schema: 2 is not the schema that this version reads"),
            ("schema = 1\n", "", "key schema: the key is missing"),
            ("unit = ", "unti = ", "line 11, key feature[0].unti: unknown key `unti`, expected one of `name`, `unit`"),
            ("tensor = \"probabilities\"\n", "", "line 22, key output: missing key `tensor`"),
            ("[0.0, 120]", "[120, 0.0]", "line 12, key feature[0].range: [120.0, 0.0] is no range; write [low, high]"),
            ("[0.0, 120]", "[1, 2, 3]", "line 12, key feature[0].range: [1.0, 2.0, 3.0] is no range"),
            ("[0.0, 120]", "[nan, 2]", "line 12, key feature[0].range: [NaN, 2.0] is no range"),
            ("[10.0, 60.0, 0.5]", "[10.0, 600.0]", "line 15, key feature[0].adjustable: [10, 600] reaches outside"),
            ("[10.0, 60.0, 0.5]", "[10.0, 60.0, 0.0]", "feature[0].adjustable: 0 is no step; write one above 0"),
            ("[10.0, 60.0, 0.5]", "[10.0, 60.0, 55]", "feature[0].adjustable: 55 is no step; write one above 0"),
            ("max_rate = 50.0", "max_rate = -1", "line 13, key feature[0].max_rate: write a number above 0"),
            (
                "max_rate = 50.0",
                "max_rate = \"fast\"",
                "key feature[0].max_rate: invalid type: string \"fast\", expected a number",
            ),
            ("\"5s\"", "\"5\"", "line 14, key feature[0].max_age: \"5\" is not a duration"),
            ("\"5s\"", "\"0s\"", "line 14, key feature[0].max_age: write a duration above 0"),
            (
                "\"Type\"",
                "\"Torque [Nm]\"",
                "line 19, key feature[1].name: \"Torque [Nm]\" is also the name of feature[0]",
            ),
            ("\"Type\"", "\"origin\"", "line 19, key feature[1].name: a feature's name"),
            ("H = 2", "H = inf", "line 20, key feature[1].categories: \"H\" needs a finite number"),
            ("\"row\"", "\"window\"", "line 6, key input.steps: a window needs its number of rows"),
            ("\"row\"", "\"window\"\nsteps = 0", "line 8, key input.steps: a window has at least one row"),
            ("\"row\"", "\"window\"\nsteps = 60000", "line 8, key input.steps: a window of 60000 steps and 2 features"),
            ("\"row\"", "\"window\"\nsteps = 3\nperiod = \"0s\"", "line 9, key input.period: write a duration above 0"),
            ("kind = \"row\"", "steps = 30", "line 7, key input.steps: this belongs to windows"),
            ("\"classification\"", "\"reconstruction\"", "key output.index: a reconstruction is scored as a whole"),
            ("\"classification\"", "\"regression\"", "key output.labels: only a classification has labels"),
            ("[\"healthy\", \"failure\"]", "[\"a\", \"a\"]", "key output.labels[1]: \"a\" is there twice"),
            ("raise_above = 0.5", "raise_above = 50", "key decision.raise_above: 50 is no probability"),
            ("raise_above = 0.5", "raise_below = 0.5", "key decision.clear_below: raise_below goes with clear_above"),
            ("raise_above = 0.5\n", "", "key decision: the rule needs a threshold"),
            ("clear_below = 0.4", "clear_below = 0.6", "key decision.clear_below: 0.6 is above raise_above = 0.5"),
            ("clear_below = 0.4", "raise_below = 0.4", "key decision.raise_below: write raise_above or raise_below"),
            ("The spindle stops.", &"x".repeat(1001), "key decision.consequence: there are 1001 bytes of text"),
            ("Change the tool.", " ", "key decision.response: write a sentence, or remove the key"),
            ("\"high\"", "\"urgent\"", "key decision.priority: unknown variant `urgent`"),
            ("background_rows = 50", "background_rows = 0", "key explanation.background_rows: 0 is out of bounds"),
            ("2027-02-28", "2027-02-29", "key card.expires: \"2027-02-29\" is no date"),
            ("[\"aarch64\", \"x86_64\"]", "[]", "key card.hardware: name 1 to 10000, or remove the key"),
            ("[\"press-7\"]", "[\"\"]", "key card.assets[0]: a name is 1 to 200 bytes"),
            ("[explanation]", "[explanation", "line 40: "),
        ];
        for (sound, broken, expected) in cases {
            assert!(SOUND.contains(sound), "{sound}");
            let error = Manifest::parse(&SOUND.replacen(sound, broken, 1)).expect_err(expected).to_string();
            assert!(
                error.starts_with("manifest.toml, ") && error.contains(expected),
                "{error}\nshould have: {expected}"
            );
            assert!(!error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn thresholds_hold_on_their_side_only() {
        assert!(Threshold::Above(0.5).holds(0.6) && !Threshold::Above(0.5).holds(0.5));
        assert!(Threshold::Below(0.5).holds(0.4) && !Threshold::Below(0.5).holds(0.5));
        assert!(!Threshold::Above(0.5).holds(f64::NAN) && !Threshold::Below(0.5).holds(f64::NAN));
    }
}
