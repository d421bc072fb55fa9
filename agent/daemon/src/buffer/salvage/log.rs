//! sled's log as bytes: messages in segments, each with its own checksum.
//!
//! What is read here is format 0.34 of sled, whose version is pinned: a store's file `db` is a row of segments of 512 KiB.
//! A segment begins with 20 bytes that say its place in the log, messages follow. A message is
//!
//! ```text
//! checksum  4 bytes: CRC-32 of the body and then of the header behind this, inverted
//! kind      1 byte
//! length    of the body; a number of sled's own making, as the next two
//! segment   the number of its segment in the log: bytes that an earlier use of the place left have another
//! page      which page it is about
//! body
//! ```
//!
//! Whoever reads a damaged file looks for the next message behind bytes that are none: number and checksum tell.

/// Bytes of a segment.
pub(super) const SEGMENT: usize = 512 << 10;
/// Bytes before a segment's first message.
pub(super) const HEADER: usize = 20;
/// What the numbers in a segment's header are masked with.
const MASK: u64 = 0x7FFF_FFFF_FFFF_FFFF;

/// What a message brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A page that is no more.
    Free,
    /// A whole page.
    Node,
    /// A whole page, in a file of its own.
    NodeAside,
    /// A change of a page.
    Link,
    /// A change of a page, in a file of its own.
    LinkAside,
    /// Nothing that is looked at here.
    Other,
}

/// A message whose checksum fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Message<'a> {
    pub(super) kind: Kind,
    /// Its page.
    pub(super) page: u64,
    /// Its place in the log: what is higher was written later.
    pub(super) place: u64,
    pub(super) body: &'a [u8],
}

/// What can be read of a segment.
#[derive(Debug)]
pub(super) struct Segment<'a> {
    /// Its number in the log.
    pub(super) number: u64,
    /// In the order in which they were written.
    pub(super) messages: Vec<Message<'a>>,
    /// Whether a message of it is spoilt that others follow: no crash leaves that behind.
    pub(super) holed: bool,
    /// The pages of such messages, as far as those say it, and their places.
    pub(super) spoilt: Vec<(u64, u64)>,
}

/// Reads a segment; `None` when nothing in it can be read.
pub(super) fn segment(bytes: &[u8]) -> Option<Segment<'_>> {
    let headed = number(bytes);
    let mut number = headed;
    let mut messages = Vec::new();
    let (mut at, mut expected, mut holed) = (HEADER, HEADER, false);
    let (mut claims, mut named, mut spoilt) = (false, None, Vec::new());
    while at < bytes.len() {
        let Some((message, found, end)) = message(bytes, at, number) else {
            if let Some((page, number)) = number.and_then(|number| Some((claimed(bytes, at, number)?, number))) {
                claims = true;
                // Where a message should begin: further on it is its body that may look like one.
                if at == expected {
                    named = place(number, at).map(|place| (page, place));
                }
            }
            at += 1;
            continue;
        };
        holed |= std::mem::take(&mut claims) || headed.is_none();
        spoilt.extend(named.take());
        number = Some(found);
        messages.push(message);
        (at, expected) = (end, end);
    }
    Some(Segment { number: number?, messages, holed, spoilt })
}

/// The number in a segment's header, if that is whole.
pub(super) fn number(bytes: &[u8]) -> Option<u64> {
    let (sum, rest) = bytes.split_first_chunk::<4>()?;
    let content = rest.get(..HEADER - 4)?;
    if crc32fast::hash(content) ^ u32::MAX != u32::from_le_bytes(*sum) {
        return None;
    }
    let place = u64::from_le_bytes(*content.first_chunk()?) ^ MASK;
    place.is_multiple_of(SEGMENT as u64).then_some(place / SEGMENT as u64)
}

/// A number as sled writes it: small ones in one byte, those of up to 67,823 in three, others behind their length.
pub(super) fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let (first, rest) = bytes.split_first()?;
    let (value, rest) = match *first {
        small @ 0..=240 => (u64::from(small), rest),
        high @ 241..=248 => {
            let (low, rest) = rest.split_first()?;
            (240 + 256 * (u64::from(high) - 241) + u64::from(*low), rest)
        }
        249 => {
            let ([high, low], rest) = rest.split_first_chunk()?;
            (2288 + 256 * u64::from(*high) + u64::from(*low), rest)
        }
        length => {
            let (little, rest) = rest.split_at_checked(usize::from(length) - 247)?;
            let mut all = [0; 8];
            all.get_mut(..little.len())?.copy_from_slice(little);
            (u64::from_le_bytes(all), rest)
        }
    };
    *bytes = rest;
    Some(value)
}

/// The fields of a header behind the checksum: kind, length, segment, page, and how many bytes they take.
fn header(bytes: &[u8], at: usize) -> Option<(u8, u64, u64, u64, usize)> {
    let mut rest = bytes.get(at.checked_add(4)?..)?;
    let before = rest.len();
    let (kind, behind) = rest.split_first()?;
    // No message has kind 0, and much of a file is zeros.
    if !(1..=11).contains(kind) {
        return None;
    }
    rest = behind;
    let (length, segment, page) = (varint(&mut rest)?, varint(&mut rest)?, varint(&mut rest)?);
    Some((*kind, length, segment, page, before - rest.len()))
}

/// The page of what looks like a message of the segment, whatever its checksum says.
fn claimed(bytes: &[u8], at: usize, number: u64) -> Option<u64> {
    let (_, length, segment, page, _) = header(bytes, at)?;
    (segment == number && length < SEGMENT as u64).then_some(page)
}

