//! What some explanations say beside shares, as tables below the picture: how shares spread over a window's time, and what
//! each sensor adds to a reconstruction's score. The little pictures in the cells show what their text says.

use explaind_core::domain::explanation::{Attribution, Explanation, IntervalShare};
use explaind_core::explain::words::{Language, Picture, is_sure, measured, number};
use maud::{Markup, html};

use super::bars::{Axis, SHOWN, fixed};
use super::words;

/// The tables that this explanation gives rise to.
pub(crate) fn tables(explanation: &Explanation, language: Language) -> Markup {
    html! {
        (over_time(explanation, language))
        (errors(explanation, language))
    }
}

/// One column per stretch of time, one group of rows per feature whose time was looked into.
fn over_time(explanation: &Explanation, language: Language) -> Markup {
    let bounds = |attribution: &Attribution| -> Vec<(u32, u32)> {
        attribution.intervals.iter().map(|interval| (interval.from, interval.to)).collect()
    };
    let mut spread: Vec<&Attribution> =
        explanation.attributions.iter().filter(|attribution| !attribution.intervals.is_empty()).collect();
    spread.sort_by(|a, b| b.value.abs().total_cmp(&a.value.abs()));
    let Some(columns) = spread.first().map(|first| bounds(first)) else { return html! {} };
    spread.retain(|attribution| bounds(attribution) == columns);
    let all = || spread.iter().flat_map(|attribution| &attribution.intervals);
    let axis = Axis::over(all().map(|interval| interval.value));
    let sure = all().all(|interval| is_sure(interval.value, interval.standard_error));
    let picture = Picture(language);
    let last = columns.last().map_or(0, |(_, to)| *to);
    html! {
        table .times {
            caption { (picture.over_time(last, sure)) }
            thead { tr { @for (from, to) in &columns { th scope="col" { (steps(*from, *to)) } } } }
            @for attribution in spread {
                tbody {
                    tr { th scope="rowgroup" colspan=(columns.len()) { (measured(language, attribution).name) } }
                    tr { @for interval in &attribution.intervals { td { (stretch(interval, axis, picture)) } } }
                }
            }
        }
    }
}

/// Measurements counted from one, as people count.
fn steps(from: u32, to: u32) -> String {
    let first = from.saturating_add(1);
    if first >= to { first.to_string() } else { format!("{first}\u{2013}{to}") }
}

fn stretch(interval: &IntervalShare, axis: Axis, picture: Picture) -> Markup {
    html! {
        (column(interval.value, axis))
        (picture.estimate(interval.value, interval.standard_error, axis.largest))
    }
}

/// A bar that stands up or hangs down from a middle line.
fn column(value: f64, axis: Axis) -> Markup {
    let length = if value.is_finite() { (value.abs() * axis.unit).max(1.0) } else { 0.0 };
    // The axis counts from the lowest value up, and the picture from its top down.
    let zero = 200.0 - axis.zero;
    let (class, y) = if value < 0.0 { ("lowers", zero) } else { ("raises", zero - length) };
    html! {
        svg .column viewBox="0 0 40 200" preserveAspectRatio="none" aria-hidden="true" focusable="false" {
            rect class=(class) x="6" y=(fixed(y)) width="28" height=(fixed(length)) {}
            rect .zero x="0" y=(fixed(zero - 2.0)) width="40" height="4" {}
        }
    }
}

/// The largest parts of a reconstruction's score; the rest is summed up.
fn errors(explanation: &Explanation, language: Language) -> Markup {
    let mut parts: Vec<(&Attribution, f64)> = explanation
        .attributions
        .iter()
        .filter_map(|attribution| Some((attribution, attribution.error?)))
        .filter(|(_, error)| error.is_finite())
        .collect();
    parts.sort_by(|(_, a), (_, b)| b.total_cmp(a));
    let all: f64 = parts.iter().map(|(_, error)| error).sum();
    if parts.is_empty() || all <= 0.0 {
        return html! {};
    }
    let (shown, rest) = parts.split_at(parts.len().min(SHOWN));
    let others: f64 = rest.iter().map(|(_, error)| error).sum();
    let picture = Picture(language);
    html! {
        table .errors {
            caption { (picture.errors()) }
            thead { tr { @for head in picture.heads_of_errors() { th scope="col" { (head) } } } }
            tbody {
                @for (attribution, error) in shown {
                    (part(&measured(language, attribution).name, *error, all, language))
                }
                @if !rest.is_empty() { (part(&picture.more(rest.len()), others, all, language)) }
            }
        }
    }
}

