use std::sync::Arc;

use uuid::Uuid;

use super::*;
use crate::domain::explanation::Method;
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
    let say = |settlement: Option<Settlement>| sentence(Language::English, &alert, settlement.as_ref(), None);
    assert_eq!(say(None), "Failure 93 % likely. The reason is still being worked out.");
    assert_eq!(
        say(Some(Settlement::Skipped { reason: "too many alerts at once.".to_owned() })),
        "Failure 93 % likely. The reason was not worked out: too many alerts at once."
    );
    assert_eq!(
        say(Some(Settlement::Failed { reason: "the model stopped".to_owned() })),
        "Failure 93 % likely. The reason could not be worked out: the model stopped."
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
}
