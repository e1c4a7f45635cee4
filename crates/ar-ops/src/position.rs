//! Positions: sine-cosine tables, timestep embeddings and rotary embeddings.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use burn::tensor::{Device, Int, Tensor, TensorData};

/// Base of the rotary frequencies.
const ROTARY_BASE: f64 = 10000.0;

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

    /// The rows of some of the table's positions.
    ///
    /// # Shapes
    /// - output: `[positions, width]`
    pub fn rows(&self, positions: Range<usize>, device: &Device) -> Tensor<2> {
        let shape = [positions.len(), self.width];
        let values = &self.values[positions.start * self.width..positions.end * self.width];
        Tensor::from_data(TensorData::new(values.to_vec(), shape), device)
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
    angles: Angles,
}

impl Rotary {
    /// Tables for positions `0..positions` of heads of `head_dim` channels.
    ///
    /// # Panics
    /// If `head_dim` is odd.
    pub fn new(positions: usize, head_dim: usize) -> Self {
        assert_eq!(head_dim % 2, 0, "rotary pairs need an even head size");
        Self {
            angles: Angles::new(0..positions, &rotary_frequencies(head_dim)),
        }
    }

    /// The rotation of some of the table's positions.
    pub fn at(&self, positions: Range<usize>, device: &Device) -> Rotation {
        Rotation::new(self.angles.rows(positions), device)
    }
}

/// Rotary position embedding of video tokens: one half of a head's channels turns with the frame,
/// the other with the token's place in its frame. Pairs, base and order within a half are those of
/// [`Rotary`].
///
/// Frames are numbered without end: their angles are computed when they are asked for.
#[derive(Clone, Debug)]
pub struct FrameRotary {
    frequencies: Vec<f64>,
    /// Those of the tokens of a frame.
    tokens: Angles,
}

impl FrameRotary {
    /// Rotations of frames of `tokens` tokens, for heads of `head_dim` channels.
    ///
    /// # Panics
    /// If `head_dim` is not divisible by 4.
    pub fn new(tokens: usize, head_dim: usize) -> Self {
        assert_eq!(head_dim % 4, 0, "two halves of pairs need a multiple of 4");
        let frequencies = rotary_frequencies(head_dim / 2);
        Self {
            tokens: Angles::new(0..tokens, &frequencies),
            frequencies,
        }
    }

    /// The rotation of the sequence of all tokens of `frames`.
    pub fn at(&self, frames: Range<usize>, device: &Device) -> Rotation {
        let frames = Angles::new(frames, &self.frequencies);
        Rotation::new(frames.with_each(&self.tokens), device)
    }
}

/// `10000^(-2i / channels)` of the pairs `i` of `channels` channels.
fn rotary_frequencies(channels: usize) -> Vec<f64> {
    (0..channels / 2)
        .map(|i| ROTARY_BASE.powf(-(2.0 * i as f64) / channels as f64))
        .collect()
}

/// Cosines and sines of the angles by which the pairs of every row of a sequence turn.
#[derive(Clone, Debug)]
struct Angles {
    pairs: usize,
    /// `[rows, pairs]`
    cos: Arc<[f32]>,
    /// `[rows, pairs]`
    sin: Arc<[f32]>,
}

impl Angles {
    /// Positions times frequencies.
    fn new(positions: Range<usize>, frequencies: &[f64]) -> Self {
        // In f64, in which products of any frame's number are good to all of f32.
        let angles = positions.flat_map(|p| frequencies.iter().map(move |f| p as f64 * f));
        let (cos, sin): (Vec<_>, Vec<_>) = angles
            .map(|angle| (angle.cos() as f32, angle.sin() as f32))
            .unzip();
        Self {
            pairs: frequencies.len(),
            cos: cos.into(),
            sin: sin.into(),
        }
    }

    /// Every row here before every row of `inner`, pairs side by side.
    fn with_each(&self, inner: &Self) -> Self {
        let join = |outer: &[f32], rows: &[f32]| {
            let mut joined = Vec::with_capacity(2 * outer.len() * rows.len() / inner.pairs);
            for outer in outer.chunks_exact(self.pairs) {
                for inner in rows.chunks_exact(inner.pairs) {
                    joined.extend_from_slice(outer);
                    joined.extend_from_slice(inner);
                }
            }
            joined.into()
        };
        Self {
            pairs: self.pairs + inner.pairs,
            cos: join(&self.cos, &inner.cos),
            sin: join(&self.sin, &inner.sin),
        }
    }

    fn rows(&self, rows: Range<usize>) -> Self {
        let values = rows.start * self.pairs..rows.end * self.pairs;
        Self {
            pairs: self.pairs,
            cos: self.cos[values.clone()].into(),
            sin: self.sin[values].into(),
        }
    }
}

