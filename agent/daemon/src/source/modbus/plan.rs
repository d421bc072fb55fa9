//! Which requests a poll makes: neighbouring signals share one, within the protocol's limits.

use super::{Register, Signal};

/// One request, and the signals that it answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Read {
    pub(super) register: Register,
    pub(super) start: u16,
    pub(super) count: u16,
    /// Indices into the signals.
    pub(super) members: Vec<usize>,
}

impl Read {
    fn of(index: usize, signal: &Signal) -> Self {
        Self { register: signal.register, start: signal.address, count: signal.width(), members: vec![index] }
    }

    /// Takes one more signal in, where it touches or overlaps what is read anyway and the request stays within limits.
    ///
    /// Gaps are not read: many devices refuse a request that covers one address that they do not have.
    fn absorb(&mut self, index: usize, signal: &Signal) -> bool {
        let end = u32::from(self.start) + u32::from(self.count);
        let wanted = (u32::from(signal.address) + u32::from(signal.width())).max(end) - u32::from(self.start);
        if signal.register != self.register || u32::from(signal.address) > end {
            return false;
        }
        match u16::try_from(wanted) {
            Ok(count) if count <= self.register.most() => {
                self.count = count;
                self.members.push(index);
                true
            }
            _ => false,
        }
    }

    /// The same signals, one request each.
    pub(super) fn split(&self, signals: &[Signal]) -> Vec<Self> {
        self.members.iter().filter_map(|&index| Some(Self::of(index, signals.get(index)?))).collect()
    }
}

/// The fewest requests that read every signal.
pub(super) fn plan(signals: &[Signal]) -> Vec<Read> {
    let mut order: Vec<_> = signals.iter().enumerate().collect();
    order.sort_by_key(|(_, signal)| (signal.register, signal.address, signal.width()));
    let mut reads: Vec<Read> = Vec::new();
    for (index, signal) in order {
        if !reads.last_mut().is_some_and(|read| read.absorb(index, signal)) {
            reads.push(Read::of(index, signal));
        }
    }
    reads
}

#[cfg(test)]
mod tests {
    use super::super::{Config, Register};
    use super::*;

    fn signals(list: &[(&str, u16, &str)]) -> Vec<Signal> {
        let mut toml = "url='tcp://plc'\n".to_owned();
        for (index, (register, address, kind)) in list.iter().enumerate() {
            toml += &format!("[[signal]]\nname='s{index}'\nregister='{register}'\naddress={address}\ntype='{kind}'\n");
        }
        Config::parse(toml.parse().unwrap()).unwrap().signals
    }

    fn planned(list: &[(&str, u16, &str)]) -> Vec<(Register, u16, u16, Vec<usize>)> {
        plan(&signals(list)).into_iter().map(|read| (read.register, read.start, read.count, read.members)).collect()
    }

    #[test]
    fn neighbours_and_overlaps_share_a_request_gaps_and_tables_do_not() {
        use Register::{Coil, Holding, Input};
        let list = [
            ("holding", 2, "f32"),
            ("holding", 0, "f32"),
            ("holding", 1, "u16"),
            ("holding", 5, "u16"),
            ("input", 4, "u16"),
            ("coil", 3, "bool"),
            ("coil", 4, "bool"),
            ("holding", 65535, "u16"),
        ];
        let expected = [
            (Coil, 3, 2, vec![5, 6]),
            (Input, 4, 1, vec![4]),
            (Holding, 0, 4, vec![1, 2, 0]),
            (Holding, 5, 1, vec![3]),
            (Holding, 65535, 1, vec![7]),
        ];
        assert_eq!(planned(&list), expected);
    }

    #[test]
    fn no_request_asks_for_more_than_the_protocol_allows() {
        let list: Vec<_> = (0..200).map(|index| ("holding", index * 2, "f32")).collect();
        let reads = planned(&list);
        assert_eq!(reads.iter().map(|read| read.2).collect::<Vec<_>>(), [124, 124, 124, 28]);
        let list: Vec<_> = (0..2001).map(|index| ("discrete", index, "bool")).collect();
        assert_eq!(planned(&list).iter().map(|read| read.2).collect::<Vec<_>>(), [2000, 1]);
    }

    #[test]
    fn a_refused_request_falls_apart_into_its_signals() {
        let signals = signals(&[("holding", 0, "f32"), ("holding", 2, "u16")]);
        let reads = plan(&signals);
        let alone: Vec<_> = reads[0].split(&signals).into_iter().map(|read| (read.start, read.count)).collect();
        assert_eq!(alone, [(0, 2), (2, 1)]);
    }
}
