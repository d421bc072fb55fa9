//! Pulling records: who may, from where on, in which form.

use axum::http::StatusCode;
use explaind_core::domain::feedback::UserRole;
use serde_json::Value;

use super::rig::{Answer, Rig, get};
use crate::web::UsersFile;

/// A machine of this role, and the header that it carries.
fn machine(rig: &Rig, name: &str, role: UserRole) -> String {
    let token = UsersFile::of(rig.folder.path()).add_machine(name, role, String::new()).unwrap();
    format!("Bearer {token}")
}

async fn pull(rig: &Rig, bearer: &str, path: &str) -> Answer {
    rig.send(get(&format!("/api/v1/batches/{path}"), &[("authorization", bearer)])).await
}

fn sequences(answer: &Answer) -> Vec<u64> {
    let objects = answer.text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    objects.map(|object| object["sequence"].as_u64().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_comes_again_and_again_and_misses_nothing() {
    let rig = Rig::new().await;
    for _ in 0..5 {
        rig.raise("press-7");
    }
    let central = machine(&rig, "central", UserRole::Collector);
    let first = pull(&rig, &central, "predictions?limit=2").await;
    assert_eq!((first.status, sequences(&first)), (StatusCode::OK, vec![1, 2]));
    assert_eq!(first.header("content-type"), "application/x-ndjson");
    assert_eq!(first.header("explaind-next"), "2");
    assert_eq!(first.header("link"), "</api/v1/batches/predictions?after=2&limit=2>; rel=\"next\"");
    assert!(first.text.contains("\"Torque [Nm]\":4.2"), "attributions are in it: {}", first.text);
    let again = pull(&rig, &central, "predictions?limit=2").await;
    assert_eq!(sequences(&again), [1, 2], "the answer may have been lost: only a cursor says that it was not");
    assert_eq!(sequences(&pull(&rig, &central, "predictions?after=2&limit=2").await), [3, 4]);
    let rest = pull(&rig, &central, "predictions").await;
    assert_eq!(sequences(&rest), [3, 4, 5], "without a cursor it goes on from the last one given");
    assert_eq!(rest.header("explaind-next"), "5");
    assert_eq!(rest.header("link"), "");
    let nothing = pull(&rig, &central, "predictions?after=5").await;
    assert_eq!((nothing.status, nothing.text.as_str()), (StatusCode::OK, ""));
    assert_eq!(nothing.header("explaind-next"), "5");
    assert_eq!(sequences(&pull(&rig, &central, "alerts").await), [1, 2, 3, 4, 5], "each stream has its own cursor");
    let other = machine(&rig, "other", UserRole::Collector);
    assert_eq!(sequences(&pull(&rig, &other, "predictions").await).len(), 5, "and each collector");
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_without_records_are_not_asked_for_again_and_again() {
    let rig = Rig::new().await;
    for _ in 0..3 {
        rig.raise("press-7");
    }
    rig.web.buffer.lose(explaind_core::domain::record::Stream::Alerts, 3);
    let central = machine(&rig, "central", UserRole::Collector);
    let answer = pull(&rig, &central, "alerts?after=0").await;
    assert_eq!((sequences(&answer), answer.header("explaind-next")), (vec![1, 2], "3"));
    let answer = pull(&rig, &central, "alerts?after=2").await;
    assert_eq!((answer.text.as_str(), answer.header("explaind-next"), answer.header("link")), ("", "3", ""));
}

#[tokio::test(flavor = "multi_thread")]
async fn parquet_comes_to_who_asks_for_it() {
    let rig = Rig::new().await;
    rig.raise("press-7");
    let bearer = machine(&rig, "central", UserRole::Collector);
    for accept in ["application/vnd.apache.parquet", "application/json, Application/Vnd.Apache.Parquet;q=0.9"] {
        let request = get("/api/v1/batches/alerts", &[("authorization", &bearer), ("accept", accept)]);
        let peer = crate::web::access::Peer::Tcp(std::net::Ipv4Addr::LOCALHOST.into());
        let response = rig.response(peer, request).await;
        assert_eq!(response.headers()["content-type"], "application/vnd.apache.parquet");
        let bytes = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
        assert!(bytes.starts_with(b"PAR1") && bytes.ends_with(b"PAR1"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn predictions_wait_until_their_explanation_is_settled() {
    let rig = Rig::new().await;
    rig.raise("press-7");
    let unsettled = crate::buffer::samples::prediction(1, 65.0);
    rig.web.buffer.append(vec![unsettled.clone()]).unwrap();
    let bearer = machine(&rig, "central", UserRole::Collector);
    assert_eq!(sequences(&pull(&rig, &bearer, "predictions").await), [1]);
    rig.web.buffer.settle(vec![(unsettled.id, crate::buffer::samples::explained(65.0))]).unwrap();
    assert_eq!(sequences(&pull(&rig, &bearer, "predictions").await), [1, 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_collectors_and_engineers_pull_and_what_makes_no_sense_is_said() {
    let rig = Rig::new().await;
    rig.raise("press-7");
    for (role, status) in [
        (UserRole::Collector, StatusCode::OK),
        (UserRole::Engineer, StatusCode::OK),
        (UserRole::Technician, StatusCode::FORBIDDEN),
        (UserRole::Viewer, StatusCode::FORBIDDEN),
    ] {
        let bearer = machine(&rig, &format!("m-{}", role.as_str()), role);
        assert_eq!(pull(&rig, &bearer, "alerts").await.status, status, "{}", role.as_str());
    }
    assert_eq!(pull(&rig, "Bearer explaind_0", "alerts").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(rig.send(get("/api/v1/batches/alerts", &[])).await.status, StatusCode::UNAUTHORIZED);
    let central = machine(&rig, "central", UserRole::Collector);
    assert_eq!(pull(&rig, &central, "gossip").await.status, StatusCode::NOT_FOUND);
    for query in ["limit=0", "limit=5001", "after=-1", "after=2", "before=1"] {
        let answer = pull(&rig, &central, &format!("alerts?{query}")).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{query}: {}", answer.text);
    }
    let looks = rig.send(get("/api/v1/alerts", &[("authorization", &central)])).await;
    assert_eq!(looks.status, StatusCode::FORBIDDEN, "a collector pulls, and does nothing else");
    UsersFile::of(rig.folder.path()).remove("central").unwrap();
    assert_eq!(pull(&rig, &central, "alerts").await.status, StatusCode::UNAUTHORIZED, "a token is taken back at once");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_bounded_in_bytes() {
    let rig = Rig::new().await;
    let large = |n: u64| {
        let mut record = crate::buffer::samples::health(n);
        if let explaind_core::domain::record::Body::Health(health) = &mut record.body {
            health.evidence.push(("all".to_owned(), "x".repeat(600 << 10)));
        }
        record
    };
    for n in 0..10 {
        rig.web.buffer.append(vec![large(n)]).unwrap();
    }
    let central = machine(&rig, "central", UserRole::Collector);
    let first = pull_large(&rig, &central, "health?after=0").await;
    assert_eq!(
        (sequences(&first), first.header("explaind-next")),
        ((1..=7).collect(), "7"),
        "4 MiB and the record over it"
    );
    assert_eq!(first.header("link"), "</api/v1/batches/health?after=7&limit=1000>; rel=\"next\"");
    let rest = pull_large(&rig, &central, "health?after=7").await;
    assert_eq!((sequences(&rest), rest.header("explaind-next")), (vec![8, 9, 10], "10"));
}

async fn pull_large(rig: &Rig, bearer: &str, path: &str) -> Answer {
    let request = get(&format!("/api/v1/batches/{path}"), &[("authorization", bearer)]);
    let peer = crate::web::access::Peer::Tcp(std::net::Ipv4Addr::LOCALHOST.into());
    let (parts, body) = rig.response(peer, request).await.into_parts();
    let bytes = axum::body::to_bytes(body, 1 << 26).await.unwrap();
    Answer { status: parts.status, headers: parts.headers, text: String::from_utf8(bytes.to_vec()).unwrap() }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_registry_what_all_collectors_have_counts_as_sent() {
    let rig = Rig::new().await;
    for _ in 0..5 {
        rig.raise("press-7");
    }
    let alerts = explaind_core::domain::record::Stream::Alerts;
    let (fast, slow) = (machine(&rig, "fast", UserRole::Collector), machine(&rig, "slow", UserRole::Collector));
    let engineer = machine(&rig, "curious", UserRole::Engineer);
    pull(&rig, &engineer, "alerts?after=5").await;
    assert_eq!(rig.web.buffer.uploaded(alerts), 0, "who looks takes nothing home");
    pull(&rig, &slow, "alerts?limit=1").await;
    pull(&rig, &fast, "alerts?after=4").await;
    assert_eq!(rig.web.buffer.uploaded(alerts), 0);
    pull(&rig, &slow, "alerts?after=2").await;
    assert_eq!(rig.web.buffer.uploaded(alerts), 2);
    UsersFile::of(rig.folder.path()).remove("slow").unwrap();
    let slow = machine(&rig, "slow", UserRole::Collector);
    assert_eq!(
        sequences(&pull(&rig, &slow, "alerts?limit=9").await).len(),
        5,
        "an account that is made anew begins anew"
    );
    pull(&rig, &fast, "alerts?after=5").await;
    assert_eq!(rig.web.buffer.uploaded(alerts), 2, "and counts as one that has nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_engineers_check_and_carry() {
    let rig = Rig::new().await;
    rig.raise("press-7");
    let json = [("content-type", "application/json")];
    let place = r#"{"name":"a stick","mark":null,"holds_batches":false}"#;
    let root = crate::web::access::Peer::Socket { uid: 0, name: "root".into() };
    let post = |path: &str, body: &str| super::rig::request(axum::http::Method::POST, path, body, &json);
    for role in [UserRole::Collector, UserRole::Technician] {
        let bearer = machine(&rig, &format!("m-{}", role.as_str()), role);
        let check = get("/api/v1/buffer/check?part=alerts", &[("authorization", &bearer)]);
        assert_eq!(rig.send(check).await.status, StatusCode::FORBIDDEN);
    }
    assert_eq!(rig.send(post("/api/v1/buffer/export/begin", place)).await.status, StatusCode::UNAUTHORIZED);
    let checked = rig.send_as(root.clone(), get("/api/v1/buffer/check?part=alerts&after=0", &[])).await;
    assert_eq!(checked.json(), serde_json::json!({"checked": 1, "findings": [], "next": null}));
    let unknown = rig.send_as(root.clone(), get("/api/v1/buffer/check?part=gossip", &[])).await;
    assert_eq!(unknown.status, StatusCode::NOT_FOUND);

    let begun = rig.send_as(root.clone(), post("/api/v1/buffer/export/begin", place)).await;
    assert_eq!(begun.json()["mark"]["store_id"], rig.web.buffer.store_id().to_string());
    let foreign = format!(r#"{{"name":"a stick","mark":{},"holds_batches":true}}"#, begun.json()["mark"]);
    let foreign = foreign.replace(&rig.web.buffer.store_id().to_string(), "01890000-0000-7000-8000-000000000000");
    let refused = rig.send_as(root.clone(), post("/api/v1/buffer/export/begin", &foreign)).await;
    assert_eq!(refused.status, StatusCode::CONFLICT);
    assert!(refused.detail().contains("a stick holds batches of another store"), "{}", refused.text);
    // Of the audit who was refused above; that somebody carries it away is for the next time.
    for (path, last) in [("alerts", 1), ("audit", 2), ("predictions", 1)] {
        let batch = rig.response(root.clone(), post("/api/v1/buffer/export/next", &begun.text)).await;
        assert_eq!(batch.status(), StatusCode::OK);
        assert_eq!(batch.headers()["explaind-numbers"], format!("1-{last}"));
        assert_eq!(batch.headers()["explaind-stream"], path);
        let sent = format!(r#"{{"stream":"{path}","first":1,"last":{last},"aside":null}}"#);
        let sent = rig.send_as(root.clone(), post("/api/v1/buffer/export/sent", &sent)).await;
        assert_eq!(sent.status, StatusCode::NO_CONTENT);
    }
    let done = rig.send_as(root, post("/api/v1/buffer/export/next", &begun.text)).await;
    assert_eq!((done.status, done.text.as_str()), (StatusCode::NO_CONTENT, ""));
}
