//! The columns of each stream: names and order are a contract with central, and are only ever added to.

use std::sync::Arc;

use arrow_array::builder::{
    ArrayBuilder, Float64Builder, Int32Builder, ListBuilder, MapBuilder, MapFieldNames, StringBuilder, StructBuilder,
};
use arrow_array::{
    ArrayRef, BooleanArray, Float64Array, Int32Array, Int64Array, StringArray, TimestampMicrosecondArray,
};
use arrow_schema::{DataType, Field, Fields, Schema};
use explaind_core::domain::alert::AlertTransition;
use explaind_core::domain::explanation::{Attribution, Explanation, IntervalShare, Settlement};
use explaind_core::domain::extra::Extra;
use explaind_core::domain::feedback::Feedback;
use explaind_core::domain::prediction::{Digest, Outcome, Output, Prediction};
use explaind_core::domain::record::{Body, Health, Record, SCHEMA_VERSION, Stream};
use explaind_core::domain::time::Timestamp;
use uuid::Uuid;

use super::names::{Names, audit};

/// Columns in the making.
pub(super) struct Columns<'a> {
    records: &'a [Record],
    names: &'a Names,
    fields: Vec<Field>,
    arrays: Vec<ArrayRef>,
}

impl<'a> Columns<'a> {
    /// All columns of a stream's records, with people called as `names` has it.
    pub(super) fn of(stream: Stream, records: &'a [Record], names: &'a Names) -> Self {
        let mut columns = Self { records, names, fields: Vec::new(), arrays: Vec::new() };
        columns.common();
        match stream {
            Stream::Predictions => columns.predictions(),
            Stream::Alerts => columns.alerts(),
            Stream::Feedback => columns.feedback(),
            Stream::Audit => columns.audit(),
            Stream::Health => columns.health(),
            Stream::Explanations => columns.extras(),
        }
        columns
    }

    /// The schema and the columns' content.
    pub(super) fn finish(self) -> (Schema, Vec<ArrayRef>) {
        (Schema::new(self.fields), self.arrays)
    }

    fn common(&mut self) {
        self.text("record_id", |r| Some(r.id.to_string()));
        self.integer("sequence", |r| i64::try_from(r.sequence).ok());
        let versions = Int32Array::from_value(i32::from(SCHEMA_VERSION), self.records.len());
        self.add("schema_version", Arc::new(versions));
        self.text("gateway", |r| Some(&*r.session.gateway));
        self.text("store_id", |r| Some(r.session.store_id.to_string()));
        self.time("recorded_at", |r| Some(r.at.utc));
        self.text("boot_id", |r| Some(r.session.boot_id.to_string()));
        self.integer("monotonic_ns", |r| i64::try_from(r.at.monotonic.as_nanos()).ok());
        self.flag("clock_synchronised", |r| Some(r.clock_synchronised));
        self.text("agent_version", |r| Some(&*r.session.agent_version));
        self.text("config_digest", |r| Some(&*r.session.config_digest));
    }

    fn predictions(&mut self) {
        self.text("asset", |r| Some(&*prediction(r)?.asset));
        self.text("model", |r| Some(&*prediction(r)?.model));
        self.text("model_version", |r| Some(&*prediction(r)?.model_version));
        self.text("model_digest", |r| Some(prediction(r)?.model_digest.to_string()));
        self.text("background_digest", |r| Some(prediction(r)?.background_digest.to_string()));
        self.text("role", |r| Some(prediction(r)?.role.as_str()));
        self.text("outcome", |r| match prediction(r)?.outcome {
            Outcome::Predicted(_) => Some("predicted"),
            Outcome::Withheld(_) => Some("withheld"),
        });
        let names = self.names;
        self.text("withheld_reason", |r| match &prediction(r)?.outcome {
            Outcome::Predicted(_) => None,
            Outcome::Withheld(reason) => Some(names.withheld(reason)),
        });
        self.time("source_time", |r| prediction(r)?.source_time);
        self.numbers("inputs", |r| {
            Some(prediction(r)?.inputs.iter().map(|input| (&*input.feature, input.value)).collect())
        });
        self.text("input_quality", |r| Some(prediction(r)?.input_quality.as_str()));
        self.number("output", |r| Some(r.output_and_space()?.0));
        self.text("label", |r| output(r)?.label.as_deref());
        self.number("probability", |r| output(r)?.probability);
        self.text("space", |r| Some(r.output_and_space()?.1.as_str()));
        self.explanation();
        // What certainty and novelty are called once they are computed.
        self.number("interval_low", |_| None);
        self.number("interval_high", |_| None);
        self.number("novelty", |_| None);
        self.text("alert_id", |r| id(prediction(r)?.alert));
        // Since schema version 2.
        self.intervals();
        self.numbers("errors", |r| explanation(r).map(errors).filter(|errors| !errors.is_empty()));
        // Since schema version 3.
        self.numbers("faithfulness", |r| {
            let found = explanation(r)?.faithfulness?;
            Some(vec![("deletion", Some(found.deletion)), ("random", Some(found.random))])
        });
    }

