//! What scripts rely on: listings by cursor, alerts that are over, and sending twice.

use axum::http::StatusCode;
use axum::http::header::{HeaderName, HeaderValue};
use explaind_core::domain::record::Stream;
use serde_json::{Value, json};

use super::rig::{Browser, Rig};

/// All items of a listing, page by page, while something comes in between.
async fn paged(browser: &Browser<'_>, path: &str, between: impl Fn()) -> Vec<Value> {
    let (mut all, mut address) = (Vec::new(), path.to_owned());
    loop {
        let page = browser.get(&address).await;
        assert_eq!(page.status, StatusCode::OK, "{}", page.text);
        all.extend(page.json().as_array().unwrap().iter().map(|item| item["id"].clone()));
        between();
        let next = page.header("explaind-next");
        if next.is_empty() {
            return all;
        }
        let link = page.header("link").trim_start_matches('<').split('>').next().unwrap().to_owned();
        assert!(link.ends_with(&format!("before={next}")), "{link}");
        address = link;
    }
}

#[tokio::test]
async fn listings_are_the_same_while_records_come_in() {
    let rig = Rig::new().await;
    let browser = rig.sign_in("technician").await;
    let mut raised = Vec::new();
    for _ in 0..7 {
        let (alert, prediction, _) = rig.raise("press-7");
        let said = browser.post("/api/v1/feedback", &json!({ "alert_id": alert, "verdict": "confirm" })).await.json();
        raised.push((json!(alert), json!(prediction), said["id"].clone()));
    }
    raised.reverse();
    let more = || {
        rig.raise("press-7");
    };
    let alerts = paged(&browser, "/api/v1/alerts?limit=3", more).await;
    assert_eq!(alerts, raised.iter().map(|(alert, ..)| alert.clone()).collect::<Vec<_>>());
    let predictions = paged(&browser, "/api/v1/predictions?limit=4&asset=press-7", || {}).await;
    assert_eq!(predictions[predictions.len() - 7..], raised.iter().map(|(_, of, _)| of.clone()).collect::<Vec<_>>());
    let feedback = paged(&browser, "/api/v1/feedback?limit=2", more).await;
    assert_eq!(feedback, raised.into_iter().map(|(.., said)| said).collect::<Vec<_>>());
}

#[tokio::test]
async fn alerts_are_found_by_what_they_are_and_by_when_they_were_raised() {
    let rig = Rig::new().await;
    let browser = rig.sign_in("technician").await;
    let (over, ..) = rig.raise("press-7");
    rig.clear(over, false);
    browser.post(&format!("/api/v1/alerts/{over}/acknowledge"), &json!({})).await;
    let (open, ..) = rig.raise("press-8");
    let ids = async |query: &str| -> Vec<Value> {
        let answer = browser.get(&format!("/api/v1/alerts?{query}")).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        answer.json().as_array().unwrap().iter().map(|alert| alert["id"].clone()).collect()
    };
    let (over, open) = ([json!(over)], [json!(open)]);
    assert_eq!(ids("").await, [&open[..], &over[..]].concat());
    assert_eq!(ids("state=closed").await, over);
    assert_eq!(ids("state=normal&asset=press-7&priority=high").await, over);
    assert_eq!(ids("state=open").await, open);
    assert!(ids("priority=low").await.is_empty() && ids("state=normal&asset=press-8").await.is_empty());
    let shown = browser.get(&format!("/api/v1/alerts/{}", over[0].as_str().unwrap())).await.json();
    let at = shown["raised_at"].as_str().unwrap().to_owned();
    assert_eq!((&shown["state"], shown["cleared_at"].is_string()), (&json!("normal"), true));
    assert!(ids(&format!("from={at}")).await.contains(&over[0]) && !ids(&format!("to={at}")).await.contains(&over[0]));
    for wrong in ["from=yesterday", "to=1", "priority=urgent", "state=gone"] {
        let refused = browser.get(&format!("/api/v1/alerts?{wrong}")).await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{wrong}");
        assert!(!refused.detail().is_empty());
    }
}

#[tokio::test]
async fn feedback_sent_twice_under_a_key_is_stored_once() {
    let rig = Rig::new().await;
    let (alert, ..) = rig.raise("press-7");
    let browser = rig.sign_in("technician").await;
    let engineer = rig.sign_in("engineer").await;
    let send = async |browser: &Browser<'_>, key: &'static str, body: &Value| {
        let mut request = browser.json_post("/api/v1/feedback", &body.to_string());
        request.headers_mut().insert(HeaderName::from_static("idempotency-key"), HeaderValue::from_static(key));
        rig.send(request).await
    };
    let body = json!({ "alert_id": alert, "verdict": "reject", "cause": " loose belt ", "comment": "see photo" });
    let first = send(&browser, "\"019ab7c8-0000\"", &body).await;
    assert_eq!(first.status, StatusCode::CREATED, "{}", first.text);
    let again = send(&browser, "019ab7c8-0000", &body).await;
    assert_eq!((again.status, again.json()), (StatusCode::CREATED, first.json()));
    assert_eq!(rig.records(Stream::Feedback).len(), 1);
    let other = send(&browser, "019ab7c8-0000", &json!({ "alert_id": alert, "verdict": "confirm" })).await;
    assert_eq!(other.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(other.detail().contains("Idempotency-Key"), "{}", other.text);
    assert_eq!(
        send(&engineer, "019ab7c8-0000", &body).await.status,
        StatusCode::CREATED,
        "everybody has their own keys"
    );
    assert_eq!(send(&browser, "another", &body).await.status, StatusCode::CREATED);
    assert_eq!(rig.records(Stream::Feedback).len(), 3);
    assert_eq!(send(&browser, "\"\"", &body).await.status, StatusCode::BAD_REQUEST);
    assert_eq!(
        rig.web
            .verdicts
            .marked(crate::web::twice::mark(rig.web.buffer.pseudonyms(), "technician", "another"))
            .unwrap()
            .feedback
            .author,
        "technician"
    );
}

#[tokio::test]
async fn a_key_is_known_after_a_restart() {
    let rig = Rig::new().await;
    let (alert, ..) = rig.raise("press-7");
    let browser = rig.sign_in("technician").await;
    let mut request =
        browser.json_post("/api/v1/feedback", &json!({ "alert_id": alert, "verdict": "unsure" }).to_string());
    request.headers_mut().insert(HeaderName::from_static("idempotency-key"), HeaderValue::from_static("once"));
    let said = rig.send(request).await.json();
    let read = crate::web::verdicts::Verdicts::read(&rig.web.buffer).unwrap();
    let found = read.marked(crate::web::twice::mark(rig.web.buffer.pseudonyms(), "technician", "once")).unwrap();
    assert_eq!(json!(found.id), said["id"]);
}
