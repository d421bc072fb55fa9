//! Who gets in, and what is refused.

use axum::http::{Method, StatusCode};
use explaind_core::domain::record::{Body as Content, Stream};

use super::rig::{PERSON, Rig, form_post, get, request};
use crate::web::access::Peer;

#[tokio::test]
async fn without_sign_in_there_is_nothing_but_the_door() {
    let rig = Rig::new().await;
    let (alert, ..) = rig.raise("press-7");
    for path in ["status", "alerts", "predictions", "feedback", "events", &format!("alerts/{alert}")] {
        let answer = rig.send(get(&format!("/api/v1/{path}"), &[])).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{path}");
        assert!(answer.detail().contains("sign in") && !answer.header("www-authenticate").is_empty());
    }
    for path in ["feedback", &format!("alerts/{alert}/acknowledge")] {
        let answer = rig.send(request(Method::POST, &format!("/api/v1/{path}"), "{}", &[])).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{path}");
    }
    for accepts in [PERSON, ("accept", "*/*")] {
        let page = rig.send(get("/", &[accepts])).await;
        assert_eq!((page.status, page.header("location")), (StatusCode::SEE_OTHER, "/sign-in"));
    }
    let live = rig.send(get("/live", &[])).await;
    assert_eq!(live.status, StatusCode::UNAUTHORIZED, "scripts are told, not sent elsewhere");
    for path in ["/healthz", "/readyz", "/metrics", "/sign-in", "/assets/app.js"] {
        assert_eq!(rig.send(get(path, &[])).await.status, StatusCode::OK, "{path}");
    }
}

#[tokio::test]
async fn a_wrong_password_is_refused_on_the_form_and_on_record() {
    let rig = Rig::new().await;
    let wrong = form_post("/sign-in", "user=technician&password=nope", &[PERSON]);
    let answer = rig.send(wrong).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    assert!(answer.text.contains("The name or the password is wrong.") && answer.text.contains("<form"));
    let guessed = form_post("/sign-in", "user=my+password+typed+here&password=x", &[]);
    assert_eq!(rig.send(guessed).await.status, StatusCode::UNAUTHORIZED);
    for _ in 0..20 {
        rig.send(form_post("/sign-in", "user=technician&password=nope", &[])).await;
    }
    let throttled = rig.send(form_post("/sign-in", "user=technician&password=long+enough", &[])).await;
    assert_eq!(throttled.status, StatusCode::TOO_MANY_REQUESTS);
    assert!(throttled.header("retry-after").parse::<u64>().unwrap() > 0);
    let audits = rig.records(Stream::Audit);
    assert!(audits.len() <= 10, "guesses do not fill the disk: {}", audits.len());
    let actors = audits.iter().map(|record| match &record.body {
        Content::Audit(audit) => (audit.actor.as_str(), audit.action.as_str(), audit.outcome.as_str()),
        other => panic!("{other:?}"),
    });
    let actors: Vec<_> = actors.collect();
    let wrong = ("technician", "sign_in", "refused: wrong password, from 127.0.0.1");
    assert_eq!(actors[..2], [wrong, ("unknown", "sign_in", "refused: no such account, from 127.0.0.1")]);
}

#[tokio::test]
async fn roles_are_held_to() {
    let rig = Rig::new().await;
    let (alert, prediction, _) = rig.raise("press-7");
    let viewer = rig.sign_in("viewer").await;
    assert_eq!(viewer.get("/api/v1/alerts").await.status, StatusCode::OK);
    let page = viewer.get("/").await.text;
    assert!(page.contains("press-7") && !page.contains("Acknowledge</button>"), "a viewer has no buttons");
    let feedback = serde_json::json!({ "prediction_id": prediction, "verdict": "confirm" });
    for (path, body) in [
        (format!("/api/v1/alerts/{alert}/acknowledge"), serde_json::json!({})),
        ("/api/v1/feedback".to_owned(), feedback),
    ] {
        let answer = viewer.post(&path, &body).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{path}");
        assert!(answer.detail().contains("viewer is viewer"), "{}", answer.detail());
    }
    assert_eq!(viewer.form(&format!("/alerts/{alert}/acknowledge"), "").await.status, StatusCode::FORBIDDEN);
    let collector = rig.sign_in("collector").await;
    assert_eq!(collector.get("/api/v1/alerts").await.status, StatusCode::FORBIDDEN);
    assert!(rig.records(Stream::Feedback).is_empty());
}

