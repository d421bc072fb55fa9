//! Tables of some trees, and how a row's cells are found in them.
//!
//! A value's rank among all cuts of its feature says what it adds to the number of the cell in every table at once. These
//! steps lie side by side, [`BLOCK`] tables to a block, so that adding them up is a few wide additions; then one stored
//! vector per table is added to the row's sums. Cells are float32, as the model's own answers are; they are added in float64
//! but for the few of one block.

use std::hint::black_box;

use super::fill::filled;
use super::grid::{ascending, rank, representatives};
use super::packed::{self, Packed, Sums};
use super::table::{Table, similar};
use crate::model::tree::Tree;

/// Tables whose numbers are found together.
pub(super) const BLOCK: usize = 8;

/// Models of up to so many features keep a number for each of them in every cell.
pub(super) const NARROW: usize = 8;

/// One number for each table of a block.
pub(super) type Block = [u16; BLOCK];

/// How cells are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// A number for each of the model's features, which are so many: adding a cell is one wide addition.
    Narrow(usize),
    /// The same with fewer digits in fewer bytes.
    Packed(usize),
    /// A number for each of the table's axes.
    Wide,
}

impl Layout {
    pub(super) fn of(width: usize) -> Self {
        if width <= NARROW { Self::Narrow(width) } else { Self::Wide }
    }

    /// For large tables; `None` where there are too many features for it.
    pub(super) fn packed(width: usize) -> Option<Self> {
        (width <= packed::LANES).then_some(Self::Packed(width))
    }

    /// Numbers to a cell of a table with so many axes.
    pub(super) fn lanes(self, axes: usize) -> usize {
        match self {
            Self::Narrow(width) | Self::Packed(width) => width,
            Self::Wide => axes,
        }
    }

    pub(super) fn cell_bytes(self, cells: usize, axes: usize) -> usize {
        match self {
            Self::Packed(_) => cells * size_of::<packed::Cell>(),
            Self::Narrow(_) | Self::Wide => cells * self.lanes(axes) * size_of::<f32>(),
        }
    }

    /// What adding a cell of a table with so many axes takes, to compare with others.
    pub(super) fn time(self, axes: usize) -> f64 {
        match self {
            Self::Narrow(_) | Self::Packed(_) => 1.0,
            Self::Wide => 1.0 + axes as f64 / 2.0,
        }
    }

    /// Bytes that so many tables of so many axes in all take beside cells and steps.
    pub(super) fn beside_bytes(self, tables: usize, axes: usize) -> usize {
        let padding = NARROW * size_of::<f32>();
        let starts = tables.next_multiple_of(BLOCK) * size_of::<u32>();
        match self {
            Self::Narrow(_) => padding + starts + tables.next_multiple_of(BLOCK) * size_of::<u16>(),
            Self::Packed(_) => {
                let cell = size_of::<packed::Cell>();
                cell + packed::RUNS_BYTES + starts + tables.next_multiple_of(BLOCK) * size_of::<u16>()
            }
            Self::Wide => padding + 2 * starts + axes * size_of::<u32>(),
        }
    }
}

/// Adds up how many bytes tables take at most, in whatever order they are.
pub(super) struct Size {
    cells: usize,
    tables: usize,
    /// Per feature how many tables have it.
    axes: Vec<usize>,
}

impl Size {
    pub(super) fn new(width: usize) -> Self {
        Self { cells: 0, tables: 0, axes: vec![0; width] }
    }

    /// Adds a table.
    pub(super) fn add(&mut self, cell_bytes: usize, features: impl Iterator<Item = u32>) {
        self.cells += cell_bytes;
        self.tables += 1;
        features.for_each(|feature| self.axes[feature as usize] += 1);
    }

    pub(super) fn bytes(&self, ranks: &[usize], layout: Layout) -> usize {
        let blocks = self.tables.div_ceil(BLOCK);
        let steps = self.axes.iter().zip(ranks).map(|(&axes, &ranks)| {
            axes.min(blocks) * (size_of::<u32>() + ranks * size_of::<Block>()) + ranks * size_of::<f32>()
        });
        self.cells + layout.beside_bytes(self.tables, self.axes.iter().sum()) + steps.sum::<usize>()
    }
}

/// Tables that share ranks.
#[derive(Debug, Clone)]
pub(super) struct Group {
    width: usize,
    ranks: Vec<Ranks>,
    /// Per table where its cells begin. Whole blocks: tables that are none have one cell of zeros.
    starts: Vec<[u32; BLOCK]>,
    cells: Cells,
}

