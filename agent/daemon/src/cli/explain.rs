//! `explaind explain`

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use clap::ValueEnum;
use explaind_core::domain::explanation::{Explanation, IntervalShare};
use explaind_core::domain::prediction::{Output, Space};
use explaind_core::explain::Explainer;
use explaind_core::model::{Model, Table};
use serde_json::{Map, Value, json};

use super::bundle;
use super::failure::{DATA, Failure};
use crate::pace;

/// What to explain, with what.
#[derive(clap::Args)]
pub(super) struct Args {
    /// The bundle's folder
    #[arg(long, value_name = "DIR")]
    bundle: PathBuf,
    /// Rows to explain: a CSV with one column per feature; for windows per step and feature, feature@0 the oldest
    #[arg(long, value_name = "FILE")]
    input: PathBuf,
    /// Explain the probability, the margin (the raw score) or the tensor's own value, instead of what the manifest says
    #[arg(long, value_enum)]
    space: Option<Asked>,
    /// How to print
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

/// A space to explain in.
#[derive(Clone, Copy, ValueEnum)]
enum Asked {
    Probability,
    Margin,
    Value,
}

impl Asked {
    fn space(self) -> Space {
        match self {
            Self::Probability => Space::Probability,
            Self::Margin => Space::Margin,
            Self::Value => Space::Value,
        }
    }
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    /// For people
    Table,
    /// One JSON object per row
    Ndjson,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let model = Arc::new(bundle::load(&args.bundle)?);
    model
        .check_probabilities()
        .map_err(|error| Failure::new(DATA, format!("bundle {}: {error}", args.bundle.display())))?;
    let table = rows(args, &model)?;
    let space = args.space.map_or(model.space(), Asked::space);
    let explainer = Explainer::in_space(Arc::clone(&model), space, pace::assumed(&model).explanation)
        .map_err(|error| Failure::new(DATA, format!("bundle {}: {error}", args.bundle.display())))?;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for (index, row) in table.iter().enumerate() {
        let refuse = |error: &dyn std::fmt::Display| {
            Failure::new(DATA, format!("{}, row {index}: {error}", args.input.display()))
        };
        let answer = model.predict(row).map_err(|error| refuse(&error))?;
        let explanation = explainer.explain(row, Some(answer.explained)).map_err(|error| refuse(&error))?;
        match args.format {
            Format::Ndjson => writeln!(out, "{}", line(index, &answer.output, &explanation)),
            Format::Table => print(&mut out, index, &answer.output, &explanation),
        }?;
    }
    Ok(out.flush()?)
}

fn rows(args: &Args, model: &Model) -> Result<Table, Failure> {
    let bytes = bundle::read(&args.input)?;
    let name = args.input.display().to_string();
    Table::read(&name, &bytes, model.manifest()).map_err(|error| Failure::new(DATA, error.to_string()))
}

/// The line of interface: shapes and names are scripted against.
fn line(row: usize, output: &Output, explanation: &Explanation) -> Value {
    let attributions: Map<String, Value> =
        explanation.attributions.iter().map(|share| (share.feature.to_string(), json!(share.value))).collect();
    let error = explanation.attributions.iter().map(|share| share.standard_error).fold(0.0, f64::max);
    let mut prediction = Map::new();
    prediction.insert("value".to_owned(), json!(output.value));
    if let Some(label) = &output.label {
        prediction.insert("label".to_owned(), json!(label));
    }
    if let Some(probability) = output.probability {
        prediction.insert("probability".to_owned(), json!(probability));
    }
    let mut line = json!({
        "row": row,
        "prediction": prediction,
        "output": explanation.output,
        "space": explanation.space.as_str(),
        "base_value": explanation.base_value,
        "attributions": attributions,
        "method": explanation.method.as_str(),
        "standard_error": error,
        "additivity_gap": explanation.additivity_gap,
    });
    let intervals: Map<String, Value> = explanation
        .attributions
        .iter()
        .filter(|share| !share.intervals.is_empty())
        .map(|share| (share.feature.to_string(), share.intervals.iter().map(interval).collect()))
        .collect();
    let errors: Map<String, Value> = explanation
        .attributions
        .iter()
        .filter_map(|share| Some((share.feature.to_string(), json!(share.error?))))
        .collect();
    for (key, map) in [("intervals", intervals), ("errors", errors)] {
        if !map.is_empty() {
            line[key] = Value::Object(map);
        }
    }
    if let Some(found) = explanation.faithfulness {
        line["faithfulness"] = json!(found);
    }
    line
}

fn interval(share: &IntervalShare) -> Value {
    json!({ "from": share.from, "to": share.to, "value": share.value, "standard_error": share.standard_error })
}

fn print(out: &mut impl Write, row: usize, output: &Output, explanation: &Explanation) -> std::io::Result<()> {
    let label = output.label.as_deref().map(|label| format!(" {label},")).unwrap_or_default();
    writeln!(out, "row {row}:{label} {:.4}", output.value)?;
    let space = explanation.space.as_str();
    let (reached, base) = (explanation.output, explanation.base_value);
    writeln!(out, "  {space} {reached:.4} = {base:.4} on average, and for this row ({})", explanation.method.as_str())?;
    let mut shares: Vec<_> = explanation.attributions.iter().collect();
    shares.sort_by(|a, b| b.value.abs().total_cmp(&a.value.abs()));
    for share in shares {
        let input = share.category.as_deref().map_or_else(|| (share.input as f32).to_string(), str::to_owned);
        let error = if share.standard_error > 0.0 { format!(" ±{:.4}", share.standard_error) } else { String::new() };
        writeln!(out, "    {:+10.4}{error}  {} = {input}", share.value, share.feature)?;
        for interval in &share.intervals {
            let (from, to) = (interval.from, interval.to.saturating_sub(1));
            writeln!(out, "      {:+10.4}  of it from steps {from} to {to}", interval.value)?;
        }
    }
    Ok(())
}
