//! What is said of an alert beside its reasons, and in which language.

use axum::http::{Method, StatusCode};
use explaind_core::domain::record::Stream;
use serde_json::json;

use super::rig::{NASTY, Rig, get, request};

#[tokio::test]
async fn a_card_says_what_would_clear_the_alert_and_what_it_was_the_last_times() {
    let rig = Rig::new().await;
    let browser = rig.sign_in("technician").await;
    let (earlier, earlier_prediction, _) = rig.raise("press-7");
    let (alert, prediction, _) = rig.raise("press-7");
    let (found, cases) = rig.add_extras(prediction, (earlier, earlier_prediction));
    let page = browser.get("/").await.text;
    assert!(page.contains("Would clear with torque at 52.5 Nm or below."));
    assert!(page.contains("One like this, not judged yet."));

    let verdict = json!({ "alert_id": earlier, "verdict": "reject", "cause": NASTY });
    assert_eq!(browser.post("/api/v1/feedback", &verdict).await.status, StatusCode::CREATED);
    let page = browser.get("/").await.text;
    assert!(page.contains("One like this: once a false alarm: “&lt;script&gt;alert(1)"));
    assert!(!page.contains("<script>alert"));

    let shown = browser.get(&format!("/api/v1/alerts/{alert}")).await.json();
    assert_eq!(shown["would_clear"], "Would clear with torque at 52.5 Nm or below.");
    assert_eq!((&shown["counterfactuals"]["id"], &shown["cases"]["id"]), (&json!(found), &json!(cases)));
    assert_eq!(shown["cases"]["alerts"][0]["verdict"], "reject");
    assert!(shown["similar"].as_str().unwrap().starts_with("One like this: once a false alarm"));
    let bare = browser.get(&format!("/api/v1/alerts/{earlier}")).await.json();
    assert!(bare["would_clear"].is_null() && bare["similar"].is_null() && bare["cases"].is_null());
}

#[tokio::test]
async fn feedback_may_name_what_was_said_beside_the_reasons_of_that_prediction_only() {
    let rig = Rig::new().await;
    let (earlier, earlier_prediction, _) = rig.raise("press-7");
    let (_, prediction, _) = rig.raise("press-7");
    let (found, _) = rig.add_extras(prediction, (earlier, earlier_prediction));
    let browser = rig.sign_in("technician").await;
    let about =
        |prediction| json!({ "prediction_id": prediction, "explanation_id": found, "explanation_verdict": "disagree" });
    let unseen = browser.post("/api/v1/feedback", &about(prediction)).await;
    assert_eq!((unseen.status, &unseen.json()["explanation_id"]), (StatusCode::CREATED, &json!(found)));
    let refused = browser.post("/api/v1/feedback", &about(earlier_prediction)).await;
    assert_eq!(refused.status, StatusCode::NOT_FOUND);
    browser.get(&format!("/api/v1/predictions/{prediction}/counterfactuals")).await;
    let seen = browser.post("/api/v1/feedback", &about(prediction)).await;
    assert_eq!(seen.json()["explanation_seen"], true);
}

