use std::sync::Arc;

use uuid::Uuid;

use super::*;
use crate::domain::explanation::Method;
use crate::domain::extra::{self, Change, Counterfactual, Counterfactuals};
use crate::domain::feedback::Verdict;
use crate::domain::prediction::{Digest, Role};

fn prediction(outcome: Outcome) -> Prediction {
    Prediction {
        asset: "press-7".into(),
        model: "press-failure".into(),
        model_version: "1.0.0".into(),
        model_digest: Digest([0; 32]),
        background_digest: Digest([0; 32]),
        role: Role::Champion,
        outcome,
        source_time: None,
        inputs: Vec::new(),
        input_quality: Quality::Good,
        alert: None,
    }
}

fn failure(probability: f64) -> Prediction {
    let label = if probability > 0.5 { "failure" } else { "healthy" };
    let output = Output { value: probability, label: Some(label.to_owned()), probability: Some(probability) };
    prediction(Outcome::Predicted(output))
}

fn attribution(feature: &str, unit: &str, value: f64, input: f64, usual: (f64, f64)) -> Attribution {
    Attribution {
        feature: feature.into(),
        value,
        standard_error: 0.0,
        input,
        unit: unit.into(),
        usual,
        category: None,
        intervals: Vec::new(),
        error: None,
    }
}

fn torque(value: f64) -> Attribution {
    attribution("Torque [Nm]", "Nm", value, 65.2, (30.1, 50.3))
}

fn wear(value: f64) -> Attribution {
    attribution("Tool wear [min]", "", value, 210.0, (10.0, 200.0))
}

fn speed(value: f64) -> Attribution {
    attribution("Rotational speed", "rpm", value, 1408.0, (1380.0, 1700.0))
}

fn kind(value: f64) -> Attribution {
    Attribution { category: Some(Arc::from("L")), ..attribution("Type", "", value, 0.0, (0.0, 1.0)) }
}

fn explained(space: Space, base_value: f64, attributions: Vec<Attribution>) -> Settlement {
    let output = base_value + attributions.iter().map(|a| a.value).sum::<f64>();
    let method = Method::TreeShapley;
    let explanation = Explanation {
        space,
        base_value,
        output,
        attributions,
        method,
        evaluations: 0,
        additivity_gap: 0.0,
        faithfulness: None,
    };
    Settlement::Explained { id: Uuid::nil(), explanation }
}

fn margin(attributions: Vec<Attribution>) -> Settlement {
    explained(Space::Margin, -3.0, attributions)
}

fn english(prediction: &Prediction, settlement: &Settlement, raised: Raised) -> String {
    sentence(Language::English, prediction, Some(settlement), Some(raised))
}

#[test]
fn an_alert_names_what_is_unusual_and_what_it_means() {
    assert_eq!(
        english(&failure(0.93), &margin(vec![wear(2.0), torque(4.0), speed(-0.4)]), Raised::Above),
        "Torque 65 Nm, usually 30 to 50; tool wear 210 min, usually 10 to 200. Failure 93 % likely."
    );
}

#[test]
fn one_value_that_carries_nearly_all_stands_alone() {
    assert_eq!(
        english(&failure(0.9999), &margin(vec![torque(8.0), wear(0.5), speed(0.3)]), Raised::Above),
        "Torque 65 Nm, usually 30 to 50. Failure more than 99 % likely."
    );
}

#[test]
fn a_value_within_its_usual_range_is_called_so() {
    assert_eq!(
        english(&failure(0.61), &margin(vec![kind(1.0), speed(3.0), torque(-0.1)]), Raised::Above),
        "Rotational speed 1408 rpm, within its usual range of 1380 to 1700; type L. Failure 61 % likely."
    );
}

#[test]
fn no_more_than_three_are_named_and_a_wide_spread_is_admitted() {
    let many: Vec<_> = (0..12).map(|n| attribution(&format!("s{n}_mean"), "", 1.0, 5.0, (1.0, 2.0))).collect();
    assert_eq!(
        english(&failure(0.7), &margin(many), Raised::Above),
        "s0_mean 5, usually 1 to 2; s1_mean 5, usually 1 to 2; s2_mean 5, usually 1 to 2; many other values add to it. \
         Failure 70 % likely."
    );
}

