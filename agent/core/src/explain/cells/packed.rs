//! Cells of up to six numbers in sixteen bytes.
//!
//! Where tables are too large for the nearer caches, a row waits for the lines that its cells lie in. So four cells share
//! a line of 64 bytes here and none lies across two. Numbers are whole multiples of a step, 21 bits each, three to a word, and are
//! added exactly: of tables whose numbers are of one size, a [`Run`], they have the same step.

use super::group::{BLOCK, Block};
use crate::model::tree::{Node, TreeSum};

/// Numbers to a cell.
pub(super) const LANES: usize = 6;

const BITS: u32 = 21;
/// What is added to a number so that none is below zero.
const BIAS: i64 = 1 << (BITS - 1);
const LARGEST: f64 = (BIAS - 1) as f64;

/// Tables are told apart by size down to a 64th of the largest.
const SIZES: u32 = 6;
/// Bytes that runs take at most.
pub(super) const RUNS_BYTES: usize = (SIZES as usize + 1) * size_of::<Run>();

/// Sixteen bytes at once, never across two cache lines.
#[derive(Debug, Clone, Copy, Default)]
#[repr(align(16))]
pub(super) struct Cell([u64; 2]);

/// Blocks of tables whose numbers have the same step.
#[derive(Debug, Clone)]
pub(super) struct Run {
    /// The block after them.
    pub(super) end: usize,
    pub(super) step: f64,
}

/// Some tables' cells.
#[derive(Debug, Clone)]
pub(super) struct Packed {
    /// With one of zeros at the very end.
    pub(super) cells: Vec<Cell>,
    pub(super) runs: Vec<Run>,
    /// How far an attribution can be off, if all that is rounded adds up.
    pub(super) off: f64,
}

impl Packed {
    /// Packs cells of `width` numbers: per table those from its start on. Gives the order of the tables too: by size, and
    /// among those of one size by `key`.
    pub(super) fn new(
        numbers: &[f32],
        tables: &[(usize, usize)],
        width: usize,
        key: impl Fn(usize) -> usize,
    ) -> (Self, Vec<usize>) {
        let of = |table: usize| &numbers[tables[table].0..][..tables[table].1 * width];
        let largest = |table: usize| of(table).iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
        let largest: Vec<f64> = (0..tables.len()).map(|table| f64::from(largest(table))).collect();
        let all = largest.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
        let size = |table: usize| (all / largest[table]).log2().min(f64::from(SIZES)) as u32;
        let mut order: Vec<usize> = (0..tables.len()).collect();
        order.sort_by_cached_key(|&table| (size(table), key(table)));
        let mut runs: Vec<Run> = Vec::new();
        let mut steps = vec![0.0; tables.len()];
        let mut off = 0.0;
        for (index, block) in order.chunks(BLOCK).enumerate() {
            let step = all / LARGEST / block.first().map_or(1.0, |&first| f64::from(1_u32 << size(first)));
            match runs.last_mut() {
                Some(run) if run.step == step => run.end = index + 1,
                _ => runs.push(Run { end: index + 1, step }),
            }
            block.iter().for_each(|&table| steps[table] = step);
            off += step * block.len() as f64;
        }
        let mut cells = Vec::with_capacity(tables.iter().map(|(_, cells)| cells).sum::<usize>() + 1);
        for (table, &step) in steps.iter().enumerate() {
            cells.extend(of(table).chunks_exact(width).map(|cell| Cell::of(cell, step)));
        }
        cells.push(Cell::of(&[], 1.0));
        (Self { cells, runs, off }, order)
    }

    pub(super) fn bytes(&self) -> usize {
        size_of_val(&self.cells[..]) + size_of_val(&self.runs[..])
    }
}

impl Cell {
    /// Some bits of it, to have read it.
    #[inline]
    pub(super) fn touched(&self) -> u64 {
        self.0[0]
    }

    /// What rounding takes from one number the next gets, so that together they are right to half a step. What is nothing
    /// stays so.
    fn of(numbers: &[f32], step: f64) -> Self {
        let mut words = [0_u64; 2];
        let mut left = 0.0;
        for lane in 0..LANES {
            let value = numbers.get(lane).map_or(0.0, |&value| f64::from(value)) / step;
            let rounded = if value == 0.0 { 0.0 } else { (value + left).round().clamp(-LARGEST, LARGEST) };
            left += value - rounded;
            words[lane / 3] |= (rounded as i64 + BIAS).cast_unsigned() << (BITS * (lane as u32 % 3));
        }
        Self(words)
    }
}

/// Cells added up. The numbers of a word are never taken apart for it: the whole word, the word without its first number, and
/// its last are added each by itself, and what lies above a number is subtracted in the end.
#[derive(Clone, Copy, Default)]
pub(super) struct Sums {
    words: [[u64; 2]; 3],
    added: u64,
}

