//! Random numbers that follow from a digest: the same inputs give the same numbers on every machine.

/// SplitMix64. Source: Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    /// A generator whose numbers follow from `seed`, a digest.
    pub(crate) fn new(seed: [u8; 32]) -> Self {
        let (words, _) = seed.as_chunks::<8>();
        Self(words.iter().fold(0, |state, word| state ^ u64::from_le_bytes(*word)))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`; zero where `end` is zero. Off from even odds by less than `end` in 2^64.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        ((u128::from(self.next()) * end as u128) >> 64) as usize
    }

    /// Puts things into an order, each order as likely as any other.
    /// Source: Durstenfeld, "Algorithm 235: Random permutation", 1964.
    pub(crate) fn shuffle<T>(&mut self, things: &mut [T]) {
        for last in (1..things.len()).rev() {
            things.swap(last, self.below(last + 1));
        }
    }

    /// Draws `count` of the rows, each set of that size as likely as any other, in the order they have.
    /// Source: Knuth, "The Art of Computer Programming", volume 2, section 3.4.2, algorithm S.
    pub(crate) fn choose(&mut self, rows: &[usize], count: usize) -> Vec<usize> {
        let mut chosen = Vec::with_capacity(count);
        for (index, &row) in rows.iter().enumerate() {
            if self.below(rows.len() - index) < count - chosen.len() {
                chosen.push(row);
            }
        }
        chosen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_order_comes_up_about_as_often() {
        let mut random = Random::new([7; 32]);
        let mut seen = std::collections::BTreeMap::new();
        for _ in 0..6_000 {
            let mut order = [0, 1, 2];
            random.shuffle(&mut order);
            *seen.entry(order).or_insert(0) += 1;
        }
        assert_eq!(seen.len(), 6);
        // Each count is binomial with mean 1,000 and standard deviation 29.
        assert!(seen.values().all(|count: &i32| (count - 1_000).abs() < 150), "{seen:?}");
    }
}
