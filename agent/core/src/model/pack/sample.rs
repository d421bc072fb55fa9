//! Which rows of the reference are taken: evenly from each group, the same for the same inputs on every machine.

use std::collections::BTreeMap;

use crate::model::error::BundleError;
use crate::model::manifest::OutputKind;
use crate::model::table::{Sheet, Table};
use crate::random::Random;

/// Groups that a quantity is cut into.
const GROUPS: usize = 10;

/// Draws `wanted` of the rows, in proportion from each group, in their order; all where there are no more.
pub(super) fn draw(groups: &[Vec<usize>], wanted: usize, random: &mut Random) -> Vec<usize> {
    let total: usize = groups.iter().map(Vec::len).sum();
    let mut chosen: Vec<usize> = Vec::with_capacity(wanted.min(total));
    if total <= wanted {
        chosen.extend(groups.iter().flatten());
    } else {
        for (group, share) in groups.iter().zip(shares(groups, wanted)) {
            chosen.extend(random.choose(group, share));
        }
    }
    chosen.sort_unstable();
    chosen
}

/// Some rows of a table.
pub(super) fn pick(table: &Table, rows: &[usize]) -> Table {
    let width = table.width();
    let row = |row: &usize| table.rows.get(row * width..(row + 1) * width).unwrap_or_default();
    Table { columns: table.columns.clone(), rows: rows.iter().flat_map(row).copied().collect() }
}

/// Row numbers by what the target column says: each class, or each tenth of a quantity. Also the column's text.
pub(super) fn by_target(
    file: &str,
    bytes: &[u8],
    target: &str,
    kind: OutputKind,
) -> Result<(Vec<Vec<usize>>, Vec<String>), BundleError> {
    let mut sheet = Sheet::open(file, bytes)?;
    let Some(column) = sheet.column(target)? else {
        return Err(sheet.missing(target, "the column that output.target names is not there; add it or remove the key"));
    };
    let (mut texts, mut numbers) = (Vec::new(), Vec::new());
    while sheet.advance()? {
        if kind != OutputKind::Classification {
            numbers.push(sheet.number(column)?);
        }
        texts.push(sheet.text(column).to_owned());
    }
    let groups = if kind == OutputKind::Classification { by_class(&texts) } else { by_quantity(&numbers) };
    Ok((groups, texts))
}

fn by_class<T: Ord>(classes: &[T]) -> Vec<Vec<usize>> {
    let mut groups: BTreeMap<&T, Vec<usize>> = BTreeMap::new();
    for (row, class) in classes.iter().enumerate() {
        groups.entry(class).or_default().push(row);
    }
    groups.into_values().collect()
}

/// Tenths of about equal size, by value.
pub(super) fn by_quantity(values: &[f64]) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let size = order.len().div_ceil(GROUPS).max(1);
    let mut groups: Vec<Vec<usize>> = order.chunks(size).map(<[usize]>::to_vec).collect();
    groups.iter_mut().for_each(|group| group.sort_unstable());
    groups
}

/// How many rows each group gives: in proportion, what rounding leaves over going to the largest remainders.
fn shares(groups: &[Vec<usize>], wanted: usize) -> Vec<usize> {
    let total: u128 = groups.iter().map(|group| group.len() as u128).sum::<u128>().max(1);
    let exact = |group: &Vec<usize>| group.len() as u128 * wanted as u128;
    let mut shares: Vec<usize> = groups.iter().map(|group| (exact(group) / total) as usize).collect();
    let mut order: Vec<usize> = (0..groups.len()).collect();
    order.sort_by_key(|&index| std::cmp::Reverse(exact(&groups[index]) % total));
    let left = wanted.saturating_sub(shares.iter().sum());
    order.into_iter().take(left).for_each(|index| shares[index] += 1);
    shares
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_in_proportion_and_add_up() {
        let groups: Vec<Vec<usize>> = [970, 20, 10].iter().map(|&len| vec![0; len]).collect();
        assert_eq!(shares(&groups, 100), [97, 2, 1]);
        assert_eq!(shares(&groups, 10), [10, 0, 0]);
        for wanted in [1, 7, 99, 500] {
            assert_eq!(shares(&groups, wanted).iter().sum::<usize>(), wanted);
        }
    }
}
