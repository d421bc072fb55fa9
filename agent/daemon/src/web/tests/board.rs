//! What the page and the listings show.

use axum::http::StatusCode;
use serde_json::json;

use super::rig::{NASTY, PERSON, Rig, get};
use crate::buffer::samples::fail;

#[tokio::test]
async fn an_alert_is_shown_with_its_reasons_and_whatever_is_stored_stays_text() {
    let rig = Rig::new().await;
    let (alert, prediction, _) = rig.raise(NASTY);
    let browser = rig.sign_in("technician").await;
    let comment = json!({ "prediction_id": prediction, "verdict": "confirm", "comment": NASTY, "cause": NASTY });
    assert_eq!(browser.post("/api/v1/feedback", &comment).await.status, StatusCode::CREATED);
    let page = browser.get("/").await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(page.text.contains("66 Nm") && page.text.contains("usually 27 to 52"));
    assert!(page.text.contains(&format!("data-key=\"{alert}\"")) && page.text.contains("Right"));
    assert!(!page.text.contains("<script>alert") && page.text.contains("&lt;script&gt;alert(1)"));
    assert!(!page.text.contains("style=") && !page.text.contains(" on") || !page.text.contains("onclick="));
    assert!(!page.text.contains("http://") && !page.text.contains("https://"), "no request to any other host");
    let live = browser.get("/live").await;
    assert!(live.text.starts_with("<div id=\"board\"") && !live.text.contains("<script"));
}

#[tokio::test]
async fn a_page_with_nothing_to_show_says_so() {
    let rig = Rig::new().await;
    let browser = rig.sign_in("viewer").await;
    assert!(browser.get("/").await.text.contains("No alerts"));
}

#[tokio::test]
async fn a_store_that_takes_no_predictions_is_said_above_the_alerts() {
    let rig = Rig::new().await;
    let browser = rig.sign_in("viewer").await;
    assert!(!browser.get("/").await.text.contains("Predictions are not stored"));
    fail(&rig.web.buffer);
    let page = browser.get("/").await.text;
    assert!(page.contains("Predictions are not stored at present, since this failed: cannot flush /x"), "{page}");
    assert!(browser.get("/live").await.text.contains("alerts and feedback still are"));
}

#[tokio::test]
async fn the_gateways_own_alert_says_what_is_wrong_and_asks_for_no_verdict() {
    let rig = Rig::new().await;
    let alert = rig.raise_own("buffer_full");
    let browser = rig.sign_in("technician").await;
    let page = browser.get("/").await.text;
    assert!(page.contains("This gateway</h2>") && page.contains("The buffer is full of records that"), "{page}");
    assert!(page.contains(&format!("seen-{alert}")) && !page.contains(&format!("confirm-{alert}")));
    assert!(page.contains("5 bytes are kept") && !page.contains("no longer kept on this gateway"));
    let german = rig.send(get("/", &[PERSON, ("cookie", &browser.cookie), ("accept-language", "de")])).await.text;
    assert!(german.contains("Dieses Gateway</h2>") && german.contains("Der Puffer ist voll"), "{german}");
    let listed = browser.get("/api/v1/alerts?asset=_gateway").await.json();
    assert_eq!((&listed[0]["id"], &listed[0]["model"]), (&json!(alert), &json!("buffer_full")));
    assert_eq!(listed[0]["prediction_id"], json!(null));
    rig.raise_own("a rule of a later version");
    assert!(browser.get("/").await.text.contains("5 bytes are kept"));
}

#[tokio::test]
async fn many_alerts_are_shown_in_parts() {
    let rig = Rig::new().await;
    for n in 0..60 {
        rig.raise(&format!("press-{n}"));
    }
    let browser = rig.sign_in("technician").await;
    let first = browser.get("/").await.text;
    assert_eq!(first.matches("<article").count(), 50);
    assert!(first.contains("60 alerts") && first.contains("10 more. ") && first.contains("href=\"/?from=50\""));
    let second = browser.get("/?from=50").await.text;
    assert_eq!(second.matches("<article").count(), 10);
    assert!(second.contains("data-live=\"/live?from=50&amp;language=en\""));
}

