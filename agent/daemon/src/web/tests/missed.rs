//! Events that no alert was raised for, reported on the page.

use axum::http::StatusCode;
use explaind_core::domain::feedback::{Feedback, Verdict};
use explaind_core::domain::record::{Body as Content, Stream};

use super::rig::Rig;
use crate::web::time::iso;

fn all(rig: &Rig) -> Vec<Feedback> {
    let feedback = |record: explaind_core::domain::record::Record| match record.body {
        Content::Feedback(feedback) => feedback,
        other => panic!("{other:?}"),
    };
    rig.records(Stream::Feedback).into_iter().map(feedback).collect()
}

#[tokio::test]
async fn an_event_is_reported_with_its_machine_and_its_time_once() {
    let rig = Rig::new().await;
    let browser = rig.sign_in("technician").await;
    let page = browser.get("/missed").await.text;
    for expected in
        ["<option value=\"press-7\">", "type=\"datetime-local\"", "value=\"Sensor verschmutzt\"", "name=\"key\""]
    {
        assert!(page.contains(expected), "{expected} is not in {page}");
    }
    let form = "key=1&asset=press-7&event_from=2026-01-01T11:00&event_from_utc=2026-01-01T10:00:00.000Z&\
                event_to=2026-01-01T12:30:15&event_to_utc=&cause=Sensor+verschmutzt&comment=%3Ci%3E";
    for _ in 0..2 {
        let answer = browser.form("/missed", form).await;
        assert_eq!((answer.status, answer.header("location")), (StatusCode::SEE_OTHER, "/missed?done=missed"));
    }
    let stored = all(&rig);
    assert_eq!(stored.len(), 1, "the same form twice");
    let said = &stored[0];
    assert_eq!((said.verdict, said.asset.as_str()), (Some(Verdict::Missed), "press-7"));
    // The script knows the time zone; without it the field is in UTC.
    assert_eq!(said.event_from.map(iso).as_deref(), Some("2026-01-01T10:00:00.000000Z"));
    assert_eq!(said.event_to.map(iso).as_deref(), Some("2026-01-01T12:30:15.000000Z"));
    assert_eq!((said.cause.as_deref(), said.alert_id, said.prediction_id), (Some("Sensor verschmutzt"), None, None));

    let id = rig.records(Stream::Feedback)[0].id;
    let page = browser.get("/missed").await.text;
    assert!(page.contains("says technician") && page.contains("&lt;i&gt;") && !page.contains("<i>"), "{page}");
    let revise = browser.get(&format!("/missed?revises={id}")).await.text;
    assert!(
        revise.contains(&format!("name=\"revises\" value=\"{id}\"")) && revise.contains("2026-01-01T10:00"),
        "{revise}"
    );
    let again = format!("key=2&asset=press-7&event_from=2026-01-01T10:00&event_to=2026-01-01T13:00&revises={id}");
    assert_eq!(browser.form("/missed", &again).await.status, StatusCode::SEE_OTHER);
    assert_eq!(all(&rig)[1].revises, Some(id));
    let page = browser.get("/missed").await.text;
    assert!(page.contains("(since revised)") && page.contains("(a revision)"), "{page}");
    assert_eq!(page.matches("/missed?revises=").count(), 1, "only what stands can be revised");
}

#[tokio::test]
async fn a_report_that_makes_no_sense_is_refused_and_viewers_report_nothing() {
    let rig = Rig::new().await;
    let browser = rig.sign_in("technician").await;
    for (form, says) in [
        ("asset=press-99&event_from=2026-01-01T10:00&event_to=2026-01-01T11:00", "the asset by its id"),
        ("asset=press-7&event_from=&event_to=2026-01-01T11:00", "event_from"),
        ("asset=press-7&event_from=2026-01-01T11:00&event_to=2026-01-01T10:00", "event_to must not be before"),
    ] {
        let answer = browser.form("/missed", form).await;
        assert!(answer.detail().contains(says), "{form}: {}", answer.text);
    }
    let viewer = rig.sign_in("viewer").await;
    assert_eq!(viewer.get("/missed").await.status, StatusCode::FORBIDDEN);
    let form = "asset=press-7&event_from=2026-01-01T10:00&event_to=2026-01-01T11:00";
    assert_eq!(viewer.form("/missed", form).await.status, StatusCode::FORBIDDEN);
    assert!(all(&rig).is_empty());
}
