//! The first of two passes over a damaged log, from its oldest segment to its newest: which pages there are, and the few
//! entries of which the newest counts.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;

use super::log::{self, HEADER, Kind, Message, SEGMENT, Segment};
use super::page::{self, Leaf, Link};
use super::source::{Bytes, Source};
use crate::buffer::{codec, keys};

/// Bytes of such entries that are remembered. Real ones take some kilobytes.
const MOST_BYTES: usize = 64 << 20;
/// What a page's keys begin with changes when it is split; so many of its last beginnings are remembered.
const BEGINNINGS: usize = 8;

/// What is known of a page.
#[derive(Debug, Default)]
pub(super) struct Page {
    /// Where it was last written as a whole, or given up.
    newest: u64,
    /// Where it was last written, or changed, by what is spoilt now.
    spoilt: u64,
    /// What its keys began with, from which place in the log on.
    prefixes: Vec<(u64, Box<[u8]>)>,
}

/// What the first pass finds.
#[derive(Debug, Default)]
pub(super) struct Survey {
    /// Segments in the order of the log: number, and index in the file.
    pub(super) segments: Vec<(u64, u64)>,
    pages: HashMap<u64, Page>,
    /// Entries of which the newest counts, and those that every record may need.
    pub(super) small: BTreeMap<Vec<u8>, Vec<u8>>,
    bytes: usize,
}

impl Survey {
    /// Looks through the whole log.
    pub(super) fn of<B: Bytes>(source: &Source<B>) -> Self {
        let mut survey = Self { segments: in_order(source), ..Self::default() };
        let mut buffer = Vec::new();
        for (_, index) in survey.segments.clone() {
            let Some(segment) = log::segment(source.segment(index, &mut buffer)) else { continue };
            for message in &segment.messages {
                survey.note(source, message);
            }
            for (page, place) in &segment.spoilt {
                survey.pages.entry(*page).or_default().spoilt = *place;
            }
        }
        survey
    }

    /// The key of an entry in a change of a page, by what the page's keys began with then. Values that carry a checksum
    /// over their key tell whether it is right.
    pub(super) fn key(&self, message: &Message<'_>, suffix: &[u8], value: Option<&[u8]>) -> Option<Vec<u8>> {
        let fits = |key: &Vec<u8>| match value {
            Some(value) => keys::is_unsealed(key) || codec::is_intact(key, value),
            None => true,
        };
        let prefixes = self.pages.get(&message.page).map(|page| &*page.prefixes).unwrap_or_default();
        let (before, after) = prefixes.split_at(prefixes.partition_point(|(place, _)| *place < message.place));
        let prefixes = before.iter().rev().chain(after).map(|(_, prefix)| &**prefix).chain([&[][..]]);
        prefixes.map(|prefix| [prefix, suffix].concat()).filter(|key| keys::is_plausible(key)).find(fits)
    }

    /// Whether a message is part of what its page was in the end, and not of what it was before.
    pub(super) fn is_current(&self, message: &Message<'_>) -> bool {
        self.pages.get(&message.page).is_none_or(|page| page.newest <= message.place)
    }

    /// Whether its page was written, or changed, later on by what cannot be read: it may have had less then.
    pub(super) fn is_suspect(&self, message: &Message<'_>) -> bool {
        self.pages.get(&message.page).is_some_and(|page| page.spoilt > message.place)
    }

    fn note<B: Bytes>(&mut self, source: &Source<B>, message: &Message<'_>) {
        match message.kind {
            Kind::Free => self.pages.entry(message.page).or_default().newest = message.place,
            Kind::Node => self.note_page(message, message.body),
            Kind::NodeAside => {
                if let Some(body) = source.aside(message.body) {
                    self.note_page(message, &body);
                }
            }
            Kind::Link => self.note_link(message, message.body),
            Kind::LinkAside => {
                if let Some(body) = source.aside(message.body) {
                    self.note_link(message, &body);
                }
            }
            Kind::Other => {}
        }
    }

