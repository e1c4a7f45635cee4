//! Gaussian noise on the host, addressed by seed, sample and frame.
//!
//! A frame's noise depends only on the seed, the sample and the frame: the first frames of a long
//! video start from the same noise as the frames of a short one, on every device.
//!
//! ```
//! use ar_noise::FrameNoise;
//!
//! let noise = FrameNoise::new(42);
//! let short = noise.clip(0, 0..4, 8);
//! let long = noise.clip(0, 0..16, 8);
//! assert_eq!(short, long[..4 * 8]);
//! ```
#![warn(missing_docs)]

use std::ops::Range;

use rand::SeedableRng;
use rand_chacha::ChaCha12Rng;
use rand_distr::{Distribution, StandardNormal};

/// What a stream of noise is for: streams never overlap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NoiseStream {
    /// The starting noise `x_T`.
    Start,
    /// The noise that training corrupts latents with.
    Training,
    /// The noise that a stochastic DDIM step (`eta > 0`) adds, by step index.
    Step(u32),
}

/// Standard normal noise in which every frame of every sample has its own counter-based stream.
///
/// The generator is ChaCha12 keyed by `(seed, sample, frame, stream)`: a frame's noise depends on
/// neither the device, nor the number of frames, nor the order in which frames are drawn.
#[derive(Clone, Copy, Debug)]
pub struct FrameNoise {
    seed: u64,
}

impl FrameNoise {
    /// Noise from `seed`.
    pub fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// `len` values for `frame` of `sample` in `stream`.
    pub fn frame(&self, sample: u64, frame: u64, stream: NoiseStream, len: usize) -> Vec<f32> {
        let stream = match stream {
            NoiseStream::Start => 0,
            NoiseStream::Training => 1,
            NoiseStream::Step(step) => 2 + u64::from(step),
        };
        let mut key = [0; 32];
        for (bytes, word) in key
            .chunks_exact_mut(8)
            .zip([self.seed, sample, frame, stream])
        {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        let rng = ChaCha12Rng::from_seed(key);
        StandardNormal.sample_iter(rng).take(len).collect()
    }

    /// The starting noise of consecutive `frames` of one sample, `[frames, frame_len]`.
    pub fn clip(&self, sample: u64, frames: Range<u64>, frame_len: usize) -> Vec<f32> {
        frames
            .flat_map(|frame| self.frame(sample, frame, NoiseStream::Start, frame_len))
            .collect()
    }
}

/// Tests the examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_has_its_own_noise() {
        let noise = FrameNoise::new(7);
        let base = noise.frame(0, 0, NoiseStream::Start, 16);
        assert_eq!(base, noise.frame(0, 0, NoiseStream::Start, 16));
        let others = [
            noise.frame(1, 0, NoiseStream::Start, 16),
            noise.frame(0, 1, NoiseStream::Start, 16),
            noise.frame(0, 0, NoiseStream::Step(0), 16),
            FrameNoise::new(8).frame(0, 0, NoiseStream::Start, 16),
        ];
        assert!(others.iter().all(|other| *other != base));
    }

    #[test]
    fn values_are_standard_normal() {
        let values = FrameNoise::new(1).clip(3, 0..100, 1000);
        let n = values.len() as f64;
        let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
        let var = values.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>() / n;
        // Five standard errors at n = 100 000.
        assert!(mean.abs() < 5.0 / n.sqrt(), "mean {mean}");
        assert!((var - 1.0).abs() < 5.0 * (2.0 / n).sqrt(), "variance {var}");
    }
}
