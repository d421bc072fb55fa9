//! Live news.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use axum::body::{Body, BodyDataStream};
use axum::http::StatusCode;
use futures::StreamExt as _;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::rig::{Browser, Rig, SOON, get};
use crate::web::access::Peer;
use crate::web::events::MOST_STREAMS;

async fn listen(browser: &Browser<'_>) -> (StatusCode, BodyDataStream) {
    resume(browser, "").await
}

/// Comes back with the id of the last event heard.
async fn resume(browser: &Browser<'_>, last: &str) -> (StatusCode, BodyDataStream) {
    let here = Peer::Tcp(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let headers = [("cookie", browser.cookie.as_str()), ("last-event-id", last)];
    let response = browser.rig.response(here, get("/api/v1/events", &headers)).await;
    (response.status(), Body::into_data_stream(response.into_body()))
}

/// Reads until all of `wanted` came by.
async fn hear(stream: &mut BodyDataStream, wanted: &[&str]) -> String {
    let mut heard = String::new();
    while !wanted.iter().all(|name| heard.contains(&format!("event: {name}\n"))) {
        let chunk = timeout(SOON, stream.next()).await.unwrap_or_else(|_| panic!("only {heard}"));
        heard.push_str(std::str::from_utf8(&chunk.unwrap().unwrap()).unwrap());
    }
    heard
}

/// One event: its name, its id and its data.
#[derive(Debug, Clone, PartialEq)]
struct Heard {
    name: String,
    id: String,
    data: Value,
}

impl Heard {
    fn of(text: &str) -> Self {
        let of = |key: &str| {
            let prefix = format!("{key}: ");
            text.lines().find_map(|line| line.strip_prefix(&prefix)).unwrap_or_default().to_owned()
        };
        Self { name: of("event"), id: of("id"), data: serde_json::from_str(&of("data")).unwrap() }
    }

    /// What tells it from others; predictions are told of as they stand, and not one by one.
    fn what(&self) -> Option<(String, String)> {
        let told = ["alert", "feedback", "explanation", "gateway"].contains(&self.name.as_str());
        told.then(|| (self.name.clone(), self.data.to_string()))
    }
}

/// Reads events until so many of those came that are told one by one; hello is not counted.
async fn hear_events(stream: &mut BodyDataStream, wanted: usize) -> Vec<Heard> {
    let (mut text, mut heard) = (String::new(), Vec::<Heard>::new());
    while heard.iter().filter_map(Heard::what).count() < wanted {
        let chunk = timeout(SOON, stream.next()).await.unwrap_or_else(|_| panic!("only {heard:?}"));
        text.push_str(std::str::from_utf8(&chunk.unwrap().unwrap()).unwrap());
        while let Some((event, rest)) = text.split_once("\n\n") {
            heard.push(Heard::of(event));
            text = rest.to_owned();
        }
    }
    heard
}

#[tokio::test]
async fn listeners_hear_of_alerts_explanations_and_feedback() {
    let rig = Rig::new().await;
    let browser = rig.sign_in("technician").await;
    let (status, mut stream) = listen(&browser).await;
    assert_eq!(status, StatusCode::OK);
    hear(&mut stream, &["hello"]).await;
    let shadow = rig.shadow("press-8");
    let (alert, prediction, _) = rig.raise("press-7");
    let heard = hear(&mut stream, &["alert", "explanation", "prediction"]).await;
    assert!(!heard.contains(&shadow.to_string()), "a challenger is nobody's news: {heard}");
    assert!(heard.contains(&alert.to_string()) && heard.contains(&prediction.to_string()), "{heard}");
    browser.post("/api/v1/feedback", &json!({ "alert_id": alert, "verdict": "confirm" })).await;
    hear(&mut stream, &["feedback"]).await;
}

#[tokio::test]
async fn whoever_drops_at_any_event_and_comes_back_misses_nothing_and_hears_nothing_twice() {
    let rig = Rig::new().await;
    let browser = rig.sign_in("technician").await;
    let (_, mut stream) = listen(&browser).await;
    let first = hear(&mut stream, &["hello"]).await;
    let hello = Heard::of(first.trim());
    let mut heard = vec![hello.clone()];
    for round in 0..4 {
        let (alert, ..) = rig.raise(if round % 2 == 0 { "press-7" } else { "press-8" });
        rig.shadow("press-8");
        browser.post(&format!("/api/v1/alerts/{alert}/acknowledge"), &json!({})).await;
        browser.post("/api/v1/feedback", &json!({ "alert_id": alert, "verdict": "confirm" })).await;
        if round == 2 {
            let (_, prediction, _) = rig.raise("press-9");
            rig.add_extras(prediction, (alert, prediction));
            // The two extras, the alert and its explanation.
            heard.extend(hear_events(&mut stream, 4 + 4).await);
        } else {
            heard.extend(hear_events(&mut stream, 4).await);
        }
    }
    let all: Vec<_> = heard.iter().filter_map(Heard::what).collect();
    assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len(), "each once");
    for (place, last) in heard.iter().enumerate() {
        let expected: BTreeSet<_> = heard[place + 1..].iter().filter_map(Heard::what).collect();
        if expected.is_empty() {
            continue;
        }
        let (_, mut again) = resume(&browser, &last.id).await;
        let news = hear_events(&mut again, expected.len()).await;
        let got: Vec<_> = news.iter().filter_map(Heard::what).collect();
        assert_eq!(got.len(), expected.len(), "after {}", last.id);
        assert_eq!(got.into_iter().collect::<BTreeSet<_>>(), expected, "after {}", last.id);
        assert_eq!(news[0].data["resumes"], true);
    }
    // The last id is that of who has heard all: nothing comes but what is new.
    let (_, mut again) = resume(&browser, &heard.last().unwrap().id).await;
    let (alert, ..) = rig.raise("press-7");
    let news = hear_events(&mut again, 1).await;
    assert!(news.iter().filter(|of| of.name == "alert").all(|of| of.data["id"] == json!(alert)), "{news:?}");
}

