//! Group norm as one multiplication and addition per channel.

use burn::backend::flex::FlexTensor;
use rayon::prelude::*;

use super::channels_last::Images;
use crate::buffer::{contiguous, values};
use crate::rows::vectorized;

/// Normalisation of groups of channels over all pixels of an image.
pub struct GroupNorm {
    /// The number of groups.
    pub groups: usize,
    /// Added to the variance.
    pub epsilon: f64,
    /// Scale and bias of every channel, `[channels]` each.
    pub affine: Option<[FlexTensor; 2]>,
}

/// The normalisation of the channels of some images: `x scale + shift`.
pub(super) struct Affine {
    channels: usize,
    /// `[images, 2, channels]`
    values: Vec<f32>,
}

impl Affine {
    /// Scales and shifts of an image.
    pub(super) fn of_image(&self, index: usize) -> [&[f32]; 2] {
        let pair = &self.values[2 * self.channels * index..][..2 * self.channels];
        let (scale, shift) = pair.split_at(self.channels);
        [scale, shift]
    }
}

/// The normalisation of every image.
pub(super) fn affine(images: &Images, norm: &GroupNorm) -> Affine {
    let channels = images.channels;
    let parameters = norm
        .affine
        .as_ref()
        .map(|pair| pair.clone().map(contiguous));
    let parameters = parameters.as_ref().map(|pair| pair.each_ref().map(values));
    let group = channels / norm.groups;
    let mut affine = Vec::with_capacity(2 * channels * images.count);
    for index in 0..images.count {
        let moments = group_moments(images.image(index), channels, group);
        let scales: Vec<f64> = moments
            .iter()
            .map(|&(_, variance)| (variance + norm.epsilon).sqrt().recip())
            .collect();
        let gamma = |channel: usize| parameters.map_or(1.0, |[gamma, _]| f64::from(gamma[channel]));
        let beta = |channel: usize| parameters.map_or(0.0, |[_, beta]| f64::from(beta[channel]));
        let scale = |channel: usize| gamma(channel) * scales[channel / group];
        affine.extend((0..channels).map(|channel| scale(channel) as f32));
        affine.extend((0..channels).map(|channel| {
            let (mean, _) = moments[channel / group];
            (beta(channel) - mean * scale(channel)) as f32
        }));
    }
    Affine {
        channels,
        values: affine,
    }
}

/// Mean and variance of every group of channels over the pixels of an image.
fn group_moments(image: &[f32], channels: usize, group: usize) -> Vec<(f64, f64)> {
    /// Number of pixels that a task reads twice, the second time from a cache: for their means, and for the squared
    /// distances to the means.
    const TASK: usize = 128;
    let parts = image.par_chunks(TASK * channels).map(|pixels| {
        let mut moments = vec![0.0; 2 * channels];
        let (means, squares) = moments.split_at_mut(channels);
        vectorized(
            #[inline(always)]
            || channel_moments(pixels, means, squares),
        );
        (pixels.len() / channels, moments)
    });
    let parts: Vec<_> = parts.collect();
    let pixels = image.len() / channels;
    let groups = 0..channels / group;
    let of_group = |index: usize| {
        let channels_of_group = index * group..(index + 1) * group;
        let sum = |f: &dyn Fn(f64, f64, f64) -> f64| -> f64 {
            let terms = parts.iter().flat_map(|(count, moments)| {
                let (means, squares) = moments.split_at(channels);
                channels_of_group.clone().map(move |channel| {
                    f(
                        *count as f64,
                        f64::from(means[channel]),
                        f64::from(squares[channel]),
                    )
                })
            });
            terms.sum()
        };
        let count = (pixels * group) as f64;
        let mean = sum(&|count, mean, _| count * mean) / count;
        let squares = sum(&|count, part, squares| squares + count * (part - mean).powi(2));
        (mean, squares / count)
    };
    groups.map(of_group).collect()
}

/// Means of the channels over some pixels, and sums of the squared distances to them.
#[inline(always)]
fn channel_moments(pixels: &[f32], means: &mut [f32], squares: &mut [f32]) {
    let channels = means.len();
    let squares = &mut squares[..channels];
    for pixel in pixels.chunks_exact(channels) {
        for (mean, x) in means.iter_mut().zip(pixel) {
            *mean += x;
        }
    }
    let count = (pixels.len() / channels) as f32;
    means.iter_mut().for_each(|mean| *mean /= count);
    for pixel in pixels.chunks_exact(channels) {
        for channel in 0..channels {
            let distance = pixel[channel] - means[channel];
            squares[channel] += distance * distance;
        }
    }
}
