//! Live news.

use std::net::{IpAddr, Ipv4Addr};

use axum::body::{Body, BodyDataStream};
use axum::http::StatusCode;
use futures::StreamExt as _;
use serde_json::json;
use tokio::time::timeout;

use super::rig::{Browser, Rig, SOON, get};
use crate::web::access::Peer;
use crate::web::events::MOST_STREAMS;

async fn listen(browser: &Browser<'_>) -> (StatusCode, BodyDataStream) {
    let here = Peer::Tcp(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let response = browser.rig.response(here, get("/api/v1/events", &[("cookie", &browser.cookie)])).await;
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
async fn a_burst_is_gathered() {
    let rig = Rig::new().await;
    let browser = rig.sign_in("technician").await;
    let (_, mut stream) = listen(&browser).await;
    hear(&mut stream, &["hello"]).await;
    for _ in 0..400 {
        rig.raise("press-7");
    }
    let heard = hear(&mut stream, &["alert"]).await;
    assert!(heard.matches("event: ").count() < 1000, "{}", heard.matches("event: ").count());
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