    fn explanation(&mut self) {
        self.number("base_value", |r| Some(explanation(r)?.base_value));
        self.numbers("attributions", |r| per_feature(r, |attribution| attribution.value));
        self.numbers("standard_errors", |r| per_feature(r, |attribution| attribution.standard_error));
        self.text("explanation_id", |r| match r.settlement.as_ref()? {
            Settlement::Explained { id, .. } => Some(id.to_string()),
            Settlement::Skipped { .. } | Settlement::Failed { .. } => None,
        });
        self.text("explanation_status", |r| Some(r.settlement.as_ref()?.status()));
        self.text("explanation_reason", |r| r.settlement.as_ref()?.reason());
        self.text("method", |r| Some(explanation(r)?.method.as_str()));
        self.integer("evaluations", |r| i64::try_from(explanation(r)?.evaluations).ok());
        self.number("additivity_gap", |r| Some(explanation(r)?.additivity_gap));
    }

    fn alerts(&mut self) {
        self.text("alert_id", |r| id(alert(r)?.alert_id));
        self.text("suppression", |r| Some(alert(r)?.cover.shown().as_str()));
        self.text("prediction_id", |r| id(alert(r)?.prediction_id));
        self.text("asset", |r| Some(&*alert(r)?.asset));
        self.text("from_state", |r| Some(alert(r)?.from.as_str()));
        self.text("to_state", |r| Some(alert(r)?.to.as_str()));
        self.text("priority", |r| Some(alert(r)?.priority.as_str()));
        let names = self.names;
        self.text("author", |r| Some(names.author(alert(r)?.author.as_deref()?)));
        self.text("comment", |r| alert(r)?.comment.as_deref());
        self.text("reason", |r| Some(alert(r)?.reason.as_str()));
        self.text("model", |r| Some(&*alert(r)?.model));
        // Since schema version 4.
        self.time("shelved_until", |r| alert(r)?.cover.shelved_until);
        self.text("consequence", |r| alert(r)?.guidance.consequence.as_deref());
        self.text("response", |r| alert(r)?.guidance.response.as_deref());
    }

    fn feedback(&mut self) {
        self.text("feedback_id", |r| Some(r.id.to_string()));
        self.text("revises", |r| id(feedback(r)?.revises));
        self.text("prediction_id", |r| id(feedback(r)?.prediction_id));
        self.text("explanation_id", |r| id(feedback(r)?.explanation_id));
        self.text("alert_id", |r| id(feedback(r)?.alert_id));
        self.time("event_from", |r| feedback(r)?.event_from);
        self.time("event_to", |r| feedback(r)?.event_to);
        self.text("asset", |r| Some(feedback(r)?.asset.as_str()));
        let names = self.names;
        self.text("author", |r| Some(names.author(&feedback(r)?.author)));
        self.text("role", |r| Some(feedback(r)?.role.as_str()));
        self.text("verdict", |r| Some(feedback(r)?.verdict?.as_str()));
        self.text("corrected", |r| feedback(r)?.corrected.as_deref());
        self.text("explanation_verdict", |r| Some(feedback(r)?.explanation_verdict?.as_str()));
        self.words("relevant", |r| Some(&feedback(r)?.relevant));
        self.words("irrelevant", |r| Some(&feedback(r)?.irrelevant));
        self.text("cause", |r| feedback(r)?.cause.as_deref());
        self.text("comment", |r| feedback(r)?.comment.as_deref());
        self.flag("explanation_seen", |r| Some(feedback(r)?.explanation_seen));
        self.text("model_digest", |r| feedback(r)?.model_digest.as_ref().map(Digest::to_string));
        self.text("background_digest", |r| feedback(r)?.background_digest.as_ref().map(Digest::to_string));
    }

