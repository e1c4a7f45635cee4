use ar_video::{Clip, Frame};
use burn::data::dataloader::batcher::Batcher;
use burn::tensor::{Device, Tensor, TensorData};

use crate::latents::LatentItem;
use crate::to_pixels;

/// A clip and its class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VideoItem {
    /// The frames.
    pub clip: Clip,
    /// The class, if the dataset has any.
    pub label: Option<usize>,
    /// The video that it comes from: see [`SourceIds`](crate::SourceIds).
    pub source: u64,
}

/// Clips of the same length and size on a device.
#[derive(Clone, Debug)]
pub struct VideoBatch {
    /// `[batch, frames, 3, height, width]`, from 0 to 1.
    pub pixels: Tensor<5>,
    /// One class per clip, if the dataset has any.
    pub labels: Option<Vec<usize>>,
}

impl VideoBatch {
    /// Stacks clips.
    ///
    /// # Panics
    /// If there are none, if their lengths or sizes differ, or if only some
    /// have a label.
    pub fn new(items: &[VideoItem], device: &Device) -> Self {
        let clips: Vec<&[Frame]> = items.iter().map(|item| item.clip.frames()).collect();
        Self {
            pixels: to_pixels(&clips, device),
            labels: stack_labels(items.iter().map(|item| item.label)),
        }
    }
}

/// Latents of clips on a device.
#[derive(Clone, Debug)]
pub struct LatentBatch {
    /// `[batch, frames, tokens, channels]`.
    pub latents: Tensor<4>,
    /// One class per clip, if the dataset has any.
    pub labels: Option<Vec<usize>>,
}

impl LatentBatch {
    /// Stacks latents.
    ///
    /// # Panics
    /// If there are none, if their shapes differ, or if only some have a
    /// label.
    pub fn new(items: &[LatentItem], device: &Device) -> Self {
        let shape = items
            .first()
            .expect("a batch has at least one latent")
            .shape;
        let [frames, tokens, channels] = shape;
        let mut latents = Vec::with_capacity(items.len() * frames * tokens * channels);
        for item in items {
            assert_eq!(
                item.shape, shape,
                "the latents of a batch have one shape [frames, tokens, channels]"
            );
            latents.extend_from_slice(&item.latents);
        }
        let data = TensorData::new(latents, [items.len(), frames, tokens, channels]);
        Self {
            latents: Tensor::from_data(data, device),
            labels: stack_labels(items.iter().map(|item| item.label)),
        }
    }
}

fn stack_labels(labels: impl ExactSizeIterator<Item = Option<usize>>) -> Option<Vec<usize>> {
    let items = labels.len();
    let labels: Vec<usize> = labels.flatten().collect();
    assert!(
        labels.is_empty() || labels.len() == items,
        "{} of the {items} items of a batch have a label; all or none must",
        labels.len()
    );
    (!labels.is_empty()).then_some(labels)
}

/// [`VideoBatch::new`] for Burn's data loaders.
#[derive(Clone, Copy, Debug, Default)]
pub struct VideoBatcher;

impl Batcher<VideoItem, VideoBatch> for VideoBatcher {
    fn batch(&self, items: Vec<VideoItem>, device: &Device) -> VideoBatch {
        VideoBatch::new(&items, device)
    }
}

/// [`LatentBatch::new`] for Burn's data loaders.
#[derive(Clone, Copy, Debug, Default)]
pub struct LatentBatcher;

impl Batcher<LatentItem, LatentBatch> for LatentBatcher {
    fn batch(&self, items: Vec<LatentItem>, device: &Device) -> LatentBatch {
        LatentBatch::new(&items, device)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A clip of `[frames, height, width]` whose bytes count up from `first`.
    fn item(first: u8, [frames, height, width]: [usize; 3], label: Option<usize>) -> VideoItem {
        let mut next = first;
        let frames = (0..frames).map(|_| {
            let count_up = |_| {
                next = next.wrapping_add(1);
                next.wrapping_sub(1)
            };
            Frame::new(
                width,
                height,
                (0..height * width * 3).map(count_up).collect(),
            )
        });
        VideoItem {
            clip: Clip::new(frames.collect()),
            label,
            source: 0,
        }
    }

    #[test]
    fn pixels_are_channels_first_from_0_to_1() {
        let items = [item(0, [2, 2, 3], Some(4)), item(238, [2, 2, 3], Some(1))];
        let batch = VideoBatcher.batch(items.to_vec(), &Device::flex());
        assert_eq!(batch.pixels.dims(), [2, 2, 3, 2, 3]);
        assert_eq!(batch.labels, Some(vec![4, 1]));
        let values = batch.pixels.into_data().try_into_vec::<f32>().unwrap();
        let mut index = 0;
        for start in [0_u8, 238] {
            for frame in 0..2 {
                for channel in 0..3 {
                    for pixel in 0..6 {
                        let byte = start.wrapping_add(frame * 18 + pixel * 3 + channel);
                        assert_eq!(values[index], f32::from(byte) / 255.0);
                        index += 1;
                    }
                }
            }
        }
        assert!(values.contains(&0.0) && values.contains(&1.0));
    }

    #[test]
    fn latents_are_stacked() {
        let items = [0.0, 100.0].map(|first| LatentItem {
            latents: (0..24).map(|i| first + i as f32).collect(),
            shape: [2, 3, 4],
            label: None,
        });
        let batch = LatentBatcher.batch(items.to_vec(), &Device::flex());
        assert_eq!(batch.latents.dims(), [2, 2, 3, 4]);
        assert_eq!(batch.labels, None);
        let expected: Vec<f32> = (0..24).chain(100..124).map(|i| i as f32).collect();
        assert_eq!(
            batch.latents.into_data().try_into_vec::<f32>().unwrap(),
            expected
        );
    }

    #[test]
    #[should_panic(expected = "one shape [frames, 3, height, width]")]
    fn clips_of_two_lengths() {
        VideoBatch::new(
            &[item(0, [1, 2, 2], None), item(0, [2, 2, 2], None)],
            &Device::flex(),
        );
    }

    #[test]
    #[should_panic(expected = "1 of the 2 items of a batch have a label")]
    fn half_labelled() {
        VideoBatch::new(
            &[item(0, [1, 2, 2], Some(0)), item(0, [1, 2, 2], None)],
            &Device::flex(),
        );
    }
}
