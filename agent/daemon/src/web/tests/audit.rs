//! Refusals on record: each kind, and never so many that they fill the disk.

use axum::http::{Method, StatusCode};
use explaind_core::domain::feedback::UserRole;
use explaind_core::domain::record::{Body as Content, Stream};
use serde_json::json;

use super::rig::{Rig, form_post, get, request};
use crate::web::UsersFile;
use crate::web::access::Peer;
use crate::web::audit;

/// Actor, action, object and outcome of each audit record.
fn audited(rig: &Rig) -> Vec<[String; 4]> {
    let audits = rig.records(Stream::Audit).into_iter().map(|record| match record.body {
        Content::Audit(audit) => [audit.actor, audit.action, audit.object, audit.outcome],
        other => panic!("{other:?}"),
    });
    audits.collect()
}

fn line(actor: &str, action: &str, object: &str, outcome: &str) -> [String; 4] {
    [actor, action, object, outcome].map(str::to_owned)
}

const HERE: &str = ", from 127.0.0.1";

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_refused_is_on_record_with_what_was_asked_for() {
    let rig = Rig::new().await;
    let viewer = rig.sign_in("viewer").await;
    rig.send(form_post("/sign-in", "user=viewer&password=nope", &[])).await;
    rig.send(get("/api/v1/alerts?secret=x", &[("authorization", "Bearer explaind_00")])).await;
    assert_eq!(viewer.post("/api/v1/feedback", &json!({})).await.status, StatusCode::FORBIDDEN);
    let cookie = ("cookie", viewer.cookie.as_str());
    assert_eq!(rig.send(form_post("/sign-out", "", &[cookie])).await.status, StatusCode::FORBIDDEN);
    let foreign = request(Method::POST, "/api/v1/feedback", "{}", &[cookie, ("origin", "http://evil.example")]);
    assert_eq!(rig.send(foreign).await.status, StatusCode::FORBIDDEN);
    rig.send(get("/healthz", &[("host", "evil.example")])).await;
    let stranger = Peer::Socket { uid: 12_345, name: "uid:12345".into() };
    assert_eq!(rig.send_as(stranger, get("/api/v1/alerts", &[])).await.status, StatusCode::FORBIDDEN);
    let site = format!("refused: asked for by another site, or through a proxy{HERE}");
    let expected = [
        line("viewer", "sign_in", "web", "done"),
        line("viewer", "sign_in", "web", &format!("refused: wrong password{HERE}")),
        line(
            "unknown",
            "token",
            "GET /api/v1/alerts",
            &format!("refused: no account has this token, or has it any more{HERE}"),
        ),
        line("viewer", "request", "POST /api/v1/feedback", &format!("refused: the role viewer is not enough{HERE}")),
        line("viewer", "request", "POST /sign-out", &format!("refused: without the secret of the sign-in{HERE}")),
        line("unknown", "request", "POST /api/v1/feedback", &site),
        line("unknown", "request", "GET /healthz", &format!("refused: a foreign host name{HERE}")),
        line("uid:12345", "request", "GET /api/v1/alerts", "refused: no such user here, on the socket"),
    ];
    assert_eq!(audited(&rig), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_out_of_a_flood_is_counted() {
    let rig = Rig::new().await;
    for _ in 0..200 {
        let long = format!("/api/v1/alerts/{}", "x".repeat(5000));
        rig.send(get(&long, &[("authorization", "Bearer explaind_00")])).await;
    }
    let flood = audited(&rig);
    assert!(flood.len() < 10 && flood.iter().all(|line| line[2].len() < 100), "{}: {:?}", flood.len(), flood.first());
    let elsewhere = Peer::Tcp([10, 0, 0, 7].into());
    rig.send_as(elsewhere, get("/api/v1/alerts", &[("authorization", "Bearer explaind_00")])).await;
    let next = audited(&rig).pop().unwrap();
    let left_out = 200 - flood.len();
    assert!(
        next[3].ends_with(&format!("from 10.0.0.7; {left_out} more like it before this were left out")),
        "{next:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn pulls_and_changes_of_accounts_are_on_record() {
    let rig = Rig::new().await;
    rig.raise("press-7");
    let users = UsersFile::of(rig.folder.path());
    let token = format!("Bearer {}", users.add_machine("central", UserRole::Collector, String::new()).unwrap());
    for _ in 0..3 {
        for stream in ["alerts", "predictions"] {
            let path = format!("/api/v1/batches/{stream}?after=0");
            assert_eq!(rig.send(get(&path, &[("authorization", &token)])).await.status, StatusCode::OK);
        }
    }
    let more = "done; 1 more like it before this were left out";
    let pulls = audited(&rig);
    assert_eq!(
        pulls,
        [line("central", "pull", "stream alerts", "done"), line("central", "pull", "stream predictions", "done")]
    );
    users.remove("central").unwrap();
    assert_eq!(
        rig.send(get("/api/v1/batches/alerts", &[("authorization", &token)])).await.status,
        StatusCode::UNAUTHORIZED
    );
    let tending = tokio::spawn(audit::tend(std::sync::Arc::clone(&rig.web)));
    let found = |action: &str| audited(&rig).into_iter().find(|line| line[1] == action);
    while found("remove_token").is_none() {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    tending.abort();
    let added = found("add_token").unwrap();
    assert_eq!((added[2].as_str(), added[3].as_str()), ("user central", "done (role collector)"));
    assert!(!added[0].is_empty() && added[0] != "unknown", "who ran it is known: {added:?}");
    assert!(!audited(&rig).iter().any(|line| line[3] == more), "each stream is counted by itself");
}
