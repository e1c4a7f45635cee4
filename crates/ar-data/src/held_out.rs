//! Which clips are held out of training.

use rand::RngExt;

use crate::order::addressed_rng;

/// A dataset whose clips come from videos.
pub trait Sources {
    /// A number for the video that a clip comes from: that of all its clips, in every dataset that
    /// holds the video under the same name.
    fn source(&self, index: usize) -> u64;
}

/// The clips of a dataset, in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parted {
    /// Those to train on.
    pub training: Vec<usize>,
    /// Those held out.
    pub held_out: Vec<usize>,
}

/// Holds `count` of `len` clips out, whole videos at a time; of the last video only as many clips as
/// are still wanted. Videos are taken in an order that looks random and follows from their numbers
/// alone: classes get their share, clips that overlap stay together, and more data move few clips.
///
/// # Panics
/// If `count` is larger than `len`.
pub fn hold_out(len: usize, count: usize, source: impl Fn(usize) -> u64) -> Parted {
    assert!(count <= len, "{count} of {len} clips");
    let rank = |source| addressed_rng(source, b"held out", 0).random::<u64>();
    let mut held_out: Vec<usize> = (0..len).collect();
    held_out.sort_by_cached_key(|&index| (rank(source(index)), index));
    let mut training = held_out.split_off(count);
    held_out.sort_unstable();
    training.sort_unstable();
    Parted { training, held_out }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_clip_is_on_one_side() {
        for (len, count) in [(0, 0), (5, 0), (5, 5), (100, 16)] {
            let Parted { training, held_out } = hold_out(len, count, |index| index as u64);
            assert_eq!(held_out.len(), count);
            let mut all = [training, held_out].concat();
            all.sort_unstable();
            assert!(all.into_iter().eq(0..len));
        }
    }

    #[test]
    fn videos_stay_whole_but_for_the_last() {
        // Videos of seven clips each.
        let video = |index: usize| index as u64 / 7;
        let parted = hold_out(700, 30, video);
        let mut clips = std::collections::BTreeMap::new();
        for &index in &parted.held_out {
            *clips.entry(video(index)).or_insert(0) += 1;
        }
        let mut counts: Vec<usize> = clips.into_values().collect();
        counts.sort_unstable();
        assert_eq!(counts, [2, 7, 7, 7, 7]);
    }

    /// Of twice the data a clip stays held out with a probability of one half; 100 of 200 with a
    /// standard deviation of 7.
    #[test]
    fn more_data_replace_clips_and_shuffle_none() {
        let number = |index: usize| index as u64;
        let [few, many] = [1000, 2000].map(|len| hold_out(len, 200, number).held_out);
        let kept = few.iter().filter(|index| many.contains(index)).count();
        assert!((65..=135).contains(&kept), "{kept}");
        assert!(
            many.iter()
                .filter(|&&index| index < 1000)
                .all(|index| few.contains(index))
        );
    }

    /// Pinned: if this fails, resumed runs hold out other clips than before.
    #[test]
    fn the_choice_stays_what_it_is() {
        let parted = hold_out(12, 4, |index| index as u64);
        assert_eq!(parted.held_out, [1, 2, 6, 9]);
    }
}
