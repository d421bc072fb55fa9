//! Feedback and acknowledgement: what is accepted, what is refused, what is put on record.

use axum::http::StatusCode;
use explaind_core::domain::feedback::{Feedback, UserRole};
use explaind_core::domain::record::{Body as Content, Stream};
use serde_json::json;
use uuid::Uuid;

use super::rig::{Rig, get, request};
use crate::web::UsersFile;
use crate::web::access::Peer;

fn all(rig: &Rig) -> Vec<Feedback> {
    let feedback = |record: explaind_core::domain::record::Record| match record.body {
        Content::Feedback(feedback) => feedback,
        other => panic!("{other:?}"),
    };
    rig.records(Stream::Feedback).into_iter().map(feedback).collect()
}

#[tokio::test]
async fn acknowledging_changes_the_alert_and_makes_no_label() {
    let rig = Rig::new().await;
    let (alert, ..) = rig.raise("press-7");
    let browser = rig.sign_in("technician").await;
    let path = format!("/api/v1/alerts/{alert}/acknowledge");
    let answer = browser.post(&path, &json!({ "comment": "on my way" })).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    let shown = answer.json();
    assert_eq!(
        (&shown["state"], &shown["acknowledged_by"], &shown["comment"]),
        (&json!("acknowledged"), &json!("technician"), &json!("on my way"))
    );
    assert_eq!(browser.post(&path, &json!({})).await.status, StatusCode::OK, "again is no error");
    assert!(all(&rig).is_empty(), "acknowledging is never a label");
    let unknown = browser.post(&format!("/api/v1/alerts/{}/acknowledge", Uuid::from_u128(7)), &json!({})).await;
    assert_eq!(unknown.status, StatusCode::NOT_FOUND);
    let long = browser.post(&path, &json!({ "comment": "x".repeat(2001) })).await;
    assert_eq!(long.status, StatusCode::UNPROCESSABLE_ENTITY);
    let audited = rig.records(Stream::Audit).iter().any(|record| match &record.body {
        Content::Audit(audit) => {
            audit.action == "acknowledge" && audit.object == alert.to_string() && audit.outcome == "done"
        }
        _ => false,
    });
    assert!(audited);
}

#[tokio::test]
async fn two_who_acknowledge_the_same_alert_are_both_on_record_even_if_the_first_closes_it() {
    let rig = Rig::new().await;
    let (alert, ..) = rig.raise("press-7");
    rig.clear(alert, false);
    let (first, second) = (rig.sign_in("technician").await, rig.sign_in("engineer").await);
    let path = format!("/api/v1/alerts/{alert}/acknowledge");
    let closed = first.post(&path, &json!({ "comment": "seen" })).await.json();
    assert_eq!((&closed["state"], &closed["acknowledged_by"]), (&json!("normal"), &json!("technician")));
    let late = second.post(&path, &json!({ "comment": "seen as well" })).await;
    assert_eq!(late.status, StatusCode::OK, "{}", late.text);
    assert_eq!(late.json()["acknowledged_by"], "technician", "who was first");
    let said = rig.records(Stream::Alerts).into_iter().filter_map(|record| match record.body {
        Content::Alert(change) => Some((change.author?, change.comment?)),
        other => panic!("{other:?}"),
    });
    let named = |who: &str, comment: &str| (who.to_owned(), comment.to_owned());
    assert_eq!(said.collect::<Vec<_>>(), [named("technician", "seen"), named("engineer", "seen as well")]);
    let audited = rig.records(Stream::Audit).into_iter().filter_map(|record| match record.body {
        Content::Audit(audit) if audit.action == "acknowledge" => Some((audit.actor, audit.outcome)),
        _ => None,
    });
    assert_eq!(audited.collect::<Vec<_>>(), [named("technician", "done"), named("engineer", "done")]);
}

#[tokio::test]
async fn feedback_is_bound_to_exactly_what_was_judged() {
    let rig = Rig::new().await;
    let (alert, prediction, explanation) = rig.raise("press-7");
    let browser = rig.sign_in("technician").await;
    let body = json!({
        "alert_id": alert, "verdict": "reject", "explanation_verdict": "disagree", "relevant": ["Tool wear [min]"],
        "cause": "sensor loose", "comment": "  two\r\nlines\u{7} ",
    });
    let answer = browser.post("/api/v1/feedback", &body).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
    let stored = all(&rig).remove(0);
    assert_eq!(
        (stored.prediction_id, stored.explanation_id, stored.alert_id),
        (Some(prediction), Some(explanation), Some(alert))
    );
    assert_eq!(
        (stored.author.as_str(), stored.role.as_str(), stored.asset.as_str()),
        ("technician", "technician", "press-7")
    );
    assert_eq!(stored.comment.as_deref(), Some("two\nlines"));
    assert!(stored.model_digest.is_some() && stored.background_digest.is_some());
    assert!(stored.explanation_seen, "signing in led to the page, which shows it");
    let listed = browser.get(&format!("/api/v1/feedback?alert_id={alert}")).await.json();
    assert_eq!((listed.as_array().unwrap().len(), &listed[0]["verdict"]), (1, &json!("reject")));
}

