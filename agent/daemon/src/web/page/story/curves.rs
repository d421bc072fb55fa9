//! The signals' curves around the moment an alert was raised, each over the band of what is usual; and the same in words and
//! as a table.
//!
//! Pure SVG with sizes in attributes, as the bars are. The pictures stretch with the page, so what is written stands beside
//! them.

use std::fmt::Write as _;

use explaind_core::domain::time::Timestamp;
use explaind_core::explain::words::{Language, minus};
use maud::{Markup, html};

use super::Words;
use super::series::{Around, Signal, around};
use crate::buffer::BufferError;
use crate::web::Web;
use crate::web::page::bars::fixed;
use crate::web::page::views::{figure, fill, when};
use crate::web::story::Story;

/// Size of a picture, in its own units.
const WIDTH: f64 = 600.0;
const HEIGHT: f64 = 120.0;
/// Points of one curve; of more, the lowest and the highest of each stretch are drawn.
const POINTS: usize = 400;
/// Rows of the table.
const ROWS: usize = 12;

/// All of it, or why there is nothing to draw.
pub(super) fn section(web: &Web, story: &Story, words: &Words) -> Result<Markup, BufferError> {
    if story.own().is_some() {
        return Ok(html! { p .means { (words.own_curves) } });
    }
    let explanation = story.explanation().map(|(_, explanation)| explanation);
    let around = match &story.evidence {
        Some(evidence) => around(web, evidence, explanation, story.language)?,
        None => None,
    };
    Ok(match around {
        Some(around) if !around.signals.is_empty() => drawn(&around, story.language, words),
        _ => html! { p .means { (words.no_curves) } },
    })
}

fn drawn(around: &Around, language: Language, words: &Words) -> Markup {
    let frame = Frame::of(around);
    let withheld = around.withheld();
    html! {
        p .means { (words.about_curves) }
        div .curves {
            @for (number, signal) in around.signals.iter().enumerate() {
                (curve(around, number, signal, &frame, &withheld, language, words))
            }
        }
        @if !withheld.is_empty() {
            p .means { (fill(words.withheld_spans, &[("count", &withheld.len().to_string())])) }
        }
        @if around.left_out > 0 {
            p .means { (fill(words.others, &[("count", &around.left_out.to_string())])) }
        }
        p .means { (words.until) " " (when(language, frame.end)) "." }
        (table(around, language, words))
    }
}

/// The time that all pictures show.
struct Frame {
    begin: Timestamp,
    end: Timestamp,
    raised: Timestamp,
    longest_step: i64,
}

impl Frame {
    fn of(around: &Around) -> Self {
        let at = |number: usize| around.moments.get(number).map(|moment| moment.at);
        let unknown = Timestamp::from_micros(0);
        Self {
            begin: at(0).unwrap_or(unknown),
            end: around.moments.last().map_or(unknown, |moment| moment.at),
            raised: at(around.raised).unwrap_or(unknown),
            longest_step: around.longest_step(),
        }
    }

    /// Where a time lies in the picture.
    fn x(&self, at: Timestamp) -> f64 {
        let length = self.end.as_micros().saturating_sub(self.begin.as_micros());
        let passed = at.as_micros().saturating_sub(self.begin.as_micros());
        if length <= 0 { WIDTH / 2.0 } else { passed as f64 / length as f64 * WIDTH }
    }
}

/// A signal's values from the bottom of its picture to the top.
#[derive(Clone, Copy)]
struct Scale {
    /// The lowest and the highest of what is shown.
    low: f64,
    high: f64,
    least: f64,
    most: f64,
}

impl Scale {
    fn of(around: &Around, number: usize, signal: &Signal) -> Option<Self> {
        let (mut low, mut high) = around.extent(number)?;
        if let Some((from, to)) = signal.usual {
            (low, high) = (low.min(from), high.max(to));
        }
        // A tenth of the span on either side keeps curves off the edges; what never moves still gets a place.
        let margin = if high > low { (high - low) * 0.1 } else { (high.abs() * 0.1).max(1.0) };
        Some(Self { low, high, least: low - margin, most: high + margin })
    }

    fn y(self, value: f64) -> f64 {
        (self.most - value) / (self.most - self.least) * HEIGHT
    }
}

fn curve(
    around: &Around,
    number: usize,
    signal: &Signal,
    frame: &Frame,
    withheld: &[(Timestamp, Timestamp)],
    language: Language,
    words: &Words,
) -> Markup {
    let scale = Scale::of(around, number, signal);
    let unusual = around.outside_since(number).is_some();
    html! {
        figure .curve.unusual[unusual] {
            figcaption { (caption(around, number, signal, language, words)) }
            @if let Some(scale) = scale {
                div .plot {
                    p .scale aria-hidden="true" {
                        span { (figure(language, scale.high)) }
                        span { (figure(language, scale.low)) }
                    }
                    (picture(around, number, signal, frame, scale, withheld))
                }
                p .axis aria-hidden="true" { (when(language, frame.begin)) (when(language, frame.end)) }
            }
        }
    }
}