/// What one feature's value adds to the numbers of the cells.
#[derive(Debug, Clone)]
struct Ranks {
    feature: u32,
    /// Ascending.
    cuts: Vec<f32>,
    /// The blocks with tables that have this feature.
    blocks: Vec<u32>,
    /// Per rank: one entry for each of `blocks`.
    steps: Vec<Block>,
}

#[derive(Debug, Clone)]
enum Cells {
    /// Padded at the very end, so that [`NARROW`] numbers can be read anywhere.
    Narrow {
        numbers: Vec<f32>,
        /// Per table with how many cells of zeros it begins: for a row in one of them nothing is read.
        leading: Vec<Block>,
    },
    Packed {
        packed: Packed,
        /// As above.
        leading: Vec<Block>,
    },
    Wide {
        numbers: Vec<f32>,
        /// Of all tables, one after the other.
        features: Vec<u32>,
        /// Per table where its features end.
        ends: Vec<[u32; BLOCK]>,
    },
}

/// What adding needs to write on.
#[derive(Default)]
pub(super) struct Scratch {
    /// Per row and table the number of the cell.
    numbers: Vec<Block>,
    /// Per row the sums of a narrow model.
    sums: Vec<[f64; NARROW]>,
    /// Per row the sums of a run of packed tables.
    packed: Vec<Sums>,
}

impl Group {
    /// Fills tables of trees.
    pub(super) fn new(
        trees: &[Tree],
        mut tables: Vec<Table>,
        layout: Layout,
        width: usize,
        background: &[f32],
    ) -> Self {
        tables.iter_mut().for_each(|table| table.arrange(background, width));
        let (numbers, starts) = filled(trees, &tables, layout, background, width);
        let leading = || {
            let leading = starts.iter().zip(&tables).map(|(&start, table)| {
                let cells = numbers[start as usize..].chunks_exact(width).take(table.cells);
                // Fits, as the numbers of cells do.
                cells.take_while(|cell| cell.iter().all(|&value| value == 0.0)).count() as u16
            });
            leading.collect::<Vec<u16>>()
        };
        // Those that mostly add nothing together at the end, so that they are passed over together.
        let nothing = |leading: &[u16], table: usize| {
            background.chunks_exact(width).filter(|row| tables[table].number(row) < leading[table]).count()
        };
        // What a table's start is divided by, and where a cell of zeros is.
        let mut places = (1, numbers.len() - NARROW);
        let (cells, order) = match layout {
            Layout::Narrow(_) => {
                let leading = leading();
                let mut order: Vec<usize> = (0..tables.len()).collect();
                order.sort_by_cached_key(|&table| nothing(&leading, table));
                let leading = blocks(order.iter().map(|&table| leading[table]), 1);
                (Cells::Narrow { numbers, leading }, order)
            }
            Layout::Packed(_) => {
                let leading = leading();
                let cells = starts.iter().zip(&tables).map(|(&start, table)| (start as usize, table.cells));
                let cells: Vec<(usize, usize)> = cells.collect();
                let (packed, order) = Packed::new(&numbers, &cells, width, |table| nothing(&leading, table));
                places = (width, packed.cells.len() - 1);
                let leading = blocks(order.iter().map(|&table| leading[table]), 1);
                (Cells::Packed { packed, leading }, order)
            }
            Layout::Wide => {
                let order = similar(&tables, width);
                let axes = order.iter().flat_map(|&table| &tables[table].axes);
                let features = axes.map(|axis| axis.feature).collect::<Vec<_>>();
                let ends = order.iter().scan(0, |end, &table| {
                    *end += tables[table].axes.len() as u32;
                    Some(*end)
                });
                (Cells::Wide { ends: blocks(ends, features.len() as u32), numbers, features }, order)
            }
        };
        let starts = blocks(order.iter().map(|&table| starts[table] / places.0 as u32), places.1 as u32);
        let tables: Vec<&Table> = order.iter().map(|&table| &tables[table]).collect();
        let ranks: Vec<Ranks> = (0..width as u32).filter_map(|feature| Ranks::new(feature, &tables)).collect();
        Self { width, ranks, starts, cells }
    }

    pub(super) fn bytes(&self) -> usize {
        let ranks: usize = self.ranks.iter().map(Ranks::bytes).sum();
        let cells = match &self.cells {
            Cells::Narrow { numbers, leading } => size_of_val(&numbers[..]) + size_of_val(&leading[..]),
            Cells::Packed { packed, leading } => packed.bytes() + size_of_val(&leading[..]),
            Cells::Wide { numbers, features, ends } => {
                size_of_val(&numbers[..]) + size_of_val(&features[..]) + size_of_val(&ends[..])
            }
        };
        ranks + cells + size_of_val(&self.starts[..])
    }

