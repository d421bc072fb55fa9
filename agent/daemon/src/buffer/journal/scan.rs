//! Reads a segment, whatever has become of it.

use super::entry::{self, Entry, MARK, NoEntry};
use super::segment::{HEADER, Header, read_header};

/// What a segment holds.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Scan {
    /// Its entries, ascending by their running numbers.
    pub(super) entries: Vec<(u64, Entry)>,
    /// Where the next entry would go. Only of use when nothing is damaged.
    pub(super) end: usize,
    /// What is wrong with it.
    pub(super) damage: Option<String>,
}

/// Reads a segment: all entries whose checksum fits and whose running number is above `after` and rises. Behind
/// bytes that are no entry the next one is looked for; behind zeros as well, since a sector that is lost reads as zeros.
///
/// # Errors
/// The version, when a later one wrote it.
pub(super) fn scan(bytes: &[u8], mut after: u64) -> Result<Scan, u8> {
    let mut scan = Scan { end: HEADER, ..Scan::default() };
    match read_header(bytes) {
        Header::Known => {}
        Header::Newer(version) => return Err(version),
        Header::Damaged => scan.damage = Some("its header cannot be read".to_owned()),
    }
    let mut at = HEADER;
    while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
        match entry::read(rest) {
            Ok((running, entry, length)) => {
                // An entry that could not be made to last here may lie in the next segment once more.
                if running > after {
                    after = running;
                    scan.entries.push((running, entry));
                }
                at += length;
                scan.end = at;
                continue;
            }
            Err(NoEntry::Newer(version)) => return Err(version),
            Err(NoEntry::Damaged) => {}
        }
        let Some(garbage) = rest.iter().position(|byte| *byte != 0) else { break };
        scan.damage.get_or_insert_with(|| format!("bytes from {} on are no entry", at + garbage));
        let next = rest.get(1..).and_then(|rest| rest.windows(MARK.len()).position(|window| window == MARK));
        let Some(next) = next else { break };
        at += 1 + next;
    }
    Ok(scan)
}
