//! A check of everything, piece by piece, and of the audit against what was sent of it; and what came of it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use uuid::Uuid;

use super::home::Keeper;
use crate::buffer::{Finding, Part};
use crate::cli::failure::{DATA, Failure};
use crate::cli::print;
use crate::registry::Registry;
use crate::sync::{Anchored, SentChain, unhex};

/// After so many findings the rest is not looked at: it is plain that something is wrong.
const MOST: usize = 1000;

/// All that was looked at.
#[derive(Default)]
struct Checked {
    findings: Vec<Finding>,
    /// How much of each part was looked at.
    counts: serde_json::Map<String, Value>,
    incomplete: bool,
    /// Number and hash of each audit record.
    links: BTreeMap<u64, [u8; 32]>,
    /// Keys of pseudonyms that are not here.
    other_keys: BTreeSet<String>,
}

/// Runs the check and says what is wrong. `registry`: where to look what was sent of the audit.
pub(super) fn run(keeper: &Keeper, registry: Option<&Registry>, json: bool) -> Result<(), Failure> {
    // Before the store: what is sent meanwhile is in the store when that is looked at.
    let sent =
        registry.map(|registry| keeper.gateway().map(|gateway| SentChain::read(registry, &gateway))).transpose()?;
    let mut checked = check(keeper)?;
    let anchor = Anchor::of(keeper, registry, sent, &checked.links)?;
    checked.findings.extend(anchor.findings());
    let Checked { findings, counts, incomplete, other_keys, .. } = checked;
    if json {
        let (sound, complete) = (findings.is_empty(), !incomplete);
        print::json(&json!({
            "sound": sound, "complete": complete, "checked": counts, "findings": findings, "anchor": anchor.json(),
            "other_keys": other_keys,
        }))?;
    } else {
        findings.iter().try_for_each(|finding| print::line(&sentence(finding)))?;
        let counts: Vec<String> = counts.iter().map(|(part, count)| format!("{part} {count}")).collect();
        let mut line = format!("checked: {}; {}", counts.join(", "), anchor.sentence());
        if !other_keys.is_empty() {
            let keys = other_keys.into_iter().collect::<Vec<_>>().join(", ");
            line.push_str(&format!(
                "; some of the audit has pseudonyms by another key ({keys}): it cannot be seen whether its names are theirs"
            ));
        }
        print::line(&line)?;
    }
    if findings.is_empty() {
        return Ok(());
    }
    let (count, rest) = (findings.len(), if incomplete { ", and the rest was not looked at" } else { "" });
    Err(Failure::new(
        DATA,
        format!(
            "{count} findings{rest}; a start of the daemon sets aside what cannot be read, and puts back what the journal has"
        ),
    ))
}

fn check(keeper: &Keeper) -> Result<Checked, Failure> {
    let inspector = keeper.inspector()?;
    let mut checked = Checked::default();
    for part in Part::all() {
        let (mut after, mut count) = (0, 0_u64);
        loop {
            let piece = inspector.piece(part, after)?;
            count = count.saturating_add(piece.checked);
            checked.findings.extend(piece.findings);
            checked.links.extend(piece.links.iter().filter_map(|(number, hash)| Some((*number, unhex(hash)?))));
            checked.other_keys.extend(piece.other_keys);
            checked.counts.insert(part.as_str().to_owned(), count.into());
            if checked.findings.len() >= MOST {
                checked.incomplete = true;
                return Ok(checked);
            }
            match piece.next {
                Some(next) if next > after => after = next,
                _ => break,
            }
        }
    }
    checked.counts.remove(Part::Store.as_str());
    Ok(checked)
}

/// What the registry says of the audit.
enum Anchor {
    /// No registry is known here.
    NoRegistry,
    /// It does not answer, which says nothing of the chain.
    Unreached(String),
    /// It has nothing of this gateway's audit yet.
    NothingSent(String),
    /// Compared with what is there.
    Compared(String, Anchored),
}

impl Anchor {
    fn of(
        keeper: &Keeper,
        registry: Option<&Registry>,
        sent: Option<Result<SentChain, crate::sync::SyncError>>,
        links: &BTreeMap<u64, [u8; 32]>,
    ) -> Result<Self, Failure> {
        let (Some(registry), Some(sent)) = (registry, sent) else { return Ok(Self::NoRegistry) };
        let place = registry.describe();
        match sent {
            Err(error) => Ok(Self::Unreached(error.to_string())),
            Ok(sent) if sent.is_empty() => Ok(Self::NothingSent(place)),
            Ok(sent) => {
                let stat = keeper.stat()?;
                let store = stat["store_id"].as_str().and_then(|text| text.parse::<Uuid>().ok());
                let streams = stat["streams"].as_array().map(Vec::as_slice).unwrap_or_default();
                let audit = streams.iter().find(|stream| stream["stream"] == "audit");
                let last = audit.and_then(|audit| audit["last"].as_u64());
                let last = last.into_iter().chain(links.keys().last().copied()).max().unwrap_or(0);
                Ok(Self::Compared(place, sent.compare(store, last, links)))
            }
        }
    }

    fn findings(&self) -> Vec<Finding> {
        let Self::Compared(_, anchored) = self else { return Vec::new() };
        let differences = anchored.differences.iter();
        let finding = |difference: &crate::sync::Difference| Finding {
            part: "audit".to_owned(),
            numbers: Some(difference.numbers),
            problem: difference.problem.clone(),
        };
        differences.map(finding).collect()
    }

    fn sentence(&self) -> String {
        match self {
            Self::NoRegistry => "the audit was not compared with what was sent, since no registry is named".to_owned(),
            Self::Unreached(reason) => {
                format!("the audit could not be compared with what was sent, which says nothing of it: {reason}")
            }
            Self::NothingSent(place) => format!("{place} has nothing of the audit yet"),
            Self::Compared(place, Anchored { same, gone, differences, other_store }) => {
                let mut text = format!("{same} audit records are as they were sent to {place}");
                if *gone > 0 {
                    text.push_str(&format!(", {gone} that were sent are not kept here any more"));
                }
                if let Some(store) = other_store.filter(|_| differences.is_empty()) {
                    text.push_str(&format!(", where the store that this one took over from is named ({store})"));
                }
                text
            }
        }
    }

    fn json(&self) -> Value {
        match self {
            Self::NoRegistry => json!({"state": "no_registry"}),
            Self::Unreached(reason) => json!({"state": "unreached", "reason": reason}),
            Self::NothingSent(place) => json!({"state": "nothing_sent", "registry": place}),
            Self::Compared(place, Anchored { same, gone, differences, other_store }) => json!({
                "state": if differences.is_empty() { "same" } else { "different" },
                "registry": place, "same": same, "gone": gone, "other_store": other_store,
            }),
        }
    }
}

fn sentence(finding: &Finding) -> String {
    let numbers = match finding.numbers {
        Some((first, last)) if first == last => format!(" {first}"),
        Some((first, last)) => format!(" {first}-{last}"),
        None => String::new(),
    };
    format!("{}{numbers}: {}", finding.part, finding.problem)
}
