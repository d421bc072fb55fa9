//! Which models run where, and who may go back, stop and release.

use axum::http::{Method, StatusCode};
use explaind_core::domain::command::Command;
use explaind_core::domain::record::{Body as Content, Stream};
use serde_json::{Value, json};

use super::rig::{PERSON, Rig, get, request};
use crate::web::access::Peer;

/// Who, what, on what, and how it went: every audit record but those of signing in.
fn audits(rig: &Rig) -> Vec<(String, String, String, String)> {
    let all = rig.records(Stream::Audit).into_iter().filter_map(|record| match record.body {
        Content::Audit(audit) if audit.action != "sign_in" => {
            Some((audit.actor, audit.action, audit.object, audit.outcome))
        }
        _ => None,
    });
    all.collect()
}

fn audit(actor: &str, action: &str, object: &str, outcome: &str) -> (String, String, String, String) {
    (actor.to_owned(), action.to_owned(), object.to_owned(), outcome.to_owned())
}

#[tokio::test]
async fn models_are_listed_as_the_status_has_them() {
    let rig = Rig::new().await;
    let models = rig.sign_in("viewer").await.get("/api/v1/models").await;
    assert_eq!(models.status, StatusCode::OK);
    assert_eq!(models.json(), rig.desk.now()["models"]);
}

#[tokio::test]
async fn an_engineer_goes_back_stops_and_releases_and_all_of_it_is_on_record() {
    let rig = Rig::new().await;
    let engineer = rig.sign_in("engineer").await;
    let none = json!({});
    let back = engineer.post("/api/v1/models/press-failure/rollback", &json!({ "reason": " worse\u{1b}[2J " })).await;
    assert_eq!(back.status, StatusCode::OK, "{}", back.text);
    assert_eq!((&back.json()["done"], &back.json()["version"]), (&json!("rolled_back"), &json!("1.3.0")));
    let stopped = engineer.post("/api/v1/models/press-failure/stop", &json!({ "reason": "sensor" })).await.json();
    assert_eq!((&stopped["done"], &stopped["model"]["stopped"]["by"]), (&json!("stopped"), &json!("engineer")));
    let all = engineer.post("/api/v1/gateway/stop", &none).await.json();
    assert_eq!((&all["model"], &all["gateway_stopped"]["by"]), (&Value::Null, &json!("engineer")));
    let released = engineer.post("/api/v1/models/press-failure/release", &none).await.json();
    assert_eq!((&released["done"], &released["model"]["stopped"]), (&json!("released"), &Value::Null));
    assert_eq!(released["gateway_stopped"]["by"], "engineer", "the other stop still holds");
    assert_eq!(engineer.post("/api/v1/gateway/release", &none).await.json()["gateway_stopped"], Value::Null);
    assert_eq!(
        audits(&rig),
        [
            audit("engineer", "rollback", "model press-failure", "done"),
            audit("engineer", "stop", "model press-failure", "done"),
            audit("engineer", "stop", "gateway", "done"),
            audit("engineer", "release", "model press-failure", "done"),
            audit("engineer", "release", "gateway", "done"),
        ]
    );
    let first = rig.desk.asked.lock().unwrap()[0].clone();
    let Command::Rollback { author, reason, .. } = first else { panic!("{first:?}") };
    assert_eq!((author.as_str(), reason.as_deref()), ("engineer", Some("worse [2J")), "no orders to a terminal");
}

#[tokio::test]
async fn nobody_below_an_engineer_changes_a_model() {
    let rig = Rig::new().await;
    for role in ["viewer", "technician", "collector"] {
        let browser = rig.sign_in(role).await;
        for path in ["models/press-failure/rollback", "models/press-failure/stop", "gateway/stop", "gateway/release"] {
            let answer = browser.post(&format!("/api/v1/{path}"), &json!({})).await;
            assert_eq!(answer.status, StatusCode::FORBIDDEN, "{role} {path}");
        }
    }
    let stranger = rig.send(request(Method::POST, "/api/v1/gateway/stop", "", &[])).await;
    assert_eq!(stranger.status, StatusCode::UNAUTHORIZED);
    assert!(rig.desk.asked.lock().unwrap().is_empty(), "nothing got through");
    let root = Peer::Socket { uid: 0, name: "root".into() };
    let answer = rig.send_as(root, request(Method::POST, "/api/v1/gateway/stop", "", &[])).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    let (refused, done): (Vec<_>, Vec<_>) = audits(&rig).into_iter().partition(|line| line.1 == "request");
    assert_eq!(done, [audit("root", "stop", "gateway", "done")]);
    assert!(refused.iter().all(|line| line.3.starts_with("refused: ")) && refused.len() >= 8, "{refused:?}");
}

#[tokio::test]
async fn what_cannot_be_done_is_refused_with_its_reason() {
    let rig = Rig::new().await;
    let engineer = rig.sign_in("engineer").await;
    rig.desk.set("stopped", json!({ "by": "registry", "reason": "recall", "at": null, "in_registry": true }));
    let none = json!({});
    for (path, body, status, word) in [
        ("models/nobody/stop", &none, StatusCode::NOT_FOUND, "nobody"),
        ("models/nobody/rollback", &none, StatusCode::NOT_FOUND, "nobody"),
        ("models/bearing/rollback", &none, StatusCode::CONFLICT, "bearing"),
        ("models/press-failure/release", &none, StatusCode::CONFLICT, "registry"),
        ("models/press-failure/erase", &none, StatusCode::NOT_FOUND, "nothing at this address"),
        ("gateway/rollback", &none, StatusCode::NOT_FOUND, "nothing at this address"),
        ("gateway/stop", &json!({ "reson": "x" }), StatusCode::BAD_REQUEST, "reson"),
        ("gateway/stop", &json!({ "reason": "x".repeat(2001) }), StatusCode::UNPROCESSABLE_ENTITY, "2000"),
    ] {
        let answer = engineer.post(&format!("/api/v1/{path}"), body).await;
        assert_eq!(answer.status, status, "{path}: {}", answer.text);
        assert!(answer.detail().contains(word), "{path}: {}", answer.text);
    }
    let refused: Vec<_> = audits(&rig).into_iter().map(|(_, action, object, _)| (action, object)).collect();
    let expected = [("rollback", "model bearing"), ("release", "model press-failure")];
    assert_eq!(refused, expected.map(|(action, object)| (action.to_owned(), object.to_owned())));
}

