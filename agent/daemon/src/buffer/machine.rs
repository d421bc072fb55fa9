//! Which machine this is: a card that was cloned, or moved, brings its store with it, and must not be taken for the
//! machine it came from.
//!
//! `/etc/machine-id` is on the card and is cloned with it, so what the hardware says counts first: serial numbers of the
//! board or the chip, and the addresses burnt into network ports. Two sets of ids are of one machine when any of the
//! hardware's agrees, so that a new network port alone does not make a new machine. Only where no kind of hardware id
//! is known on both sides the card's own id decides.
//!
//! What is kept are digests, in the store and beside it. They are never sent.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// The card's own id.
const CARD: &str = "machine_id";
/// Addresses of network ports.
const PORTS: &str = "network";
/// Where ids of the hardware are, as far as an ordinary user may read them.
const HARDWARE: [(&str, &str); 5] = [
    ("board", "sys/firmware/devicetree/base/serial-number"),
    ("chip", "sys/devices/soc0/serial_number"),
    ("product", "sys/class/dmi/id/product_uuid"),
    ("product_serial", "sys/class/dmi/id/product_serial"),
    ("board_serial", "sys/class/dmi/id/board_serial"),
];
/// What makers leave in when they give no id.
const BLANKS: [&str; 6] = [
    "03000200-0400-0500-0006-000700080009",
    "to be filled by o.e.m.",
    "default string",
    "system serial number",
    "not specified",
    "none",
];
/// No id is longer.
const LONGEST: u64 = 256;
/// Network ports that are looked at.
const MOST_PORTS: usize = 32;

/// Digests of what tells a machine from others, by kind.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Machine(BTreeMap<String, Vec<String>>);

impl Machine {
    /// The machine that this runs on.
    pub(crate) fn here() -> Self {
        Self::below(Path::new("/"))
    }

    /// The machine whose files are below `root`.
    fn below(root: &Path) -> Self {
        let mut ids = BTreeMap::new();
        for (kind, path) in [(CARD, "etc/machine-id")].into_iter().chain(HARDWARE) {
            if let Some(id) = id(&root.join(path)) {
                ids.insert(kind.to_owned(), vec![digest(kind, &id)]);
            }
        }
        let ports = ports(&root.join("sys/class/net"));
        if !ports.is_empty() {
            ids.insert(PORTS.to_owned(), ports);
        }
        Self(ids)
    }

    /// Whether nothing is known of it.
    pub(super) fn is_unknown(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `other` is certainly not this machine.
    pub(super) fn differs_from(&self, other: &Self) -> bool {
        let both = |kind: &str| Some((self.0.get(kind)?, other.0.get(kind)?));
        let agrees = |(mine, theirs): (&Vec<String>, &Vec<String>)| mine.iter().any(|id| theirs.contains(id));
        let hardware = self.0.keys().filter(|kind| *kind != CARD);
        let compared: Vec<bool> = hardware.filter_map(|kind| both(kind)).map(agrees).collect();
        if compared.is_empty() {
            return both(CARD).is_some_and(|ids| !agrees(ids));
        }
        !compared.contains(&true)
    }

    /// What is known of one machine now, and what was known of it before and cannot be read any more.
    pub(super) fn joined(&self, before: &Self) -> Self {
        let mut ids = before.0.clone();
        ids.extend(self.0.clone());
        Self(ids)
    }

    /// A machine of these ids, for tests.
    #[cfg(test)]
    pub(crate) fn of(ids: &[(&str, &str)]) -> Self {
        Self(ids.iter().map(|(kind, id)| ((*kind).to_owned(), vec![digest(kind, id)])).collect())
    }
}

/// The id in a file, unless it is none.
fn id(path: &Path) -> Option<String> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(LONGEST).read_to_end(&mut bytes).ok()?;
    // The device tree ends its strings with a zero.
    let text = String::from_utf8_lossy(&bytes).trim_matches(|c: char| c == '\0' || c.is_whitespace()).to_lowercase();
    let letters: Vec<char> = text.chars().filter(|c| c.is_alphanumeric()).collect();
    let all_the_same = letters.iter().all(|letter| Some(letter) == letters.first());
    (letters.len() >= 4 && !all_the_same && !BLANKS.contains(&text.as_str())).then_some(text)
}

