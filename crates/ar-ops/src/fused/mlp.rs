//! The MLP's half of a block at sampling: two linear layers, and the gated residual.
//!
//! A single frame has too few rows to share among the cores, and its products are too small to
//! wake them for each. So the hidden channels are shared as well: a task computes some of them and
//! what they add to every output, and the cores meet once for the whole half.

use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Flex, backend_extension};
use rayon::prelude::*;

use super::buffer::{contiguous, dims, tensor, values};
use super::gate::Frames;
use super::gelu;
use super::gemm::{ColumnsMut, Matrix, multiply};
use super::rows::{fill, vectorized};

/// Rows of a task.
const TILE: usize = 64;
/// Parts of the hidden channels where tiles are fewer than that. It does not depend on the number
/// of cores, and so neither does the order of additions.
const PARTS: usize = 4;

/// Without a backward pass.
#[backend_extension(Flex)]
pub trait MlpOps: Backend {
    /// `residual + gate * (gelu(x weight_1 + bias_1) weight_2 + bias_2)`.
    ///
    /// # Shapes
    /// - `residual`, `x` and output: `[batch, frames, tokens, width]`
    /// - `gate`: `[batch, frames or 1, 1, width]`
    /// - `weight_1`: `[width, hidden]`; `bias_1`: `[hidden]`
    /// - `weight_2`: `[hidden, width]`; `bias_2`: `[width]`
    fn gated_mlp(
        residual: FloatTensor<Self>,
        gate: FloatTensor<Self>,
        x: FloatTensor<Self>,
        weight_1: FloatTensor<Self>,
        bias_1: FloatTensor<Self>,
        weight_2: FloatTensor<Self>,
        bias_2: FloatTensor<Self>,
    ) -> FloatTensor<Self>;
}

impl MlpOps for Flex {
    fn gated_mlp(
        residual: FlexTensor,
        gate: FlexTensor,
        x: FlexTensor,
        weight_1: FlexTensor,
        bias_1: FlexTensor,
        weight_2: FlexTensor,
        bias_2: FlexTensor,
    ) -> FlexTensor {
        let [residual, gate, x] = [residual, gate, x].map(contiguous);
        let layers = [weight_1, bias_1, weight_2, bias_2].map(contiguous);
        let [width, hidden] = dims(&layers[0]);
        let frames = Frames::of(&x, &gate);
        let [weight_1, bias_1, weight_2, bias_2] = layers.each_ref().map(values);
        let input = values(&x);
        let rows = input.len() / width;
        let tiles = rows.div_ceil(TILE);
        let parts = if tiles < PARTS { PARTS } else { 1 };
        let channels = hidden.div_ceil(parts);
        // [parts, rows, width]
        let mut sums = vec![0.0; parts * input.len()];
        let tasks: Vec<_> = sums
            .chunks_mut(input.len())
            .enumerate()
            .flat_map(|(part, sums)| {
                sums.chunks_mut(TILE * width)
                    .zip(input.chunks(TILE * width))
                    .map(move |(sums, input)| (part, input, sums))
            })
            .collect();
        tasks.into_par_iter().for_each(|(part, input, sums)| {
            let some = part * channels..hidden.min((part + 1) * channels);
            let mut activations = bias_1[some.clone()].repeat(input.len() / width);
            let shape = [width, some.len()];
            let weight = Matrix::strided(&weight_1[some.start..], shape, hidden);
            let to = ColumnsMut::all(&mut activations, some.len());
            multiply(Matrix::new(input, width), weight, to, true);
            vectorized(
                #[inline(always)]
                || gelu::in_place(&mut activations),
            );
            let weight = Matrix::new(&weight_2[some.start * width..some.end * width], width);
            let activations = Matrix::new(&activations, some.len());
            multiply(activations, weight, ColumnsMut::all(sums, width), false);
        });

        let [residual, gate] = [&residual, &gate].map(values);
        let mut output = vec![0.0; input.len()];
        let tokens = frames.len / width;
        fill(&mut output, width, |first, output| {
            for (row, output) in (first..).zip(output.chunks_exact_mut(width)) {
                let at = row * width..(row + 1) * width;
                let gate = frames.vector(gate, row / tokens);
                vectorized(
                    #[inline(always)]
                    || {
                        output.copy_from_slice(bias_2);
                        for sums in sums.chunks_exact(input.len()) {
                            for (output, sum) in output.iter_mut().zip(&sums[at.clone()]) {
                                *output += sum;
                            }
                        }
                        let residual = &residual[at.clone()];
                        for ((output, gate), residual) in
                            output.iter_mut().zip(gate).zip(residual)
                        {
                            *output = residual + gate * *output;
                        }
                    },
                );
            }
        });
        tensor(output, frames.shape)
    }
}
