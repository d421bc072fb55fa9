//! Where things lie in the store: one byte for the kind, then a key that sorts as it should be read.

use explaind_core::domain::extra::Kind;
use explaind_core::domain::prediction::Space;
use explaind_core::domain::record::Stream;
use uuid::Uuid;

/// Format number; the first thing that is read.
pub(super) const FORMAT: &[u8] = b"m/format";
/// This store's id.
pub(super) const STORE_ID: &[u8] = b"m/store";
/// There once the registry has a folder that belongs to this store.
pub(super) const CLAIMED: &[u8] = b"m/claimed";

/// The machine that the store is on.
pub(super) const MACHINE: &[u8] = b"m/machine";
/// There once the store was found on another machine than it was made on.
pub(super) const MOVED: &[u8] = b"m/moved";

/// How far predictions that are not uploaded are thinned.
pub(super) const THINNING: &[u8] = b"m/thinning";

/// There when something was lost that says what was sent.
pub(super) const DOUBT: &[u8] = b"m/doubt";

/// What was done to make this store of a damaged one, until it is on record.
pub(super) const REPAIR: &[u8] = b"m/repair";

/// How many verdicts were counted.
pub(super) const TALLY: &[u8] = b"m/tally";

const CURSOR: u8 = b'c';
const BATCH: u8 = b'b';
const FRAME: u8 = b'f';
const RECORD: u8 = b'r';
const SETTLEMENT: u8 = b'e';
const INDEX: u8 = b'i';
const PINNED: u8 = b'p';
const GAP: u8 = b'g';
const QUARANTINE: u8 = b'q';
const DECLARED: u8 = b'd';
const EXTRA: u8 = b'x';

/// The code of a stream on disk. Never change one, never use one again.
pub(super) fn code(stream: Stream) -> u8 {
    match stream {
        Stream::Predictions => b'P',
        Stream::Alerts => b'A',
        Stream::Feedback => b'F',
        Stream::Audit => b'U',
        Stream::Health => b'H',
        Stream::Explanations => b'X',
    }
}

/// The stream of a code.
pub(super) fn stream(code: u8) -> Option<Stream> {
    Stream::ALL.into_iter().find(|stream| self::code(*stream) == code)
}

/// How far a stream has come.
pub(super) fn cursor(stream: Stream) -> [u8; 2] {
    [CURSOR, code(stream)]
}

/// A stream's closed batch.
pub(super) fn batch(stream: Stream) -> [u8; 2] {
    [BATCH, code(stream)]
}

/// What many records share.
pub(super) fn frame(number: u32) -> [u8; 5] {
    short(FRAME, number)
}

/// All frames.
pub(super) const FRAMES: [u8; 1] = [FRAME];

/// A record.
pub(super) fn record(stream: Stream, sequence: u64) -> [u8; 10] {
    streamed(RECORD, stream, sequence)
}

/// What became of a prediction's explanation.
pub(super) fn settlement(sequence: u64) -> [u8; 9] {
    long(SETTLEMENT, sequence)
}

/// Where the record with an id is.
pub(super) fn index(id: Uuid) -> [u8; 17] {
    let mut key = [INDEX; 17];
    key[1..].copy_from_slice(id.as_bytes());
    key
}

/// Where the newest extra of a kind is that explains a prediction.
pub(super) fn extra(prediction: Uuid, kind: Kind) -> [u8; 18] {
    let mut key = [EXTRA; 18];
    key[1..17].copy_from_slice(prediction.as_bytes());
    // Never change one, never use one again.
    key[17] = match kind {
        Kind::Counterfactuals => b'C',
        Kind::Cases => b'N',
        Kind::Space(Space::Margin) => b'M',
        Kind::Space(Space::Probability) => b'P',
        Kind::Space(Space::Value) => b'V',
    };
    key
}

/// All entries that lead to extras.
pub(super) const EXTRAS: [u8; 1] = [EXTRA];

/// A prediction that an alert names.
pub(super) fn pinned(sequence: u64) -> [u8; 9] {
    long(PINNED, sequence)
}

/// A range of sequence numbers that is known to be without records, by its first.
pub(super) fn gap(stream: Stream, first: u64) -> [u8; 10] {
    streamed(GAP, stream, first)
}

/// A range above the floor of which records were evicted, by its first number.
pub(super) fn declared(stream: Stream, first: u64) -> [u8; 10] {
    streamed(DECLARED, stream, first)
}

/// The bytes of a record that could not be read.
pub(super) fn quarantined_record(stream: Stream, sequence: u64) -> [u8; 10] {
    streamed(QUARANTINE, stream, sequence)
}

/// The bytes of a settlement that could not be read.
pub(super) fn quarantined_settlement(sequence: u64) -> [u8; 10] {
    let mut key = [QUARANTINE; 10];
    key[1..].copy_from_slice(&settlement(sequence));
    key
}

/// The number at a key's end.
pub(super) fn sequence(key: &[u8]) -> Option<u64> {
    key.last_chunk::<8>().map(|bytes| u64::from_be_bytes(*bytes))
}

/// The short number at a key's end.
pub(super) fn number(key: &[u8]) -> Option<u32> {
    key.last_chunk::<4>().map(|bytes| u32::from_be_bytes(*bytes))
}