    /// How far an attribution can be off, beside what float32 cannot hold.
    pub(super) fn off(&self) -> f64 {
        match &self.cells {
            Cells::Packed { packed, .. } => packed.off,
            Cells::Narrow { .. } | Cells::Wide { .. } => 0.0,
        }
    }

    /// Adds the attributions of flat rows to their sums.
    pub(super) fn add(&self, rows: &[f32], scratch: &mut Scratch, attributions: &mut [f64]) {
        let blocks = self.starts.len();
        scratch.numbers.clear();
        scratch.numbers.resize(rows.len() / self.width * blocks, [0; BLOCK]);
        for (row, numbers) in rows.chunks_exact(self.width).zip(scratch.numbers.chunks_exact_mut(blocks)) {
            self.ranks.iter().for_each(|ranks| ranks.step(row, numbers));
        }
        match &self.cells {
            Cells::Narrow { numbers: cells, leading } => {
                scratch.sums.clear();
                scratch.sums.resize(rows.len() / self.width, [0.0; NARROW]);
                for (block, (starts, leading)) in self.starts.iter().zip(leading).enumerate() {
                    for (numbers, sums) in scratch.numbers.chunks_exact(blocks).zip(&mut scratch.sums) {
                        add_narrow(cells, self.width, starts, &numbers[block], leading, sums);
                    }
                }
                for (sums, attributions) in scratch.sums.iter().zip(attributions.chunks_exact_mut(self.width)) {
                    attributions.iter_mut().zip(sums).for_each(|(attribution, sum)| *attribution += sum);
                }
            }
            Cells::Packed { packed, leading } => {
                if rows.len() == self.width {
                    touch_packed(&packed.cells, &self.starts, &scratch.numbers);
                }
                let mut first = 0;
                for run in &packed.runs {
                    scratch.packed.clear();
                    scratch.packed.resize(rows.len() / self.width, Sums::default());
                    for block in first..run.end {
                        let (starts, leading) = (&self.starts[block], &leading[block]);
                        for (numbers, sums) in scratch.numbers.chunks_exact(blocks).zip(&mut scratch.packed) {
                            sums.add(&packed.cells, starts, &numbers[block], leading);
                        }
                    }
                    first = run.end;
                    for (sums, attributions) in scratch.packed.iter().zip(attributions.chunks_exact_mut(self.width)) {
                        for (attribution, sum) in attributions.iter_mut().zip(sums.lanes()) {
                            *attribution += sum as f64 * run.step;
                        }
                    }
                }
            }
            Cells::Wide { numbers: cells, features, ends } => {
                if rows.len() == self.width {
                    touch_wide(cells, &self.starts, &scratch.numbers, ends);
                }
                let mut first = 0;
                for (block, (starts, ends)) in self.starts.iter().zip(ends).enumerate() {
                    let of_rows = scratch.numbers.chunks_exact(blocks).zip(attributions.chunks_exact_mut(self.width));
                    for (numbers, attributions) in of_rows {
                        add_wide(cells, starts, &numbers[block], first, ends, features, attributions);
                    }
                    first = ends[BLOCK - 1];
                }
            }
        }
    }
}

#[inline]
fn add_narrow(
    cells: &[f32],
    width: usize,
    starts: &[u32; BLOCK],
    numbers: &Block,
    leading: &Block,
    sums: &mut [f64; NARROW],
) {
    let mut added = [0.0_f32; NARROW];
    let mut add = |table: usize| {
        let start = starts[table] as usize + usize::from(numbers[table]) * width;
        let cell = cells.get(start..).and_then(<[f32]>::first_chunk::<NARROW>);
        for (sum, value) in added.iter_mut().zip(cell.unwrap_or(&[0.0; NARROW])) {
            *sum += value;
        }
    };
    // A bit for each table that adds something.
    let mut adding = (0..BLOCK).fold(0_u32, |bits, table| bits | u32::from(numbers[table] >= leading[table]) << table);
    if adding == (1 << BLOCK) - 1 {
        (0..BLOCK).for_each(add);
    } else {
        while adding != 0 {
            // Never past the last table, which lets the compiler leave out checks.
            add(adding.trailing_zeros() as usize % BLOCK);
            adding &= adding - 1;
        }
    }
    for (sum, value) in sums.iter_mut().zip(added) {
        *sum += f64::from(value);
    }
}

