//! Resetting, shelving and taking out of service: who may, what is refused, what is put on record, what the page shows.

use axum::http::StatusCode;
use explaind_core::domain::record::{Body as Content, Stream};
use serde_json::{Value, json};
use uuid::Uuid;

use super::rig::{PERSON, Rig, get};

fn audited(rig: &Rig) -> Vec<(String, String, String)> {
    let audit = |record: explaind_core::domain::record::Record| match record.body {
        Content::Audit(audit) if audit.action != "sign_in" => Some((audit.actor, audit.action, audit.outcome)),
        _ => None,
    };
    rig.records(Stream::Audit).into_iter().filter_map(audit).collect()
}

fn line(actor: &str, action: &str, outcome: &str) -> (String, String, String) {
    (actor.to_owned(), action.to_owned(), outcome.to_owned())
}

#[tokio::test]
async fn what_is_latched_is_acknowledged_first_and_then_reset() {
    let rig = Rig::new().await;
    let (alert, ..) = rig.raise("press-7");
    let browser = rig.sign_in("technician").await;
    let path = |verb: &str| format!("/api/v1/alerts/{alert}/{verb}");
    let held = browser.post(&path("reset"), &json!({})).await;
    assert_eq!(held.status, StatusCode::CONFLICT);
    assert!(held.detail().contains("its condition still holds"), "{}", held.detail());

    rig.clear(alert, true);
    let listed = browser.get("/api/v1/alerts?state=latched_unacknowledged").await.json();
    assert_eq!((&listed[0]["id"], &listed[0]["state"]), (&json!(alert), &json!("latched_unacknowledged")));
    let page = browser.get("/").await.text;
    assert!(page.contains("Latched, not seen yet") && !page.contains(&format!("reset-{alert}")), "{page}");
    let unseen = browser.post(&path("reset"), &json!({})).await;
    assert_eq!(unseen.status, StatusCode::CONFLICT);
    assert!(unseen.detail().contains("acknowledge it first"), "{}", unseen.detail());

    let seen = browser.post(&path("acknowledge"), &json!({})).await.json();
    assert_eq!(seen["state"], "latched_acknowledged");
    let german = rig.send(get("/", &[PERSON, ("cookie", &browser.cookie), ("accept-language", "de")])).await.text;
    assert!(german.contains("Zurücksetzen</button>") && german.contains("Gehalten: zurücksetzen"), "{german}");
    assert!(browser.get("/").await.text.contains(&format!("id=\"reset-{alert}\"")));
    let done = browser.form(&format!("/alerts/{alert}/reset"), "comment=bearing+changed").await;
    assert_eq!(done.header("location"), format!("/?done=reset#a-{alert}"));
    assert!(browser.get("/?done=reset").await.text.contains("Reset.</p>"));
    let shown = browser.get(&format!("/api/v1/alerts/{alert}")).await.json();
    assert_eq!((&shown["state"], &shown["acknowledged_by"]), (&json!("normal"), &json!("technician")));
    let again = browser.post(&path("reset"), &json!({})).await;
    assert!(again.detail().contains("not latched"), "{}", again.detail());
    assert_eq!(
        audited(&rig),
        [
            line("technician", "reset", "its condition still holds; it can be reset once that is gone"),
            line("technician", "reset", "nobody has seen it yet; acknowledge it first"),
            line("technician", "acknowledge", "done"),
            line("technician", "reset", "done"),
            line("technician", "reset", "it is not latched, so there is nothing to reset"),
        ]
    );
}