/// The rotary rotation of one sequence, with autodiff or without. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Rotation {
    angles: Angles,
    device: Device,
    /// `cos | cos` and `-sin | sin` of each pair, `[1, 1, sequence, head_dim]` each, once they are
    /// needed; without autodiff.
    tables: Arc<OnceLock<[Tensor<4>; 2]>>,
}

impl Rotation {
    fn new(angles: Angles, device: &Device) -> Self {
        Self {
            angles,
            device: device.clone().without_autodiff(),
            tables: Arc::default(),
        }
    }

    fn tables(&self) -> &[Tensor<4>; 2] {
        self.tables.get_or_init(|| {
            let table = |values: &[f32], pair: fn(f32) -> [f32; 2]| {
                let values: Vec<f32> = values.iter().flat_map(|&value| pair(value)).collect();
                let shape = [1, 1, self.positions(), 2 * self.angles.pairs];
                Tensor::from_data(TensorData::new(values, shape), &self.device)
            };
            [
                table(&self.angles.cos, |cos| [cos, cos]),
                table(&self.angles.sin, |sin| [-sin, sin]),
            ]
        })
    }

    /// Length of the sequence that it rotates.
    pub fn positions(&self) -> usize {
        self.angles.cos.len() / self.angles.pairs
    }

    #[cfg(feature = "flex")]
    pub(crate) fn angles(&self) -> ar_kernels::rotary::Angles {
        let Angles { pairs, cos, sin } = self.angles.clone();
        ar_kernels::rotary::Angles { pairs, cos, sin }
    }

    /// Rotates queries or keys.
    ///
    /// # Shapes
    /// - `x` and output: `[batch, heads, sequence, head_dim]`
    pub fn rotate(&self, x: Tensor<4>) -> Tensor<4> {
        let [batch, heads, sequence, head_dim] = x.dims();
        // Whole rows against tables are several times faster than each half of the pairs by itself.
        let pairs = x.clone().reshape([batch, heads, sequence, head_dim / 2, 2]);
        let swapped = pairs.flip([4]).reshape([batch, heads, sequence, head_dim]);
        let [cos, sin] = self.tables().each_ref().map(|table| {
            let table = table.clone().cast(x.dtype());
            match x.is_autodiff() {
                true => table.autodiff(),
                false => table,
            }
        });
        x * cos + swapped * sin
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
        let rotation = Rotary::new(16, 8).at(0..12, &device);
        let one = Tensor::<1>::from_floats([0.3, -1.2, 0.7, 0.1, 2.0, -0.4, 0.9, 1.1], &device)
            .reshape([1, 1, 1, 8]);
        let all = rotation.rotate(one.expand([1, 1, 12, 8]));
        let at = |p: usize| all.clone().narrow(2, p, 1);
        let near = dot(at(1), at(4));
        assert!((near - dot(at(7), at(10))).abs() < 1e-5);
        assert!((near - dot(at(1), at(9))).abs() > 1e-3);
    }

    #[test]
    fn frame_rotary_scores_depend_on_distances_however_far_the_frames_are() {
        let device = Device::flex();
        let rotary = FrameRotary::new(3, 8);
        let one = Tensor::<1>::from_floats([0.3, -1.2, 0.7, 0.1, 2.0, -0.4, 0.9, 1.1], &device)
            .reshape([1, 1, 1, 8]);
        let score = |frame: usize, [query, key]: [usize; 2]| {
            let all = rotary
                .at(frame..frame + 4, &device)
                .rotate(one.clone().expand([1, 1, 12, 8]));
            let at = |token: usize| all.clone().narrow(2, token, 1);
            dot(at(query), at(key))
        };
        // Tokens 2 and 7 are one frame and a place apart, 5 and 10 as well.
        for tokens in [[2, 7], [5, 10]] {
            for frame in [0, 7, 123_456, 987_654] {
                assert!((score(frame, tokens) - score(0, [2, 7])).abs() < 1e-5);
            }
        }
        assert!((score(0, [2, 7]) - score(0, [2, 10])).abs() > 1e-3);
        assert!((score(0, [2, 7]) - score(0, [2, 6])).abs() > 1e-3);
    }

    #[test]
    fn tables_start_at_zero_angle() {
        let table = SinCosTable::new(3, 4).rows(0..2, &Device::flex());
        let values: Vec<f32> = table.into_data().iter::<f32>().collect();
        assert_eq!(values[..4], [0.0, 0.0, 1.0, 1.0]);
        assert!((values[4] - 1f32.sin()).abs() < 1e-7);
        assert!((values[5] - 0.01f32.sin()).abs() < 1e-7);
    }
}
