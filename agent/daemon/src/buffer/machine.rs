//! Which machine this is: a card that was cloned, or moved, brings its store with it, and must not be taken for the
//! machine it came from.
//!
//! `/etc/machine-id` is on the card and is cloned with it, so what the hardware says counts first: serial numbers of the
//! board or the chip, and the addresses burnt into network ports. Two sets of ids are of one machine when any of the
//! hardware's agrees, so that a new network port alone does not make a new machine. Ports that are plugged in by USB (a
//! modem, say) may be there at one start and not at the next, and may move to another machine: they only ever speak for
//! a machine, and only where nothing that is built in can be compared. Where that says nothing either the card's own id
//! decides. Ports are remembered once they were seen, so that one which is late or broken at a start does no harm.
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
/// Addresses of network ports that are built in; in what earlier versions wrote, of all.
const PORTS: &str = "network";
/// Addresses of network ports that are plugged in by USB.
const PLUGGED: &str = "network_usb";
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
        for (kind, ports) in ports(&root.join("sys/class/net")) {
            ids.insert(kind.to_owned(), ports);
        }
        Self(ids)
    }

    /// Whether nothing is known of it.
    pub(super) fn is_unknown(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `other` is certainly not this machine.
    pub(crate) fn differs_from(&self, other: &Self) -> bool {
        let ids = |machine: &Self, kind: &str| machine.0.get(kind).cloned().unwrap_or_default();
        let share = |mine: &[String], theirs: &[String]| mine.iter().any(|id| theirs.contains(id));
        let kinds = HARDWARE.iter().map(|(kind, _)| *kind).chain([PORTS]);
        let both = kinds.map(|kind| (ids(self, kind), ids(other, kind)));
        let built_in: Vec<bool> =
            both.filter(|(m, t)| !m.is_empty() && !t.is_empty()).map(|(m, t)| share(&m, &t)).collect();
        // Earlier versions did not tell ports apart.
        let (mine, theirs) = (ids(self, PLUGGED), ids(other, PLUGGED));
        let mixed = share(&mine, &ids(other, PORTS)) || share(&theirs, &ids(self, PORTS));
        if built_in.contains(&true) || mixed {
            return false;
        }
        if !built_in.is_empty() {
            return true;
        }
        let (card, other_card) = (ids(self, CARD), ids(other, CARD));
        !share(&mine, &theirs) && !card.is_empty() && !other_card.is_empty() && !share(&card, &other_card)
    }

    /// What is known of one machine now, and what was known of it before and cannot be read any more.
    pub(super) fn joined(&self, before: &Self) -> Self {
        let mut ids = before.0.clone();
        for (kind, now) in &self.0 {
            let known = ids.insert(kind.clone(), now.clone()).unwrap_or_default();
            if [PORTS, PLUGGED].contains(&kind.as_str()) {
                let all = ids.entry(kind.clone()).or_default();
                all.extend(known.into_iter().filter(|port| !now.contains(port)));
                all.truncate(MOST_PORTS);
            }
        }
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

/// The addresses of network ports that are hardware and whose address is burnt in, by kind.
fn ports(folder: &Path) -> BTreeMap<&'static str, Vec<String>> {
    let mut found: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for port in fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()) {
        let is_hardware = port.join("device").exists();
        if !is_hardware || id_text(&port.join("addr_assign_type")).as_deref() != Some("0") {
            continue;
        }
        let bus = fs::read_link(port.join("device/subsystem")).unwrap_or_default();
        let kind = if bus.file_name().is_some_and(|bus| bus == "usb") { PLUGGED } else { PORTS };
        // One digest for both kinds: earlier versions did not tell them apart.
        found.entry(kind).or_default().extend(id(&port.join("address")).map(|address| digest(PORTS, &address)));
    }
    for ports in found.values_mut() {
        ports.sort_unstable();
        ports.dedup();
        ports.truncate(MOST_PORTS);
    }
    found.retain(|_, ports| !ports.is_empty());
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
    fn ports_that_come_and_go_make_no_other_machine() {
        // Digests of ports of both kinds are of one kind.
        let with = |built_in: &[&str], plugged: &[&str]| {
            let digests = |ports: &[&str]| ports.iter().map(|port| digest(PORTS, port)).collect::<Vec<_>>();
            let mut machine = Machine::of(&[(CARD, "c1")]);
            for (kind, ports) in [(PORTS, digests(built_in)), (PLUGGED, digests(plugged))] {
                if !ports.is_empty() {
                    machine.0.insert(kind.to_owned(), ports);
                }
            }
            machine
        };
        // First seen with the modem only, then with the port on the board only, then with both.
        let (modem, eth0) = (with(&[], &["modem"]), with(&["eth0"], &[]));
        assert!(!modem.differs_from(&eth0) && !eth0.differs_from(&modem));
        let known = eth0.joined(&modem);
        assert_eq!(known, with(&["eth0"], &["modem"]));
        // Two ports on the board, one of which is late now and then.
        let known = with(&["wlan0"], &[]).joined(&with(&["eth0", "wlan0"], &[]));
        assert_eq!(known, with(&["wlan0", "eth0"], &[]));
        assert!(!known.differs_from(&eth0));
        // Earlier versions wrote down a modem like any port.
        assert!(!with(&["modem"], &[]).differs_from(&with(&["eth0"], &["modem"])));
        // A card that was cloned is found out, also when the modem went with it.
        let clone = with(&["other"], &["modem"]);
        assert!(with(&["eth0"], &["modem"]).differs_from(&clone) && clone.differs_from(&with(&["eth0"], &["modem"])));
        assert!(with(&[], &["modem"]).differs_from(&Machine::of(&[(CARD, "c2")])), "the card tells then");
        let many: Vec<String> = (0..2 * MOST_PORTS).map(|n| n.to_string()).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(eth0.joined(&with(&many, &[])).0[PORTS].len(), MOST_PORTS);
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
        std::os::unix::fs::symlink("../../bus/usb", root.path().join("sys/class/net/eth0/device/subsystem")).unwrap();
        let plugged = Machine::below(root.path());
        assert_eq!((plugged.0.get(PORTS), &plugged.0[PLUGGED]), (None, &read.0[PORTS]));
    }
}
