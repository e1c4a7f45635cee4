use std::fmt;

use ar_weights::Fault;
use burn::tensor::{Device, Tensor, TensorData};
use serde::{Deserialize, Serialize};

/// Mean and standard deviation of a dataset's latents, by token and channel.
///
/// Latents are on the unit sphere, and a tokenizer may use only a small cap of it. Standardised latents have the scale
/// of the noise that diffusion adds; published models do not standardise.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LatentStatistics {
    /// `[tokens, channels]`
    pub mean: Vec<Vec<f32>>,
    /// `[tokens, channels]`, positive
    pub std: Vec<Vec<f32>>,
}

/// How latents are scaled to the noise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LatentScale {
    /// Not at all: the network sees latents as the tokenizer makes them (published).
    #[default]
    Off,
    /// By one standard deviation for all latents, as in latent diffusion: channels that a tokenizer hardly uses stay
    /// small, and count little in the loss.
    Global,
    /// By the standard deviation of each token and channel.
    Channel,
}

/// A channel with less variance than this is constant, and is not scaled.
const NO_VARIANCE: f64 = 1e-12;

impl LatentStatistics {
    /// The means of flattened latents `[clips * frames, tokens, channels]`, by token and channel, and their standard
    /// deviations according to `scale`; None if nothing is scaled.
    pub fn estimate(
        scale: LatentScale,
        latents: &[f32],
        [tokens, channels]: [usize; 2],
    ) -> Option<Self> {
        let width = tokens * channels;
        let count = (latents.len() / width) as f64;
        let mut moments = vec![(0.0, 0.0); width];
        for frame in latents.chunks_exact(width) {
            for ((sum, squares), &value) in moments.iter_mut().zip(frame) {
                *sum += f64::from(value);
                *squares += f64::from(value).powi(2);
            }
        }
        let variance = |&(sum, squares): &(f64, f64)| squares / count - (sum / count).powi(2);
        let deviation = |variance: f64| {
            if variance > NO_VARIANCE {
                variance.sqrt()
            } else {
                1.0
            }
        };
        let std: Vec<f64> = match scale {
            LatentScale::Off => return None,
            LatentScale::Global => {
                let mean = moments.iter().map(variance).sum::<f64>() / width as f64;
                vec![deviation(mean); width]
            }
            LatentScale::Channel => moments.iter().map(variance).map(deviation).collect(),
        };
        let table = |values: &mut dyn Iterator<Item = f64>| -> Vec<Vec<f32>> {
            let values: Vec<f32> = values.map(|value| value as f32).collect();
            values.chunks(channels).map(<[f32]>::to_vec).collect()
        };
        Some(Self {
            mean: table(&mut moments.iter().map(|&(sum, _)| sum / count)),
            std: table(&mut std.into_iter()),
        })
    }

    /// Whether the tables are `[tokens, channels]`, with values that are not broken ([`Fault`]), and positive standard
    /// deviations.
    pub fn fits(&self, [tokens, channels]: [usize; 2]) -> bool {
        let is_table = |table: &[Vec<f32>]| {
            let mut values = table.iter().flatten();
            table.len() == tokens
                && table.iter().all(|row| row.len() == channels)
                && values.all(|&value| Fault::of_value(value).is_none())
        };
        is_table(&self.mean)
            && is_table(&self.std)
            && self.std.iter().flatten().all(|&std| std > 0.0)
    }

    /// # Shapes
    /// - `latents` and output: `[batch, frames, tokens, channels]`
    pub fn standardize(&self, latents: Tensor<4>) -> Tensor<4> {
        let device = latents.device();
        (latents - tensor(&self.mean, &device)) / tensor(&self.std, &device)
    }

    /// The inverse of [`LatentStatistics::standardize`].
    ///
    /// # Shapes
    /// - `latents` and output: `[batch, frames, tokens, channels]`
    pub fn restore(&self, latents: Tensor<4>) -> Tensor<4> {
        let device = latents.device();
        latents * tensor(&self.std, &device) + tensor(&self.mean, &device)
    }
}

/// Short, without the values of the table.
impl fmt::Debug for LatentStatistics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LatentStatistics")
            .field("tokens", &self.mean.len())
            .field("channels", &self.mean.first().map_or(0, Vec::len))
            .finish_non_exhaustive()
    }
}

/// `[1, 1, tokens, channels]`
fn tensor(table: &[Vec<f32>], device: &Device) -> Tensor<4> {
    let shape = [1, 1, table.len(), table[0].len()];
    Tensor::from_data(TensorData::new(table.concat(), shape), device)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn standardised_latents_have_zero_mean_and_unit_variance() {
        // Two tokens of one channel: 1 and 3 (mean 2, deviation 1), always 5.
        let statistics =
            LatentStatistics::estimate(LatentScale::Channel, &[1.0, 5.0, 3.0, 5.0], [2, 1])
                .expect("a scale");
        assert_eq!(statistics.mean, [[2.0], [5.0]]);
        assert_eq!(statistics.std, [[1.0], [1.0]]);
        assert!(statistics.fits([2, 1]) && !statistics.fits([1, 2]));
        for broken in [f32::NAN, f32::INFINITY, 8e29] {
            let mut other = statistics.clone();
            other.mean[1][0] = broken;
            assert!(!other.fits([2, 1]));
            let mut other = statistics.clone();
            other.std[0][0] = broken;
            assert!(!other.fits([2, 1]));
        }
        let mut ragged = statistics.clone();
        ragged.std[1].push(1.0);
        assert!(!ragged.fits([2, 1]));
        let latents =
            Tensor::<1>::from_floats([1.0, 5.0, 3.0, 5.0], &Device::flex()).reshape([1, 2, 2, 1]);
        let standard = statistics.standardize(latents.clone());
        let values: Vec<f32> = standard.clone().into_data().iter::<f32>().collect();
        assert_eq!(values, [-1.0, 0.0, 1.0, 0.0]);
        let restored = statistics.restore(standard);
        assert_eq!(restored.into_data(), latents.into_data());
    }

    #[test]
    fn one_deviation_for_all_keeps_small_channels_small() {
        // Variances of 1 and 0.04: their mean is 0.52.
        let values = [1.0, 4.8, 3.0, 5.2];
        let of = |scale| LatentStatistics::estimate(scale, &values, [1, 2]);
        let statistics = of(LatentScale::Global).expect("a scale");
        assert_eq!(statistics.mean, [[2.0, 5.0]]);
        let std = &statistics.std[0];
        assert!((std[0] - 0.52_f32.sqrt()).abs() < 1e-6, "{std:?}");
        assert_eq!(std[0], std[1]);
        assert_eq!(of(LatentScale::Off), None);
    }
}