#[test]
fn where_small_outputs_alarm_the_values_that_push_down_are_named() {
    let life = prediction(Outcome::Predicted(Output { value: 12.34, label: None, probability: None }));
    let settlement = explained(Space::Value, 120.5, vec![torque(4.0), wear(-112.16)]);
    let expected = "Tool wear 210 min, usually 10 to 200. Predicted: 12, usually about 121.";
    assert_eq!(english(&life, &settlement, Raised::Below), expected);
    assert_eq!(sentence(Language::English, &life, Some(&settlement), None), expected);
}

#[test]
fn an_output_on_the_quiet_side_accuses_no_value() {
    assert_eq!(
        english(&failure(0.001), &margin(vec![torque(0.1), wear(-1.0)]), Raised::Above),
        "The values do not point to an alert. Risk less than 1 %."
    );
}

#[test]
fn below_one_half_the_other_label_is_not_called_likely() {
    assert_eq!(
        english(&failure(0.3), &margin(vec![torque(2.0)]), Raised::Above),
        "Torque 65 Nm, usually 30 to 50. Risk 30 %."
    );
}

#[test]
fn a_class_that_is_called_a_number_is_not_named() {
    let output = Output { value: 0.93, label: Some("1".to_owned()), probability: Some(0.93) };
    assert_eq!(
        english(&prediction(Outcome::Predicted(output)), &margin(vec![torque(2.0)]), Raised::Above),
        "Torque 65 Nm, usually 30 to 50. Risk 93 %."
    );
}

#[test]
fn constants_missing_values_and_unknown_ranges_have_words() {
    let constant = attribution("pressure", "bar", 1.0, 7.0, (5.0, 5.0));
    let missing = attribution("Flow", "", 1.0, f64::NAN, (1.0, 2.0));
    let unknown = attribution("pH", "", 1.0, 7.25, (f64::NAN, f64::NAN));
    assert_eq!(
        english(&failure(0.51), &margin(vec![constant, missing, unknown]), Raised::Above),
        "Pressure 7 bar, usually 5; flow without a value; pH 7.25. Failure 51 % likely."
    );
}

#[test]
fn without_an_explanation_the_sentence_says_so() {
    let alert = failure(0.93);
    let say = |language, settlement: Option<Settlement>| sentence(language, &alert, settlement.as_ref(), None);
    assert_eq!(say(Language::English, None), "Failure 93 % likely. The reason is still being worked out.");
    let skipped = Settlement::Skipped { reason: Reason::ManyAlerts.to_string() };
    assert_eq!(
        say(Language::English, Some(skipped)),
        "Failure 93 % likely. The reason was not worked out: too many alerts came at once."
    );
    let crowded = Settlement::Skipped { reason: Reason::Crowded { one_in: 4 }.to_string() };
    assert_eq!(
        say(Language::German, Some(crowded)),
        "Failure zu 93 % wahrscheinlich. Der Grund wurde nicht ermittelt: es kam mehr, als sich erklären lässt; von dieser \
         Maschine wird zurzeit eine von 4 Vorhersagen erklärt."
    );
    let failed = || Some(Settlement::Failed { reason: "Evaluating node 7: shape mismatch.".to_owned() });
    assert_eq!(
        say(Language::English, failed()),
        "Failure 93 % likely. The reason could not be worked out: the calculation failed."
    );
    assert_eq!(
        say(Language::German, failed()),
        "Failure zu 93 % wahrscheinlich. Der Grund ließ sich nicht ermitteln: die Rechnung ist fehlgeschlagen."
    );
}

#[test]
fn uncertain_values_are_mentioned() {
    let alert = Prediction { input_quality: Quality::Uncertain, ..failure(0.93) };
    assert_eq!(
        english(&alert, &margin(vec![torque(2.0)]), Raised::Above),
        "Torque 65 Nm, usually 30 to 50. Failure 93 % likely. Some of the values are uncertain."
    );
}

#[test]
fn what_was_withheld_says_which_value_is_at_fault() {
    let feature = "Torque [Nm]".to_owned();
    let say = |why| sentence(Language::English, &prediction(Outcome::Withheld(why)), None, None);
    assert_eq!(say(Withheld::Missing { feature: feature.clone() }), "No prediction: no value has come yet for torque.");
    assert_eq!(
        say(Withheld::Stale { feature: feature.clone(), age: 7.21 }),
        "No prediction: the last value of torque is 7.21 s old."
    );
    assert_eq!(
        say(Withheld::OutOfRange { feature, value: 900.0 }),
        "No prediction: torque reads 900 Nm, which cannot be."
    );
    assert_eq!(say(Withheld::ModelNonFinite), "No prediction: the calculation gave no usable number.");
    let filling = Withheld::WindowFilling { have: 3, need: 30 };
    assert_eq!(say(filling), "No prediction yet: 3 of 30 measurements in a row have come.");
    assert_eq!(say(Withheld::NoModel), "No prediction: there is no model that can run here.");
    let stopped = Withheld::Stopped { reason: "ann: it cries wolf.".to_owned() };
    assert_eq!(say(stopped), "No prediction: it was stopped: ann: it cries wolf.");
    assert_eq!(say(Withheld::PassThrough), "No prediction: this machine's values are only collected.");
}