    fn audit(&mut self) {
        let names = self.names;
        self.text("actor", |r| Some(names.audit(audit(r)?).0));
        self.text("action", |r| Some(audit(r)?.action.as_str()));
        self.text("object", |r| Some(names.audit(audit(r)?).1));
        self.text("outcome", |r| Some(audit(r)?.outcome.as_str()));
        self.text("previous_hash", |r| Some(Digest(audit(r)?.previous_hash).to_string()));
        self.text("hash", |r| Some(Digest(audit(r)?.hash).to_string()));
        // Since schema version 5.
        self.text("hashed_actor", |r| Some(names.hashed(audit(r)?)?.0));
        self.text("hashed_object", |r| Some(names.hashed(audit(r)?)?.1));
    }

    fn health(&mut self) {
        self.text("subject", |r| Some(health(r)?.subject.as_str()));
        self.text("state", |r| Some(health(r)?.state.as_str()));
        let mut builder = MapBuilder::new(Some(map_names()), StringBuilder::new(), StringBuilder::new());
        for record in self.records {
            let health = health(record);
            for (health, (name, value)) in
                health.iter().flat_map(|health| health.evidence.iter().map(move |one| (health, one)))
            {
                builder.keys().append_value(name);
                builder.values().append_value(self.names.evidence(health, name, value));
            }
            close(&mut builder, health.is_some());
        }
        self.add("evidence", Arc::new(builder.finish()));
    }

    fn extras(&mut self) {
        self.text("explanation_id", |r| Some(r.id.to_string()));
        self.text("prediction_id", |r| Some(extra(r)?.prediction_id.to_string()));
        self.text("kind", |r| Some(extra(r)?.kind.as_str()));
        self.text("content", |r| Some(extra(r)?.content.as_str()));
    }