fn part(name: &str, error: f64, all: f64, language: Language) -> Markup {
    let percent = error / all * 100.0;
    html! {
        tr {
            th scope="row" { (name) }
            td { (number(language, error)) }
            td {
                svg .part viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true" focusable="false" {
                    rect .scale x="0" y="4" width="100" height="2" {}
                    rect .raises x="0" y="0" width=(fixed(percent.max(0.5))) height="10" {}
                }
                span { (words::percent(percent)) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use explaind_core::domain::explanation::Method;
    use explaind_core::domain::prediction::Space;

    use super::*;

    fn attribution(feature: &str, value: f64) -> Attribution {
        Attribution {
            feature: feature.into(),
            value,
            standard_error: 0.0,
            input: 1.0,
            unit: "bar".into(),
            usual: (0.0, 2.0),
            category: None,
            intervals: Vec::new(),
            error: None,
        }
    }

    fn explanation(attributions: Vec<Attribution>) -> Explanation {
        Explanation {
            space: Space::Value,
            base_value: 0.0,
            output: 1.0,
            attributions,
            method: Method::Sampling,
            evaluations: 0,
            additivity_gap: 0.0,
            faithfulness: None,
        }
    }

    fn text(attributions: Vec<Attribution>, language: Language) -> String {
        tables(&explanation(attributions), language).into_string()
    }

    #[test]
    fn explanations_of_rows_have_no_tables() {
        assert_eq!(text(vec![attribution("a", 1.0)], Language::English), "");
    }

    #[test]
    fn shares_over_time_are_a_table_with_heads_captions_and_words_for_every_bar() {
        let stretch = |from, to, value, standard_error| IntervalShare { from, to, value, standard_error };
        let mut pressure = attribution("pressure [bar]", -4.0);
        pressure.intervals = vec![stretch(0, 15, -0.25, 0.2), stretch(15, 30, -3.75, 0.2)];
        let mut flow = attribution("flow", 1.0);
        flow.intervals = vec![stretch(0, 15, 0.5, 0.0), stretch(15, 30, 0.5, 0.0)];
        let shown = text(vec![flow, pressure, attribution("heat", 0.1)], Language::German);
        for expected in [
            "<caption>Über die Zeit, nach Messung: 1 ist die älteste, 30 die neueste. In Klammern: vielleicht nichts.</caption>",
            "<th scope=\"col\">1–15</th><th scope=\"col\">16–30</th>",
            "<th scope=\"rowgroup\" colspan=\"2\">Pressure</th>",
            "(\u{2212}0,25)</td>",
            "\u{2212}3,75</td>",
            "+0,50</td>",
        ] {
            assert!(shown.contains(expected), "{expected} is not in {shown}");
        }
        assert!(shown.find("Pressure") < shown.find("Flow") && !shown.contains("Heat"));
        assert_eq!(shown.matches("<svg").count(), shown.matches("aria-hidden=\"true\"").count());
        assert!(!shown.contains("style="));
    }

    #[test]
    fn parts_of_a_score_come_largest_first_with_their_share_of_all() {
        let part = |(name, error): (&str, f64)| Attribution { error: Some(error), ..attribution(name, 0.0) };
        let parts =
            [("a", 0.01), ("b", 1.5), ("c", 0.4), ("d", 0.03), ("e", 0.02), ("f", 0.02), ("g", 0.01), ("h", 0.01)];
        let shown = text(parts.map(part).to_vec(), Language::German);
        assert!(shown.find(">B<") < shown.find(">C<"), "{shown}");
        assert!(
            shown.contains("<th scope=\"row\">B</th><td>1,5</td>") && shown.contains("<span>75\u{a0}%</span>"),
            "{shown}"
        );
        assert!(shown.contains("2 weitere") && shown.contains("<th scope=\"col\">Anteil</th>"), "{shown}");
        let odd = text(vec![part(("x", f64::NAN)), part(("y", 0.0))], Language::English);
        assert_eq!(odd, "", "nothing to divide");
    }
}