#[test]
fn a_rule_that_stands_in_says_which_values_it_looks_at() {
    let says = |value| {
        let inputs = [("plc/torque", Some(85.25)), ("plc/heat", None), ("plc/wear", Some(12.0))];
        let outcome = Outcome::Predicted(Output { value, label: None, probability: None });
        Prediction {
            role: Role::Fallback,
            inputs: inputs.map(|(name, value)| Input { feature: name.into(), value }).into(),
            ..prediction(outcome)
        }
    };
    let settled = Settlement::Skipped { reason: Reason::Rule.to_string() };
    assert_eq!(
        sentence(Language::English, &says(1.0), Some(&settled), Some(Raised::Above)),
        "A limit is crossed, says the rule that stands in for the model: plc/torque 85.3, plc/wear 12."
    );
    assert_eq!(
        german(&says(1.0), None),
        "Ein Grenzwert ist überschritten, sagt die Regel, die für das Modell einspringt: plc/torque 85,3, plc/wear 12."
    );
    assert_eq!(
        sentence(Language::English, &says(0.0), None, None),
        "No limit is crossed, says the rule that stands in for the model."
    );
}

#[test]
fn an_estimate_that_may_be_nothing_is_called_possible() {
    let unsure = |attribution: Attribution| Attribution { standard_error: 1.5, ..attribution };
    assert_eq!(
        english(&failure(0.93), &margin(vec![unsure(torque(4.0)), unsure(wear(2.0)), speed(0.1)]), Raised::Above),
        "Torque 65 Nm, usually 30 to 50; perhaps tool wear 210 min, usually 10 to 200. Failure 93 % likely."
    );
    assert_eq!(
        english(&failure(0.93), &margin(vec![unsure(torque(2.0))]), Raised::Above),
        "Perhaps torque 65 Nm, usually 30 to 50. Failure 93 % likely."
    );
}

fn german(prediction: &Prediction, settlement: Option<&Settlement>) -> String {
    sentence(Language::German, prediction, settlement, Some(Raised::Above))
}

#[test]
fn german_has_its_own_words_and_commas_and_leaves_names_and_units_alone() {
    let warm = attribution("Temperatur am Lager", "°C", 2.0, 61.25, (40.5, 42.5));
    assert_eq!(
        german(&failure(0.93), Some(&margin(vec![torque(4.0), warm, kind(2.0)]))),
        "Torque 65 Nm, üblich 30 bis 50; Temperatur am Lager 61,3 °C, üblich 40,5 bis 42,5; Type L. \
         Failure zu 93 % wahrscheinlich."
    );
    assert_eq!(
        german(&failure(0.9999), Some(&margin(vec![speed(3.0)]))),
        "Rotational speed 1408 rpm, im üblichen Bereich von 1380 bis 1700. Failure zu mehr als 99 % wahrscheinlich."
    );
    let unsure = Attribution { standard_error: 9.0, ..torque(4.0) };
    assert_eq!(
        german(&failure(0.4), Some(&margin(vec![unsure]))),
        "Vielleicht Torque 65 Nm, üblich 30 bis 50. Risiko 40 %."
    );
    assert_eq!(german(&failure(0.6), None), "Failure zu 60 % wahrscheinlich. Der Grund wird noch ermittelt.");
    let life = prediction(Outcome::Predicted(Output { value: 12.34, label: None, probability: None }));
    let settlement = explained(Space::Value, 120.5, vec![wear(-108.16)]);
    assert_eq!(
        sentence(Language::German, &life, Some(&settlement), Some(Raised::Below)),
        "Tool wear 210 min, üblich 10 bis 200. Vorhersage: 12, üblich etwa 121."
    );
    let old = Withheld::Stale { feature: "Torque [Nm]".to_owned(), age: 7.21 };
    assert_eq!(
        german(&prediction(Outcome::Withheld(old)), None),
        "Keine Vorhersage: Der letzte Wert von Torque ist 7,21 s alt."
    );
}

