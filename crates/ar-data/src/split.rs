//! Which clips are for training and which for validation.

use rand::RngExt;

use crate::order::addressed_rng;

/// A dataset whose clips come from videos.
pub trait SourceIds {
    /// The identifier of the video that a clip comes from. All clips of a video have the same one, in every dataset
    /// that has the video under the same name.
    fn source_id(&self, index: usize) -> u64;
}

/// The clips of a dataset, split into training and validation. Indices are sorted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// Clips to train on.
    pub training: Vec<usize>,
    /// Clips that are only used for validation.
    pub validation: Vec<usize>,
}

impl Split {
    /// Sets aside `validation` of `clips` clips for validation, whole videos at a time; of the last video, only as many
    /// clips as are still needed.
    ///
    /// Videos are taken in an order that looks random and depends only on their identifiers: every
    /// class gets its share, overlapping clips stay together, and adding data moves few clips.
    ///
    /// # Panics
    /// If `validation` is larger than `clips`.
    pub fn new(clips: usize, validation: usize, source_id: impl Fn(usize) -> u64) -> Self {
        assert!(validation <= clips, "{validation} of {clips} clips");
        // Existing runs depend on the name of the purpose, so it keeps its old name.
        let rank = |id| addressed_rng(id, b"held out", 0).random::<u64>();
        let mut order: Vec<usize> = (0..clips).collect();
        order.sort_by_cached_key(|&index| (rank(source_id(index)), index));
        let mut training = order.split_off(validation);
        order.sort_unstable();
        training.sort_unstable();
        Self {
            training,
            validation: order,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_clip_is_on_one_side() {
        for (len, count) in [(0, 0), (5, 0), (5, 5), (100, 16)] {
            let Split {
                training,
                validation,
            } = Split::new(len, count, |index| index as u64);
            assert_eq!(validation.len(), count);
            let mut all = [training, validation].concat();
            all.sort_unstable();
            assert!(all.into_iter().eq(0..len));
        }
    }

    #[test]
    fn videos_stay_whole_but_for_the_last() {
        // Videos of seven clips each.
        let video = |index: usize| index as u64 / 7;
        let split = Split::new(700, 30, video);
        let mut clips = std::collections::BTreeMap::new();
        for &index in &split.validation {
            *clips.entry(video(index)).or_insert(0) += 1;
        }
        let mut counts: Vec<usize> = clips.into_values().collect();
        counts.sort_unstable();
        assert_eq!(counts, [2, 7, 7, 7, 7]);
    }

    /// With twice the data, a clip stays in validation with a probability of one half: 100 of 200, with a standard
    /// deviation of 7.
    #[test]
    fn more_data_replace_clips_and_shuffle_none() {
        let number = |index: usize| index as u64;
        let [few, many] = [1000, 2000].map(|len| Split::new(len, 200, number).validation);
        let kept = few.iter().filter(|index| many.contains(index)).count();
        assert!((65..=135).contains(&kept), "{kept}");
        assert!(
            many.iter()
                .filter(|&&index| index < 1000)
                .all(|index| few.contains(index))
        );
    }

    /// Pinned: if this fails, resumed runs would validate on other clips than before.
    #[test]
    fn the_choice_stays_what_it_is() {
        let split = Split::new(12, 4, |index| index as u64);
        assert_eq!(split.validation, [1, 2, 6, 9]);
    }
}