#[tokio::test]
async fn a_shelved_alert_is_off_the_list_with_who_and_why_until_it_is_taken_back() {
    let rig = Rig::new().await;
    let (alert, ..) = rig.raise("press-7");
    let browser = rig.sign_in("technician").await;
    let path = |verb: &str| format!("/api/v1/alerts/{alert}/{verb}");
    for (body, status, why) in [
        (json!({ "for": "8h" }), StatusCode::UNPROCESSABLE_ENTITY, "say why"),
        (json!({ "for": "8h", "reason": "  " }), StatusCode::UNPROCESSABLE_ENTITY, "say why"),
        (json!({ "for": "a while", "reason": "x" }), StatusCode::UNPROCESSABLE_ENTITY, "is not a duration"),
        (json!({ "for": "8d", "reason": "x" }), StatusCode::UNPROCESSABLE_ENTITY, "at most 7 days"),
        (json!({ "reason": "x" }), StatusCode::BAD_REQUEST, "missing field `for`"),
        (json!({ "for": "8h", "reason": "x", "until": 7 }), StatusCode::BAD_REQUEST, "unknown field"),
    ] {
        let refused = browser.post(&path("shelve"), &body).await;
        assert_eq!(refused.status, status, "{body}: {}", refused.text);
        assert!(refused.detail().contains(why), "{}", refused.detail());
    }
    let not_yet = browser.post(&path("unshelve"), &json!({})).await;
    assert_eq!((not_yet.status, not_yet.detail().as_str()), (StatusCode::CONFLICT, "it is not shelved"));
    let nobody = format!("/api/v1/alerts/{}/shelve", Uuid::from_u128(7));
    let unknown = browser.post(&nobody, &json!({ "for": "8h", "reason": "x" })).await;
    assert_eq!(unknown.status, StatusCode::NOT_FOUND);

    assert!(browser.get("/").await.text.contains(&format!("action=\"/alerts/{alert}/shelve\"")));
    let body = json!({ "for": "8h", "reason": "spare part <b>comes</b> tomorrow" });
    let shelved = browser.post(&path("shelve"), &body).await.json();
    assert_eq!((&shelved["state"], &shelved["suppression"]), (&json!("unacknowledged"), &json!("shelved")));
    assert_eq!(shelved["suppressed_by"], "technician");
    assert_eq!(shelved["suppressed_because"], "spare part <b>comes</b> tomorrow");
    let hours = |alert: &Value| {
        let until = crate::web::time::parse(alert["shelved_until"].as_str().unwrap()).unwrap();
        (until.as_micros() - crate::clock::now().utc.as_micros()) as f64 / 3.6e9
    };
    assert!((hours(&shelved) - 8.0).abs() < 0.1, "{shelved}");
    let page = browser.get("/").await.text;
    assert!(
        page.contains("see below what is not shown")
            && page.contains("Shelved until")
            && page.contains("by technician"),
        "{page}"
    );
    assert!(page.contains("spare part &lt;b&gt;comes&lt;/b&gt; tomorrow"), "{page}");
    let viewer = rig.sign_in("viewer").await.get("/").await.text;
    assert!(viewer.contains("Shelved until") && !viewer.contains("Unshelve</button>"), "a viewer has no buttons");

    let back = browser.form(&format!("/alerts/{alert}/unshelve"), "").await;
    assert_eq!(back.header("location"), format!("/?done=unshelve#a-{alert}"));
    let page = browser.get("/").await.text;
    assert!(page.contains("1 alert") && !page.contains("Shelved until"), "{page}");
}

#[tokio::test]
async fn only_engineers_take_alarms_out_of_service_and_one_at_rest_stays_in_sight() {
    let rig = Rig::new().await;
    let (alert, ..) = rig.raise("press-7");
    let (technician, engineer) = (rig.sign_in("technician").await, rig.sign_in("engineer").await);
    let path = |verb: &str| format!("/api/v1/alerts/{alert}/{verb}");
    let reason = json!({ "reason": "line is being rebuilt" });
    for verb in ["out-of-service", "in-service"] {
        assert_eq!(technician.post(&path(verb), &reason).await.status, StatusCode::FORBIDDEN);
        let form = technician.form(&format!("/alerts/{alert}/{verb}"), "reason=x").await;
        assert_eq!(form.status, StatusCode::FORBIDDEN);
    }
    assert_eq!(engineer.post(&path("out-of-service"), &json!({})).await.status, StatusCode::UNPROCESSABLE_ENTITY);
    let out = engineer.form(&format!("/alerts/{alert}/out-of-service"), "reason=line+is+being+rebuilt").await;
    assert_eq!(out.status, StatusCode::SEE_OTHER, "{}", out.text);
    technician.post(&path("acknowledge"), &json!({})).await;
    rig.clear(alert, false);
    let shown = technician.get(&format!("/api/v1/alerts/{alert}")).await.json();
    assert_eq!((&shown["state"], &shown["suppression"]), (&json!("normal"), &json!("out_of_service")));
    let page = technician.get("/").await.text;
    assert!(page.contains("Out of service by engineer") && !page.contains("Put back in service"), "{page}");
    assert!(engineer.get("/").await.text.contains("Put back in service</button>"));
    let back = engineer.post(&path("in-service"), &json!({ "comment": "done" })).await.json();
    assert_eq!((&back["suppression"], &back["suppressed_by"]), (&json!("none"), &json!(null)));
    assert!(!engineer.get("/").await.text.contains("Out of service by"));
}