#[tokio::test]
async fn an_explanation_that_comes_while_nobody_listens_is_told_afterwards() {
    let rig = Rig::new().await;
    let browser = rig.sign_in("technician").await;
    let (_, mut stream) = listen(&browser).await;
    hear(&mut stream, &["hello"]).await;
    let (alert, prediction) = rig.raise_unexplained("press-7");
    let heard = hear(&mut stream, &["alert", "prediction"]).await;
    let last = Heard::of(heard.trim().rsplit("\n\n").next().unwrap()).id;
    drop(stream);
    rig.explain(prediction);
    let (_, mut again) = resume(&browser, &last).await;
    let news = hear_events(&mut again, 1).await;
    let told: Vec<_> = news.iter().filter(|of| of.what().is_some()).collect();
    assert_eq!((told.len(), told[0].name.as_str()), (1, "explanation"));
    assert_eq!((&told[0].data["alert_id"], &told[0].data["prediction_id"]), (&json!(alert), &json!(prediction)));
}

#[tokio::test]
async fn who_is_too_far_behind_or_comes_from_elsewhere_is_told_to_read_anew() {
    let rig = Rig::new().await;
    let browser = rig.sign_in("technician").await;
    let (_, mut stream) = listen(&browser).await;
    let first = Heard::of(hear(&mut stream, &["hello"]).await.trim());
    drop(stream);
    let (alert, ..) = rig.raise("press-7");
    for _ in 0..501 {
        rig.clear(alert, true);
        rig.clear(alert, true);
    }
    for last in [first.id.as_str(), "a99999-f0-e0-h0-p0", "7", "a0-f0-e0-h0-p0-x"] {
        let (status, mut again) = resume(&browser, last).await;
        assert_eq!(status, StatusCode::OK, "a browser would never try again");
        let heard = hear(&mut again, &["reset"]).await;
        assert!(!heard.contains("event: alert"), "{heard}");
        let reset = Heard::of(heard.split("\n\n").find(|event| event.contains("event: reset")).unwrap());
        assert!(!reset.data["reason"].as_str().unwrap().is_empty());
        // From there it goes on as ever.
        let (_, mut on) = resume(&browser, &reset.id).await;
        rig.clear(alert, true);
        assert_eq!(hear_events(&mut on, 1).await.iter().filter(|of| of.name == "alert").count(), 1);
    }
}

#[tokio::test]
async fn the_stream_ends_with_the_sign_in_and_with_the_daemon() {
    let rig = Rig::new().await;
    let (one, other) = (rig.sign_in("technician").await, rig.sign_in("viewer").await);
    let (_, mut first) = listen(&one).await;
    let (_, mut second) = listen(&other).await;
    hear(&mut first, &["hello"]).await;
    hear(&mut second, &["hello"]).await;
    one.form("/sign-out", "").await;
    assert!(timeout(SOON, first.next()).await.unwrap().is_none());
    rig.stop.cancel();
    assert!(timeout(SOON, second.next()).await.unwrap().is_none());
}

#[tokio::test]
async fn a_burst_is_told_in_full_to_who_cannot_follow() {
    let rig = Rig::new().await;
    let browser = rig.sign_in("technician").await;
    let (_, mut stream) = listen(&browser).await;
    hear(&mut stream, &["hello"]).await;
    // Three announcements each: more than are held for anyone.
    let raised: BTreeSet<_> = (0..400).map(|_| json!(rig.raise("press-7").0).to_string()).collect();
    let heard = hear_events(&mut stream, 800).await;
    let of = |name: &str, key: &str| -> Vec<String> {
        heard.iter().filter(|of| of.name == name).map(|of| of.data[key].to_string()).collect()
    };
    let (alerts, explained) = (of("alert", "id"), of("explanation", "alert_id"));
    assert_eq!((alerts.len(), explained.len()), (400, 400));
    assert_eq!(
        (alerts.into_iter().collect::<BTreeSet<_>>(), explained.into_iter().collect()),
        (raised.clone(), raised)
    );
    assert!(of("prediction", "id").len() < 20, "of each asset the last");
}

#[tokio::test]
async fn listeners_are_counted() {
    let rig = Rig::new().await;
    let browser = rig.sign_in("technician").await;
    let mut open = Vec::new();
    for _ in 0..MOST_STREAMS {
        open.push(listen(&browser).await.1);
    }
    assert_eq!(listen(&browser).await.0, StatusCode::SERVICE_UNAVAILABLE);
    open.pop();
    assert_eq!(listen(&browser).await.0, StatusCode::OK);
}