    fn note_page(&mut self, message: &Message<'_>, body: &[u8]) {
        let known = self.pages.entry(message.page).or_default();
        known.newest = message.place;
        let Some(leaf) = page::leaf(body) else { return };
        if known.prefixes.last().is_none_or(|(_, prefix)| **prefix != *leaf.prefix) {
            if known.prefixes.len() == BEGINNINGS {
                known.prefixes.remove(0);
            }
            known.prefixes.push((message.place, leaf.prefix.into()));
        }
        self.forget_absent(&leaf);
        for (suffix, value) in &leaf.entries {
            self.remember([leaf.prefix, suffix].concat(), value);
        }
    }

    /// What a whole page does not have any more is gone.
    fn forget_absent(&mut self, leaf: &Leaf<'_>) {
        let (low, high) = leaf.bounds;
        if !high.is_empty() && low > high {
            return;
        }
        let high = if high.is_empty() { Bound::Unbounded } else { Bound::Excluded(high) };
        let gone: Vec<Vec<u8>> = self
            .small
            .range::<[u8], _>((Bound::Included(low), high))
            .map(|(key, _)| key)
            .filter(|key| keys::is_changing(key))
            .filter(|key| !leaf.entries.iter().any(|(suffix, _)| key.strip_prefix(leaf.prefix) == Some(suffix)))
            .cloned()
            .collect();
        for key in gone {
            self.small.remove(&key);
        }
    }

    fn note_link(&mut self, message: &Message<'_>, body: &[u8]) {
        match page::link(body) {
            Some(Link::Set(suffix, value)) => {
                if let Some(key) = self.key(message, suffix, Some(value)) {
                    self.remember(key, value);
                }
            }
            Some(Link::Del(suffix)) => {
                if let Some(key) = self.key(message, suffix, None).filter(|key| keys::is_changing(key)) {
                    self.small.remove(&key);
                }
            }
            Some(Link::Other) | None => {}
        }
    }

    fn remember(&mut self, key: Vec<u8>, value: &[u8]) {
        let wanted = keys::is_changing(&key) || keys::is_lasting(&key);
        let whole = keys::is_unsealed(&key) || codec::is_intact(&key, value);
        let bytes = self.bytes.saturating_add(key.len()).saturating_add(value.len());
        if !wanted || !whole || self.small.get(&key).is_some_and(|known| known == value) || bytes > MOST_BYTES {
            return;
        }
        if let Some(before) = self.small.insert(key, value.to_vec()) {
            self.bytes = self.bytes.saturating_sub(before.len());
        } else {
            self.bytes = bytes;
        }
    }
}

/// Numbers and indexes of all segments of which anything can be read, in the order of the log.
fn in_order<B: Bytes>(source: &Source<B>) -> Vec<(u64, u64)> {
    let (mut head, mut buffer) = ([0; HEADER], Vec::new());
    let mut segments: Vec<(u64, u64)> = (0..source.segments())
        .filter_map(|index| {
            let number = log::number(source.head(index, &mut head));
            // Its messages know it as well.
            let number = number.or_else(|| log::segment(source.segment(index, &mut buffer)).map(|found| found.number));
            Some((number?, index))
        })
        .collect();
    segments.sort_unstable();
    segments
}

/// Whether a message of the log from `place` on is spoilt while others behind it are whole: sled takes no notice of that,
/// and goes on as if all behind had never been written.
pub(super) fn is_holed<B: Bytes>(source: &Source<B>, place: u64) -> bool {
    let mut buffer = Vec::new();
    in_order(source)
        .into_iter()
        .filter(|(number, _)| number.saturating_add(1).saturating_mul(SEGMENT as u64) > place)
        .any(|(_, index)| log::segment(source.segment(index, &mut buffer)).is_some_and(|Segment { holed, .. }| holed))
}
