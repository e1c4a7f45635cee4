use rand::RngExt;

use crate::batch::VideoItem;
use crate::batches::EpochItem;
use crate::order::addressed_rng;
use ar_video::{Clip, mirrored};

/// Mirrors half of all clips left to right, at random. The choice follows only from the seed, the
/// epoch and the clip.
pub fn random_flip(item: VideoItem, seed: u64, draw: EpochItem) -> VideoItem {
    let mut coins = addressed_rng(seed, b"mirrored", draw.epoch);
    coins.set_word_pos(draw.index as u128);
    if !coins.random::<bool>() {
        return item;
    }
    let frames = item.clip.frames().iter().map(mirrored).collect();
    VideoItem {
        clip: Clip::new(frames),
        ..item
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ar_video::Frame;

    #[test]
    fn half_of_the_clips_are_flipped_and_others_in_the_next_epoch() {
        let frame = Frame::new(2, 1, vec![1, 2, 3, 4, 5, 6]);
        let item = VideoItem {
            clip: Clip::new(vec![frame; 2]),
            label: Some(3),
            source: 0,
        };
        let flips = |epoch| -> Vec<bool> {
            let is_flipped = |index| {
                let flipped = random_flip(item.clone(), 5, EpochItem { epoch, index });
                assert_eq!(flipped.label, Some(3));
                let pixels: Vec<&[u8]> = flipped.clip.frames().iter().map(Frame::rgb).collect();
                let is_flipped = flipped != item;
                if is_flipped {
                    assert_eq!(pixels, [&[4, 5, 6, 1, 2, 3]; 2]);
                }
                is_flipped
            };
            (0..1000).map(is_flipped).collect()
        };
        let epochs = [flips(0), flips(1)];
        for epoch in &epochs {
            // Five standard deviations of 1000 coin flips are 79.
            let count = epoch.iter().filter(|&&flipped| flipped).count();
            assert!(count.abs_diff(500) < 79, "{count}");
        }
        let equal = epochs[0].iter().zip(&epochs[1]).filter(|(a, b)| a == b);
        let equal = equal.count();
        assert!(equal.abs_diff(500) < 79, "{equal}");
        assert_eq!(flips(0), epochs[0]);
    }
}