    fn text<T: AsRef<str>>(&mut self, name: &str, of: impl Fn(&'a Record) -> Option<T>) {
        self.add(name, Arc::new(self.records.iter().map(of).collect::<StringArray>()));
    }

    fn number(&mut self, name: &str, of: impl Fn(&'a Record) -> Option<f64>) {
        self.add(name, Arc::new(self.records.iter().map(of).collect::<Float64Array>()));
    }

    /// Signed, since Spark has no unsigned integers.
    fn integer(&mut self, name: &str, of: impl Fn(&'a Record) -> Option<i64>) {
        self.add(name, Arc::new(self.records.iter().map(of).collect::<Int64Array>()));
    }

    fn flag(&mut self, name: &str, of: impl Fn(&'a Record) -> Option<bool>) {
        self.add(name, Arc::new(self.records.iter().map(of).collect::<BooleanArray>()));
    }

    fn time(&mut self, name: &str, of: impl Fn(&'a Record) -> Option<Timestamp>) {
        let times = self.records.iter().map(|record| of(record).map(Timestamp::as_micros));
        self.add(name, Arc::new(times.collect::<TimestampMicrosecondArray>().with_timezone("UTC")));
    }

    /// A map from feature (or another name) to number.
    fn numbers(&mut self, name: &str, of: impl Fn(&'a Record) -> Option<Vec<(&'a str, Option<f64>)>>) {
        let mut builder = MapBuilder::new(Some(map_names()), StringBuilder::new(), Float64Builder::new());
        for record in self.records {
            let numbers = of(record);
            let present = numbers.is_some();
            for (feature, value) in numbers.unwrap_or_default() {
                builder.keys().append_value(feature);
                builder.values().append_option(value);
            }
            close(&mut builder, present);
        }
        self.add(name, Arc::new(builder.finish()));
    }

    /// A map from feature to the stretches of a window's time: `from` and `to` (the step after the last) count steps from
    /// the oldest, `value` is the stretch's share.
    fn intervals(&mut self) {
        let field = |name: &str, kind| Field::new(name, kind, false);
        let fields = Fields::from(vec![
            field("from", DataType::Int32),
            field("to", DataType::Int32),
            field("value", DataType::Float64),
            field("standard_error", DataType::Float64),
        ]);
        let stretches = ListBuilder::new(StructBuilder::from_fields(fields.clone(), 0)).with_field(Field::new(
            "element",
            DataType::Struct(fields),
            true,
        ));
        let mut builder = MapBuilder::new(Some(map_names()), StringBuilder::new(), stretches);
        for record in self.records {
            let attributions = explanation(record).map(|explanation| explanation.attributions.as_slice());
            let spread =
                attributions.unwrap_or_default().iter().filter(|attribution| !attribution.intervals.is_empty());
            let mut present = false;
            for attribution in spread {
                present = true;
                builder.keys().append_value(&attribution.feature);
                let stretches = builder.values();
                attribution.intervals.iter().for_each(|interval| append_interval(stretches.values(), interval));
                stretches.append(true);
            }
            close(&mut builder, present);
        }
        self.add("intervals", Arc::new(builder.finish()));
    }

    fn words(&mut self, name: &str, of: impl Fn(&'a Record) -> Option<&'a Vec<String>>) {
        let element = Field::new("element", DataType::Utf8, true);
        let mut builder = ListBuilder::new(StringBuilder::new()).with_field(element);
        for record in self.records {
            builder.append_option(of(record).map(|words| words.iter().map(Some)));
        }
        self.add(name, Arc::new(builder.finish()));
    }

    /// Every column may be null, so that a later version may leave one empty.
    fn add(&mut self, name: &str, array: ArrayRef) {
        self.fields.push(Field::new(name, array.data_type().clone(), true));
        self.arrays.push(array);
    }
}

/// Every field gets a value, so none is missing when the struct ends.
fn append_interval(builder: &mut StructBuilder, interval: &IntervalShare) {
    let step = |step: u32| i32::try_from(step).unwrap_or(i32::MAX);
    for (place, step) in [step(interval.from), step(interval.to)].into_iter().enumerate() {
        if let Some(steps) = builder.field_builder::<Int32Builder>(place) {
            steps.append_value(step);
        }
    }
    for (place, figure) in [(2, interval.value), (3, interval.standard_error)] {
        if let Some(figures) = builder.field_builder::<Float64Builder>(place) {
            figures.append_value(figure);
        }
    }
    builder.append(true);
}

/// Ends one row's map. It only fails for maps with more keys than values, and then the column is too short and refused.
fn close<V: ArrayBuilder>(builder: &mut MapBuilder<StringBuilder, V>, present: bool) {
    let _ = builder.append(present);
}

/// The names in the Parquet specification.
fn map_names() -> MapFieldNames {
    MapFieldNames { entry: "key_value".to_owned(), key: "key".to_owned(), value: "value".to_owned() }
}

fn id(id: Option<Uuid>) -> Option<String> {
    id.map(|id| id.to_string())
}

fn prediction(record: &Record) -> Option<&Prediction> {
    match &record.body {
        Body::Prediction(prediction) => Some(prediction),
        _ => None,
    }
}

fn output(record: &Record) -> Option<&Output> {
    match &prediction(record)?.outcome {
        Outcome::Predicted(output) => Some(output),
        Outcome::Withheld(_) => None,
    }
}

fn explanation(record: &Record) -> Option<&Explanation> {
    record.settlement.as_ref()?.explanation()
}

/// Each feature's part of a reconstruction's score; nothing of other models.
fn errors(explanation: &Explanation) -> Vec<(&str, Option<f64>)> {
    let parts = explanation.attributions.iter().filter(|attribution| attribution.error.is_some());
    parts.map(|attribution| (&*attribution.feature, attribution.error)).collect()
}

fn per_feature(record: &Record, of: impl Fn(&Attribution) -> f64) -> Option<Vec<(&str, Option<f64>)>> {
    let attributions = &explanation(record)?.attributions;
    Some(attributions.iter().map(|attribution| (&*attribution.feature, Some(of(attribution)))).collect())
}

fn alert(record: &Record) -> Option<&AlertTransition> {
    match &record.body {
        Body::Alert(transition) => Some(transition),
        _ => None,
    }
}

fn feedback(record: &Record) -> Option<&Feedback> {
    match &record.body {
        Body::Feedback(feedback) => Some(feedback),
        _ => None,
    }
}

fn extra(record: &Record) -> Option<&Extra> {
    match &record.body {
        Body::Extra(extra) => Some(extra),
        _ => None,
    }
}

fn health(record: &Record) -> Option<&Health> {
    match &record.body {
        Body::Health(health) => Some(health),
        _ => None,
    }
}