/// Whether it is as long as keys of its kind are.
pub(super) fn is_plausible(key: &[u8]) -> bool {
    let streamed = |code: &u8| stream(*code).is_some();
    match key {
        [CURSOR | BATCH, code] => streamed(code),
        [RECORD | GAP | DECLARED, code, rest @ ..] => streamed(code) && rest.len() == 8,
        [QUARANTINE, code, rest @ ..] => (streamed(code) || *code == SETTLEMENT) && rest.len() == 8,
        [SETTLEMENT | PINNED, rest @ ..] => rest.len() == 8,
        [FRAME, rest @ ..] => rest.len() == 4,
        [INDEX, rest @ ..] => rest.len() == 16,
        [EXTRA, rest @ ..] => rest.len() == 17,
        _ => [FORMAT, STORE_ID, CLAIMED, MACHINE, MOVED, THINNING, DOUBT, TALLY, REPAIR].contains(&key),
    }
}

/// Whether what lies under it carries no checksum.
pub(super) fn is_unsealed(key: &[u8]) -> bool {
    matches!(key.first(), Some(&(PINNED | QUARANTINE))) || [FORMAT, CLAIMED, DOUBT].contains(&key)
}

/// Whether what lies under it changes, or goes, as the store goes on.
pub(super) fn is_changing(key: &[u8]) -> bool {
    matches!(key.first(), Some(&(CURSOR | BATCH | DECLARED | b'm')))
}

/// Whether it is a stream's cursor, or the bounds of its batch.
pub(super) fn says_where_a_stream_stands(key: &[u8]) -> bool {
    matches!(key.first(), Some(&(CURSOR | BATCH)))
}

/// The stream of a declared range.
pub(super) fn declares_of(key: &[u8]) -> Option<Stream> {
    match key {
        [DECLARED, code, ..] if key.len() == 10 => stream(*code),
        _ => None,
    }
}

/// Whether what lies under it is needed for as long as the store is.
pub(super) fn is_lasting(key: &[u8]) -> bool {
    matches!(key.first(), Some(&(FRAME | GAP | QUARANTINE)))
}

/// The kind of a key that belongs to a number of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Numbered {
    /// A record.
    Record(Stream, u64),
    /// The settlement of a prediction.
    Settlement(u64),
    /// A prediction that an alert names.
    Pinned(u64),
}

/// What a key belongs to, if that is a number.
pub(super) fn numbered(key: &[u8]) -> Option<Numbered> {
    let number = sequence(key)?;
    match key {
        [RECORD, code, ..] if key.len() == 10 => Some(Numbered::Record(stream(*code)?, number)),
        [SETTLEMENT, ..] if key.len() == 9 => Some(Numbered::Settlement(number)),
        [PINNED, ..] if key.len() == 9 => Some(Numbered::Pinned(number)),
        _ => None,
    }
}

fn short(kind: u8, number: u32) -> [u8; 5] {
    let mut key = [kind; 5];
    key[1..].copy_from_slice(&number.to_be_bytes());
    key
}

fn long(kind: u8, sequence: u64) -> [u8; 9] {
    let mut key = [kind; 9];
    key[1..].copy_from_slice(&sequence.to_be_bytes());
    key
}

fn streamed(kind: u8, stream: Stream, sequence: u64) -> [u8; 10] {
    let mut key = [kind; 10];
    key[1] = code(stream);
    key[2..].copy_from_slice(&sequence.to_be_bytes());
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_says_what_it_belongs_to() {
        let id = Uuid::from_u128(7);
        for stream in Stream::ALL {
            assert_eq!(numbered(&record(stream, 7)), Some(Numbered::Record(stream, 7)));
            let declared = declared(stream, 7);
            let keys: [&[u8]; 5] =
                [&record(stream, 7), &gap(stream, 7), &quarantined_record(stream, 7), &cursor(stream), &declared];
            assert!(keys.into_iter().all(is_plausible));
            assert!(is_changing(&declared) && declares_of(&declared) == Some(stream));
        }
        assert_eq!(numbered(&settlement(7)), Some(Numbered::Settlement(7)));
        assert_eq!(
            (numbered(&pinned(7)), numbered(&frame(7)), numbered(MACHINE)),
            (Some(Numbered::Pinned(7)), None, None)
        );
        assert!([THINNING, TALLY, REPAIR, DOUBT].into_iter().all(|key| is_plausible(key) && is_changing(key)));
        let keys: [&[u8]; 6] = [&settlement(1), &quarantined_settlement(1), &pinned(1), &frame(1), &index(id), MOVED];
        assert!(keys.into_iter().all(is_plausible));
        assert!(is_plausible(&extra(id, Kind::Cases)) && is_plausible(&batch(Stream::Audit)));
        assert!(![&b""[..], b"r", b"rP1234567", b"c?", b"m/else", b"r?12345678"].into_iter().any(is_plausible));
        assert!(is_changing(DOUBT) && is_changing(&cursor(Stream::Audit)) && !is_changing(&frame(1)));
        assert!(is_lasting(&frame(1)) && is_unsealed(&pinned(1)) && !is_unsealed(&record(Stream::Audit, 1)));
    }

    #[test]
    fn keys_sort_by_sequence_and_say_it() {
        for stream in Stream::ALL {
            assert_eq!(self::stream(code(stream)), Some(stream));
            assert!(record(stream, 255) < record(stream, 256) && record(stream, 256) < record(stream, u64::MAX));
            assert_eq!(sequence(&record(stream, 77)), Some(77));
        }
        assert_eq!(number(&frame(9)), Some(9));
        assert_eq!(sequence(b"m"), None);
    }
}