/// Reads each of a row's cells, and nothing else. A row alone waits for every one of them, and adding is too much work
/// between two reads for the next to be under way meanwhile; of rows together one goes on while another waits. Narrow
/// cells are added with so little work that it gains nothing there.
fn touch_packed(cells: &[packed::Cell], starts: &[[u32; BLOCK]], numbers: &[Block]) {
    let mut met = 0;
    for (starts, numbers) in starts.iter().zip(numbers) {
        for (&start, &number) in starts.iter().zip(numbers) {
            met ^= cells.get(start as usize + usize::from(number)).map_or(0, packed::Cell::touched);
        }
    }
    black_box(met);
}

/// The same for the beginnings of wide cells.
fn touch_wide(cells: &[f32], starts: &[[u32; BLOCK]], numbers: &[Block], ends: &[[u32; BLOCK]]) {
    let (mut first, mut met) = (0, 0);
    for ((starts, numbers), ends) in starts.iter().zip(numbers).zip(ends) {
        for ((&start, &number), &end) in starts.iter().zip(numbers).zip(ends) {
            let place = start as usize + usize::from(number) * (end - first) as usize;
            met ^= cells.get(place).map_or(0, |value| value.to_bits());
            first = end;
        }
    }
    black_box(met);
}

#[inline]
fn add_wide(
    cells: &[f32],
    starts: &[u32; BLOCK],
    numbers: &Block,
    mut first: u32,
    ends: &[u32; BLOCK],
    features: &[u32],
    attributions: &mut [f64],
) {
    for ((&start, &number), &end) in starts.iter().zip(numbers).zip(ends) {
        let features = &features[first as usize..end as usize];
        first = end;
        let cell = &cells[start as usize + usize::from(number) * features.len()..][..features.len()];
        let mut add = |feature: u32, value: f32| attributions[feature as usize] += f64::from(value);
        // Four to a round, since the counting would take as long as the adding.
        let ((four_features, features), (four_values, values)) = (features.as_chunks::<4>(), cell.as_chunks::<4>());
        for (features, values) in four_features.iter().zip(four_values) {
            features.iter().zip(values).for_each(|(&feature, &value)| add(feature, value));
        }
        features.iter().zip(values).for_each(|(&feature, &value)| add(feature, value));
    }
}

impl Ranks {
    /// `None` for a feature that no table has.
    fn new(feature: u32, tables: &[&Table]) -> Option<Self> {
        let axes = tables.iter().enumerate().filter_map(|(place, table)| {
            let axis = table.axes.binary_search_by_key(&feature, |axis| axis.feature).ok()?;
            Some((place, &table.axes[axis]))
        });
        let axes: Vec<_> = axes.collect();
        let mut blocks: Vec<_> = axes.iter().map(|(place, _)| (place / BLOCK) as u32).collect();
        blocks.dedup();
        let cuts = ascending(axes.iter().flat_map(|(_, axis)| axis.cuts()).copied().collect());
        let mut steps = Vec::with_capacity((cuts.len() + 2) * blocks.len());
        for value in representatives(&cuts) {
            let first = steps.len();
            steps.resize(first + blocks.len(), [0; BLOCK]);
            let mut at = 0;
            for (place, axis) in &axes {
                while blocks[at] != (place / BLOCK) as u32 {
                    at += 1;
                }
                steps[first + at][place % BLOCK] = axis.step(value);
            }
        }
        (!axes.is_empty()).then_some(Self { feature, cuts, blocks, steps })
    }

    /// Adds to the numbers of a row's cells what this feature's value adds.
    #[inline]
    fn step(&self, row: &[f32], numbers: &mut [Block]) {
        let rank = rank(&self.cuts, row[self.feature as usize]);
        let steps = &self.steps[rank * self.blocks.len()..][..self.blocks.len()];
        for (&block, steps) in self.blocks.iter().zip(steps) {
            let number = &mut numbers[block as usize];
            // Never more than there are cells.
            *number = std::array::from_fn(|table| number[table].wrapping_add(steps[table]));
        }
    }

    fn bytes(&self) -> usize {
        size_of_val(&self.cuts[..]) + size_of_val(&self.blocks[..]) + size_of_val(&self.steps[..])
    }
}

/// Whole blocks, the last filled up.
fn blocks<T: Copy>(values: impl Iterator<Item = T>, fill: T) -> Vec<[T; BLOCK]> {
    let values: Vec<T> = values.collect();
    values.chunks(BLOCK).map(|chunk| std::array::from_fn(|lane| chunk.get(lane).copied().unwrap_or(fill))).collect()
}