fn picture(
    around: &Around,
    number: usize,
    signal: &Signal,
    frame: &Frame,
    scale: Scale,
    withheld: &[(Timestamp, Timestamp)],
) -> Markup {
    let raised = fixed(frame.x(frame.raised));
    let (width, height) = (WIDTH.to_string(), HEIGHT.to_string());
    let value = around.moments.get(around.raised).and_then(|moment| *moment.values.as_ref()?.get(number)?);
    html! {
        svg viewBox={ "0 0 " (width) " " (height) } preserveAspectRatio="none" aria-hidden="true" focusable="false" {
            @if let Some((low, high)) = signal.usual {
                @let (top, bottom) = (scale.y(high), scale.y(low));
                rect .band x="0" width=(width) y=(fixed(top)) height=(fixed((bottom - top).max(1.0))) {}
            }
            @for (from, to) in withheld {
                @let (left, right) = (frame.x(*from), frame.x(*to));
                rect .none x=(fixed(left - 1.0)) width=(fixed((right - left + 2.0).max(2.0))) y="0" height=(height) {}
            }
            line .raised x1=(raised) x2=(raised) y1="0" y2=(height) vector-effect="non-scaling-stroke" {}
            path .line d=(path(around, number, frame, scale)) vector-effect="non-scaling-stroke" {}
            @if let Some(value) = value {
                // A dot that stays round however the picture stretches.
                @let y = fixed(scale.y(value));
                path .dot d={ "M" (raised) " " (y) "h0" } vector-effect="non-scaling-stroke" {}
            }
        }
    }
}

/// The curve, which breaks where nothing was predicted, where a value is missing, and over long pauses.
fn path(around: &Around, number: usize, frame: &Frame, scale: Scale) -> String {
    let mut pieces: Vec<Vec<(f64, f64)>> = vec![Vec::new()];
    let mut last: Option<Timestamp> = None;
    for moment in &around.moments {
        let value = moment.values.as_ref().and_then(|values| *values.get(number)?);
        let pause =
            last.is_some_and(|last| moment.at.as_micros().saturating_sub(last.as_micros()) > frame.longest_step);
        if value.is_none() || pause {
            pieces.push(Vec::new());
        }
        last = Some(moment.at);
        if let (Some(value), Some(piece)) = (value, pieces.last_mut()) {
            piece.push((frame.x(moment.at), scale.y(value)));
        }
    }
    let mut path = String::new();
    for piece in pieces {
        for (index, (x, y)) in thinned(&piece).into_iter().enumerate() {
            let letter = if index == 0 { 'M' } else { 'L' };
            let _ = write!(path, "{letter}{x:.1} {y:.1}");
        }
        if piece.len() == 1 {
            path.push_str("h0.5");
        }
    }
    path
}

/// As many points as can be told apart: of each stretch the lowest and the highest, so that no peak is lost.
fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    if points.len() <= POINTS {
        return points.to_vec();
    }
    let mut kept = Vec::with_capacity(POINTS + 2);
    for stretch in points.chunks(points.len().div_ceil(POINTS / 2)) {
        let by_height = |a: &&(f64, f64), b: &&(f64, f64)| a.1.total_cmp(&b.1);
        let (Some(top), Some(bottom)) = (stretch.iter().min_by(by_height), stretch.iter().max_by(by_height)) else {
            continue;
        };
        let (first, second) = if top.0 <= bottom.0 { (top, bottom) } else { (bottom, top) };
        kept.push(*first);
        if second != first {
            kept.push(*second);
        }
    }
    kept
}

