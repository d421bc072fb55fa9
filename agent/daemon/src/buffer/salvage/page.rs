//! What sled's messages say: whole pages, and changes of them. Keys lie there without what all keys of their page begin
//! with.

use super::log::varint;

/// A page with entries. Pages that lead to other pages are not looked at: the entries say where they belong.
#[derive(Debug, PartialEq)]
pub(super) struct Leaf<'a> {
    /// The lowest key that the page may have, and the first that it may not; empty when there is no such.
    pub(super) bounds: (&'a [u8], &'a [u8]),
    /// What all its keys begin with.
    pub(super) prefix: &'a [u8],
    /// The rest of each key, with its value.
    pub(super) entries: Vec<(&'a [u8], &'a [u8])>,
}

/// A change of a page.
#[derive(Debug, PartialEq)]
pub(super) enum Link<'a> {
    Set(&'a [u8], &'a [u8]),
    Del(&'a [u8]),
    /// It is about to become part of another.
    Other,
}

/// Reads a whole page; `None` when it has no entries of ours.
pub(super) fn leaf(mut body: &[u8]) -> Option<Leaf<'_>> {
    let body = &mut body;
    // Which page comes next, and which one is about to join this one.
    let (_, _) = (varint(body)?, varint(body)?);
    let ([_merging, prefix], rest) = body.split_first_chunk()?;
    *body = rest;
    let (low, high) = (bytes(body)?, bytes(body)?);
    let prefix = low.get(..usize::from(*prefix))?;
    let (0, rest) = body.split_first()? else { return None };
    *body = rest;
    let count = usize::try_from(varint(body)?).ok()?;
    // Each takes a byte at least.
    if count > body.len() {
        return None;
    }
    let keys = (0..count).map(|_| bytes(body)).collect::<Option<Vec<_>>>()?;
    let entries = keys.into_iter().map(|key| Some((key, bytes(body)?))).collect::<Option<Vec<_>>>()?;
    Some(Leaf { bounds: (low, high), prefix, entries })
}

/// Reads a change of a page.
pub(super) fn link(body: &[u8]) -> Option<Link<'_>> {
    let (kind, mut rest) = body.split_first()?;
    Some(match kind {
        0 => Link::Set(bytes(&mut rest)?, bytes(&mut rest)?),
        1 => Link::Del(bytes(&mut rest)?),
        _ => Link::Other,
    })
}

/// Bytes behind their count.
fn bytes<'a>(from: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(varint(from)?).ok()?;
    let (bytes, rest) = from.split_at_checked(length)?;
    *from = rest;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_and_its_changes_are_read_and_no_cut_one_panics() {
        let mut page = vec![3, 0, 0, 2];
        page.extend_from_slice(b"\x04rP\x00\x01\x02rQ");
        page.extend_from_slice(b"\x00\x02\x01a\x01b\x03one\x00");
        let leaf = super::leaf(&page).unwrap();
        assert_eq!((leaf.prefix, leaf.bounds), (&b"rP"[..], (&b"rP\x00\x01"[..], &b"rQ"[..])));
        assert_eq!(leaf.entries, [(&b"a"[..], &b"one"[..]), (b"b", b"")]);
        for end in 0..page.len() {
            assert_eq!(super::leaf(&page[..end]), None, "{end}");
        }
        assert_eq!(link(b"\x00\x01a\x02xy"), Some(Link::Set(b"a", b"xy")));
        assert_eq!(
            (link(b"\x01\x01a"), link(b"\x03"), link(b""), link(b"\x00\x01a\x09xy")),
            (Some(Link::Del(b"a")), Some(Link::Other), None, None)
        );
    }
}