/// The addresses of network ports that are hardware and whose address is burnt in.
fn ports(folder: &Path) -> Vec<String> {
    let mut found: Vec<String> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|port| port.join("device").exists() && id_text(&port.join("addr_assign_type")).as_deref() == Some("0"))
        .filter_map(|port| id(&port.join("address")))
        .map(|address| digest(PORTS, &address))
        .collect();
    found.sort_unstable();
    found.dedup();
    found.truncate(MOST_PORTS);
    found
}

fn id_text(path: &Path) -> Option<String> {
    let mut text = String::new();
    File::open(path).ok()?.take(LONGEST).read_to_string(&mut text).ok()?;
    Some(text.trim().to_owned())
}

/// Short, and of no use to find the id again.
fn digest(kind: &str, id: &str) -> String {
    let mut hasher = Sha256::new();
    for part in ["explaind machine", kind, id] {
        hasher.update(part.as_bytes());
        hasher.update([0]);
    }
    hasher.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hardware_decides_before_the_card_and_one_agreement_is_enough() {
        let original = Machine::of(&[(CARD, "c1"), ("board", "b1"), (PORTS, "p1")]);
        let clone = Machine::of(&[(CARD, "c1"), ("board", "b2"), (PORTS, "p2")]);
        let new_port = Machine::of(&[(CARD, "c1"), ("board", "b1"), (PORTS, "p2")]);
        let reinstalled = Machine::of(&[(CARD, "c2"), ("board", "b1")]);
        assert!(original.differs_from(&clone) && clone.differs_from(&original));
        assert!(!original.differs_from(&new_port) && !original.differs_from(&reinstalled));
        assert!(!original.differs_from(&original));
        let bare = |card| Machine::of(&[(CARD, card)]);
        assert!(bare("c1").differs_from(&bare("c2")) && !bare("c1").differs_from(&bare("c1")));
        assert!(!original.differs_from(&Machine::default()), "what is not known differs from nothing");
        assert!(original.differs_from(&bare("c2")), "no hardware id to compare by");
        assert_eq!(reinstalled.joined(&original), Machine::of(&[(CARD, "c2"), ("board", "b1"), (PORTS, "p1")]));
    }

    #[test]
    fn ids_are_read_where_they_are_and_blanks_are_none() {
        let root = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        assert!(Machine::below(root.path()).is_unknown());
        put("etc/machine-id", "3d1219c7c4c5404aaa1f6d2a48adfda4\n");
        put("sys/firmware/devicetree/base/serial-number", "10000000ABCDEF01\0");
        put("sys/class/dmi/id/product_uuid", "00000000-0000-0000-0000-000000000000\n");
        put("sys/class/dmi/id/board_serial", "To Be Filled By O.E.M.\n");
        for (port, kind) in [("eth0", "0"), ("veth1", "3")] {
            put(&format!("sys/class/net/{port}/address"), "dc:a6:32:01:02:03\n");
            put(&format!("sys/class/net/{port}/addr_assign_type"), &format!("{kind}\n"));
        }
        let read = Machine::below(root.path());
        assert_eq!(read.0.keys().collect::<Vec<_>>(), ["board", CARD], "a port without a device is none");
        put("sys/class/net/eth0/device/vendor", "");
        put("sys/class/net/veth1/device/vendor", "");
        let read = Machine::below(root.path());
        assert_eq!((read.0[PORTS].len(), read.0["board"].clone()), (1, vec![digest("board", "10000000abcdef01")]));
        assert!(!format!("{read:?}").contains("dc:a6"), "digests only");
    }
}
