//! The model card: what people say of a model, and where and until when it may run.
//!
//! `[card]` in the manifest is what a gateway goes by; `MODEL_CARD.md` says the same to people, with what `bundle create`
//! measured.

use std::fmt::Write as _;

use super::bundle::{self, Files};
use super::manifest::{Feature, InputSpec, Manifest, OutputKind, OutputSpec};
use super::monitoring::{Monitoring, Origin, Quality};

/// `[card]` in a manifest. Empty texts are what nobody wrote.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Card {
    /// What the model is for.
    pub purpose: String,
    /// What it was trained on.
    pub data: String,
    /// What it is not for, and where it is known to fail.
    pub limits: String,
    /// Whom to ask.
    pub owner: String,
    /// Who lets it run.
    pub approved_by: String,
    /// Since when, as `YYYY-MM-DD`.
    pub approved_on: Option<String>,
    /// The last day on which it may run, as `YYYY-MM-DD`; absent: no end.
    pub expires: Option<String>,
    /// The machines it is approved for, as their processors are called (`uname -m`); absent: any.
    pub hardware: Option<Vec<String>>,
    /// The assets it is approved for; absent: any.
    pub assets: Option<Vec<String>>,
}

/// Whether a text is a day of the calendar, as `YYYY-MM-DD`. Such texts compare as the days do.
pub(super) fn is_date(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let [year, month, day] = parts.as_slice() else { return false };
    let number = |text: &str, digits: usize| {
        Some(text).filter(|text| text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit()))?.parse().ok()
    };
    let (Some(year), Some(month), Some(day)) = (number(year, 4), number(month, 2), number(day, 2)) else {
        return false;
    };
    let year: u32 = year;
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let days = match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => 0,
    };
    (1..=days).contains(&day)
}

/// `MODEL_CARD.md` of a bundle whose other files are these.
pub(super) fn page(manifest: &Manifest, monitoring: &Monitoring, files: &Files) -> String {
    let card = &manifest.card;
    let mut page = Page(format!("# {} {}\n", line(&manifest.name), line(&manifest.version)));
    page.section("Purpose", &card.purpose);
    page.section("Data", &card.data);
    page.line(&format!(
        "\nThe reference has {} rows; {} of them are the background that explanations are taken against.",
        monitoring.rows, monitoring.background_rows
    ));
    page.section("Limits", &card.limits);
    page.line("\n## What it takes and gives\n");
    page.line(&shape(manifest));
    page.line("\n| feature | unit | possible | seen in the reference | may be set to |\n|---|---|---|---|---|");
    for (feature, seen) in manifest.features.iter().zip(&monitoring.features) {
        page.line(&row(feature, seen.seen()));
    }
    page.line("\n## Metrics\n");
    metrics(&mut page, &manifest.output, monitoring);
    page.line("\n## Approval\n");
    page.line(&format!("- approved by: {}", or(&card.approved_by, "nobody yet")));
    page.line(&format!("- approved on: {}", card.approved_on.as_deref().unwrap_or("not stated")));
    page.line(&format!("- expires: {}", card.expires.as_deref().unwrap_or("never")));
    page.line(&format!("- hardware: {}", names(card.hardware.as_deref())));
    page.line(&format!("- assets: {}", names(card.assets.as_deref())));
    page.line(&format!("- owner: {}", or(&card.owner, "not stated")));
    page.line("\n## Files\n");
    for (name, bytes) in files {
        page.line(&format!("- `{name}` {} bytes, SHA-256 `{}`", bytes.len(), bundle::digest(bytes)));
    }
    page.0
}

struct Page(String);

impl Page {
    fn line(&mut self, text: &str) {
        let _infallible = writeln!(self.0, "{text}");
    }

    fn section(&mut self, title: &str, text: &str) {
        self.line(&format!("\n## {title}\n\n{}", or(text.trim(), "Not stated.")));
    }
}

fn or<'a>(text: &'a str, otherwise: &'a str) -> &'a str {
    if text.is_empty() { otherwise } else { text }
}

fn names(names: Option<&[String]>) -> String {
    names.map_or_else(|| "any".to_owned(), |names| names.iter().map(|name| line(name)).collect::<Vec<_>>().join(", "))
}

/// Text that keeps to its cell of a table.
fn line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect::<String>().replace('|', "\\|")
}

fn shape(manifest: &Manifest) -> String {
    let takes = match manifest.input {
        InputSpec::Row => "One row of the features below".to_owned(),
        InputSpec::Window { steps, .. } => format!("The last {steps} rows of the features below"),
    };
    let gives = match manifest.output.kind {
        OutputKind::Classification => match manifest.output.labels.as_slice() {
            [] => "how likely a class is".to_owned(),
            labels => format!("how likely each of {} is", labels.join(", ")),
        },
        OutputKind::Regression => "a quantity".to_owned(),
        OutputKind::Anomaly => "how unusual it is".to_owned(),
        OutputKind::Reconstruction => "how badly the model can say it again".to_owned(),
    };
    let decision = manifest.decision.as_ref().map_or_else(
        || "No alerts.".to_owned(),
        |decision| format!("An alert is raised {} and cleared {}.", decision.raise, decision.clear),
    );
    format!("{takes}; {gives} (`{}`). {decision}", manifest.output.tensor)
}

fn row(feature: &Feature, seen: String) -> String {
    let range = feature.range.map_or_else(String::new, |(low, high)| format!("{low} to {high}"));
    let adjustable = feature.adjustable.map_or_else(String::new, |limits| format!("{} to {}", limits.low, limits.high));
    format!("| {} | {} | {range} | {} | {adjustable} |", line(&feature.name), line(&feature.unit), line(&seen))
}

fn metrics(page: &mut Page, output: &OutputSpec, monitoring: &Monitoring) {
    let Some(measured) = &monitoring.quality else {
        page.line(match output.target {
            None => "None: the manifest names no `output.target`, so there was nothing to measure against.",
            Some(_) => "None for this kind of output.",
        });
        return;
    };
    page.line(&format!(
        "On {} rows {}:\n",
        measured.rows,
        match measured.origin {
            Origin::HeldOut => "that were given as held out",
            Origin::Reference => "of the reference. If the model was trained on these, it does worse on others",
        }
    ));
    let figure = |page: &mut Page, name: &str, value: f64| page.line(&format!("- {name}: {value:.4}"));
    match measured.quality {
        Quality::Classification { accuracy, area_under_roc, brier } => {
            figure(page, "accuracy (the likeliest class)", accuracy);
            area_under_roc.into_iter().for_each(|area| figure(page, "area under the ROC curve", area));
            figure(page, "Brier score", brier);
        }
        Quality::Regression { mean_absolute_error, root_mean_square_error, explained_variance } => {
            figure(page, "mean absolute error", mean_absolute_error);
            figure(page, "root mean square error", root_mean_square_error);
            explained_variance.into_iter().for_each(|share| figure(page, "R²", share));
        }
        Quality::Anomaly { area_under_roc } => figure(page, "area under the ROC curve", area_under_roc),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_days_of_the_calendar() {
        for date in ["2027-06-30", "2024-02-29", "2000-02-29", "0001-01-01"] {
            assert!(is_date(date), "{date}");
        }
        for date in [
            "2027-02-29",
            "1900-02-29",
            "2027-13-01",
            "2027-00-01",
            "2027-04-31",
            "27-04-01",
            "2027-4-1",
            "x",
            "2027-06-3０",
        ] {
            assert!(!is_date(date), "{date}");
        }
    }
}
