//! Carries out acknowledgements that come from the broker, and puts on record who is said to have asked.
//!
//! It has a task and a bounded queue of its own, since an answer takes as long as the disk does, and the connection must not
//! wait for that.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use explaind_core::domain::command::Refusal;
use explaind_core::domain::record::{Audit, Body, NewRecord};
use tokio::sync::mpsc;

use super::command::Acknowledgement;
use super::payload::awaits;
use super::status::Status;
use crate::buffer::{Alert, Buffer};
use crate::clock;
use crate::mailbox::Mailbox;

/// Commands that wait. One more is refused, and the sender sees that its alert stays as it was.
pub(super) const MOST_WAITING: usize = 64;
/// As many commands at once are carried out, and one more each second: each leaves records that stay for ever, and nobody
/// has checked who sends them.
const AT_ONCE: u32 = 1000;
const EVERY: Duration = Duration::from_secs(1);
/// Commands that are remembered, to know them again.
const REMEMBERED: usize = 64;

/// Who carries them out.
pub(super) struct Clerk {
    pub(super) buffer: Buffer,
    pub(super) mailbox: Mailbox,
    pub(super) status: Status,
}

impl Clerk {
    /// Works until no more can come.
    pub(super) async fn run(self, mut asked: mpsc::Receiver<Acknowledgement>) {
        let mut allowance = Allowance::new(AT_ONCE, EVERY, Instant::now());
        let mut done: VecDeque<Acknowledgement> = VecDeque::new();
        while let Some(acknowledgement) = asked.recv().await {
            let alert = self.buffer.alert(acknowledgement.alert_id);
            if alert.is_some_and(|alert| is_repeated(&acknowledgement, &alert, &done)) {
                self.status.accepted("repeated");
            } else if allowance.take(Instant::now()) {
                if self.carry_out(&acknowledgement).await {
                    done.truncate(REMEMBERED - 1);
                    done.push_front(acknowledgement);
                }
            } else {
                let reason = format!("more than {AT_ONCE} commands at once, or one a second for long");
                self.status.refused("too_many", &reason);
            }
        }
    }

    /// Whether it is done, or was done before; either way it is on record.
    async fn carry_out(&self, acknowledgement: &Acknowledgement) -> bool {
        let (done, outcome) = match self.mailbox.send(acknowledgement.command()).await {
            Ok(_) => {
                self.status.accepted("done");
                (true, "done".to_owned())
            }
            // Somebody else was quicker: what was asked for is the case, and that this one asked too is on record.
            Err(Refusal::UnknownAlert(_)) if self.buffer.alert(acknowledgement.alert_id).is_some() => {
                self.status.accepted("closed");
                (true, "the alert is closed already".to_owned())
            }
            Err(refusal) => {
                let code = if matches!(refusal, Refusal::UnknownAlert(_)) { "unknown_alert" } else { "failed" };
                self.status.refused(code, &refusal.to_string());
                (false, refusal.to_string())
            }
        };
        self.note(acknowledgement, outcome).await;
        done
    }

    /// Stores the audit record. When that fails, the log has it.
    async fn note(&self, acknowledgement: &Acknowledgement, outcome: String) {
        let Acknowledgement { alert_id, author, .. } = acknowledgement;
        tracing::info!(actor = author, action = "acknowledge", object = %alert_id, outcome, "audit");
        let at = clock::now();
        let audit = Audit::new(author.clone(), "acknowledge", alert_id.to_string(), outcome);
        let record = NewRecord { id: clock::mint(at), at, body: Body::Audit(audit) };
        let buffer = self.buffer.clone();
        let stored = tokio::task::spawn_blocking(move || buffer.append(vec![record]).map(drop)).await;
        let fault = match stored {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        tracing::error!(fault, actor = author, object = %alert_id, "an audit record could not be stored");
    }
}

/// Whether the very same was said before and changes nothing now: brokers and control systems send things twice.
fn is_repeated(acknowledgement: &Acknowledgement, alert: &Alert, done: &VecDeque<Acknowledgement>) -> bool {
    // The first to acknowledge is known from the records, also after a restart; the others are remembered.
    let was_first =
        alert.acknowledged_by.as_deref() == Some(&acknowledgement.author) && alert.comment == acknowledgement.comment;
    !awaits(alert) && (was_first || done.contains(acknowledgement))
}

/// How often something may be done: many times at once, and then once in a while.
struct Allowance {
    left: u32,
    most: u32,
    every: Duration,
    counted: Instant,
}

impl Allowance {
    fn new(most: u32, every: Duration, now: Instant) -> Self {
        Self { left: most, most, every, counted: now }
    }

    fn take(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.counted).as_nanos() / self.every.as_nanos().max(1);
        let passed = u32::try_from(passed).unwrap_or(u32::MAX);
        if passed > 0 {
            self.left = self.left.saturating_add(passed).min(self.most);
            self.counted =
                self.every.checked_mul(passed).and_then(|time| self.counted.checked_add(time)).unwrap_or(now);
        }
        let granted = self.left > 0;
        self.left = self.left.saturating_sub(1);
        granted
    }
}

#[cfg(test)]
mod tests {
    use explaind_core::domain::alert::AlarmState::{
        self, Acknowledged, Normal, ReturnedUnacknowledged, Unacknowledged,
    };
    use explaind_core::domain::command::{Command, Done};
    use explaind_core::domain::record::Stream;
    use uuid::Uuid;