#[tokio::test]
async fn the_page_says_what_runs_where_and_why_in_both_languages() {
    let rig = Rig::new().await;
    let viewer = rig.sign_in("viewer").await;
    let page = viewer.get("/models").await;
    assert_eq!(page.status, StatusCode::OK);
    for expected in [
        "<h1>Models</h1>",
        "On trial",
        "1.4.0, 7 in the registry <code title=",
        "datetime=\"2026-11-27T10:00:00.000000Z\"",
        "press-7, press-8",
        "1.3.0, 6 in the registry",
        "3412 predictions, the same in 97\u{a0}%, decides on press-8",
        "champion, last looked",
        "It answers 500.",
        "Row 3 of golden.csv is not reproduced",
        "<code>golden</code>",
        "No model can run, so nothing is predicted.",
        "The bundle is gone.",
        "aria-current=\"page\">Models</a>",
    ] {
        assert!(page.text.contains(expected), "{expected} is not in {}", page.text);
    }
    assert!(!page.text.contains("<script>alert") && page.text.contains("&lt;script&gt;alert(1)"));
    assert!(!page.text.contains("style=") && !page.text.contains("/models/stop"), "a viewer has no buttons");
    let german = [PERSON, ("cookie", viewer.cookie.as_str()), ("accept-language", "de-AT")];
    let german = rig.send(get("/models", &german)).await.text;
    for expected in ["<h1>Modelle</h1>", "Auf Probe", "3412 Vorhersagen, in 97\u{a0}% gleich", "lang=\"de\""] {
        assert!(german.contains(expected), "{expected} is not in {german}");
    }
    assert!(
        !viewer.get("/models?done=%3Cb%3E").await.text.contains("class=\"done\""),
        "a link has no words of its own"
    );
}

#[tokio::test]
async fn engineers_stop_release_and_go_back_on_the_page_and_the_board_says_what_is_stopped() {
    let rig = Rig::new().await;
    let engineer = rig.sign_in("engineer").await;
    let page = engineer.get("/models").await.text;
    assert!(page.contains("<summary>Go back to 1.3.0</summary>") && page.contains("Stop press-failure now"), "{page}");
    assert!(!page.contains("Release") && !page.contains("bearing: back"), "nothing to release, nowhere to go back to");
    assert!(!engineer.get("/").await.text.contains("Stopped by"));
    for (path, fields, next) in [
        ("/models/rollback", "model=press-failure&reason=", "/models?done=rolled_back"),
        ("/models/stop", "model=press-failure&reason=being+cleaned", "/models?done=stopped"),
    ] {
        let answer = engineer.form(path, fields).await;
        assert_eq!(
            (answer.status, answer.header("location")),
            (StatusCode::SEE_OTHER, next),
            "{path}: {}",
            answer.text
        );
    }
    let stopped = engineer.get("/models?done=stopped").await.text;
    assert!(stopped.contains("class=\"done\" role=\"status\">Stopped.<"), "{stopped}");
    assert!(stopped.contains("<strong>Stopped by engineer</strong>") && stopped.contains("<q>being cleaned</q>"));
    assert!(stopped.contains("Release press-failure now") && !stopped.contains("Stop press-failure now"));
    let live = rig.send(get("/live", &[("cookie", &engineer.cookie), ("accept-language", "de")])).await.text;
    assert!(live.contains("Das Modell press-failure ist angehalten. Angehalten von engineer"), "{live}");
    assert_eq!(engineer.form("/gateway/stop", "reason=").await.header("location"), "/models?done=stopped");
    let board = engineer.get("/").await.text;
    assert!(board.contains("The whole gateway: Nothing is predicted and no new alert is raised. Stopped by engineer"));
    assert_eq!(board.matches("class=\"lost\" role=\"alert\"").count(), 1, "that says it all: {board}");
    assert!(engineer.get("/models").await.text.contains("Stopped with the whole gateway."));
    assert_eq!(engineer.form("/gateway/release", "").await.header("location"), "/models?done=released");
    let technician = rig.sign_in("technician").await;
    for path in ["/models/stop", "/gateway/stop"] {
        assert_eq!(technician.form(path, "model=press-failure").await.status, StatusCode::FORBIDDEN, "{path}");
    }
    assert_eq!(engineer.form("/models/erase", "model=press-failure").await.status, StatusCode::NOT_FOUND);
    assert_eq!(engineer.form("/gateway/rollback", "").await.status, StatusCode::NOT_FOUND);
    let nothing = engineer.form("/models/stop", "reason=x").await;
    assert_eq!(nothing.status, StatusCode::UNPROCESSABLE_ENTITY, "no model is not all of them");
    assert!(rig.desk.now()["stopped"].is_null());
}

#[tokio::test]
async fn what_the_registry_stopped_has_no_button_here() {
    let rig = Rig::new().await;
    rig.desk.set("stopped", json!({ "by": "registry", "reason": "recall", "at": null, "in_registry": true }));
    let page = rig.sign_in("engineer").await.get("/models").await.text;
    assert!(page.contains("only there it can be released") && !page.contains("/models/release"), "{page}");
}
