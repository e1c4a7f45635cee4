//! Rotary position embedding (RoPE).

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use burn::tensor::{Device, Tensor, TensorData};

/// Base of the rotary frequencies.
const ROTARY_BASE: f64 = 10000.0;

/// RoPE over interleaved pairs of channels (Su et al., 2021), base 10000.
///
/// The angles of every position are computed once, on the host; [`Rotary::at`] uploads the angles of a sequence to a
/// device.
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

    /// The embedding of some of the table's positions.
    pub fn at(&self, positions: Range<usize>, device: &Device) -> RotaryEmbedding {
        RotaryEmbedding::new(self.angles.rows(positions), device)
    }
}

/// RoPE of video tokens: one half of a head's channels is rotated by the frame's number, the other half by the token's
/// position in its frame. Pairs, base and order within a half are as in [`Rotary`].
///
/// There may be any number of frames, since their angles are computed on demand.
#[derive(Clone, Debug)]
pub struct FrameRotary {
    frequencies: Vec<f64>,
    /// Angles of the tokens of a frame.
    tokens: Angles,
}

impl FrameRotary {
    /// Rotations for frames of `tokens` tokens, and heads of `head_dim` channels.
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

    /// The embedding of the sequence of all tokens of `frames`.
    pub fn at(&self, frames: Range<usize>, device: &Device) -> RotaryEmbedding {
        let frames = Angles::new(frames, &self.frequencies);
        RotaryEmbedding::new(frames.with_each(&self.tokens), device)
    }
}

/// `10000^(-2i / channels)` for each pair `i` of `channels` channels.
fn rotary_frequencies(channels: usize) -> Vec<f64> {
    (0..channels / 2)
        .map(|i| ROTARY_BASE.powf(-(2.0 * i as f64) / channels as f64))
        .collect()
}

/// Cosines and sines of the angles by which the pairs of every row of a sequence are rotated.
#[derive(Clone)]
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
        // In f64, so that products with any frame's number are exact enough for f32.
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

    /// Every row of `self` combined with every row of `inner`, with their pairs concatenated; `inner` varies fastest.
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

/// Short, without the values of the table.
impl fmt::Debug for Angles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Angles")
            .field("rows", &(self.cos.len() / self.pairs))
            .field("pairs", &self.pairs)
            .finish_non_exhaustive()
    }
}

/// RoPE of one sequence: the angles of its positions, for tensors with or without autodiff. Cheap to clone.
#[derive(Clone, Debug)]
pub struct RotaryEmbedding {
    angles: Angles,
    device: Device,
    /// `cos | cos` and `-sin | sin` of each pair, `[1, 1, sequence, head_dim]` each, once they are
    /// needed; without autodiff.
    tables: Arc<OnceLock<[Tensor<4>; 2]>>,
}

impl RotaryEmbedding {
    fn new(angles: Angles, device: &Device) -> Self {
        Self {
            angles,
            device: device.clone().without_autodiff(),
            tables: Arc::default(),
        }
    }

    pub(crate) fn tables(&self) -> &[Tensor<4>; 2] {
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

    /// Number of positions of the sequence.
    pub fn positions(&self) -> usize {
        self.angles.cos.len() / self.angles.pairs
    }

    #[cfg(feature = "flex")]
    pub(crate) fn angles(&self) -> ar_kernels::rotary::Angles {
        let Angles { pairs, cos, sin } = self.angles.clone();
        ar_kernels::rotary::Angles { pairs, cos, sin }
    }
}

/// Applies RoPE to queries or keys.
///
/// # Shapes
/// - `x` and output: `[batch, heads, sequence, head_dim]`
pub fn apply_rotary(x: Tensor<4>, rotary: &RotaryEmbedding) -> Tensor<4> {
    let [batch, heads, sequence, head_dim] = x.dims();
    // Multiplying whole rows by tables is several times faster than handling each half of the pairs separately.
    let pairs = x.clone().reshape([batch, heads, sequence, head_dim / 2, 2]);
    let swapped = pairs.flip([4]).reshape([batch, heads, sequence, head_dim]);
    let [cos, sin] = rotary.tables().each_ref().map(|table| {
        let table = table.clone().cast(x.dtype());
        if x.is_autodiff() {
            table.autodiff()
        } else {
            table
        }
    });
    x * cos + swapped * sin
}

/// [`apply_rotary`] on the last rows of a sequence, as many as `rotary` has positions.
pub(crate) fn apply_rotary_to_last(x: Tensor<4>, rotary: Option<&RotaryEmbedding>) -> Tensor<4> {
    let Some(rotary) = rotary else {
        return x;
    };
    let (rows, rotated) = (x.dims()[2], rotary.positions());
    if rows == rotated {
        return apply_rotary(x, rotary);
    }
    let unrotated = x.clone().narrow(2, 0, rows - rotated);
    let x = apply_rotary(x.narrow(2, rows - rotated, rotated), rotary);
    Tensor::cat(vec![unrotated, x], 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dot(a: Tensor<4>, b: Tensor<4>) -> f32 {
        (a * b).sum().into_scalar()
    }

    #[test]
    fn rotary_scores_depend_only_on_the_distance() {
        let device = Device::flex();
        let rotary = Rotary::new(16, 8).at(0..12, &device);
        let one = Tensor::<1>::from_floats([0.3, -1.2, 0.7, 0.1, 2.0, -0.4, 0.9, 1.1], &device)
            .reshape([1, 1, 1, 8]);
        let all = apply_rotary(one.expand([1, 1, 12, 8]), &rotary);
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
            let embedding = rotary.at(frame..frame + 4, &device);
            let all = apply_rotary(one.clone().expand([1, 1, 12, 8]), &embedding);
            let at = |token: usize| all.clone().narrow(2, token, 1);
            dot(at(query), at(key))
        };
        // Tokens 2 and 7 are one frame and one position apart, and so are 5 and 10.
        for tokens in [[2, 7], [5, 10]] {
            for frame in [0, 7, 123_456, 987_654] {
                assert!((score(frame, tokens) - score(0, [2, 7])).abs() < 1e-5);
            }
        }
        assert!((score(0, [2, 7]) - score(0, [2, 10])).abs() > 1e-3);
        assert!((score(0, [2, 7]) - score(0, [2, 6])).abs() > 1e-3);
    }
}
