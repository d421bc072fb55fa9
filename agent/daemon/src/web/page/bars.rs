//! The picture of an explanation: per feature a bar to the side it moved the output, and where its value lies.
//!
//! Pure SVG with sizes in attributes: the content security policy allows no inline styles. Everything that the picture
//! shows is also there in words, so the picture is hidden from screen readers.

use explaind_core::domain::explanation::{Attribution, Explanation};
use explaind_core::explain::words::{Language, Picture, measured, minus};
use maud::{Markup, html};

/// Features shown; the rest is summed up.
pub(super) const SHOWN: usize = 6;

/// The bars of one explanation. `beside` adds to a feature's row, by the row's number and the feature's name.
pub(crate) fn picture(explanation: &Explanation, language: Language, beside: impl Fn(usize, &str) -> Markup) -> Markup {
    let words = Picture(language);
    let mut order: Vec<&Attribution> = explanation.attributions.iter().collect();
    order.sort_by(|a, b| b.value.abs().total_cmp(&a.value.abs()));
    let (shown, rest) = order.split_at(order.len().min(SHOWN));
    let others: f64 = rest.iter().map(|attribution| attribution.value).sum();
    let axis = Axis::over(shown.iter().map(|attribution| attribution.value).chain([others]));
    let [before, output, after] = words.sum(explanation.base_value, explanation.output);
    html! {
        p .legend { (words.legend(explanation.space)) }
        ol .bars {
            @for (number, attribution) in shown.iter().enumerate() {
                (row(attribution, axis, words, &beside(number, &attribution.feature)))
            }
            @if !rest.is_empty() {
                li .others {
                    span .name { (words.more(rest.len())) }
                    span .value {}
                    span .usual {}
                    (bar(others, axis))
                    (share(others, axis, words))
                }
            }
        }
        p .sum { (before) strong { (output) } (after) }
    }
}

fn row(attribution: &Attribution, axis: Axis, words: Picture, beside: &Markup) -> Markup {
    let shown = measured(words.0, attribution);
    html! {
        li class=[unusual(attribution)] {
            span .name { (shown.name) }
            span .value { (minus(&shown.value)) }
            span .usual {
                @if let Some((low, high)) = shown.usual {
                    span { (words.usually(&low, &high)) }
                    (gauge(attribution))
                }
            }
            (bar(attribution.value, axis))
            (share(attribution.value, axis, words))
            (beside)
        }
    }
}

fn share(value: f64, axis: Axis, words: Picture) -> Markup {
    html! { span .share { (words.share(value, axis.largest)) span .unseen { " " (words.direction(value)) } } }
}

/// To which side a value lies outside of what is usual. Categories have no usual range.
fn unusual(attribution: &Attribution) -> Option<&'static str> {
    let (low, high) = attribution.usual;
    match attribution {
        Attribution { category: Some(_), .. } => None,
        Attribution { input, .. } if *input > high => Some("unusual above"),
        Attribution { input, .. } if *input < low => Some("unusual below"),
        _ => None,
    }
}

/// Where in or beside its usual range a value lies.
fn gauge(attribution: &Attribution) -> Markup {
    let (low, high) = attribution.usual;
    if !(low.is_finite() && high.is_finite() && attribution.input.is_finite()) {
        return html! {};
    }
    // A tenth of the span on either side keeps marks off the edges; a range of no width still gets a visible band.
    let (least, most) = (low.min(attribution.input), high.max(attribution.input));
    let margin = if most > least { (most - least) * 0.1 } else { 1.0 };
    let place = |value: f64| (value - least + margin) / (most - least + 2.0 * margin) * 100.0;
    let (from, to) = (place(low), place(high));
    html! {
        svg .gauge viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true" focusable="false" {
            rect .scale x="0" y="4" width="100" height="2" {}
            rect .band x=(fixed(from)) y="2" width=(fixed((to - from).max(2.0))) height="6" {}
            rect .mark x=(fixed(place(attribution.input) - 1.0)) y="0" width="2" height="10" {}
        }
    }
}

/// One scale for all bars of a picture, with its zero where both sides fit best.
#[derive(Clone, Copy)]
pub(super) struct Axis {
    pub(super) zero: f64,
    /// Width of one unit; the whole is 200 wide.
    pub(super) unit: f64,
    /// The largest value, to either side.
    pub(super) largest: f64,
}

