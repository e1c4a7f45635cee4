use std::collections::BTreeMap;

use rand::RngExt;

use crate::batches::EpochItem;
use crate::order::addressed_rng;

/// An order over videos instead of clips: an epoch takes a random clip of every video. The clip
/// follows only from the seed, the epoch and the video.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OnePerVideo {
    /// The clips of each video.
    videos: Vec<Vec<usize>>,
}

impl OnePerVideo {
    /// The videos of `clips`, in the order of their first clips.
    pub fn new(clips: &[usize], source_id: impl Fn(usize) -> u64) -> Self {
        let mut places = BTreeMap::new();
        let mut videos: Vec<Vec<usize>> = Vec::new();
        for &clip in clips {
            let place = *places.entry(source_id(clip)).or_insert(videos.len());
            if place == videos.len() {
                videos.push(Vec::new());
            }
            videos[place].push(clip);
        }
        Self { videos }
    }

    /// The clips of each video.
    pub fn videos(&self) -> &[Vec<usize>] {
        &self.videos
    }

    /// The clip to take of the video number `draw.index`.
    ///
    /// # Panics
    /// If there is no such video.
    pub fn clip(&self, seed: u64, draw: EpochItem) -> usize {
        let clips = &self.videos[draw.index];
        let mut random = addressed_rng(seed, b"of video", draw.epoch);
        // Two words per draw.
        random.set_word_pos(2 * draw.index as u128);
        let place = random.random::<u64>() % clips.len() as u64;
        clips[place as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_clip_of_a_video_gets_its_turn() {
        // Videos of 4 clips, of which one was set aside.
        let clips: Vec<usize> = (0..20).filter(|clip| *clip != 6).collect();
        let order = OnePerVideo::new(&clips, |clip| 100 - (clip / 4) as u64);
        assert_eq!(order.videos().len(), 5);
        assert_eq!(order.videos()[1], [4, 5, 7]);
        let mut counts = [0; 20];
        for epoch in 0..1000 {
            for index in 0..5 {
                let draw = EpochItem { epoch, index };
                let clip = order.clip(3, draw);
                assert_eq!(clip / 4, index);
                assert_eq!(clip, order.clip(3, draw));
                counts[clip] += 1;
            }
        }
        // Five standard deviations of a thousand draws of one in three or four are below 75.
        for (clip, count) in counts.into_iter().enumerate() {
            let expected: i32 = match clip {
                6 => 0,
                4..8 => 333,
                _ => 250,
            };
            assert!((count - expected).abs() < 75, "{clip}: {count}");
        }
    }
}
