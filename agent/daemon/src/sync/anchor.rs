//! The audit chain's anchor: what was sent of it cannot be rewritten here.
//!
//! Whoever holds the gateway can rewrite its whole audit so that it is a sound chain again. They cannot rewrite the batches
//! that central has: so each record that was sent is compared with the one that is here. What this shows is that what is
//! here is what was sent. It says nothing of records that were not sent yet, and none of it helps where somebody can change
//! the registry as well.

use std::collections::BTreeMap;
use std::panic::catch_unwind;

use ::parquet::arrow::ProjectionMask;
use ::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use arrow_array::cast::AsArray as _;
use arrow_array::types::{Int64Type, TimestampMicrosecondType};
use arrow_array::{Array as _, RecordBatch, StringArray};
use explaind_core::domain::record::Stream;
use explaind_core::domain::time::Timestamp;
use hyper::body::Bytes;
use uuid::Uuid;

use super::SyncError;
use super::carry::runtime;
use crate::buffer::chain_hash;
use crate::registry::Registry;

/// What is read of a batch; the last two are not in batches of earlier versions.
const COLUMNS: [&str; 9] = [
    "sequence",
    "record_id",
    "recorded_at",
    "action",
    "outcome",
    "previous_hash",
    "hash",
    "hashed_actor",
    "hashed_object",
];
/// Differences that are told one by one.
const MOST: usize = 100;

/// A hash.
type Hash = [u8; 32];

/// What the registry has of a gateway's audit.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct SentChain {
    /// The store that sent it, as far as the registry says.
    store: Option<Uuid>,
    /// The hash of each record.
    hashes: BTreeMap<u64, Hash>,
    /// What is wrong with the registry's own copy.
    problems: Vec<Difference>,
}

/// Something that is not the same here and there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Difference {
    /// The numbers concerned, both included.
    pub(crate) numbers: (u64, u64),
    /// What is the matter.
    pub(crate) problem: String,
}

/// What came of the comparison.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Anchored {
    /// Records that are the same here and there.
    pub(crate) same: u64,
    /// Records that were sent and are not kept here any more.
    pub(crate) gone: u64,
    /// What is not as it should be.
    pub(crate) differences: Vec<Difference>,
    /// The store that the registry names, where that is another one.
    pub(crate) other_store: Option<Uuid>,
}

impl SentChain {
    /// Reads all that the registry has of a gateway's audit.
    ///
    /// # Errors
    /// When it does not give it. That says nothing of the chain.
    pub(crate) fn read(registry: &Registry, gateway: &str) -> Result<Self, SyncError> {
        runtime()?.block_on(async {
            let store = registry.store(gateway).await?.map(|mark| mark.store_id);
            let mut found = Self { store, ..Self::default() };
            let mut last = None;
            for file in registry.filed(gateway, Stream::Audit).await? {
                let Some(content) = registry.content(&file.path).await? else { continue };
                // What lies there is not ours alone: nothing of it may end this process.
                let rows = catch_unwind(|| rows(content)).unwrap_or_else(|_| Err("it is no Parquet file".to_owned()));
                match rows {
                    Ok(rows) => rows.into_iter().for_each(|row| found.take(row, &mut last)),
                    Err(reason) => {
                        found
                            .note(file.numbers, format!("the registry's batch {} cannot be read: {reason}", file.path));
                    }
                }
            }
            Ok(found)
        })
    }

    /// Whether nothing was sent yet.
    pub(crate) fn is_empty(&self) -> bool {
        self.hashes.is_empty() && self.problems.is_empty()
    }

    fn take(&mut self, row: Row, last: &mut Option<(u64, Hash)>) {
        let number = row.sequence;
        if row.content.is_some_and(|content| content != row.hash) {
            self.note((number, number), "in the registry its content is not what its hash says".to_owned());
        } else if last.is_some_and(|(before, hash)| before + 1 == number && hash != row.previous) {
            self.note((number, number), "in the registry it does not name the hash of the record before it".to_owned());
        }
        *last = Some((number, row.hash));
        if self.hashes.insert(number, row.hash).is_some_and(|other| other != row.hash) {
            self.note((number, number), "the registry has two records of this number".to_owned());
        }
    }

    fn note(&mut self, numbers: (u64, u64), problem: String) {
        if self.problems.len() < MOST {
            self.problems.push(Difference { numbers, problem });
        }
    }

    /// Compares it with the chain that a store has: the store's id, the last number that it gave out, and its records.
    pub(crate) fn compare(&self, store: Option<Uuid>, last: u64, here: &BTreeMap<u64, Hash>) -> Anchored {
        let mut anchored = Anchored { differences: self.problems.clone(), ..Anchored::default() };
        let mut differ = Vec::new();
        let mut lost: Option<(u64, u64)> = None;
        for (number, hash) in &self.hashes {
            match here.get(number) {
                Some(known) if known == hash => anchored.same += 1,
                Some(_) => differ.push(*number),
                None if *number > last => lost = Some((lost.map_or(*number, |(first, _)| first), *number)),
                None => anchored.gone += 1,
            }
        }
        for numbers in runs(&differ).into_iter().take(MOST) {
            let problem = "it is another record than the one that was sent to the registry".to_owned();
            anchored.differences.push(Difference { numbers, problem });
        }
        if let Some(numbers) = lost {
            let problem = "it was sent to the registry, and is not here: the end of the audit is cut off".to_owned();
            anchored.differences.push(Difference { numbers, problem });
        }
        anchored.other_store = self.store.filter(|sent| store.is_some_and(|here| here != *sent));
        if let Some(sent) = anchored.other_store
            && anchored.same == 0
        {
            // Differences follow from that, and would only hide it.
            let numbers =
                self.hashes.keys().next().copied().zip(self.hashes.keys().last().copied()).unwrap_or((1, last));
            let problem = format!("what was sent to the registry comes from another store ({sent})");
            anchored.differences = vec![Difference { numbers, problem }];
        }
        anchored
    }
}