#[tokio::test]
async fn listings_are_arrays_with_a_cursor() {
    let rig = Rig::new().await;
    let raised: Vec<_> = (0..5).map(|n| rig.raise(&format!("press-{n}"))).collect();
    let browser = rig.sign_in("viewer").await;
    let first = browser.get("/api/v1/alerts?limit=3").await;
    let items = first.json();
    assert_eq!(items.as_array().unwrap().len(), 3);
    assert_eq!(items[0]["id"], json!(raised[4].0), "the newest first");
    let alert = &items[0];
    for key in ["asset", "state", "suppression", "priority", "raised_at", "sentence", "prediction_id", "explanation"] {
        assert!(!alert[key].is_null(), "{key}");
    }
    assert_eq!(alert["explanation"]["attributions"]["Torque [Nm]"], 4.2);
    let next = first.header("explaind-next");
    assert!(first.header("link").contains(&format!("limit=3&before={next}>; rel=\"next\"")));
    let second = browser.get(&format!("/api/v1/alerts?limit=3&before={next}")).await;
    assert_eq!((second.json().as_array().unwrap().len(), second.header("explaind-next")), (2, ""));
    let shadow = rig.shadow("press-2");
    let predictions = browser.get("/api/v1/predictions?asset=press-2&role=champion").await.json();
    assert_eq!((predictions.as_array().unwrap().len(), &predictions[0]["id"]), (1, &json!(raised[2].1)));
    assert_eq!(predictions[0]["explanation_status"], "exact");
    let page = browser.get("/api/v1/predictions?role=champion&limit=2").await;
    assert_eq!(page.json().as_array().unwrap().len(), 2);
    let rest = browser.get(&format!("/api/v1/predictions?role=champion&before={}", page.header("explaind-next"))).await;
    assert_eq!((rest.json().as_array().unwrap().len(), rest.header("explaind-next")), (3, ""));
    let shadows = browser.get("/api/v1/predictions?role=shadow").await.json();
    assert_eq!((shadows.as_array().unwrap().len(), &shadows[0]["id"]), (1, &json!(shadow)));
    assert_eq!(browser.get("/api/v1/predictions").await.json()[0]["role"], "shadow");
    assert_eq!(browser.get("/api/v1/predictions?role=king").await.status, StatusCode::BAD_REQUEST);
    assert_eq!(browser.get("/api/v1/alerts?state=closed").await.json(), json!([]));
    assert_eq!(browser.get("/api/v1/status").await.json()["gateway"]["id"], "line-3");
}

#[tokio::test]
async fn which_part_of_a_machines_alerts_is_false_is_by_the_verdicts_that_stand() {
    let rig = Rig::new().await;
    let alerts: Vec<_> = (0..4).map(|_| rig.raise("press-7").0).collect();
    let browser = rig.sign_in("technician").await;
    let share = async || {
        let asset = browser.get("/api/v1/status").await.json()["assets"][0].clone();
        (asset["judged"].as_u64().unwrap(), asset["nuisance_share"].as_f64())
    };
    assert_eq!(share().await, (0, None));
    let mut last = json!(null);
    for (alert, verdict) in alerts.iter().zip(["confirm", "reject", "unsure", "reject"]) {
        last = browser.post("/api/v1/feedback", &json!({ "alert_id": alert, "verdict": verdict })).await.json();
    }
    assert_eq!(share().await, (3, Some(2.0 / 3.0)));
    let mind = json!({ "alert_id": alerts[3], "verdict": "confirm", "revises": last["id"] });
    assert_eq!(browser.post("/api/v1/feedback", &mind).await.status, StatusCode::CREATED);
    assert_eq!(share().await, (3, Some(1.0 / 3.0)));
    let metrics = rig.send(get("/metrics", &[])).await.text;
    assert!(metrics.contains("explaind_alarm_nuisance_share{asset=\"press-7\"} 0.333"), "{metrics}");
}

#[tokio::test]
async fn an_error_is_a_page_for_people() {
    let rig = Rig::new().await;
    let browser = rig.sign_in("technician").await;
    let answer = rig.send(get("/?from=x", &[PERSON, ("cookie", &browser.cookie)])).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert!(answer.text.contains("role=\"alert\"") && answer.header("content-type").starts_with("text/html"));
}
