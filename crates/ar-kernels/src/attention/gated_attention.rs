//! The attention sub-layer of a block at sampling: the projections around attention to cached keys
//! and values, inside an adaptive layer norm.
//!
//! A single frame has too few rows to share among the cores, and its products are too small to wake
//! the cores for each. So a task computes everything from the inputs to what one head adds to every
//! output, and the cores synchronise only once for all products.

use burn::backend::flex::FlexTensor;
use rayon::prelude::*;

use super::options::KernelOptions;
use super::tiles::{Rows, Sizes, TiledAttention, Workspace};
use crate::adaptive_norm::AdaptiveNorm;
use crate::buffer::{contiguous, unit_stride, values};
use crate::busy_wait::keep_workers_awake;
use crate::gemm::{ColumnsMut, Matrix, multiply};
use crate::rows::{add_to_rows, vectorized};
use crate::scratch::Scratch;

/// `residual + gate * projection(attention(input))`, without a backward pass.
pub struct GatedAttention {
    /// The layer norm around it, with its input.
    pub adaptive: AdaptiveNorm,
    /// Weight `[width, 3 * width]` and bias `[3 * width]` of the projection to queries, keys and
    /// values.
    pub qkv: [FlexTensor; 2],
    /// Weight `[width, width]` and bias `[width]` of the output.
    pub projection: [FlexTensor; 2],
    /// Keys, `[batch, heads, head_dim, cached]`, and values, `[batch, heads, cached, head_dim]`.
    pub cache: [FlexTensor; 2],
    /// Gamma and beta of queries, then of keys, `[head_dim]`.
    pub norms: Option<[FlexTensor; 4]>,
    /// Heads, RoPE and mask.
    pub options: KernelOptions,
}

impl GatedAttention {
    /// Whether the parts that tasks compute, `len` values each, fit into caches: adding up larger
    /// ones would cost more than the tasks gain.
    pub fn covers(len: usize, heads: usize) -> bool {
        len * heads <= 1 << 20
    }

    /// `[batch, frames, tokens, width]`
    pub fn forward(self) -> FlexTensor {
        let [qkv, projection] = [self.qkv, self.projection].map(|layer| layer.map(contiguous));
        let cache = self.cache.map(unit_stride);
        let norms = self.norms.map(|norms| norms.map(contiguous));
        let [batch, frames, tokens, width] = self.adaptive.shape();
        let heads = self.options.heads;
        let (rows, dim) = (frames * tokens, width / heads);
        let sizes = Sizes {
            count: batch * heads,
            queries: rows,
            new_keys: rows,
            head_dim: dim,
            value_dim: dim,
        };
        let tiled = TiledAttention::new(sizes, Some(&cache), norms.as_ref(), &self.options);

        keep_workers_awake(batch * heads);
        let input = self.adaptive.input();
        // [heads, batch, rows, width]
        let mut parts = Scratch::new(heads * batch * rows * width);
        let tasks = parts.par_chunks_mut(rows * width).enumerate();
        tasks.for_each_init(
            || (Workspace::new(&tiled), Scratch::new(rows * dim)),
            |(workspace, output), (task, part)| {
                let (head, sample) = (task / batch, task % batch);
                let input = &input[sample * rows * width..][..rows * width];
                let input = Matrix::new(input, width);
                project(&qkv, input, head * dim, &mut workspace.rows);
                tiled.forward_head(sample * heads + head, workspace, output);
                let weight = &values(&projection[0])[head * dim * width..][..dim * width];
                let (output, weight) = (Matrix::new(output, dim), Matrix::new(weight, width));
                multiply(output, weight, ColumnsMut::all(part, width), false);
            },
        );
        self.adaptive.output(&parts, values(&projection[1]))
    }
}

/// The queries, keys and values of one head, whose first channel is `channel`.
fn project(qkv: &[FlexTensor; 2], x: Matrix, channel: usize, rows: &mut Rows) {
    let [weight, bias] = qkv.each_ref().map(values);
    let packed = bias.len();
    let width = packed / 3;
    for (part, to) in [&mut rows.q, &mut rows.k, &mut rows.v]
        .into_iter()
        .enumerate()
    {
        let dim = to.len() / x.rows();
        let first = part * width + channel;
        let weight = Matrix::strided(&weight[first..], [width, dim], packed);
        multiply(x, weight, ColumnsMut::all(to, dim), false);
        vectorized(
            #[inline(always)]
            || add_to_rows(&bias[first..first + dim], to),
        );
    }
}