impl Axis {
    pub(super) fn over(values: impl Iterator<Item = f64>) -> Self {
        let finite = values.filter(|value| value.is_finite());
        let (low, high) = finite.fold((0.0, 0.0), |(low, high): (f64, f64), value| (low.min(value), high.max(value)));
        if high - low <= 0.0 {
            return Self { zero: 100.0, unit: 0.0, largest: 0.0 };
        }
        // Either side keeps a tenth, so that the line of zero is always to be seen.
        let zero = (-low / (high - low) * 200.0).clamp(20.0, 180.0);
        let unit = |room: f64, reach: f64| if reach > 0.0 { room / reach } else { f64::INFINITY };
        Self { zero, unit: unit(zero - 2.0, -low).min(unit(198.0 - zero, high)), largest: high.max(-low) }
    }
}

/// One bar, left or right of zero.
fn bar(value: f64, axis: Axis) -> Markup {
    let length = if value.is_finite() { (value.abs() * axis.unit).max(1.0) } else { 0.0 };
    let (class, x) = if value < 0.0 { ("lowers", axis.zero - length) } else { ("raises", axis.zero) };
    html! {
        svg .bar viewBox="0 0 200 20" preserveAspectRatio="none" aria-hidden="true" focusable="false" {
            rect class=(class) x=(fixed(x)) y="3" width=(fixed(length)) height="14" {}
            rect .zero x=(fixed(axis.zero - 0.5)) y="0" width="1" height="20" {}
        }
    }
}

/// A coordinate.
pub(super) fn fixed(value: f64) -> String {
    format!("{value:.1}")
}

#[cfg(test)]
mod tests {
    use explaind_core::domain::explanation::Method;
    use explaind_core::domain::prediction::Space;

    use super::*;

    fn plain(explanation: &Explanation, language: Language) -> Markup {
        picture(explanation, language, |_, _| html! {})
    }

    fn attribution(feature: &str, value: f64, input: f64) -> Attribution {
        Attribution {
            feature: feature.into(),
            value,
            standard_error: 0.0,
            input,
            unit: "Nm".into(),
            usual: (30.0, 50.0),
            category: None,
            intervals: Vec::new(),
            error: None,
        }
    }

    fn explanation(attributions: Vec<Attribution>) -> Explanation {
        Explanation {
            space: Space::Margin,
            base_value: -3.1,
            output: 2.59,
            attributions,
            method: Method::TreeShapley,
            evaluations: 0,
            additivity_gap: 0.0,
            faithfulness: None,
        }
    }

    #[test]
    fn the_largest_comes_first_and_what_is_unusual_is_marked() {
        let both = explanation(vec![attribution("Speed [Nm]", -1.0, 40.0), attribution("Torque [Nm]", 4.0, 65.0)]);
        let text = plain(&both, Language::English).into_string();
        assert!(text.find("Torque").unwrap() < text.find("Speed").unwrap());
        assert_eq!(text.matches("unusual").count(), 1);
        assert!(text.contains("usually 30 to 50") && text.contains("65 Nm"), "{text}");
        assert!(!text.contains("Torque [Nm]"), "the value has the unit");
        assert!(!text.contains("style="));
        let german = plain(&both, Language::German).into_string();
        for expected in [
            "üblich 30 bis 50",
            "+4,00",
            "Von \u{2212}3,1 im Mittel auf <strong>2,59</strong> hier.",
            "erhöht",
            "senkt",
        ] {
            assert!(german.contains(expected), "{expected} is not in {german}");
        }
        assert!(!german.contains("usually") && !german.contains("> raises<"), "{german}");
    }

    #[test]
    fn zero_lies_where_both_sides_fit() {
        let axis = Axis::over([4.0, -1.0, f64::NAN].into_iter());
        assert_eq!(axis.zero, 40.0);
        assert!(axis.zero + 4.0 * axis.unit <= 200.0 && axis.zero - axis.unit >= 0.0);
        let positive = Axis::over([4.0, 2.0].into_iter());
        assert!(positive.zero == 20.0 && positive.unit > 40.0);
        assert_eq!(Axis::over([0.0].into_iter()).unit, 0.0);
    }

    #[test]
    fn many_features_are_summed_up_and_odd_numbers_draw_nothing_odd() {
        let many = (0..30).map(|n| attribution(&format!("f{n}"), f64::from(n), 1.0)).collect();
        assert!(plain(&explanation(many), Language::English).into_string().contains("24 more"));
        let odd = plain(&explanation(vec![attribution("x", f64::NAN, f64::INFINITY)]), Language::English).into_string();
        assert!(!odd.contains("=\"NaN") && !odd.contains("=\"inf"), "{odd}");
        assert!(plain(&explanation(Vec::new()), Language::English).into_string().contains("average"));
    }
}
