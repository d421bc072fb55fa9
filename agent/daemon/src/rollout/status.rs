//! What runs where, and why: the models' part of the status.

use std::sync::{Arc, PoisonError};

use explaind_core::domain::condition::Condition;
use explaind_core::domain::time::Timestamp;
use explaind_core::model::manifest::OutputSpec;
use explaind_core::pipeline::gateway::Seen;
use serde_json::{Value, json};

use super::PERSON;
use super::state::{Installed, Refused, Seat};
use super::stops::Stop;
use super::{Followed, Rollout, Shown};
use crate::clock;

/// Refused bundles that are shown of each model.
const SHOWN: usize = 8;

impl Rollout {
    /// One object per model.
    pub(crate) fn models(&self) -> Vec<Value> {
        self.0.models.iter().map(|model| self.one(model)).collect()
    }

    /// Who stopped the whole gateway, or nothing.
    pub(crate) fn stopped(&self) -> Value {
        let stops = self.0.stops.lock().unwrap_or_else(PoisonError::into_inner);
        stops.of(None).map_or(Value::Null, stop)
    }

    /// Why it is not known whether the registry stops the whole gateway, or nothing.
    pub(crate) fn unheard(&self) -> Value {
        self.unheard_of(None)
    }

    fn unheard_of(&self, model: Option<&Arc<str>>) -> Value {
        let unheard = self.0.unheard.lock().unwrap_or_else(PoisonError::into_inner);
        unheard.get(&model.cloned()).map_or(Value::Null, |why| why.as_str().into())
    }

    /// What is wrong with models, for the gateway's own alerts.
    pub(crate) fn conditions(&self) -> Vec<(Condition, Seen)> {
        let shown = |model: &Followed| model.shown.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let all: Vec<_> = self.0.models.iter().map(|model| (model, shown(model))).collect();
        let refused = all.iter().find_map(|(model, shown)| {
            let newest = shown.state.refused.last()?;
            let pointed_at = |alias: &Option<String>| {
                let target = alias.as_ref().and_then(|alias| shown.state.handled.get(alias));
                target.is_some_and(|target| target.number == newest.registry_version)
            };
            let sits = [&shown.state.active, &shown.state.challenger].into_iter().flatten();
            let runs = sits.map(|installed| installed.registry_version).any(|number| number == newest.registry_version);
            let stands = !runs && (pointed_at(&model.config.alias) || pointed_at(&model.config.challenger));
            // The alert's reason goes home: who it was is on record, under a pseudonym there.
            let reason = if newest.check == PERSON { "somebody went back" } else { &*newest.reason };
            stands.then(|| format!("{} {}: {reason}", model.config.name, number(newest)))
        });
        let missing = all.iter().find(|(model, shown)| shown.champion.is_none() && !model.assets.is_empty());
        let holds = |reason: Option<String>| reason.map_or(Seen::Gone, Seen::Holds);
        let missing = missing.map(|(model, shown)| match &shown.trouble {
            Some(trouble) => format!("{}: {trouble}", model.config.name),
            None => model.config.name.to_string(),
        });
        vec![(Condition::ModelRefused, holds(refused)), (Condition::ModelMissing, holds(missing))]
    }

    fn one(&self, model: &Followed) -> Value {
        let shown = model.shown.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (stopped, all_stopped) = {
            let stops = self.0.stops.lock().unwrap_or_else(PoisonError::into_inner);
            (stops.of(Some(&model.config.name)).map_or(Value::Null, stop), stops.of(None).is_some())
        };
        let active = shown.state.active.as_ref();
        let state = match (&shown.champion, active.and_then(|active| active.trial)) {
            _ if all_stopped || !stopped.is_null() => "stopped",
            (None, _) => "no_model",
            (Some(_), Some(_)) => "trial",
            (Some(_), None) => "active",
        };
        let refused: Vec<Value> = shown.state.refused.iter().rev().take(SHOWN).map(refusal).collect();
        json!({
            "name": &*model.config.name,
            "version": shown.champion.as_ref().map(|runs| &*runs.version),
            "registry_version": active.map(|active| active.registry_version),
            "state": state,
            "output": shown.output.as_ref().map_or(Value::Null, output),
            "digest": shown.champion.as_ref().map(|runs| runs.model.model.to_string()),
            "background_digest": shown.champion.as_ref().map(|runs| runs.model.background.to_string()),
            "bundle_digest": active.map(|active| &active.digest),
            "signed": active.is_some_and(|active| active.signed),
            "since": active.map(|active| utc(active.since)),
            "assets": model.assets.iter().map(|asset| &**asset).collect::<Vec<_>>(),
            "previous": shown.state.previous.as_ref().map_or(Value::Null, bundle),
            "challenger": challenger(&shown, model),
            "refused": if refused.is_empty() { Value::Null } else { refused.into() },
            "stopped": stopped,
            "stop_error": self.unheard_of(Some(&model.config.name)),
            "following": following(&shown, model),
            "error": shown.trouble,
        })
    }
}

fn following(shown: &Shown, model: &Followed) -> Value {
    let Some(alias) = &model.config.alias else { return Value::Null };
    json!({
        "registered_as": model.config.registered(),
        "alias": alias,
        "challenger": model.config.challenger,
        "checked_at": shown.checked_at.map(utc),
        "error": shown.errors.get(&Seat::Champion),
        "challenger_error": shown.errors.get(&Seat::Challenger),
    })
}

/// What a model answers.
fn output(output: &OutputSpec) -> Value {
    json!({ "kind": output.kind.as_str(), "labels": output.labels, "unit": output.unit })
}

fn challenger(shown: &Shown, model: &Followed) -> Value {
    let Some(installed) = &shown.state.challenger else { return Value::Null };
    let mut value = bundle(installed);
    value["canary"] = model.config.canary.iter().map(|asset| &**asset).collect();
    value["predictions"] = shown.compared.into();
    value["agreement"] = shown.agreement.into();
    value
}

fn bundle(installed: &Installed) -> Value {
    json!({
        "version": installed.version,
        "registry_version": installed.registry_version,
        "digest": installed.model_digest,
        "bundle_digest": installed.digest,
        "signed": installed.signed,
        "since": utc(installed.since),
    })
}

fn refusal(refused: &Refused) -> Value {
    json!({
        "version": refused.version,
        "registry_version": refused.registry_version,
        "digest": refused.digest,
        "check": refused.check,
        "reason": refused.reason,
        "at": utc(refused.at),
    })
}

fn number(refused: &Refused) -> String {
    refused.version.clone().unwrap_or_else(|| format!("(version {} in the registry)", refused.registry_version))
}

fn stop(stop: &Stop) -> Value {
    json!({"by": stop.by, "reason": stop.reason, "at": utc(stop.at), "in_registry": stop.in_registry})
}

/// RFC 3339 in UTC.
fn utc(micros: i64) -> String {
    clock::rfc3339(Timestamp::from_micros(micros))
}
