//! The MLP sub-layer of a block at sampling: two linear layers inside an adaptive layer norm.
//!
//! A single frame has too few rows to share among the cores, and its products are too small to wake
//! the cores for each. So the hidden channels are shared as well: a task computes some of them and
//! what they add to every output, and the cores synchronise only once for both products.

use burn::backend::flex::FlexTensor;
use rayon::prelude::*;

use crate::adaptive_norm::AdaptiveNorm;
use crate::buffer::{contiguous, dims, values};
use crate::busy_wait::keep_workers_awake;
use crate::gelu;
use crate::gemm::{ColumnsMut, Matrix, multiply};
use crate::rows::{add_to_rows, vectorized};
use crate::scratch::Scratch;

/// Rows per task.
const TILE: usize = 64;
/// Parts that the hidden channels are divided into if there are fewer tiles than that. It does not
/// depend on the number of cores, so the order of additions does not either.
const PARTS: usize = 4;

/// `residual + gate * (gelu(input w1 + b1) w2 + b2)`, without a backward pass.
pub struct GatedMlp {
    /// The layer norm around it, with its input.
    pub adaptive: AdaptiveNorm,
    /// Weights and biases: `[width, hidden]`, `[hidden]`, `[hidden, width]`, `[width]`.
    pub layers: [[FlexTensor; 2]; 2],
}

impl GatedMlp {
    /// `[batch, frames, tokens, width]`
    pub fn forward(self) -> FlexTensor {
        let layers = self.layers.map(|layer| layer.map(contiguous));
        let [[weight_1, bias_1], [weight_2, bias_2]] =
            layers.each_ref().map(|layer| layer.each_ref().map(values));
        let [width, hidden] = dims(&layers[0][0]);
        let [batch, frames, tokens, _] = self.adaptive.shape();
        let rows = batch * frames * tokens;
        let (len, tiles) = (rows * width, rows.div_ceil(TILE));
        let parts = if tiles < PARTS { PARTS } else { 1 };
        keep_workers_awake(parts * tiles);
        let input = self.adaptive.input();
        let channels = hidden.div_ceil(parts);
        // [parts, rows, width]
        let mut sums = Scratch::new(parts * len);
        let tasks: Vec<_> = sums
            .chunks_mut(len)
            .enumerate()
            .flat_map(|(part, sums)| {
                sums.chunks_mut(TILE * width)
                    .zip(input.chunks(TILE * width))
                    .map(move |(sums, input)| (part, input, sums))
            })
            .collect();
        tasks.into_par_iter().for_each(|(part, input, sums)| {
            let [start, end] = [part, part + 1].map(|part| hidden.min(part * channels));
            if start == end {
                return sums.fill(0.0);
            }
            let (rows, some) = (sums.len() / width, start..end);
            let mut activations = Scratch::new(rows * some.len());
            let shape = [width, some.len()];
            let weight = Matrix::strided(&weight_1[some.start..], shape, hidden);
            let to = ColumnsMut::all(&mut activations, some.len());
            multiply(Matrix::new(input, width), weight, to, false);
            vectorized(
                #[inline(always)]
                || {
                    add_to_rows(&bias_1[some.clone()], &mut activations);
                    gelu::in_place(&mut activations);
                },
            );
            let weight = Matrix::new(&weight_2[some.start * width..some.end * width], width);
            let activations = Matrix::new(&activations, some.len());
            multiply(activations, weight, ColumnsMut::all(sums, width), false);
        });

        self.adaptive.output(&sums, bias_2)
    }
}