/// The place in the log of what is in a segment.
fn place(segment: u64, at: usize) -> Option<u64> {
    segment.checked_mul(SEGMENT as u64)?.checked_add(at as u64)
}

/// The message at a place, with its segment's number and its end. It must be of the segment `number`, where that is known.
fn message(bytes: &[u8], at: usize, number: Option<u64>) -> Option<(Message<'_>, u64, usize)> {
    let (kind, length, segment, page, fields) = header(bytes, at)?;
    if number.is_some_and(|number| number != segment) {
        return None;
    }
    let begin = at.checked_add(4)?.checked_add(fields)?;
    let end = begin.checked_add(usize::try_from(length).ok()?)?;
    let body = bytes.get(begin..end)?;
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(body);
    hasher.update(bytes.get(at + 4..begin)?);
    if hasher.finalize() ^ u32::MAX != u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?) {
        return None;
    }
    let kind = match kind {
        4 => Kind::Free,
        8 => Kind::Node,
        9 => Kind::NodeAside,
        10 => Kind::Link,
        11 => Kind::LinkAside,
        _ => Kind::Other,
    };
    let place = place(segment, at)?;
    Some((Message { kind, page, place, body }, segment, end))
}

/// The content of a file that holds one body: its checksum, its kind, and the rest.
pub(super) fn aside(bytes: &[u8]) -> Option<&[u8]> {
    let (sum, content) = bytes.split_first_chunk::<4>()?;
    if crc32fast::hash(content) != u32::from_le_bytes(*sum) {
        return None;
    }
    content.get(1..)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(kind: u8, number: u8, body: &[u8]) -> Vec<u8> {
        let fields = [kind, u8::try_from(body.len()).unwrap(), number, 7];
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(body);
        hasher.update(&fields);
        let mut bytes = (hasher.finalize() ^ u32::MAX).to_le_bytes().to_vec();
        bytes.extend_from_slice(&fields);
        bytes.extend_from_slice(body);
        bytes
    }

    fn head(number: u64) -> Vec<u8> {
        let mut content = ((number * SEGMENT as u64) ^ MASK).to_le_bytes().to_vec();
        content.extend_from_slice(&MASK.to_le_bytes());
        let mut bytes = (crc32fast::hash(&content) ^ u32::MAX).to_le_bytes().to_vec();
        bytes.extend_from_slice(&content);
        bytes
    }

    #[test]
    fn numbers_read_as_sled_writes_them() {
        let read = |bytes: &[u8]| varint(&mut &*bytes);
        assert_eq!((read(&[240]), read(&[241, 0]), read(&[248, 255])), (Some(240), Some(240), Some(2287)));
        assert_eq!((read(&[249, 0, 0]), read(&[249, 255, 255])), (Some(2288), Some(67823)));
        assert_eq!((read(&[250, 1, 0, 1]), read(&[255, 1, 0, 0, 0, 0, 0, 0, 1])), (Some(65537), Some((1 << 56) + 1)));
        for short in [&[][..], &[241], &[249, 1], &[250, 1, 2], &[255, 1, 2, 3, 4, 5, 6, 7]] {
            assert_eq!(read(short), None);
        }
    }

    #[test]
    fn reading_goes_on_behind_what_is_spoilt_and_knows_it_from_an_unwritten_tail() {
        let mut bytes = head(5);
        for n in 0..4 {
            bytes.extend_from_slice(&written(10, 5, &[n; 30]));
        }
        let stale = written(10, 4, &[9; 30]);
        bytes.extend_from_slice(&[0; 50]);
        bytes.extend_from_slice(&stale);
        let bodies = |bytes: &[u8]| {
            let segment = segment(bytes).unwrap();
            assert_eq!(segment.number, 5);
            (segment.messages.iter().map(|m| m.body[0]).collect::<Vec<_>>(), segment.holed)
        };
        assert_eq!(bodies(&bytes), (vec![0, 1, 2, 3], false));
        let mut spoilt = bytes.clone();
        spoilt[HEADER + 38 + 20] ^= 1;
        assert_eq!(bodies(&spoilt), (vec![0, 2, 3], true));
        assert_eq!(segment(&spoilt).unwrap().spoilt, [(7, 5 * SEGMENT as u64 + 58)]);
        let mut zeroed = bytes.clone();
        zeroed[HEADER + 38..HEADER + 76].fill(0);
        assert_eq!(bodies(&zeroed), (vec![0, 2, 3], false), "as if it had not been written yet");
        let mut headless = bytes.clone();
        headless[2] ^= 1;
        assert_eq!(bodies(&headless), (vec![0, 1, 2, 3], true));
        assert_eq!(bodies(&bytes[..HEADER + 38 * 2 + 20]), (vec![0, 1], false), "a torn end");
        assert!(segment(&[0; 4096]).is_none() && segment(&[]).is_none());
        let placed = segment(&bytes).unwrap().messages[1];
        assert_eq!((placed.place, placed.page, placed.kind), (5 * SEGMENT as u64 + 58, 7, Kind::Link));
    }

    #[test]
    fn a_file_aside_is_believed_when_its_checksum_fits() {
        let content = [8, 1, 2, 3];
        let mut bytes = crc32fast::hash(&content).to_le_bytes().to_vec();
        bytes.extend_from_slice(&content);
        assert_eq!(aside(&bytes), Some(&[1, 2, 3][..]));
        bytes[6] ^= 1;
        assert_eq!((aside(&bytes), aside(&[1, 2])), (None, None));
    }
}
