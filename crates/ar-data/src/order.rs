use std::sync::Mutex;

use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

/// An endless order over a dataset that is shuffled in every epoch.
///
/// The item at a position follows only from the length, the seed and the position,
/// so a run that continues at position `n` sees what an uninterrupted
/// one would have seen.
#[derive(Debug)]
pub struct EpochShuffle {
    len: usize,
    seed: u64,
    /// The permutation of the most recent epoch.
    current: Mutex<Option<(u64, Vec<usize>)>>,
}

impl EpochShuffle {
    /// An order over `len` items.
    ///
    /// # Panics
    /// If `len` is zero.
    pub fn new(len: usize, seed: u64) -> Self {
        assert!(len > 0, "there is no order over no items");
        Self {
            len,
            seed,
            current: Mutex::new(None),
        }
    }

    /// Number of items, which is the length of an epoch.
    #[expect(clippy::len_without_is_empty, reason = "it is never empty")]
    pub fn len(&self) -> usize {
        self.len
    }

    /// The epoch that a position belongs to, from 0.
    pub fn epoch(&self, position: u64) -> u64 {
        position / self.len as u64
    }

    /// The item at a position.
    ///
    /// Fast while positions stay within an epoch; the first position in another epoch costs a
    /// shuffle.
    pub fn index(&self, position: u64) -> usize {
        let epoch = self.epoch(position);
        let within = (position % self.len as u64) as usize;
        // A permutation is stored completely or not at all, so a panic elsewhere leaves it intact.
        let mut current = self.current.lock().unwrap_or_else(|e| e.into_inner());
        match &*current {
            Some((of, permutation)) if *of == epoch => permutation[within],
            _ => current.insert((epoch, self.permutation(epoch))).1[within],
        }
    }

    /// Every epoch has its own ChaCha stream.
    fn permutation(&self, epoch: u64) -> Vec<usize> {
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        rng.set_stream(epoch);
        let mut permutation: Vec<usize> = (0..self.len).collect();
        permutation.shuffle(&mut rng);
        permutation
    }
}

/// Random numbers from a seed that are independent of the numbers for other purposes and streams.
pub(crate) fn addressed_rng(seed: u64, purpose: &[u8; 8], stream: u64) -> ChaCha8Rng {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..16].copy_from_slice(purpose);
    let mut rng = ChaCha8Rng::from_seed(key);
    rng.set_stream(stream);
    rng
}

#[cfg(test)]
mod tests {
    use super::*;

    fn positions(order: &EpochShuffle, range: std::ops::Range<u64>) -> Vec<usize> {
        range.map(|position| order.index(position)).collect()
    }

    #[test]
    fn every_epoch_is_another_permutation() {
        for len in [1, 2, 37, 1000] {
            let order = EpochShuffle::new(len, 3);
            let mut epochs = Vec::new();
            for epoch in 0..5 {
                let start = epoch * len as u64;
                assert_eq!(order.epoch(start), epoch);
                let mut epoch = positions(&order, start..start + len as u64);
                epochs.push(epoch.clone());
                epoch.sort_unstable();
                assert!(epoch.into_iter().eq(0..len));
            }
            if len > 30 {
                for (i, epoch) in epochs.iter().enumerate() {
                    assert!(!epochs[..i].contains(epoch));
                }
            }
        }
    }

    #[test]
    fn any_position_can_be_asked_for_at_any_time() {
        let straight = positions(&EpochShuffle::new(10, 1), 0..50);
        let order = EpochShuffle::new(10, 1);
        for position in (0..50).rev().chain([0, 49, 10]) {
            assert_eq!(order.index(position), straight[position as usize]);
        }
        assert_eq!(order.index(u64::MAX), order.index(u64::MAX));
        assert_ne!(positions(&EpochShuffle::new(10, 2), 0..50), straight);
    }

    /// Pinned: if this fails, resumed runs would see other data than before.
    #[test]
    fn the_order_stays_what_it_is() {
        let order = EpochShuffle::new(5, 7);
        assert_eq!(positions(&order, 0..10), [0, 3, 1, 2, 4, 0, 3, 2, 1, 4]);
    }

    /// Each item is first about equally often: 5000 epochs of 5 items, where
    /// five standard deviations of a count are 141.
    #[test]
    fn shuffles_are_fair() {
        let order = EpochShuffle::new(5, 0);
        let mut counts = [0_i32; 5];
        for epoch in 0..5000 {
            counts[order.index(5 * epoch)] += 1;
        }
        assert!(counts.iter().all(|c| (c - 1000).abs() < 141), "{counts:?}");
    }
}