fn change(feature: &str, unit: &str, from: f64, to: f64, and_beyond: bool) -> Change {
    Change { feature: feature.into(), unit: unit.into(), from, to, category: None, and_beyond }
}

fn counterfactuals(outcome: extra::Outcome, ways: Vec<Vec<Change>>, complete: bool) -> Counterfactuals {
    let way = |changes| Counterfactual { changes, distance: 1.0, output: 0.2 };
    Counterfactuals {
        outcome,
        clear: Some("below 0.4".to_owned()),
        alternatives: ways.into_iter().map(way).collect(),
        searched: vec!["Torque [Nm]".into(), "Tool wear".into()],
        at_most: 3,
        evaluations: 1,
        budget: 1,
        complete,
    }
}

#[test]
fn what_would_clear_the_alert_is_said_as_a_person_sets_it() {
    let both = |found: &Counterfactuals| [Language::English, Language::German].map(|language| remedy(language, found));
    let found = |ways| counterfactuals(extra::Outcome::Found, ways, true);
    assert_eq!(
        both(&found(vec![vec![change("Torque [Nm]", "", 65.0, 52.0, true)]])),
        ["Would clear with torque at 52 Nm or below.", "Würde enden mit Torque bei 52 Nm oder darunter."]
    );
    let kind = Change { category: Some("M".into()), ..change("Type", "", 0.0, 1.0, false) };
    let pair = vec![change("Rotational speed", "rpm", 1300.0, 1500.0, false), change("Heat", "°C", 20.0, 19.5, false)];
    assert_eq!(
        both(&found(vec![vec![change("Flow", "l/s", 1.0, 2.25, true)], pair, vec![kind]])),
        [
            "Would clear with flow at 2.25 l/s or above, or with rotational speed at 1500 rpm and heat at 19.5 °C, or with \
             type M.",
            "Würde enden mit Flow bei 2,25 l/s oder darüber, oder mit Rotational speed bei 1500 rpm und Heat bei 19,5 °C, \
             oder mit Type M.",
        ]
    );
    let none = |complete| counterfactuals(extra::Outcome::NoneWithinLimits, Vec::new(), complete);
    assert_eq!(
        both(&none(true)),
        [
            "No setting within the limits would clear it; tried: torque, tool wear.",
            "Keine Einstellung innerhalb der Grenzen würde den Alarm beenden; versucht: Torque, Tool wear.",
        ]
    );
    let untried = Counterfactuals { searched: Vec::new(), ..none(false) };
    assert_eq!(both(&untried), ["No setting could be tried.", "Es konnte keine Einstellung versucht werden."]);
    let [english, german] = both(&none(false));
    assert!(english.contains("though not everywhere: torque") && german.contains("wenn auch nicht überall: Torque"));
    let other = counterfactuals(extra::Outcome::NoRule, Vec::new(), true);
    assert_eq!(remedy(Language::English, &other), "This model raises no alerts, so there is nothing to clear.");
}

#[test]
fn what_it_was_the_last_times_is_counted_and_quoted() {
    let judged = |verdict, words: Option<&str>| Judged { verdict, words: words.map(str::to_owned) };
    let both = |alike: &[Judged]| [Language::English, Language::German].map(|language| cases(language, alike));
    let confirmed = judged(Some(Verdict::Confirm), None);
    let loose = judged(Some(Verdict::Reject), Some("sensor {loose}"));
    assert_eq!(
        both(&[confirmed.clone(), loose.clone(), confirmed.clone()]),
        [
            "Three like this: twice confirmed, once a false alarm: “sensor {loose}”.",
            "Drei ähnliche Fälle: zweimal bestätigt, einmal Fehlalarm: „sensor {loose}“.",
        ]
    );
    assert_eq!(
        both(&vec![judged(None, None); 1]),
        ["One like this, not judged yet.", "Ein ähnlicher Fall, noch nicht beurteilt."]
    );
    let tool = judged(Some(Verdict::Reject), Some("wrong tool"));
    assert_eq!(
        cases(Language::English, &[loose.clone(), loose, tool]),
        "Three like this: three times a false alarm: “sensor {loose}” and “wrong tool”."
    );
    let mut many = vec![judged(None, None); 13];
    many.push(judged(Some(Verdict::Unsure), None));
    assert_eq!(
        both(&many),
        [
            "14 like this: once undecided, 13 times not judged.",
            "14 ähnliche Fälle: einmal unklar, 13-mal nicht beurteilt.",
        ]
    );
    assert_eq!(both(&[]), ["No earlier alert is like this.", "Kein früherer Alarm ist diesem ähnlich."]);
}
