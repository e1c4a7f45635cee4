//! Positions: sine-cosine tables, timestep embeddings and rotary embeddings.

use burn::tensor::{Device, Int, Tensor, TensorData};

/// The fixed position table of the transformer: `sin(p ω_i) | cos(p ω_i)` in concatenated halves,
/// `ω_i = 10000^(-i / (width / 2))`. Computed once, on the host.
#[derive(Clone, Debug)]
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

    /// The rows of positions `0..positions`.
    ///
    /// # Shapes
    /// - output: `[positions, width]`
    pub fn rows(&self, positions: usize, device: &Device) -> Tensor<2> {
        let values = self.values[..positions * self.width].to_vec();
        Tensor::from_data(TensorData::new(values, [positions, self.width]), device)
    }
}

/// Sinusoidal embedding of diffusion timesteps: `cos(t ω_i) | sin(t ω_i)`,
/// `ω_i = 10000^(-i / (width / 2))`.
///
/// # Shapes
/// - `timesteps`: `[batch, frames]`
/// - output: `[batch, frames, width]`
pub fn timestep_embedding(timesteps: Tensor<2, Int>, width: usize) -> Tensor<3> {
    let half = width / 2;
    let frequencies: Vec<f32> = (0..half)
        .map(|i| (-(10000f64.ln()) * i as f64 / half as f64).exp() as f32)
        .collect();
    let frequencies = Tensor::<1>::from_floats(frequencies.as_slice(), &timesteps.device());
    let angles: Tensor<3> = timesteps.float().unsqueeze_dim(2) * frequencies.reshape([1, 1, half]);
    Tensor::cat(vec![angles.clone().cos(), angles.sin()], 2)
}

/// Rotary position embedding over interleaved pairs (Su et al., 2021), base 10000.
///
/// The angles of every position are computed once, on the host; [`Rotary::at`] brings those of a
/// sequence to a device.
#[derive(Clone, Debug)]
pub struct Rotary {
    half: usize,
    cos: Vec<f32>,
    sin: Vec<f32>,
}

impl Rotary {
    /// Tables for positions `0..positions` of heads of `head_dim` channels.
    ///
    /// # Panics
    /// If `head_dim` is odd.
    pub fn new(positions: usize, head_dim: usize) -> Self {
        assert_eq!(head_dim % 2, 0, "rotary pairs need an even head size");
        let half = head_dim / 2;
        let (sin, cos) = (0..positions)
            .flat_map(|p| {
                (0..half)
                    .map(move |i| p as f64 * 10000f64.powf(-(2.0 * i as f64) / head_dim as f64))
            })
            .map(|angle| (angle.sin() as f32, angle.cos() as f32))
            .unzip();
        Self { half, cos, sin }
    }

    /// The rotation of positions `0..positions`.
    pub fn at(&self, positions: usize, device: &Device) -> Rotation {
        let table = |values: &[f32]| {
            let values = values[..positions * self.half].to_vec();
            Tensor::from_data(
                TensorData::new(values, [1, 1, positions, self.half, 1]),
                device,
            )
        };
        Rotation {
            cos: table(&self.cos),
            sin: table(&self.sin),
        }
    }
}

/// The rotary rotation of one sequence, on a device.
#[derive(Clone, Debug)]
pub struct Rotation {
    /// `[1, 1, sequence, head_dim / 2, 1]`
    cos: Tensor<5>,
    /// `[1, 1, sequence, head_dim / 2, 1]`
    sin: Tensor<5>,
}

impl Rotation {
    /// Rotates queries or keys.
    ///
    /// # Shapes
    /// - `x` and output: `[batch, heads, sequence, head_dim]`
    pub fn rotate(&self, x: Tensor<4>) -> Tensor<4> {
        let [batch, heads, sequence, head_dim] = x.dims();
        let (cos, sin) = (self.cos.clone(), self.sin.clone());
        let pairs = x.reshape([batch, heads, sequence, head_dim / 2, 2]);
        let first = pairs.clone().narrow(4, 0, 1);
        let second = pairs.narrow(4, 1, 1);
        let rotated = vec![
            first.clone() * cos.clone() - second.clone() * sin.clone(),
            second * cos + first * sin,
        ];
        Tensor::cat(rotated, 4).reshape([batch, heads, sequence, head_dim])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dot(a: Tensor<4>, b: Tensor<4>) -> f32 {
        (a * b).sum().into_scalar()
    }

    #[test]
    fn rotary_scores_depend_on_the_distance_alone() {
        let device = Device::flex();
        let rotation = Rotary::new(16, 8).at(12, &device);
        let one = Tensor::<1>::from_floats([0.3, -1.2, 0.7, 0.1, 2.0, -0.4, 0.9, 1.1], &device)
            .reshape([1, 1, 1, 8]);
        let all = rotation.rotate(one.expand([1, 1, 12, 8]));
        let at = |p: usize| all.clone().narrow(2, p, 1);
        let near = dot(at(1), at(4));
        assert!((near - dot(at(7), at(10))).abs() < 1e-5);
        assert!((near - dot(at(1), at(9))).abs() > 1e-3);
    }

    #[test]
    fn tables_start_at_zero_angle() {
        let table = SinCosTable::new(3, 4).rows(2, &Device::flex());
        let values: Vec<f32> = table.into_data().iter::<f32>().collect();
        assert_eq!(values[..4], [0.0, 0.0, 1.0, 1.0]);
        assert!((values[4] - 1f32.sin()).abs() < 1e-7);
        assert!((values[5] - 0.01f32.sin()).abs() < 1e-7);
    }
}
