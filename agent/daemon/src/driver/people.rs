//! What people ask of alarms: on disk first, then it holds, then it is answered.

use explaind_core::domain::alert::AlertTransition;
use explaind_core::domain::command::{Act, Command, Done, Refusal};
use explaind_core::domain::record::{Body, NewRecord};
use explaind_core::domain::time::Now;
use explaind_core::pipeline::Follows;
use uuid::Uuid;

use super::{Driver, Explanations, is_prediction};
use crate::buffer::BufferError;
use crate::clock;
use crate::mailbox::Letter;

impl<E: Explanations> Driver<E> {
    pub(super) fn answer(&mut self, letter: Letter) {
        let now = clock::now();
        let result = match letter.command {
            Command::Acknowledge { alert_id, author, comment } => self.acknowledge(alert_id, author, comment, now),
            Command::Alarm { alert_id, author, act } => self.alarm(alert_id, author, act, now),
            // They are the rollout's.
            Command::Rollback { .. } | Command::Stop { .. } | Command::Release { .. } => Err(Refusal::Busy),
        };
        // Nobody waiting any more is no fault: the answer is on record.
        let _ = letter.answer.send(result);
    }

    fn acknowledge(
        &mut self,
        alert_id: Uuid,
        author: String,
        comment: Option<String>,
        now: Now,
    ) -> Result<Done, Refusal> {
        let transition = match self.pipeline.acknowledgement(alert_id, author.clone(), comment.clone()) {
            Some(transition) => transition,
            // Somebody else was quicker, and it is closed by now: that this person saw it, too, is on record all the same.
            None => {
                let known = self.buffer.alert(alert_id).ok_or(Refusal::UnknownAlert(alert_id))?;
                // What lies over the alarm is what the pipeline knows: the buffer may be a little behind.
                let cover = self.pipeline.cover(&known.asset, &known.model);
                AlertTransition { cover, ..known.seen_after_all(author, comment) }
            }
        };
        let state = transition.to;
        self.carry_out(transition, now)?;
        Ok(Done::Acknowledged { state })
    }

    fn alarm(&mut self, alert_id: Uuid, author: String, act: Act, now: Now) -> Result<Done, Refusal> {
        let known = self.buffer.alert(alert_id).ok_or(Refusal::UnknownAlert(alert_id))?;
        let transition = self.pipeline.asked((alert_id, &known.asset, &known.model), act, author, now)?;
        self.carry_out(transition, now)?;
        Ok(Done::Alarm)
    }

    /// Puts on disk what a person changes, and then lets it hold.
    fn carry_out(&mut self, transition: AlertTransition, now: Now) -> Result<(), Refusal> {
        if !self.gathered.all.records.iter().all(is_prediction) {
            // Each record says all that lies over its alarm, so the order counts.
            self.store_all();
        }
        let record = NewRecord { id: clock::mint(now), at: now, body: Body::Alert(transition.clone()) };
        // What waits for another try came first, and stays first. Only where there is no room for it, and it is of other
        // alarms, a person does not wait with it, nor share the reserve that is for people.
        let of_others = self.retry.records.iter().all(|waits| !is_of_alarm(&waits.body, &transition));
        let alone = of_others && self.buffer.fullness().is_some();
        let mut all = if alone { Follows::default() } else { std::mem::take(&mut self.retry) };
        all.records.push(record);
        let stored = self.append(&mut all);
        match stored {
            Ok(()) => {
                self.pipeline.apply(&transition, now);
                self.stored(all);
                Ok(())
            }
            // It is as good as said: only a crash before the disk takes it undoes that, as the answer says.
            Err(error @ BufferError::Waiting(_)) => {
                self.pipeline.apply(&transition, now);
                if alone {
                    self.retry.records.extend(all.records);
                } else {
                    self.retry = all;
                }
                Err(Refusal::NotStored(error.to_string()))
            }
            Err(error) => {
                all.records.pop();
                if !alone {
                    self.retry = all;
                }
                Err(Refusal::NotStored(error.to_string()))
            }
        }
    }
}

/// Whether it is of the same alarm.
fn is_of_alarm(body: &Body, of: &AlertTransition) -> bool {
    matches!(body, Body::Alert(change) if change.asset == of.asset && change.model == of.model)
}
