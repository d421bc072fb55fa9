//! What one machine's inputs stand at, as a table.

use explaind_core::explain::words::{Language, named};
use maud::{Markup, html};
use serde_json::Value;

use super::Words;
use crate::web::page::views::{figure, fill, span, text};

/// The table of a machine's inputs, as the status has them.
pub(super) fn table(machine: &str, inputs: &Value, language: Language, words: &Words) -> Markup {
    let inputs = inputs.as_array().map(Vec::as_slice).unwrap_or_default();
    html! {
        @if inputs.is_empty() {
            p .means { (words.no_values) }
        } @else {
            table .values {
                caption .unseen { (fill(words.values, &[("machine", machine)])) }
                thead {
                    tr {
                        th scope="col" { (words.signal) }
                        th scope="col" { (words.value) }
                        th scope="col" { (words.quality) }
                        th scope="col" { (words.age) }
                    }
                }
                tbody { @for input in inputs { (row(input, language, words)) } }
            }
        }
    }
}

fn row(input: &Value, language: Language, words: &Words) -> Markup {
    let (name, unit) = named(text(input, "feature").unwrap_or_default(), text(input, "unit").unwrap_or_default());
    let refused = input["refused"].as_str();
    html! {
        tr .refused[refused.is_some()] {
            th scope="row" {
                (name)
                span .signal { (text(input, "signal").unwrap_or_default()) }
            }
            td .number {
                @match &input["value"] {
                    Value::Number(number) => {
                        (figure(language, number.as_f64().unwrap_or(f64::NAN)))
                        @if !unit.is_empty() { "\u{a0}" (unit) }
                    }
                    Value::String(word) => { span .word { (word) } }
                    _ => { (words.no_value) }
                }
            }
            td {
                @match input["quality"].as_str() {
                    Some("good") => { (words.good) }
                    Some("uncertain") => { (words.uncertain) }
                    Some(_) => { (words.bad) }
                    None => { "\u{2013}" }
                }
                @if let Some(refused) = refused {
                    // The reason names the feature, which stands here already.
                    @let code = refused.split(':').next().unwrap_or(refused);
                    span .why { (words.refused) " (" span lang="en" { (code) } ")" }
                }
            }
            td .number {
                @match input["age_seconds"].as_f64() {
                    Some(age) => { (span(language, age)) }
                    None => { "\u{2013}" }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shown(inputs: &Value, language: Language) -> String {
        table("press-7", inputs, language, Words::of(language)).into_string()
    }

    #[test]
    fn a_value_has_its_unit_quality_and_age_and_what_is_refused_says_why() {
        let inputs = json!([
            {"feature": "Torque [Nm]", "signal": "plc/torque", "unit": "Nm", "value": 41.25, "quality": "good",
             "status": 0, "age_seconds": 2.5, "refused": null},
            {"feature": "temperature", "signal": "plc/<b>", "unit": null, "value": null, "quality": "bad",
             "status": 2_147_483_648_u32, "age_seconds": 500.0, "refused": "bad_quality: temperature, status 0x80000000"},
            {"feature": "speed", "signal": "plc/speed", "unit": "rpm", "value": null, "quality": null, "status": 0,
             "age_seconds": null, "refused": "missing: speed"},
            {"feature": "type", "signal": "plc/type", "unit": null, "value": "M", "quality": "uncertain", "status": 0,
             "age_seconds": 0.2, "refused": null},
        ]);
        let english = shown(&inputs, Language::English);
        for expected in [
            "Torque<span class=\"signal\">plc/torque</span>",
            "41.3\u{a0}Nm",
            "2.5\u{a0}s",
            "Temperature",
            "plc/&lt;b&gt;",
            "no value",
            "8\u{a0}min",
            "(<span lang=\"en\">bad_quality</span>)",
            "(<span lang=\"en\">missing</span>)",
            "<td class=\"number\"><span class=\"word\">M</span></td>",
        ] {
            assert!(english.contains(expected), "{expected} is not in {english}");
        }
        assert!(!english.contains("Torque [Nm]") && !english.contains("style="));
        let german = shown(&inputs, Language::German);
        assert!(
            german.contains("41,3\u{a0}Nm") && german.contains("kein Wert") && german.contains("unsicher"),
            "{german}"
        );
        assert!(shown(&Value::Null, Language::German).contains("Noch keine Werte."));
    }
}
