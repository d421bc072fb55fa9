//! The page in its reader's language: which one that is, and that nothing of another one is left on it.

use axum::http::StatusCode;
use serde_json::json;

use super::rig::{Browser, PERSON, Rig, get};
use crate::web::words::all;

/// What people read of a page: its texts and the texts of its attributes, but for names, code, and what is marked as
/// English.
fn readable(page: &str) -> Vec<String> {
    const ATTRIBUTES: [&str; 4] = ["aria-label=\"", "data-done=\"", "data-name=\"", "title=\""];
    let (mut texts, mut rest, mut skipping) = (Vec::new(), page, None::<(String, usize)>);
    while let Some((text, after)) = rest.split_once('<') {
        if skipping.is_none() {
            texts.push(text.to_owned());
        }
        let Some((tag, after)) = after.split_once('>') else { break };
        rest = after;
        let name = tag.trim_start_matches('/').split([' ', '/']).next().unwrap_or_default();
        match &mut skipping {
            Some((skipped, depth)) if *skipped == *name => {
                *depth = if tag.starts_with('/') { *depth - 1 } else { *depth + 1 };
                if *depth == 0 {
                    skipping = None;
                }
            }
            Some(_) => {}
            None if tag.contains("lang=\"en\"") && name != "html" || tag.contains("\"person\"") || name == "code" => {
                skipping = Some((name.to_owned(), 1));
            }
            None => {
                for attribute in ATTRIBUTES {
                    texts.extend(
                        tag.split(attribute).skip(1).filter_map(|rest| Some(rest.split('"').next()?.to_owned())),
                    );
                }
                if tag.contains("id=\"words\"") {
                    texts.extend(tag.split("=\"").skip(1).filter_map(|rest| Some(rest.split('"').next()?.to_owned())));
                }
            }
        }
    }
    texts.push(rest.to_owned());
    texts.retain(|text| !text.trim().is_empty());
    texts
}

/// Whether these words stand in a text, not as a part of others.
fn stands_in(words: &str, text: &str) -> bool {
    let outside = |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric() && c != '-');
    text.match_indices(words).any(|(at, _)| {
        let (before, after) = (text[..at].chars().next_back(), text[at + words.len()..].chars().next());
        outside(before) && outside(after)
    })
}

/// The catalogue's English phrases that stand on a page.
fn english_on(page: &str) -> Vec<(String, String)> {
    let texts = readable(page);
    let unescaped: Vec<String> =
        texts.iter().map(|text| text.replace("&quot;", "\"").replace("&#39;", "'").replace("&amp;", "&")).collect();
    let mut found = Vec::new();
    // The accounts here are called as their roles are in English.
    let roles = ["page.viewer", "page.technician", "page.engineer"];
    for (name, english, german) in all().into_iter().filter(|(name, ..)| !roles.contains(&name.as_str())) {
        // What stands between the gaps; a word that both languages share tells nothing.
        let pieces =
            english.split('{').flat_map(|piece| piece.split_once('}').map_or(Some(piece), |(_, rest)| Some(rest)));
        for piece in pieces.map(|piece| piece.trim_matches(|c: char| !c.is_alphanumeric())) {
            let tells = piece.chars().filter(|c| c.is_alphabetic()).count() >= 2 && !stands_in(piece, german);
            if let Some(text) = unescaped.iter().find(|text| tells && stands_in(piece, text)) {
                found.push((format!("{name}: {piece}"), text.clone()));
            }
        }
    }
    found
}

async fn shown(browser: &Browser<'_>, path: &str, language: &str) -> String {
    let cookie = format!("{}; explaind_language={language}", browser.cookie);
    browser.rig.send(get(path, &[PERSON, ("cookie", &cookie)])).await.text
}