#[tokio::test]
async fn whether_the_explanation_was_seen_is_what_was_served_to_that_sign_in() {
    let rig = Rig::new().await;
    let browser = rig.sign_in("technician").await;
    let (_, prediction, _) = rig.raise("press-7");
    let body = json!({ "prediction_id": prediction, "verdict": "confirm" });
    browser.post("/api/v1/feedback", &body).await;
    browser.get(&format!("/api/v1/predictions/{prediction}")).await;
    browser.post("/api/v1/feedback", &body).await;
    let other = rig.sign_in("engineer").await;
    drop(other);
    let root = Peer::Socket { uid: 0, name: "root".into() };
    let on_socket = request(
        axum::http::Method::POST,
        "/api/v1/feedback",
        &body.to_string(),
        &[("content-type", "application/json")],
    );
    rig.send_as(root, on_socket).await;
    let seen: Vec<_> = all(&rig).iter().map(|feedback| feedback.explanation_seen).collect();
    assert_eq!(seen, [false, true, false]);
    let claimed =
        browser.post("/api/v1/feedback", &json!({ "prediction_id": prediction, "explanation_seen": true })).await;
    assert_eq!(claimed.status, StatusCode::BAD_REQUEST, "nobody says it of themselves");
}

#[tokio::test]
async fn what_a_token_was_shown_counts_for_that_token_and_no_other() {
    let rig = Rig::new().await;
    let (_, prediction, _) = rig.raise("press-7");
    let users = UsersFile::of(rig.folder.path());
    let token = |name: &str| {
        let token = users.add_machine(name, UserRole::Technician, String::new()).unwrap();
        format!("Bearer {token}")
    };
    let (reads, writes) = (token("reads"), token("writes"));
    let body = json!({ "prediction_id": prediction, "verdict": "confirm" }).to_string();
    let give = async |bearer: &str| {
        let headers = [("authorization", bearer), ("content-type", "application/json")];
        let answer = rig.send(request(axum::http::Method::POST, "/api/v1/feedback", &body, &headers)).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
    };
    give(&reads).await;
    let shown = rig.send(get(&format!("/api/v1/predictions/{prediction}"), &[("authorization", &reads)])).await;
    assert_eq!(shown.status, StatusCode::OK, "{}", shown.text);
    give(&reads).await;
    give(&writes).await;
    users.remove("reads").unwrap();
    give(&token("reads")).await;
    let seen: Vec<_> = all(&rig).into_iter().map(|feedback| (feedback.author, feedback.explanation_seen)).collect();
    let said = |author: &str, seen| (author.to_owned(), seen);
    assert_eq!(seen, [said("reads", false), said("reads", true), said("writes", false), said("reads", false)]);
}