/// Numbers, ascending, as ranges.
fn runs(numbers: &[u64]) -> Vec<(u64, u64)> {
    let mut runs: Vec<(u64, u64)> = Vec::new();
    for number in numbers {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == *number => *last = *number,
            _ => runs.push((*number, *number)),
        }
    }
    runs
}

/// A record of a batch.
struct Row {
    sequence: u64,
    previous: Hash,
    hash: Hash,
    /// What its hash should be; `None` where its batch does not say what that is over.
    content: Option<Hash>,
}

fn rows(bytes: Vec<u8>) -> Result<Vec<Row>, String> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(Bytes::from(bytes)).map_err(|error| error.to_string())?;
    let mask = ProjectionMask::columns(builder.parquet_schema(), COLUMNS);
    let reader = builder.with_projection(mask).build().map_err(|error| error.to_string())?;
    let mut all = Vec::new();
    for batch in reader {
        let batch = batch.map_err(|error| error.to_string())?;
        for row in 0..batch.num_rows() {
            all.push(read(&batch, row)?);
        }
    }
    Ok(all)
}

fn read(batch: &RecordBatch, row: usize) -> Result<Row, String> {
    let missing = |name: &str| format!("a record has no {name}");
    let text = |name: &str| -> Option<&str> {
        let column: &StringArray = batch.column_by_name(name)?.as_string_opt::<i32>()?;
        column.is_valid(row).then(|| column.value(row))
    };
    let hash = |name: &str| text(name).and_then(unhex).ok_or_else(|| missing(name));
    let sequence = batch.column_by_name("sequence").and_then(|column| column.as_primitive_opt::<Int64Type>());
    let sequence = sequence.filter(|column| column.is_valid(row)).map(|column| column.value(row));
    let sequence = sequence.and_then(|number| u64::try_from(number).ok()).ok_or_else(|| missing("sequence"))?;
    let time =
        batch.column_by_name("recorded_at").and_then(|column| column.as_primitive_opt::<TimestampMicrosecondType>());
    let time = time.filter(|column| column.is_valid(row)).map(|column| Timestamp::from_micros(column.value(row)));
    let time = time.ok_or_else(|| missing("recorded_at"))?;
    let id: Uuid = text("record_id").and_then(|text| text.parse().ok()).ok_or_else(|| missing("record_id"))?;
    let (previous, hash) = (hash("previous_hash")?, hash("hash")?);
    let (action, outcome) = (text("action").unwrap_or_default(), text("outcome").unwrap_or_default());
    let content = text("hashed_actor")
        .zip(text("hashed_object"))
        .map(|(actor, object)| chain_hash(&previous, id, sequence, time, [actor, action, object, outcome]));
    Ok(Row { sequence, previous, hash, content })
}

/// A hash from its hexadecimal form.
pub(crate) fn unhex(text: &str) -> Option<Hash> {
    let mut hash = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (place, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * place..2 * place + 2)?, 16).ok()?;
    }
    Some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(numbers: &[u64]) -> SentChain {
        SentChain {
            store: Some(Uuid::from_u128(1)),
            hashes: numbers.iter().map(|n| (*n, [u8::try_from(*n).unwrap(); 32])).collect(),
            problems: Vec::new(),
        }
    }

    #[test]
    fn what_differs_is_named_and_what_is_gone_is_counted() {
        let mut here = sent(&[3, 4, 5, 6, 7, 8]).hashes;
        let whole = sent(&[1, 2, 3, 4, 5, 6]);
        let us = Some(Uuid::from_u128(1));
        assert_eq!(whole.compare(us, 8, &here), Anchored { same: 4, gone: 2, ..Anchored::default() });
        here.insert(4, [0; 32]);
        here.insert(5, [0; 32]);
        let found = whole.compare(us, 8, &here);
        assert_eq!((found.same, found.differences.len(), found.differences[0].numbers), (2, 1, (4, 5)));
        let cut = sent(&[1, 2, 3, 9, 10]).compare(us, 8, &here);
        assert_eq!((cut.same, cut.gone, cut.differences[0].numbers), (1, 2, (9, 10)));
        assert!(cut.differences[0].problem.contains("cut off"));
    }

    #[test]
    fn another_store_is_named_and_one_that_took_over_is_none() {
        let here = sent(&[3, 4]).hashes;
        let other = Some(Uuid::from_u128(2));
        let took_over = sent(&[1, 2, 3, 4]).compare(other, 9, &here);
        assert_eq!((took_over.same, took_over.differences, took_over.other_store.is_some()), (2, vec![], true));
        let found = sent(&[3, 4]).compare(other, 9, &BTreeMap::from([(3, [0; 32]), (4, [0; 32])]));
        assert_eq!((found.differences.len(), found.differences[0].numbers), (1, (3, 4)));
        assert!(found.differences[0].problem.contains("another store"), "{found:?}");
    }

    #[test]
    fn rubbish_in_the_registry_is_no_chain() {
        assert!(rows(b"PAR1 and no more PAR1".to_vec()).is_err() && rows(Vec::new()).is_err());
        assert_eq!((unhex("ab"), unhex(&"é".repeat(32)), unhex(&"0f".repeat(32))), (None, None, Some([15; 32])));
    }
}