impl Sums {
    /// Adds a cell of each table of a block, but for those that add nothing.
    #[inline]
    pub(super) fn add(&mut self, cells: &[Cell], starts: &[u32; BLOCK], numbers: &Block, leading: &Block) {
        let mut words = self.words;
        let mut add = |table: usize| {
            let place = starts[table] as usize + usize::from(numbers[table]);
            let cell = cells.get(place).copied().unwrap_or_default().0;
            for at in 0..2 {
                words[0][at] = words[0][at].wrapping_add(cell[at]);
                words[1][at] = words[1][at].wrapping_add(cell[at] >> BITS);
                words[2][at] = words[2][at].wrapping_add(cell[at] >> (2 * BITS));
            }
        };
        let mut adding =
            (0..BLOCK).fold(0_u32, |bits, table| bits | u32::from(numbers[table] >= leading[table]) << table);
        self.added += u64::from(adding.count_ones());
        if adding == (1 << BLOCK) - 1 {
            (0..BLOCK).for_each(add);
        } else {
            while adding != 0 {
                add(adding.trailing_zeros() as usize % BLOCK);
                adding &= adding - 1;
            }
        }
        self.words = words;
    }

    /// The sums, in steps.
    pub(super) fn lanes(&self) -> [i64; LANES] {
        let bias = self.added.wrapping_mul(BIAS.cast_unsigned());
        let mut lanes = [0; LANES];
        for at in 0..2 {
            let [all, upper, top] = self.words.map(|word| word[at]);
            let apart = [all.wrapping_sub(upper << BITS), upper.wrapping_sub(top << BITS), top];
            for (lane, sum) in apart.into_iter().enumerate() {
                lanes[3 * at + lane] = sum.wrapping_sub(bias).cast_signed();
            }
        }
        lanes
    }
}

/// The largest output for any of some rows, or 1: what an error is measured by.
pub(super) fn scale(sum: &TreeSum, rows: &[f32]) -> f64 {
    let output = |row: &[f32]| -> f64 {
        let leaf = |nodes: &[Node]| {
            let mut at = 0;
            loop {
                match nodes[at] {
                    Node::Leaf(value) => break value,
                    Node::Split(split) => {
                        let yes = split.goes_yes(row[split.feature as usize]);
                        at = if yes { split.yes } else { split.no } as usize;
                    }
                }
            }
        };
        sum.base + sum.trees.iter().map(|tree| leaf(&tree.nodes)).sum::<f64>()
    };
    rows.chunks_exact(sum.width).map(|row| output(row).abs()).fold(1.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_is_off_by_no_more_than_is_said() {
        const WIDTH: usize = 5;
        let value = |at: usize| ((at * 7_919 % 2_003) as f32 - 1_001.0) / 1e3 / (1 << (at / 60 % 9)) as f32;
        let numbers: Vec<f32> = (0..19 * 60).map(|at| if at % 11 == 0 { 0.0 } else { value(at) }).collect();
        let tables: Vec<(usize, usize)> = (0..19).map(|table| (table * 60, 12)).collect();
        let (packed, order) = Packed::new(&numbers, &tables, WIDTH, |table| table);
        assert!(packed.runs.len() > 1 && packed.runs.last().is_some_and(|run| run.end == 3));
        for number in 0..12_u16 {
            let (mut found, mut expected) = ([0.0; LANES], [0.0; LANES]);
            let mut first = 0;
            for run in &packed.runs {
                let mut sums = Sums::default();
                for block in first..run.end {
                    let table = |lane: usize| order.get(block * BLOCK + lane).copied();
                    let zeros = packed.cells.len() - 1;
                    let starts = std::array::from_fn(|lane| table(lane).map_or(zeros, |table| table * 12) as u32);
                    let numbers = std::array::from_fn(|lane| table(lane).map_or(0, |_| number));
                    sums.add(&packed.cells, &starts, &numbers, &[0, 0, 0, 0, 0, 0, 0, u16::from(block == 2)]);
                }
                first = run.end;
                found.iter_mut().zip(sums.lanes()).for_each(|(found, sum)| *found += sum as f64 * run.step);
            }
            for &(start, _) in &tables {
                let cell = &numbers[start + usize::from(number) * WIDTH..][..WIDTH];
                expected.iter_mut().zip(cell).for_each(|(sum, value)| *sum += f64::from(*value));
            }
            for (found, expected) in found.iter().zip(expected) {
                assert!((found - expected).abs() <= packed.off, "{found} for {expected}, {} allowed", packed.off);
            }
            let (found, expected): (f64, f64) = (found.iter().sum(), expected.iter().sum());
            assert!((found - expected).abs() <= packed.off / 2.0, "together {found} for {expected}");
        }
    }

    #[test]
    fn nothing_stays_nothing() {
        for numbers in [&[0.3, 0.0, -0.2, 0.0, 0.0, 0.1][..], &[0.0; 3], &[]] {
            let sums = Sums { words: [[0; 2]; 3], added: 0 };
            let mut added = sums;
            added.add(&[Cell::of(numbers, 1e-3 / 3.0); 1], &[0; BLOCK], &[0; BLOCK], &[0; BLOCK]);
            for (lane, sum) in added.lanes().into_iter().enumerate() {
                let number = numbers.get(lane).copied().unwrap_or(0.0);
                assert_eq!(sum == 0, number == 0.0, "{numbers:?}");
            }
        }
    }
}