#[tokio::test]
async fn feedback_that_makes_no_sense_is_refused_with_a_sentence() {
    let rig = Rig::new().await;
    let (alert, prediction, _) = rig.raise("press-7");
    let (_, of_other, _) = rig.raise("press-8");
    let browser = rig.sign_in("technician").await;
    let nobody = Uuid::from_u128(7);
    let span = ("2026-01-01T10:00:00Z", "2026-01-01T11:00:00+02:00");
    for (body, status, says) in [
        (json!({}), 422, "prediction_id or alert_id"),
        (json!({ "verdict": "confirm" }), 422, "prediction_id or alert_id"),
        (json!({ "prediction_id": prediction }), 422, "says nothing"),
        (json!({ "prediction_id": prediction, "comment": "  " }), 422, "says nothing"),
        (json!({ "prediction_id": nobody, "verdict": "confirm" }), 404, "no prediction"),
        (json!({ "alert_id": nobody, "verdict": "confirm" }), 404, "no alert"),
        (json!({ "alert_id": alert, "prediction_id": of_other, "verdict": "confirm" }), 422, "another asset"),
        (json!({ "prediction_id": prediction, "verdict": "correct" }), 422, "corrected"),
        (json!({ "prediction_id": prediction, "verdict": "confirm", "corrected": 7 }), 422, "correct only"),
        (json!({ "prediction_id": prediction, "verdict": "right" }), 400, "verdict"),
        (json!({ "prediction_id": prediction, "verdct": "confirm" }), 400, "verdct"),
        (json!({ "prediction_id": "x", "verdict": "confirm" }), 400, "prediction_id"),
        (
            json!({ "prediction_id": prediction, "explanation_id": nobody, "explanation_verdict": "agree" }),
            404,
            "no explanation",
        ),
        (json!({ "prediction_id": prediction, "relevant": ["Nothing"] }), 422, "no feature \"Nothing\""),
        (
            json!({ "prediction_id": prediction, "relevant": ["Torque [Nm]"], "irrelevant": ["Torque [Nm]"] }),
            422,
            "as irrelevant",
        ),
        (json!({ "prediction_id": prediction, "verdict": "confirm", "revises": nobody }), 404, "revises"),
        (json!({ "prediction_id": prediction, "verdict": "confirm", "revises": alert }), 404, "revises"),
        (json!({ "prediction_id": prediction, "comment": "x".repeat(2001) }), 422, "2000"),
        (json!({ "prediction_id": prediction, "verdict": "confirm", "asset": "press-7" }), 422, "missed"),
        (json!({ "prediction_id": prediction, "verdict": "missed" }), 422, "leave out"),
        (json!({ "verdict": "missed", "asset": "press-9", "event_from": span.0, "event_to": span.0 }), 422, "asset"),
        (
            json!({ "verdict": "missed", "asset": "press-7", "event_from": "now", "event_to": span.0 }),
            422,
            "event_from",
        ),
        (json!({ "verdict": "missed", "asset": "press-7", "event_from": span.0, "event_to": span.1 }), 422, "before"),
    ] {
        let answer = browser.post("/api/v1/feedback", &body).await;
        assert_eq!(answer.status.as_u16(), status, "{body}: {}", answer.text);
        assert!(answer.detail().contains(says), "{body}: {}", answer.detail());
    }
    assert!(all(&rig).is_empty());
}

#[tokio::test]
async fn a_missed_event_and_a_correction_are_taken() {
    let rig = Rig::new().await;
    let (_, prediction, _) = rig.raise("press-7");
    let browser = rig.sign_in("engineer").await;
    let missed = json!({ "verdict": "missed", "asset": "press-7", "event_from": "2026-01-01T10:00:00Z",
        "event_to": "2026-01-01T12:00:00+01:00", "cause": "bearing" });
    assert_eq!(browser.post("/api/v1/feedback", &missed).await.status, StatusCode::CREATED);
    let first =
        browser.post("/api/v1/feedback", &json!({ "prediction_id": prediction, "verdict": "unsure" })).await.json();
    let corrected =
        json!({ "prediction_id": prediction, "verdict": "correct", "corrected": "healthy", "revises": first["id"] });
    assert_eq!(browser.post("/api/v1/feedback", &corrected).await.status, StatusCode::CREATED);
    let listed = browser.get("/api/v1/feedback").await.json();
    assert_eq!(listed.as_array().unwrap().len(), 3, "a revision appends");
    assert_eq!((&listed[1]["revised"], &listed[0]["corrected"]), (&json!(true), &json!("healthy")));
    assert_eq!(listed[2]["event_to"], "2026-01-01T11:00:00.000000Z");
}

#[tokio::test]
async fn the_other_button_revises_ones_own_verdict() {
    let rig = Rig::new().await;
    let (alert, prediction, _) = rig.raise("press-7");
    let path = format!("/alerts/{alert}/feedback");
    let technician = rig.sign_in("technician").await;
    let engineer = rig.sign_in("engineer").await;
    for (who, verdict) in [(&technician, "confirm"), (&engineer, "confirm"), (&technician, "reject")] {
        let answer = who.form(&path, &format!("prediction_id={prediction}&verdict={verdict}&comment=")).await;
        assert_eq!(
            (answer.status, answer.header("location")),
            (StatusCode::SEE_OTHER, format!("/?done=thanks#a-{alert}").as_str())
        );
    }
    let records = rig.records(Stream::Feedback);
    let stored = all(&rig);
    assert_eq!(stored.iter().map(|feedback| feedback.revises).collect::<Vec<_>>(), [None, None, Some(records[0].id)]);
    assert!(stored.iter().all(|feedback| feedback.prediction_id == Some(prediction) && feedback.comment.is_none()));
    let page = technician.get("/").await.text;
    assert_eq!(page.matches("(since revised)").count(), 1);
}
