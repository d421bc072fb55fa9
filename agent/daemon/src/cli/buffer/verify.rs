//! A check of everything, piece by piece, and what came of it.

use serde_json::json;

use super::home::Keeper;
use crate::buffer::{Finding, Part};
use crate::cli::failure::{DATA, Failure};
use crate::cli::print;

/// After so many findings the rest is not looked at: it is plain that something is wrong.
const MOST: usize = 1000;

/// Runs the check and says what is wrong.
pub(super) fn run(keeper: &Keeper, json: bool) -> Result<(), Failure> {
    let inspector = keeper.inspector()?;
    let (mut findings, mut checked, mut complete) = (Vec::<Finding>::new(), serde_json::Map::new(), true);
    'parts: for part in Part::all() {
        let (mut after, mut count) = (0, 0_u64);
        loop {
            let piece = inspector.piece(part, after)?;
            count = count.saturating_add(piece.checked);
            findings.extend(piece.findings);
            checked.insert(part.as_str().to_owned(), count.into());
            if findings.len() >= MOST {
                complete = false;
                break 'parts;
            }
            match piece.next {
                Some(next) if next > after => after = next,
                _ => break,
            }
        }
    }
    checked.remove(Part::Store.as_str());
    if json {
        let sound = findings.is_empty();
        print::json(&json!({"sound": sound, "complete": complete, "checked": checked, "findings": findings}))?;
    } else {
        findings.iter().try_for_each(|finding| print::line(&sentence(finding)))?;
        let counts: Vec<String> = checked.iter().map(|(part, count)| format!("{part} {count}")).collect();
        print::line(&format!("checked: {}", counts.join(", ")))?;
    }
    if findings.is_empty() {
        return Ok(());
    }
    let (count, rest) = (findings.len(), if complete { "" } else { ", and the rest was not looked at" });
    Err(Failure::new(
        DATA,
        format!(
            "{count} findings{rest}; a start of the daemon sets aside what cannot be read, and puts back what the journal has"
        ),
    ))
}

fn sentence(finding: &Finding) -> String {
    let numbers = match finding.numbers {
        Some((first, last)) if first == last => format!(" {first}"),
        Some((first, last)) => format!(" {first}-{last}"),
        None => String::new(),
    };
    format!("{}{numbers}: {}", finding.part, finding.problem)
}
