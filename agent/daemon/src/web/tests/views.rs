//! The views of machines, the gateway and the history, and an alert's story.

use std::time::Instant;

use axum::http::StatusCode;
use serde_json::json;
use uuid::Uuid;

use super::rig::{Answer, Browser, NASTY, PERSON, Rig, get};
use crate::buffer::samples::fail;

/// The addresses of all views that belong to no alert.
const VIEWS: [&str; 3] = ["/machines", "/gateway", "/history"];

async fn in_german(browser: &Browser<'_>, path: &str) -> Answer {
    let headers = [PERSON, ("cookie", browser.cookie.as_str()), ("accept-language", "de-AT")];
    browser.rig.send(get(path, &headers)).await
}

/// What has to be true of every page: stored text is text, and nothing comes from elsewhere or hides in attributes.
fn harmless(page: &str) {
    assert!(!page.contains("<script>alert") && !page.contains("style=") && !page.contains("onclick="), "{page}");
    assert!(!page.contains("src=\"http") && !page.contains("href=\"http"), "no request to any other host");
    for id in page.split(" id=\"").skip(1).filter_map(|rest| rest.split('"').next()) {
        assert_eq!(page.matches(&format!(" id=\"{id}\"")).count(), 1, "the id {id} is there twice");
    }
}

fn has(page: &str, all: &[&str]) {
    for expected in all {
        assert!(page.contains(expected), "{expected} is not in {page}");
    }
}

#[tokio::test]
async fn an_alerts_story_has_all_that_is_known_of_it_in_both_languages() {
    let rig = Rig::new().await;
    let before = rig.raise("press-7");
    let (alert, prediction, explanation) = rig.raise("press-7");
    rig.add_extras(prediction, (before.0, before.1));
    let browser = rig.sign_in("technician").await;
    browser.post("/api/v1/feedback", &json!({ "alert_id": before.0, "verdict": "confirm", "cause": NASTY })).await;
    let first = json!({
        "alert_id": alert, "prediction_id": prediction, "explanation_id": explanation, "verdict": "confirm",
        "explanation_verdict": "agree", "relevant": ["Torque [Nm]"], "comment": NASTY,
    });
    let first = browser.post("/api/v1/feedback", &first).await.json();
    let second = json!({ "alert_id": alert, "prediction_id": prediction, "verdict": "reject", "revises": first["id"] });
    assert_eq!(browser.post("/api/v1/feedback", &second).await.status, StatusCode::CREATED);
    assert_eq!(browser.form(&format!("/alerts/{alert}/acknowledge"), "comment=on+my+way").await.status, 303);

    let page = browser.get(&format!("/alerts/{alert}")).await;
    assert_eq!(page.status, StatusCode::OK);
    harmless(&page.text);
    has(
        &page.text,
        &[
            "<title>Alerts · line-3",
            "Alert: press-7",
            &format!("data-key=\"{alert}\""),
            "class=\"bars\"",
            "66 Nm when it was raised",
            "usually 27 to 52. ",
            "class=\"band\"",
            "class=\"raised\"",
            "Outside of what is usual in all of this time.",
            "<strong>Raised</strong>",
            "Acknowledged</strong> by technician",
            "on my way",
            "65.7\u{a0}Nm",
            "or less",
            &format!("href=\"/alerts/{}\"", before.0),
            "90\u{a0}% alike",
            "exact: they add up",
            "93\u{a0}% probability",
            "since revised",
            "takes the place of what was said before",
            "Mattered: Torque",
            "&lt;script&gt;alert(1)",
            &format!("data-live=\"/alerts/{alert}/live?language=en&amp;drawn={prediction}\""),
        ],
    );
    let german = in_german(&browser, &format!("/alerts/{alert}")).await.text;
    harmless(&german);
    has(
        &german,
        &["Alarm: press-7", "65,7\u{a0}Nm", "Ausgelöst", "zu 90\u{a0}% ähnlich", "inzwischen geändert", "(Technik)"],
    );
    for english in ["when it was raised", "Earlier alerts", "How sure", "What happened", "Mattered"] {
        assert!(!german.contains(english), "{english}");
    }

    let live = browser.get(&format!("/alerts/{alert}/live?drawn={prediction}")).await.text;
    assert!(live.starts_with("<div class=\"story\" id=\"board\"") && live.contains("on my way"), "{live}");
    assert!(!live.contains("class=\"curves\""), "{live}");
    let other = browser.get(&format!("/alerts/{alert}/live?drawn={}", Uuid::nil())).await.text;
    assert!(other.contains("class=\"curves\""), "another prediction is drawn anew");
}

