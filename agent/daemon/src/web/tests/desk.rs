//! A rollout for tests: one model that has another version behind it, and one that has none.

use std::sync::{Arc, Mutex, PoisonError};

use explaind_core::domain::command::{Command, Done, Refusal};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::rig::NASTY;
use crate::mailbox::Letter;

/// What runs, in the words of the status, and what was asked for.
#[derive(Clone)]
pub(super) struct Desk {
    running: Arc<Mutex<Value>>,
    pub(super) asked: Arc<Mutex<Vec<Command>>>,
}

impl Default for Desk {
    fn default() -> Self {
        let digest = |of: &str| of.repeat(64);
        let running = json!({
            "stopped": null,
            "models": [{
                "name": "press-failure", "version": "1.4.0", "registry_version": 7, "state": "trial",
                "output": { "kind": "classification", "labels": ["healthy", "failure", "heat"], "unit": "" },
                "digest": digest("a"), "background_digest": digest("b"), "signed": true,
                "since": "2026-11-27T10:00:00Z", "assets": ["press-7", "press-8"],
                "previous": { "version": "1.3.0", "registry_version": 6, "digest": digest("c") },
                "challenger": {
                    "version": "1.5.0", "registry_version": 8, "digest": digest("d"), "canary": ["press-8"],
                    "predictions": 3412, "agreement": 0.974,
                },
                "refused": [{
                    "version": "1.4.1", "registry_version": 9, "digest": digest("e"), "check": "golden",
                    "reason": format!("row 3 of golden.csv is not reproduced {NASTY}"), "at": "2026-11-27T09:00:00Z",
                }],
                "stopped": null,
                "following": { "alias": "champion", "checked_at": "2026-11-27T11:00:00Z", "error": "it answers 500" },
                "error": null,
            }, {
                "name": "bearing", "version": null, "registry_version": null, "state": "no_model", "digest": null,
                "background_digest": null, "signed": false, "since": null, "previous": null, "challenger": null,
                "refused": null, "stopped": null, "following": null, "error": "the bundle is gone",
            }],
        });
        Self { running: Arc::new(Mutex::new(running)), asked: Arc::default() }
    }
}

impl Desk {
    pub(super) fn now(&self) -> Value {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes what is shown of the first model.
    pub(super) fn set(&self, key: &str, value: Value) {
        self.running.lock().unwrap()["models"][0][key] = value;
    }

    /// Answers as the rollout does.
    pub(super) async fn answer(self, mut letters: mpsc::Receiver<Letter>) {
        while let Some(Letter { command, answer }) = letters.recv().await {
            self.asked.lock().unwrap().push(command.clone());
            let _ = answer.send(self.carry_out(command));
        }
    }

    fn carry_out(&self, command: Command) -> Result<Done, Refusal> {
        let mut running = self.running.lock().unwrap();
        match command {
            Command::Rollback { model, .. } if *model == *"press-failure" => {
                Ok(Done::RolledBack { version: "1.3.0".into() })
            }
            Command::Rollback { model, .. } => {
                place(&mut running, Some(Arc::clone(&model)))?;
                Err(Refusal::NothingToRollBackTo(model.to_string()))
            }
            Command::Stop { model, author, reason } => {
                *place(&mut running, model)? =
                    json!({ "by": author, "reason": reason, "at": "2026-11-27T12:00:00Z", "in_registry": false });
                Ok(Done::Stopped)
            }
            Command::Release { model, .. } => {
                let name = model.as_deref().unwrap_or("the gateway").to_owned();
                let stop = place(&mut running, model)?;
                if stop["in_registry"] == true {
                    return Err(Refusal::CannotRelease(name));
                }
                *stop = Value::Null;
                Ok(Done::Released)
            }
            Command::Acknowledge { .. } | Command::Alarm { .. } => panic!("this goes to the driver"),
        }
    }
}

/// Where it is written who stopped this.
fn place(running: &mut Value, model: Option<Arc<str>>) -> Result<&mut Value, Refusal> {
    let Some(name) = model else { return Ok(&mut running["stopped"]) };
    let mut models = running["models"].as_array_mut().unwrap().iter_mut();
    let model = models.find(|model| model["name"] == *name);
    Ok(&mut model.ok_or_else(|| Refusal::UnknownModel(name.to_string()))?["stopped"])
}
