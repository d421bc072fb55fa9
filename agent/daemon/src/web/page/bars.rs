//! The picture of an explanation: per feature a bar to the side it moved the output, and where its value lies.
//!
//! Pure SVG with sizes in attributes: the content security policy allows no inline styles. Everything that the picture
//! shows is also there in words, so the picture is hidden from screen readers.

use explaind_core::domain::explanation::{Attribution, Explanation};
use explaind_core::explain::words::{Language, measured};
use maud::{Markup, html};

use super::words;

/// Features shown; the rest is summed up.
const SHOWN: usize = 6;

/// The bars of one explanation.
pub(crate) fn picture(explanation: &Explanation) -> Markup {
    let mut order: Vec<&Attribution> = explanation.attributions.iter().collect();
    order.sort_by(|a, b| b.value.abs().total_cmp(&a.value.abs()));
    let (shown, rest) = order.split_at(order.len().min(SHOWN));
    let others: f64 = rest.iter().map(|attribution| attribution.value).sum();
    let axis = Axis::over(shown.iter().map(|attribution| attribution.value).chain([others]));
    html! {
        p .legend { "What raised (right) or lowered (left) the " (words::space(explanation.space)) }
        ol .bars {
            @for attribution in shown {
                (row(attribution, axis))
            }
            @if !rest.is_empty() {
                li .others {
                    span .name { (rest.len()) " more" }
                    span .value {}
                    span .usual {}
                    (bar(others, axis))
                    (share(others, axis))
                }
            }
        }
        p .sum {
            "From " (words::number(explanation.base_value)) " on average to " strong { (words::number(explanation.output)) }
            " here."
        }
    }
}

fn row(attribution: &Attribution, axis: Axis) -> Markup {
    let shown = measured(Language::English, attribution);
    html! {
        li class=[unusual(attribution)] {
            span .name { (shown.name) }
            span .value { (words::minus(&shown.value)) }
            span .usual {
                @if let Some((low, high)) = shown.usual {
                    span { "usually " (words::minus(&low)) " to " (words::minus(&high)) }
                    (gauge(attribution))
                }
            }
            (bar(attribution.value, axis))
            (share(attribution.value, axis))
        }
    }
}

fn share(value: f64, axis: Axis) -> Markup {
    let direction = if value < 0.0 { " lowers" } else { " raises" };
    html! { span .share { (words::share(value, axis.largest)) span .unseen { (direction) } } }
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
struct Axis {
    zero: f64,
    /// Width of one unit; the whole is 200 wide.
    unit: f64,
    /// The largest value, to either side.
    largest: f64,
}

impl Axis {
    fn over(values: impl Iterator<Item = f64>) -> Self {
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

fn fixed(value: f64) -> String {
    format!("{value:.1}")
}

#[cfg(test)]
mod tests {
    use explaind_core::domain::explanation::Method;
    use explaind_core::domain::prediction::Space;

    use super::*;

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
        let text =
            picture(&explanation(vec![attribution("Speed [Nm]", -1.0, 40.0), attribution("Torque [Nm]", 4.0, 65.0)]));
        let text = text.into_string();
        assert!(text.find("Torque").unwrap() < text.find("Speed").unwrap());
        assert_eq!(text.matches("unusual").count(), 1);
        assert!(text.contains("usually 30 to 50") && text.contains("65 Nm"), "{text}");
        assert!(!text.contains("Torque [Nm]"), "the value has the unit");
        assert!(!text.contains("style="));
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
        assert!(picture(&explanation(many)).into_string().contains("24 more"));
        let odd = picture(&explanation(vec![attribution("x", f64::NAN, f64::INFINITY)])).into_string();
        assert!(!odd.contains("=\"NaN") && !odd.contains("=\"inf"), "{odd}");
        assert!(picture(&explanation(Vec::new())).into_string().contains("average"));
    }
}