#[tokio::test]
async fn a_story_is_told_of_alerts_that_are_over_of_the_gateway_itself_and_of_none_that_is_not_there() {
    let rig = Rig::new().await;
    let (alert, ..) = rig.raise("press-7");
    rig.clear(alert, false);
    let browser = rig.sign_in("technician").await;
    browser.form(&format!("/alerts/{alert}/acknowledge"), "comment=").await;
    let over = browser.get(&format!("/alerts/{alert}")).await.text;
    has(&over, &["Closed", "Back to normal", "class=\"curves\""]);
    assert!(!over.contains("Shelve it now"), "what is over is not put aside");

    let own = rig.raise_own("buffer_full");
    let page = browser.get(&format!("/alerts/{own}")).await.text;
    has(&page, &["This gateway", "This alert is of the gateway itself, not of a machine."]);
    harmless(&page);
    for path in [format!("/alerts/{}", Uuid::nil()), "/alerts/nothing".to_owned()] {
        let answer = rig.send(get(&path, &[PERSON, ("cookie", &browser.cookie)])).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND);
        has(&answer.text, &["role=\"alert\""]);
    }
    assert_eq!(rig.send(get(&format!("/alerts/{alert}"), &[])).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn who_reads_a_story_has_seen_its_explanation() {
    let rig = Rig::new().await;
    let (alert, prediction, _) = rig.raise("press-7");
    for n in 0..60 {
        rig.raise(&format!("other-{n}"));
    }
    let browser = rig.sign_in("technician").await;
    let judged = json!({ "alert_id": alert, "prediction_id": prediction, "verdict": "confirm" });
    let seen = async || browser.post("/api/v1/feedback", &judged).await.json()["explanation_seen"].clone();
    browser.get("/history").await;
    assert_eq!(seen().await, false, "a line of the history does not show it, nor does the first page of alerts");
    browser.get(&format!("/alerts/{alert}")).await;
    assert_eq!(seen().await, true);
}

#[tokio::test]
async fn a_card_leads_to_its_story() {
    let rig = Rig::new().await;
    let (alert, ..) = rig.raise("press-7");
    let page = rig.sign_in("viewer").await.get("/").await.text;
    has(&page, &[&format!("href=\"/alerts/{alert}\""), "href=\"/machines\"", "href=\"/history\"", "href=\"/gateway\""]);
}

#[tokio::test]
async fn machines_show_their_values_with_unit_quality_and_age() {
    let rig = Rig::new().await;
    let (alert, ..) = rig.raise("press-7");
    let engineer = rig.sign_in("engineer").await;
    let aside = json!({ "for": "1h", "reason": NASTY });
    assert_eq!(engineer.post(&format!("/api/v1/alerts/{alert}/shelve"), &aside).await.status, StatusCode::OK);
    engineer.post("/api/v1/feedback", &json!({ "alert_id": alert, "verdict": "reject" })).await;
    let browser = rig.sign_in("viewer").await;
    let page = browser.get("/machines").await.text;
    harmless(&page);
    has(
        &page,
        &[
            "<title>Machines · line-3",
            "41.3\u{a0}Nm",
            "0.5\u{a0}s",
            "uncertain",
            "(<span lang=\"en\">not_a_number</span>)",
            "press-failure</a> 1.4.0, Active",
            "Running",
            "<a class=\"jump\" href=\"/history?state=open&amp;asset=press-7\">1</a>",
            "shelved until",
            "by engineer",
            "chattering: 1",
            "1, of which 1 false",
            "data-live=\"/machines/live?from=0\"",
        ],
    );
    let german = in_german(&browser, "/machines").await.text;
    has(&german, &["Maschinen", "41,3\u{a0}Nm", "zurückgestellt bis", "Läuft", "flatternd: 1"]);
    let live = browser.get("/machines/live").await.text;
    assert!(live.starts_with("<div class=\"view\" id=\"view\"") && !live.contains("<html"), "{live}");
}

#[tokio::test]
async fn the_gateway_says_how_its_parts_are() {
    let rig = Rig::new().await;
    let browser = rig.sign_in("viewer").await;
    let page = browser.get("/gateway").await.text;
    harmless(&page);
    has(
        &page,
        &[
            "<title>Gateway · line-3",
            "0.9.0",
            "not known to be right",
            "More alarms come than people can answer.",
            "press-plc",
            "none yet",
            "&lt;script&gt;alert(1)",
            "1\u{a0}MiB of 2\u{a0}MiB (50\u{a0}%)",
            "4242",
            "catching up",
            "711",
            "10\u{a0}min",
            "12 published, 1 waiting, 2 dropped",
            "1.4.0, 7 in the registry",
            "Free",
            "2\u{a0}KiB",
            "data-live=\"/gateway/live\"",
        ],
    );
    let german = in_german(&browser, "/gateway").await.text;
    has(
        &german,
        &["nicht sicher richtig", "holt auf", "liefert nicht", "Technische Angabe auf Englisch:", "Vorhersagen"],
    );
    fail(&rig.web.buffer);
    assert_eq!(browser.get("/gateway").await.status, StatusCode::OK, "a store that is out of use hides nothing else");
}

#[tokio::test]
async fn the_history_is_filtered_and_goes_on_page_by_page() {
    let rig = Rig::new().await;
    let raised: Vec<Uuid> = (0..60).map(|n| rig.raise(if n % 2 == 0 { "press-7" } else { NASTY }).0).collect();
    let browser = rig.sign_in("technician").await;
    rig.clear(raised[0], false);
    browser.form(&format!("/alerts/{}/acknowledge", raised[0]), "comment=").await;
    browser.post("/api/v1/feedback", &json!({ "alert_id": raised[0], "verdict": "reject" })).await;

    let first = browser.get("/history").await.text;
    harmless(&first);
    assert_eq!(first.matches("class=\"past\" href").count(), 50);
    has(&first, &["50 alerts, those raised last first.", &format!("/alerts/{}", raised[59])]);
    let older = first.split("href=\"/history?before=").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
    let second = browser.get(&format!("/history?before={older}")).await.text;
    assert_eq!(second.matches("class=\"past\" href").count(), 10);
    has(&second, &[&format!("/alerts/{}", raised[0]), "Back to the newest", "What was evicted is not listed."]);

    let count = async |query: &str| {
        let page = browser.get(&format!("/history?{query}")).await;
        assert_eq!(page.status, StatusCode::OK, "{query}");
        page.text.matches("class=\"past\" href").count()
    };
    assert_eq!(count("state=closed").await, 1);
    assert_eq!(count("state=open&asset=press-7").await, 29);
    assert_eq!(count("state=unacknowledged&priority=high&asset=press-7&verdict=none").await, 29);
    assert_eq!(count("priority=low").await, 0);
    assert_eq!(count("verdict=reject").await, 1);
    assert_eq!(count("verdict=confirm").await, 0);
    assert_eq!(count("asset=press-7&state=&priority=&verdict=&from=&to=").await, 30, "a form sends what is empty too");
    assert_eq!(count("from=2999-01-01T00:00").await, 0);
    assert_eq!(count("to=2999-01-01T00:00%2B01:00&asset=press-7").await, 30);
    let encoded: String = url::form_urlencoded::byte_serialize(NASTY.as_bytes()).collect();
    let kept = browser.get(&format!("/history?asset={encoded}")).await.text;
    harmless(&kept);
    assert_eq!(kept.matches("class=\"past\" href").count(), 30);
    let wrong = rig.send(get("/history?state=lost", &[PERSON, ("cookie", &browser.cookie)])).await;
    assert_eq!(wrong.status, StatusCode::UNPROCESSABLE_ENTITY);
    let german = in_german(&browser, "/history").await.text;
    has(&german, &["Verlauf der Alarme", "(in UTC)", "Noch nicht beurteilt", "Ältere"]);
}

#[tokio::test]
async fn viewers_see_everything_and_have_nothing_to_press_that_changes_anything() {
    let rig = Rig::new().await;
    let (alert, ..) = rig.raise("press-7");
    let browser = rig.sign_in("viewer").await;
    for path in VIEWS.map(str::to_owned).into_iter().chain([format!("/alerts/{alert}")]) {
        let page = browser.get(&path).await;
        assert_eq!(page.status, StatusCode::OK, "{path}");
        let posts: Vec<&str> =
            page.text.split("method=\"post\" action=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        assert!(posts.iter().all(|action| matches!(*action, "/sign-out" | "/language")), "{path} {posts:?}");
        assert_eq!(rig.send(get(&path, &[])).await.status, StatusCode::UNAUTHORIZED, "{path}");
        assert_eq!(rig.sign_in("collector").await.get(&path).await.status, StatusCode::FORBIDDEN, "{path}");
    }
}

#[tokio::test]
async fn a_thousand_open_alerts_are_drawn_in_bounds() {
    let rig = Rig::new().await;
    rig.raise_many(1000);
    let (alert, ..) = rig.raise("press-7");
    let browser = rig.sign_in("technician").await;
    let story = format!("/alerts/{alert}");
    let live = format!("/alerts/{alert}/live?drawn={alert}");
    for (path, most) in
        [("/", 700_000), ("/history", 120_000), (&story, 120_000), (&live, 120_000), ("/machines", 60_000)]
    {
        let begun = Instant::now();
        let page = browser.get(path).await;
        println!("{path}: {} bytes in {:?}", page.text.len(), begun.elapsed());
        assert_eq!(page.status, StatusCode::OK);
        assert!(page.text.len() < most, "{path} has {} bytes", page.text.len());
    }
}
