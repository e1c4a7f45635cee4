//! Rotary position embedding (RoPE; Su et al., 2021) over interleaved pairs of channels.

use std::fmt;
use std::sync::Arc;

/// Rotary position embedding of the last queries and keys, applied after their layer norms.
#[derive(Clone, Debug)]
pub struct Rope {
    /// A row for each query and new key that is rotated.
    pub angles: Angles,
    /// How many of the first keys are never rotated; scores with them use queries without RoPE. The
    /// other keys are rotated, here or before they were cached.
    pub unrotated_keys: usize,
}

/// Cosines and sines of the angles by which the pairs of every row of a sequence are rotated. Cheap
/// to clone.
#[derive(Clone)]
pub struct Angles {
    /// Pairs of a row: half the channels of a head.
    pub pairs: usize,
    /// `[rows, pairs]`
    pub cos: Arc<[f32]>,
    /// `[rows, pairs]`
    pub sin: Arc<[f32]>,
}

impl Angles {
    pub(crate) fn rows(&self) -> usize {
        self.cos.len() / self.pairs
    }
}

/// Short, without the values of the table.
impl fmt::Debug for Angles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Angles")
            .field("rows", &self.rows())
            .field("pairs", &self.pairs)
            .finish_non_exhaustive()
    }
}

/// Rotates the pairs of as many rows as there are angles; by the negative angles if `transposed`,
/// as for gradients in a backward pass.
#[inline(always)]
pub(crate) fn apply_rotary(rows: &mut [f32], angles: &Angles, transposed: bool) {
    let sign = if transposed { -1.0 } else { 1.0 };
    let pairs = angles.pairs;
    let tables = angles
        .cos
        .chunks_exact(pairs)
        .zip(angles.sin.chunks_exact(pairs));
    for (row, (cos, sin)) in rows.chunks_exact_mut(2 * pairs).zip(tables) {
        for ((pair, cos), sin) in row.chunks_exact_mut(2).zip(cos).zip(sin) {
            let (x, y, sin) = (pair[0], pair[1], sign * sin);
            pair[0] = x * cos - y * sin;
            pair[1] = x * sin + y * cos;
        }
    }
}
