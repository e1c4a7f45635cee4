//! Sine-cosine tables of positions, and timestep embeddings.

use std::fmt;
use std::ops::Range;

use burn::tensor::{Device, Int, Tensor, TensorData};

/// The fixed position table of the transformer: `sin(p ω_i) | cos(p ω_i)` in concatenated halves, with
/// `ω_i = 10000^(-i / (width / 2))`. It is computed once, on the host.
#[derive(Clone)]
pub struct SinCosTable {
    width: usize,
    values: Vec<f32>,
}

impl SinCosTable {
    /// The table of positions `0..positions`.
    ///
    /// # Panics
    /// If `width` is odd.
    pub fn new(positions: usize, width: usize) -> Self {
        assert_eq!(width % 2, 0, "a sine-cosine table has an even width");
        let half = width / 2;
        let mut values = Vec::with_capacity(positions * width);
        for p in 0..positions {
            let angle = |i: usize| p as f64 * 10000f64.powf(-(i as f64) / half as f64);
            values.extend((0..half).map(|i| angle(i).sin() as f32));
            values.extend((0..half).map(|i| angle(i).cos() as f32));
        }
        Self { width, values }
    }

    /// The rows for some of the table's positions.
    ///
    /// # Shapes
    /// - output: `[positions, width]`
    pub fn rows(&self, positions: Range<usize>, device: &Device) -> Tensor<2> {
        let shape = [positions.len(), self.width];
        let values = &self.values[positions.start * self.width..positions.end * self.width];
        Tensor::from_data(TensorData::new(values.to_vec(), shape), device)
    }
}

/// Short, without the values of the table.
impl fmt::Debug for SinCosTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SinCosTable")
            .field("positions", &(self.values.len() / self.width))
            .field("width", &self.width)
            .finish_non_exhaustive()
    }
}

/// `ω_i = 10000^(-i / (width / 2))`, the frequencies of [`timestep_embedding`], computed on the host.
///
/// # Shapes
/// - output: `[width / 2]`
pub fn timestep_frequencies(width: usize, device: &Device) -> Tensor<1> {
    let half = width / 2;
    let frequencies: Vec<f32> = (0..half)
        .map(|i| (-(10000f64.ln()) * i as f64 / half as f64).exp() as f32)
        .collect();
    Tensor::from_floats(frequencies.as_slice(), device)
}

/// Sinusoidal embedding of diffusion timesteps: `cos(t ω_i) | sin(t ω_i)`.
///
/// # Shapes
/// - `timesteps`: `[batch, frames]`
/// - `frequencies`: `ω`, `[width / 2]` ([`timestep_frequencies`])
/// - output: `[batch, frames, width]`
pub fn timestep_embedding(timesteps: Tensor<2, Int>, frequencies: Tensor<1>) -> Tensor<3> {
    let frequencies = frequencies.unsqueeze::<3>();
    let angles: Tensor<3> = timesteps.float().unsqueeze_dim(2) * frequencies;
    Tensor::cat(vec![angles.clone().cos(), angles.sin()], 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_start_at_zero_angle() {
        let table = SinCosTable::new(3, 4).rows(0..2, &Device::flex());
        let values: Vec<f32> = table.into_data().iter::<f32>().collect();
        assert_eq!(values[..4], [0.0, 0.0, 1.0, 1.0]);
        assert!((values[4] - 1f32.sin()).abs() < 1e-7);
        assert!((values[5] - 0.01f32.sin()).abs() < 1e-7);
    }
}