/// Alerts in each state, put aside and closed; judged, revised, missed; something refused, something stopped.
async fn a_busy_day(rig: &Rig) {
    let engineer = rig.sign_in("engineer").await;
    let technician = rig.sign_in("technician").await;
    let (judged, prediction, _) = rig.raise("press-7");
    let first = json!({ "prediction_id": prediction, "alert_id": judged, "verdict": "confirm" });
    let first = technician.post("/api/v1/feedback", &first).await.json();
    let second = json!({ "prediction_id": prediction, "alert_id": judged, "verdict": "correct", "corrected": "heat",
        "explanation_verdict": "disagree", "relevant": ["Torque [Nm]"], "irrelevant": ["Tool wear [min]"],
        "cause": "Lager", "comment": "gehört", "revises": first["id"] });
    assert_eq!(technician.post("/api/v1/feedback", &second).await.status, StatusCode::CREATED);
    for verdict in ["reject", "unsure"] {
        let body = json!({ "prediction_id": prediction, "alert_id": judged, "verdict": verdict,
            "explanation_verdict": "agree" });
        assert_eq!(engineer.post("/api/v1/feedback", &body).await.status, StatusCode::CREATED);
    }
    let missed = json!({ "verdict": "missed", "asset": "press-7", "event_from": "2026-01-01T10:00:00Z",
        "event_to": "2026-01-01T11:00:00Z", "cause": "Lager" });
    assert_eq!(technician.post("/api/v1/feedback", &missed).await.status, StatusCode::CREATED);
    let act = async |alert: uuid::Uuid, verb: &str, body: serde_json::Value| {
        let answer = engineer.post(&format!("/api/v1/alerts/{alert}/{verb}"), &body).await;
        assert_eq!(answer.status, StatusCode::OK, "{verb}: {}", answer.text);
    };
    let (latched, ..) = rig.raise("press-8");
    act(latched, "acknowledge", json!({ "comment": "gesehen" })).await;
    rig.clear(latched, true);
    let (returned, ..) = rig.raise("press-9");
    rig.clear(returned, false);
    let (closed, ..) = rig.raise("press-10");
    act(closed, "acknowledge", json!({})).await;
    rig.clear(closed, false);
    let (shelved, ..) = rig.raise("press-11");
    act(shelved, "shelve", json!({ "for": "8h", "reason": "Ersatzteil" })).await;
    let (out, ..) = rig.raise("press-12");
    act(out, "out-of-service", json!({ "reason": "Umbau" })).await;
    rig.raise_own("buffer_full");
    let stop = engineer.post("/api/v1/models/bearing/stop", &json!({ "reason": "Sensor" })).await;
    assert_eq!(stop.status, StatusCode::OK, "{}", stop.text);
}

#[tokio::test]
async fn on_german_views_no_english_phrase_is_left() {
    let rig = Rig::new().await;
    a_busy_day(&rig).await;
    let mut english = 0;
    for (role, called) in [("viewer", "nur ansehen"), ("technician", "Technik"), ("engineer", "Engineering")] {
        let browser = rig.sign_in(role).await;
        assert!(shown(&browser, "/", "de").await.contains(&format!("<span class=\"role\">{called}</span>")));
        for path in [
            "/",
            "/live",
            "/models",
            "/missed",
            "/sign-in",
            "/sign-in?ended=true",
            "/?done=acknowledged",
            "/?done=thanks",
            "/missed?done=missed",
            "/models?done=stopped",
            "/nowhere",
            "/?from=x",
        ] {
            let page = shown(&browser, path, "de").await;
            let left = english_on(&page);
            assert!(left.is_empty(), "{role} on {path}: {left:#?}");
            assert!(path == "/live" || page.contains("<html lang=\"de\">"), "{path}");
            english += english_on(&shown(&browser, path, "en").await).len();
        }
    }
    assert!(english > 500, "the look-out sees English where it is: {english}");
}

