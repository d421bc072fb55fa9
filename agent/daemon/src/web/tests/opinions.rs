//! What the form on a card stores: every verdict, what was said of the reasons, causes; and each of it once.

use axum::http::StatusCode;
use explaind_core::domain::feedback::{ExplanationVerdict, Feedback, Verdict};
use explaind_core::domain::record::{Body as Content, Stream};
use serde_json::json;

use super::rig::Rig;

fn all(rig: &Rig) -> Vec<Feedback> {
    let feedback = |record: explaind_core::domain::record::Record| match record.body {
        Content::Feedback(feedback) => feedback,
        other => panic!("{other:?}"),
    };
    rig.records(Stream::Feedback).into_iter().map(feedback).collect()
}

#[tokio::test]
async fn one_form_says_the_verdict_the_cause_and_which_reasons_mattered() {
    let rig = Rig::new().await;
    let (alert, prediction, explanation) = rig.raise("press-7");
    let browser = rig.sign_in("technician").await;
    let page = browser.get("/").await.text;
    for expected in [
        "value=\"Sensor verschmutzt\"",
        "value=\"Werkzeug verschlissen\"",
        "<option value=\"heat\">",
        "name=\"relevant\" value=\"Torque [Nm]\"",
        "name=\"irrelevant\" value=\"Torque [Nm]\"",
        "value=\"agree\"",
    ] {
        assert!(page.contains(expected), "{expected} is not in {page}");
    }
    assert!(!page.contains("<option value=\"failure\">"), "what was predicted is no correction");
    let path = format!("/alerts/{alert}/feedback");
    let form = format!(
        "prediction_id={prediction}&verdict=correct&corrected=heat&explanation_verdict=agree&relevant=Torque+[Nm]&\
         irrelevant=Tool+wear+[min]&cause=Sensor+verschmutzt&own_cause=&comment=hot"
    );
    assert_eq!(browser.form(&path, &form).await.status, StatusCode::SEE_OTHER);
    let said = all(&rig).remove(0);
    assert_eq!((said.verdict, said.corrected.as_deref()), (Some(Verdict::Correct), Some("heat")));
    assert_eq!((said.explanation_verdict, said.explanation_id), (Some(ExplanationVerdict::Agree), Some(explanation)));
    assert_eq!((said.relevant, said.irrelevant), (vec!["Torque [Nm]".to_owned()], vec!["Tool wear [min]".to_owned()]));
    assert_eq!((said.cause.as_deref(), said.comment.as_deref()), (Some("Sensor verschmutzt"), Some("hot")));
    assert!(said.explanation_seen);

    // What was said is filled in, and who adds to it revises it: the verdict stays.
    let page = browser.get("/").await.text;
    for expected in
        ["value=\"Sensor verschmutzt\" checked", "<option value=\"heat\" selected>", "value=\"agree\" checked"]
    {
        assert!(page.contains(expected), "{expected} is not in {page}");
    }
    let more = format!("prediction_id={prediction}&own_cause={}&cause=Sensor+verschmutzt", "the+cable");
    assert_eq!(browser.form(&path, &more).await.status, StatusCode::SEE_OTHER);
    let last = all(&rig).remove(1);
    assert_eq!((last.verdict, last.corrected.as_deref()), (Some(Verdict::Correct), Some("heat")));
    assert_eq!((last.cause.as_deref(), last.revises), (Some("the cable"), Some(rig.records(Stream::Feedback)[0].id)));
    let page = browser.get("/").await.text;
    assert!(page.contains("(since revised)") && page.contains("(a revision)") && page.contains("Cause: the cable."));
}

#[tokio::test]
async fn a_form_that_comes_twice_is_stored_once() {
    let rig = Rig::new().await;
    let (alert, prediction, _) = rig.raise("press-7");
    let browser = rig.sign_in("technician").await;
    let path = format!("/alerts/{alert}/feedback");
    let form = |key: &str, verdict: &str| format!("prediction_id={prediction}&key={key}&verdict={verdict}&comment=c");
    let (confirm, reject) = (form("1", "confirm"), form("2", "reject"));
    let (a, b) = tokio::join!(browser.form(&path, &confirm), browser.form(&path, &confirm));
    assert_eq!((a.status, b.status), (StatusCode::SEE_OTHER, StatusCode::SEE_OTHER));
    assert_eq!(all(&rig).len(), 1);
    browser.form(&path, &reject).await;
    // The first comes again, after its answer was lost: it must not undo what was said since.
    browser.form(&path, &confirm).await;
    assert_eq!(
        all(&rig).iter().map(|said| said.verdict).collect::<Vec<_>>(),
        [Some(Verdict::Confirm), Some(Verdict::Reject)]
    );
    // After a restart nobody remembers the key, but what was said.
    browser.form(&path, &form("3", "reject")).await;
    assert_eq!(all(&rig).len(), 2, "the same again adds nothing");
    browser.form(&path, &form("4", "confirm")).await;
    assert_eq!(all(&rig).len(), 3, "changing one's mind back is news");
    let engineer = rig.sign_in("engineer").await;
    engineer.form(&path, &form("1", "confirm")).await;
    assert_eq!(all(&rig).len(), 4, "somebody else's");
}

