use burn::tensor::{Device, Tensor, TensorData};
use serde::{Deserialize, Serialize};

/// Mean and standard deviation of a dataset's latents, by token and channel.
///
/// Latents live on the unit sphere, and a tokenizer may use but a small cap of it. Standardised,
/// they have the scale of the noise that diffusion adds; published models do without.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LatentStatistics {
    /// `[tokens, channels]`
    pub mean: Vec<Vec<f32>>,
    /// `[tokens, channels]`, positive
    pub std: Vec<Vec<f32>>,
}

impl LatentStatistics {
    /// The statistics of latents `[clips * frames, tokens, channels]`, flat.
    pub fn estimate(latents: &[f32], [tokens, channels]: [usize; 2]) -> Self {
        let width = tokens * channels;
        let count = (latents.len() / width) as f64;
        let mut moments = vec![(0.0, 0.0); width];
        for frame in latents.chunks_exact(width) {
            for ((sum, squares), &value) in moments.iter_mut().zip(frame) {
                *sum += f64::from(value);
                *squares += f64::from(value).powi(2);
            }
        }
        let table = |f: &dyn Fn(f64, f64) -> f64| -> Vec<Vec<f32>> {
            let values: Vec<f32> = moments.iter().map(|&(s, q)| f(s, q) as f32).collect();
            values.chunks(channels).map(<[f32]>::to_vec).collect()
        };
        Self {
            mean: table(&|sum, _| sum / count),
            // A channel that never changes is left as it is.
            std: table(&|sum, squares| {
                let variance = squares / count - (sum / count).powi(2);
                if variance > 1e-12 {
                    variance.sqrt()
                } else {
                    1.0
                }
            }),
        }
    }

    /// Whether the tables are of `[tokens, channels]` and all deviations positive.
    pub fn fits(&self, [tokens, channels]: [usize; 2]) -> bool {
        let shaped = |table: &[Vec<f32>]| {
            table.len() == tokens && table.iter().all(|row| row.len() == channels)
        };
        shaped(&self.mean) && shaped(&self.std) && self.std.iter().flatten().all(|&std| std > 0.0)
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
        let statistics = LatentStatistics::estimate(&[1.0, 5.0, 3.0, 5.0], [2, 1]);
        assert_eq!(statistics.mean, [[2.0], [5.0]]);
        assert_eq!(statistics.std, [[1.0], [1.0]]);
        assert!(statistics.fits([2, 1]) && !statistics.fits([1, 2]));
        let latents =
            Tensor::<1>::from_floats([1.0, 5.0, 3.0, 5.0], &Device::flex()).reshape([1, 2, 2, 1]);
        let standard = statistics.standardize(latents.clone());
        let values: Vec<f32> = standard.clone().into_data().iter::<f32>().collect();
        assert_eq!(values, [-1.0, 0.0, 1.0, 0.0]);
        let restored = statistics.restore(standard);
        assert_eq!(restored.into_data(), latents.into_data());
    }
}