#[tokio::test]
async fn a_choice_is_kept_in_a_cookie_and_leads_back_to_one_of_our_views() {
    let rig = Rig::new().await;
    let browser = rig.sign_in("viewer").await;
    let answer = browser.form("/language", "language=de&back=/models").await;
    assert_eq!((answer.status, answer.header("location")), (StatusCode::SEE_OTHER, "/models"));
    let cookie = answer.header("set-cookie");
    assert!(cookie.starts_with("explaind_language=de; Path=/; Max-Age=31536000"), "{cookie}");
    for elsewhere in ["https://evil.example/", "//evil.example", "/sign-out"] {
        let answer = browser.form("/language", &format!("language=en&back={elsewhere}")).await;
        assert_eq!(answer.header("location"), "/");
    }
    assert_eq!(browser.form("/language", "language=fr").await.status, StatusCode::UNPROCESSABLE_ENTITY);
    let nobody = super::rig::form_post("/language", "language=de&back=/sign-in", &[]);
    assert_eq!(rig.send(nobody).await.header("location"), "/sign-in");
    let sheet =
        rig.send(get("/sign-in", &[PERSON, ("cookie", "explaind_language=de"), ("accept-language", "en")])).await;
    assert!(sheet.text.contains("<h1>Anmelden</h1>") && sheet.text.contains("<html lang=\"de\">"), "{}", sheet.text);
}

#[tokio::test]
async fn refusals_are_told_in_the_language_of_the_page_and_the_api_stays_english() {
    let rig = Rig::new().await;
    let (alert, ..) = rig.raise("press-7");
    let viewer = rig.sign_in("viewer").await;
    let cookie = format!("{}; explaind_language=de", viewer.cookie);
    let form = format!("csrf={}&comment=", viewer.csrf);
    let headers = [("cookie", cookie.as_str())];
    let told = rig.send(super::rig::form_post(&format!("/alerts/{alert}/acknowledge"), &form, &headers)).await;
    assert_eq!(told.status, StatusCode::FORBIDDEN);
    assert!(told.detail().starts_with("Das ist ab der Rolle technician möglich"), "{}", told.detail());
    let stale = rig.send(super::rig::form_post(&format!("/alerts/{alert}/acknowledge"), "csrf=x", &headers)).await;
    assert!(stale.detail().contains("gehört nicht zu Ihrer Anmeldung"), "{}", stale.detail());
    let api = rig.send(get("/api/v1/alerts?limit=0", &headers)).await;
    assert!(api.detail().contains("limit"), "{}", api.detail());
    let foreign = rig.send(get("/", &[("host", "evil.example"), ("accept-language", "de"), PERSON])).await;
    assert!(foreign.text.contains("Unter diesem Namen ist das Gateway nicht bekannt"), "{}", foreign.text);
}

#[tokio::test]
async fn who_has_to_sign_in_is_led_back_to_where_they_were() {
    let rig = Rig::new().await;
    for (path, cookie, expected) in [
        ("/models", "a=b", "/sign-in?back=/models"),
        ("/?from=50", "explaind_session=over", "/sign-in?back=/?from=50&ended=true"),
        ("/", "explaind_session=over", "/sign-in?ended=true"),
    ] {
        let answer = rig.send(get(path, &[PERSON, ("cookie", cookie)])).await;
        assert_eq!((answer.status, answer.header("location")), (StatusCode::SEE_OTHER, expected), "{path}");
    }
    let sheet = rig.send(get("/sign-in?back=/models&ended=true", &[PERSON])).await.text;
    assert!(sheet.contains("name=\"back\" value=\"/models\"") && sheet.contains("You were signed out."), "{sheet}");
    let sheet = rig.send(get("/sign-in?back=https://evil.example", &[PERSON])).await.text;
    assert!(sheet.contains("name=\"back\" value=\"/\""), "{sheet}");
    for (back, expected) in [("/models", "/models"), ("//evil.example", "/")] {
        let form = format!("user=viewer&password=long+enough&back={back}");
        let answer = rig.send(super::rig::form_post("/sign-in", &form, &[])).await;
        assert_eq!(answer.header("location"), expected);
    }
}