#[tokio::test]
async fn forms_that_make_no_sense_store_nothing() {
    let rig = Rig::new().await;
    let (alert, prediction, _) = rig.raise("press-7");
    let browser = rig.sign_in("technician").await;
    let path = format!("/alerts/{alert}/feedback");
    for (fields, says) in [
        ("verdict=correct&corrected=", "needs corrected"),
        ("verdict=missed", "none that can be said of an alert"),
        ("verdict=right", "none that can be said of an alert"),
        ("comment=+", "says nothing"),
        ("relevant=Torque+[Nm]&irrelevant=Torque+[Nm]", "as irrelevant"),
        ("relevant=Nothing", "no feature"),
    ] {
        let answer = browser.form(&path, &format!("prediction_id={prediction}&key=k&{fields}")).await;
        assert!(answer.status.is_client_error() && answer.detail().contains(says), "{fields}: {}", answer.text);
    }
    assert_eq!(browser.form(&path, "prediction_id=x&verdict=confirm").await.status, StatusCode::NOT_FOUND);
    assert!(all(&rig).is_empty());
    // The form is not used up by having been refused.
    let right = format!("prediction_id={prediction}&key=k&verdict=unsure");
    assert_eq!(browser.form(&path, &right).await.status, StatusCode::SEE_OTHER);
    assert_eq!(all(&rig)[0].verdict, Some(Verdict::Unsure));
}

#[tokio::test]
async fn the_right_value_of_a_quantity_is_a_number_in_its_unit() {
    let rig = Rig::new().await;
    rig.desk.set("output", json!({ "kind": "regression", "labels": [], "unit": "h" }));
    let (alert, prediction, _) = rig.raise("press-7");
    let browser = rig.sign_in("technician").await;
    let page = browser.get("/").await.text;
    assert!(page.contains("The right value (h)</label>") && page.contains("inputmode=\"decimal\""), "{page}");
    let path = format!("/alerts/{alert}/feedback");
    let form = |value: &str| format!("prediction_id={prediction}&verdict=correct&corrected={value}");
    let wrong = browser.form(&path, &form("a+lot")).await;
    assert!(wrong.detail().contains("\"a lot\" is not a number"), "{}", wrong.text);
    assert_eq!(browser.form(&path, &form("12,5")).await.status, StatusCode::SEE_OTHER);
    assert_eq!(all(&rig)[0].corrected.as_deref(), Some("12.5"));
    let german = format!("{}; explaind_language=de", browser.cookie);
    let page = rig.send(super::rig::get("/", &[("cookie", &german)])).await.text;
    assert!(page.contains("Etwas anderes</span>: 12,5, sagt technician") && page.contains("value=\"12,5\""), "{page}");
}

#[tokio::test]
async fn viewers_see_what_was_said_and_are_offered_nothing_to_do() {
    let rig = Rig::new().await;
    let (alert, prediction, _) = rig.raise("press-7");
    let technician = rig.sign_in("technician").await;
    let form = format!("prediction_id={prediction}&verdict=reject&own_cause=%3Cb%3E&comment=%3Cb%3E");
    technician.form(&format!("/alerts/{alert}/feedback"), &form).await;
    let viewer = rig.sign_in("viewer").await;
    for path in ["/", "/models"] {
        let page = viewer.get(path).await.text;
        let forms: Vec<&str> = page.split("action=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        assert!(forms.iter().all(|action| ["/language", "/sign-out"].contains(action)), "{path}: {forms:?}");
        assert!(
            !page.contains("href=\"/missed\"") && !page.contains("<textarea") && !page.contains("type=\"checkbox\"")
        );
    }
    let page = viewer.get("/").await.text;
    assert!(page.contains("says technician") && page.contains("Cause: &lt;b&gt;.") && !page.contains("<b>"), "{page}");
    assert!(page.contains("Torque") && page.contains("66 Nm"), "the reasons are for all");
    assert!(technician.get("/").await.text.contains("href=\"/missed\""));
}