/// What the picture shows, in words.
fn caption(around: &Around, number: usize, signal: &Signal, language: Language, words: &Words) -> Markup {
    let with_unit = |value: f64| {
        let unit = if signal.unit.is_empty() { String::new() } else { format!("\u{a0}{}", signal.unit) };
        format!("{}{unit}", figure(language, value))
    };
    let value = around.moments.get(around.raised).and_then(|moment| *moment.values.as_ref()?.get(number)?);
    let extent = around.extent(number);
    let written = signal.written.as_ref();
    // As the card writes them: the same number must not stand there twice and differ.
    let raised = value.map(|value| written.map_or_else(|| with_unit(value), |written| minus(&written.value)));
    let usual = signal.usual.map(|(low, high)| {
        let ends = written.and_then(|written| written.usual.as_ref());
        ends.map_or_else(|| (figure(language, low), figure(language, high)), |(low, high)| (minus(low), minus(high)))
    });
    html! {
        strong { (signal.name) } " "
        @if let Some(raised) = raised { span .value { (fill(words.at_raise, &[("value", &raised)])) } }
        @else { (words.no_value) }
        @if let Some((low, high)) = usual {
            ", " (fill(words.usual, &[("low", &low), ("high", &high)])) ". "
            span .since {
                @match around.outside_since(number) {
                    Some(Some(since)) => { (words.outside_since) " " (when(language, since)) "." }
                    Some(None) => { (words.outside_all) }
                    None if value.is_some() => { (words.inside) }
                    None => {}
                }
            }
        } @else { "." }
        @if let Some((low, high)) = extent {
            span .unseen {
                " "
                (fill(words.described, &[("name", &signal.name), ("low", &with_unit(low)), ("high", &with_unit(high))])) "."
            }
        }
    }
}

/// The same in so many rows, among them the moment the alert was raised.
fn table(around: &Around, language: Language, words: &Words) -> Markup {
    let last = around.moments.len().saturating_sub(1);
    let mut rows: Vec<usize> = (0..ROWS).map(|row| row * last / (ROWS - 1)).chain([around.raised]).collect();
    rows.sort_unstable();
    rows.dedup();
    html! {
        details .table {
            summary { (words.as_table) }
            div .wide tabindex="0" role="region" aria-label=(words.table) {
                table .values {
                    caption .unseen { (words.table) }
                    thead {
                        tr {
                            th scope="col" { (words.time) }
                            @for signal in &around.signals {
                                th scope="col" { (signal.name) @if !signal.unit.is_empty() { " (" (signal.unit) ")" } }
                            }
                        }
                    }
                    tbody { @for row in rows { (table_row(around, row, language, words)) } }
                }
            }
        }
    }
}

fn table_row(around: &Around, row: usize, language: Language, words: &Words) -> Markup {
    html! {
        @if let Some(moment) = around.moments.get(row) {
            tr .raised[row == around.raised] {
                th scope="row" { (when(language, moment.at)) @if row == around.raised { " (" (words.raised_here) ")" } }
                @match &moment.values {
                    None => { td colspan=(around.signals.len()) { (words.withheld) } }
                    Some(values) => {
                        @for value in values {
                            td .number {
                                @match value {
                                    Some(value) => { (figure(language, *value)) }
                                    None => { (words.no_value) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::series::tests::made;
    use super::*;

    fn shown(around: &Around, language: Language) -> String {
        drawn(around, language, Words::of(language)).into_string()
    }

    #[test]
    fn a_curve_breaks_where_nothing_was_predicted_and_stands_over_its_band() {
        let around = made(&[(0, Some(40.0)), (1, Some(41.0)), (2, None), (3, Some(60.0)), (4, Some(61.0))], 3);
        let english = shown(&around, Language::English);
        let path = english.split("class=\"line\" d=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
        assert_eq!(path.matches('M').count(), 2, "{path}");
        for expected in [
            "class=\"band\"",
            "class=\"none\"",
            "60\u{a0}Nm when it was raised",
            "usually 30 to 50",
            "Outside of what is usual since <time",
            "from 40\u{a0}Nm to 61\u{a0}Nm",
            "No prediction: 1 times.",
            "<td colspan=\"1\">no prediction</td>",
            "(raised)",
        ] {
            assert!(english.contains(expected), "{expected} is not in {english}");
        }
        assert!(!english.contains("style=") && !english.contains("NaN"));
        let german = shown(&around, Language::German);
        assert!(
            german.contains("üblich 30 bis 50") && german.contains("keine Vorhersage") && !german.contains("usually")
        );
    }

    #[test]
    fn a_single_moment_and_a_constant_are_drawn_too() {
        for around in [made(&[(0, Some(40.0))], 0), made(&[(0, Some(0.0)), (9, Some(0.0))], 1), made(&[(0, None)], 0)] {
            let shown = shown(&around, Language::English);
            assert!(!shown.contains("NaN") && !shown.contains("inf"), "{shown}");
        }
    }

    #[test]
    fn many_points_are_thinned_and_no_peak_is_lost() {
        let points: Vec<(f64, f64)> =
            (0..10_000).map(|n| (f64::from(n), if n == 7777 { 99.0 } else { f64::from(n % 3) })).collect();
        let kept = thinned(&points);
        assert!(kept.len() <= POINTS + 2 && kept.contains(&(7777.0, 99.0)));
        assert!(kept.is_sorted_by(|a, b| a.0 <= b.0));
    }
}