#[tokio::test]
async fn what_would_clear_an_alert_can_be_asked_of_any_prediction() {
    let rig = Rig::new().await;
    let browser = rig.sign_in("viewer").await;
    let path = |id| format!("/api/v1/predictions/{id}/counterfactuals");
    let (_, prediction, _) = rig.raise("press-7");
    let first = browser.get(&path(prediction)).await;
    assert_eq!(first.status, StatusCode::OK, "{}", first.text);
    let found = first.json();
    assert_eq!(found["sentence"], "Would clear with torque at 52.5 Nm or below.");
    assert_eq!((&found["outcome"], &found["alternatives"][0]["changes"][0]["to"]), (&json!("found"), &json!(52.5)));
    assert_eq!(browser.get(&path(prediction)).await.json()["id"], found["id"], "stored, and found again");

    let (_, prediction, _) = rig.raise("replaced");
    let refused = browser.get(&path(prediction)).await;
    assert_eq!(refused.status, StatusCode::CONFLICT);
    assert!(refused.detail().contains("no longer runs here"));
    let (_, prediction, _) = rig.raise("busy");
    assert_eq!(browser.get(&path(prediction)).await.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(browser.get(&path(uuid::Uuid::nil())).await.status, StatusCode::NOT_FOUND);
    assert_eq!(rig.send(get(&path(prediction), &[])).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_prediction_is_explained_in_the_space_that_is_asked_for() {
    let rig = Rig::new().await;
    let browser = rig.sign_in("viewer").await;
    let path = |id, space| format!("/api/v1/predictions/{id}?space={space}");
    let (_, prediction, explanation) = rig.raise("press-7");
    let own = browser.get(&format!("/api/v1/predictions/{prediction}")).await.json();
    assert_eq!((&own["space"], &own["explanation_id"]), (&json!("margin"), &json!(explanation)));
    assert_eq!(browser.get(&path(prediction, "margin")).await.json(), own, "nothing else is worked out");
    assert_eq!(rig.records(Stream::Explanations).len(), 0);

    let first = browser.get(&path(prediction, "probability")).await;
    assert_eq!(first.status, StatusCode::OK, "{}", first.text);
    let found = first.json();
    assert_eq!(
        (&found["space"], &found["output"], &found["base_value"]),
        (&json!("probability"), &json!(0.93), &json!(0.04))
    );
    assert_eq!((&found["id"], &found["sentence"]), (&own["id"], &own["sentence"]), "the same prediction");
    assert_eq!(found["explanation"]["id"], found["explanation_id"]);
    assert_ne!(found["explanation_id"], own["explanation_id"]);
    assert_eq!(found["explanation"]["attributions"], found["attributions"]);
    assert_eq!(browser.get(&path(prediction, "probability")).await.json(), found, "stored, and found again");
    let stored = rig.records(Stream::Explanations);
    assert_eq!((stored.len(), json!(stored[0].id)), (1, found["explanation_id"].clone()));
    let about = json!({ "prediction_id": prediction, "explanation_id": stored[0].id, "explanation_verdict": "agree" });
    let technician = rig.sign_in("technician").await;
    assert_eq!(technician.post("/api/v1/feedback", &about).await.json()["explanation_seen"], false);
    technician.get(&path(prediction, "probability")).await;
    assert_eq!(technician.post("/api/v1/feedback", &about).await.json()["explanation_seen"], true);

    let refused = browser.get(&path(prediction, "value")).await;
    assert_eq!(
        (refused.status, refused.detail().as_str()),
        (StatusCode::UNPROCESSABLE_ENTITY, "this model has no value")
    );
    let odd = browser.get(&path(prediction, "odds")).await;
    assert_eq!(odd.status, StatusCode::BAD_REQUEST);
    assert_eq!(odd.detail(), "space must be one of probability, margin and value");
    let misspelt = browser.get(&format!("/api/v1/predictions/{prediction}?sapce=margin")).await;
    assert_eq!(misspelt.status, StatusCode::BAD_REQUEST);
    let (_, prediction, _) = rig.raise("replaced");
    assert_eq!(browser.get(&path(prediction, "probability")).await.status, StatusCode::CONFLICT);
    let (_, prediction, _) = rig.raise("busy");
    assert_eq!(browser.get(&path(prediction, "probability")).await.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(browser.get(&path(uuid::Uuid::nil(), "margin")).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn sentences_come_in_the_language_of_the_reader_or_of_the_configuration() {
    for (table, accepts, expected, lang) in [
        ("", "de-AT,de;q=0.9,en;q=0.8", "Torque 66 Nm, üblich 27 bis 52", "lang=\"de\""),
        ("", "fr", "Torque 66 Nm, usually 27 to 52", "lang=\"en\""),
        ("language = \"de\"", "en", "Würde enden mit Torque bei 52,5 Nm oder darunter.", "lang=\"de\""),
        ("language = \"en\"", "de", "Would clear with torque at 52.5 Nm or below.", "lang=\"en\""),
    ] {
        let rig = Rig::with(table).await;
        let (alert, prediction, _) = rig.raise("press-7");
        rig.add_extras(prediction, (alert, prediction));
        let browser = rig.sign_in("viewer").await;
        let headers = [("cookie", browser.cookie.as_str()), ("accept-language", accepts)];
        let page = rig.send(request(Method::GET, "/", "", &headers)).await.text;
        assert!(page.contains(expected) && page.contains(&format!("<html {lang}>")), "{accepts} {table}");
        let path = format!("/api/v1/alerts/{alert}");
        let shown = rig.send(request(Method::GET, &path, "", &headers)).await.json();
        let said = format!("{} {}", shown["sentence"].as_str().unwrap(), shown["would_clear"].as_str().unwrap());
        assert!(said.contains(expected), "{said}");
    }
}