#[tokio::test]
async fn a_change_needs_the_secret_and_our_own_origin() {
    let rig = Rig::new().await;
    let (alert, ..) = rig.raise("press-7");
    let browser = rig.sign_in("technician").await;
    let path = format!("/alerts/{alert}/acknowledge");
    let cookie = ("cookie", browser.cookie.as_str());
    let without = rig.send(form_post(&path, "comment=x", &[cookie])).await;
    assert_eq!(without.status, StatusCode::FORBIDDEN);
    assert!(without.detail().contains("secret"));
    let wrong = rig.send(form_post(&path, &format!("csrf={}", "0".repeat(64)), &[cookie])).await;
    assert_eq!(wrong.status, StatusCode::FORBIDDEN);
    let api = format!("/api/v1{path}");
    let plain = request(Method::POST, &api, "{}", &[cookie, ("content-type", "application/json")]);
    assert_eq!(rig.send(plain).await.status, StatusCode::FORBIDDEN, "JSON without the header");
    for origin in ["http://evil.example", "null"] {
        let secret = ("x-csrf-token", browser.csrf.as_str());
        let foreign = request(Method::POST, &api, "", &[cookie, secret, ("origin", origin)]);
        let answer = rig.send(foreign).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN);
        assert!(answer.detail().contains("another site"), "{}", answer.detail());
    }
    let sign_in = request(
        Method::POST,
        "/sign-in",
        "user=viewer&password=long+enough",
        &[("content-type", "application/x-www-form-urlencoded"), ("origin", "http://evil.example")],
    );
    assert_eq!(rig.send(sign_in).await.status, StatusCode::FORBIDDEN, "nobody is signed in by another site");
    assert_eq!(browser.form(&path, "comment=on+my+way").await.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn signing_out_ends_the_session() {
    let rig = Rig::new().await;
    let browser = rig.sign_in("technician").await;
    assert_eq!(browser.get("/api/v1/alerts").await.status, StatusCode::OK);
    let out = browser.form("/sign-out", "").await;
    assert_eq!(out.status, StatusCode::SEE_OTHER);
    assert!(out.header("set-cookie").contains("Max-Age=0"));
    assert_eq!(browser.get("/api/v1/alerts").await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn the_cookie_is_out_of_reach() {
    let rig = Rig::new().await;
    let answer = rig.send(form_post("/sign-in", "user=viewer&password=long+enough", &[])).await;
    let cookie = answer.header("set-cookie");
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict") && cookie.contains("Path=/"), "{cookie}");
    assert!(!cookie.contains("Secure"), "plain HTTP on loopback");
}

#[tokio::test]
async fn foreign_names_and_proxies_are_refused() {
    let rig = Rig::new().await;
    let foreign = rig.send(get("/healthz", &[("host", "evil.example")])).await;
    assert_eq!(foreign.status, StatusCode::MISDIRECTED_REQUEST);
    assert!(foreign.detail().contains("host name"));
    let proxied = [("x-forwarded-for", "10.0.0.1")];
    assert_eq!(rig.send(get("/sign-in", &proxied)).await.status, StatusCode::OK);
    let demo = Rig::with("demo_accounts = true").await;
    for header in ["x-forwarded-for", "x-forwarded-proto", "forwarded", "via"] {
        let answer = demo.send(get("/sign-in", &[(header, "x")])).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{header}");
        assert!(answer.detail().contains("demo_accounts"));
    }
    assert_eq!(demo.send(get("/sign-in", &[])).await.status, StatusCode::OK);
}

#[tokio::test]
async fn on_the_socket_the_kernel_vouches() {
    let rig = Rig::new().await;
    let (alert, ..) = rig.raise("press-7");
    let root = || Peer::Socket { uid: 0, name: "root".into() };
    let path = format!("/api/v1/alerts/{alert}/acknowledge");
    let stranger = Peer::Socket { uid: 12_345, name: "uid:12345".into() };
    let answer = rig.send_as(stranger, request(Method::POST, &path, "", &[])).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    assert!(answer.detail().contains("uid:12345"));
    let answer = rig.send_as(root(), request(Method::POST, &path, "", &[("host", "anything")])).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    assert_eq!(answer.json()["acknowledged_by"], "root");
    let session = rig.send_as(root(), form_post("/sign-in", "user=viewer&password=long+enough", &[])).await;
    assert_eq!(session.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn every_error_is_a_problem_document_and_every_answer_is_safe_to_show() {
    let rig = Rig::new().await;
    let browser = rig.sign_in("technician").await;
    let big = "x".repeat(100_000);
    for (request, status) in [
        (get("/nowhere", &[]), StatusCode::NOT_FOUND),
        (get("/api/v1/nowhere", &[]), StatusCode::NOT_FOUND),
        (get("/assets/../Cargo.toml", &[]), StatusCode::NOT_FOUND),
        (get("/assets/%2e%2e%2fCargo.toml", &[]), StatusCode::NOT_FOUND),
        (request(Method::DELETE, "/api/v1/alerts", "", &[]), StatusCode::METHOD_NOT_ALLOWED),
        (get("/api/v1/alerts?limit=0", &[("cookie", &browser.cookie)]), StatusCode::BAD_REQUEST),
        (get("/api/v1/alerts?limit=x", &[("cookie", &browser.cookie)]), StatusCode::BAD_REQUEST),
        (get("/api/v1/alerts?limt=1", &[("cookie", &browser.cookie)]), StatusCode::BAD_REQUEST),
        (get("/api/v1/alerts/7", &[("cookie", &browser.cookie)]), StatusCode::NOT_FOUND),
        (browser.json_post("/api/v1/feedback", "{\"verdict\": "), StatusCode::BAD_REQUEST),
        (browser.json_post("/api/v1/feedback", "{\"verdict\": 7}"), StatusCode::BAD_REQUEST),
        (browser.json_post("/api/v1/feedback", &big), StatusCode::PAYLOAD_TOO_LARGE),
        (form_post("/sign-in", &big, &[]), StatusCode::PAYLOAD_TOO_LARGE),
        (form_post("/sign-in", "user=x", &[]), StatusCode::UNPROCESSABLE_ENTITY),
    ] {
        let (method, uri) = (request.method().clone(), request.uri().clone());
        let answer = rig.send(request).await;
        assert_eq!(answer.status, status, "{method} {uri}: {}", answer.text);
        assert!(!answer.detail().is_empty());
        assert!(answer.header("content-security-policy").contains("default-src 'none'"), "{uri}");
        assert_eq!((answer.header("x-content-type-options"), answer.header("cache-control")), ("nosniff", "no-store"));
    }
    let not_allowed = rig.send(request(Method::DELETE, "/api/v1/alerts", "", &[])).await;
    assert!(not_allowed.header("allow").contains("GET"));
    let asset = rig.send(get("/assets/app.css", &[])).await;
    assert!(asset.header("cache-control").contains("immutable"));
    let page = rig.send(get("/nowhere", &[PERSON])).await;
    assert!(
        page.header("content-type").starts_with("text/html") && page.text.contains("There is nothing at this address.")
    );
}