    use super::*;
    use crate::buffer::samples::{open, transition};
    use crate::mailbox::mailbox;
    use crate::telemetry::Metrics;

    #[test]
    fn many_at_once_and_then_one_in_a_while() {
        let begun = Instant::now();
        let after = |millis| begun + Duration::from_millis(millis);
        let mut allowance = Allowance::new(3, Duration::from_secs(1), begun);
        assert_eq!([0, 1, 2, 3].map(|ms| allowance.take(after(ms))), [true, true, true, false]);
        assert!(!allowance.take(after(999)) && allowance.take(after(1000)));
        assert!(!allowance.take(after(1999)) && allowance.take(after(2001)) && !allowance.take(after(2002)));
        assert_eq!([(); 4].map(|()| allowance.take(after(3_600_000))), [true, true, true, false]);
    }

    /// A clerk before a driver that acknowledges what is open, as the real one does.
    fn drive(buffer: &Buffer, asked: Vec<Acknowledgement>) -> Status {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let status = Status::new("b".to_owned(), true, Metrics::new());
        runtime.block_on(async {
            let (mailbox, mut letters) = mailbox();
            let driven = buffer.clone();
            tokio::spawn(async move {
                while let Some(letter) = letters.recv().await {
                    let Command::Acknowledge { alert_id, author, comment } = letter.command else { continue };
                    let answer = match driven.alert(alert_id).filter(|alert| alert.state.is_open()) {
                        Some(alert) => {
                            let to = alert.state.acknowledge();
                            let mut step = transition(9, Some(alert_id), (alert.state, to), None, Some(&author));
                            if let Body::Alert(step) = &mut step.body {
                                step.comment = comment;
                            }
                            driven.append(vec![step]).unwrap();
                            Ok(Done::Acknowledged { state: to })
                        }
                        None => Err(Refusal::UnknownAlert(alert_id)),
                    };
                    let _ = letter.answer.send(answer);
                }
            });
            let (commands, waiting) = mpsc::channel(MOST_WAITING);
            for acknowledgement in asked {
                commands.send(acknowledgement).await.unwrap();
            }
            drop(commands);
            Clerk { buffer: buffer.clone(), mailbox, status: status.clone() }.run(waiting).await;
        });
        status
    }

    fn raise(buffer: &Buffer, to: AlarmState) -> Uuid {
        let raised = transition(1, None, (Normal, to), None, None);
        let id = raised.id;
        buffer.append(vec![raised]).unwrap();
        id
    }

    fn seen(alert_id: Uuid, who: &str, comment: Option<&str>) -> Acknowledgement {
        Acknowledgement { alert_id, author: format!("mqtt:{who}"), comment: comment.map(str::to_owned) }
    }

    /// Actor, object, outcome of every audit record.
    fn audited(buffer: &Buffer) -> Vec<(String, String, String)> {
        let records = buffer.read(Stream::Audit, 0, 100).unwrap();
        let audits = records.into_iter().map(|record| match record.body {
            Body::Audit(audit) => (audit.actor, audit.object, audit.outcome),
            other => panic!("{other:?}"),
        });
        audits.collect()
    }

    #[test]
    fn what_is_asked_twice_is_done_once_and_what_another_asks_is_on_record() {
        let folder = tempfile::tempdir().unwrap();
        let buffer = open(folder.path());
        let id = raise(&buffer, Unacknowledged);
        let twice = seen(id, "ada", Some("on my way"));
        let status =
            drive(&buffer, vec![twice.clone(), twice.clone(), twice, seen(id, "bob", None), seen(id, "bob", None)]);
        let alert = buffer.alert(id).unwrap();
        assert_eq!((alert.state, alert.acknowledged_by.as_deref()), (Acknowledged, Some("mqtt:ada")));
        let of = |who: &str| (format!("mqtt:{who}"), id.to_string(), "done".to_owned());
        assert_eq!(audited(&buffer), [of("ada"), of("bob")]);
        let shown = status.json();
        assert_eq!((&shown["commands_done"], &shown["commands_refused"]), (&5.into(), &0.into()));
    }

    #[test]
    fn who_comes_after_the_end_is_on_record_and_a_stranger_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let buffer = open(folder.path());
        let id = raise(&buffer, ReturnedUnacknowledged);
        let stranger = Uuid::from_u128(7);
        let asked =
            vec![seen(id, "ada", None), seen(id, "ada", None), seen(id, "bob", None), seen(stranger, "eve", None)];
        let status = drive(&buffer, asked);
        assert_eq!(buffer.alert(id).unwrap().state, Normal);
        let outcomes: Vec<_> = audited(&buffer).into_iter().map(|(actor, _, outcome)| (actor, outcome)).collect();
        assert_eq!(outcomes.len(), 3, "{outcomes:?}");
        assert_eq!(outcomes[0], ("mqtt:ada".to_owned(), "done".to_owned()));
        assert!(outcomes[1].0 == "mqtt:bob" && outcomes[1].1.ends_with("closed already"), "{outcomes:?}");
        assert!(outcomes[2].0 == "mqtt:eve" && outcomes[2].1.starts_with("no alert has the id"), "{outcomes:?}");
        assert_eq!(status.json()["commands_refused"], 1);
    }
}
