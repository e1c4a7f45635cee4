//! Adaptive layer norm around half of a block at sampling, without a backward pass.

use burn::backend::flex::FlexTensor;
use burn::tensor::Tensor;

use super::buffer::{contiguous, unit_stride, values};
use super::gate::{Frames, Vectors};
use super::norm::{modulate, moments};
use super::primitive;
use super::reused::Reused;
use super::rows::{fill, fill_chunks, vectorized};
use crate::norm::{AdaptiveNorm, Residual};

/// The input of a half, and how it is conditioned.
pub struct Adaptive {
    /// `[batch, frames, tokens, width]`
    x: FlexTensor,
    /// `[batch or 1, frames or 1, n * width]`
    modulation: FlexTensor,
    /// Shift, scale and gate.
    chunks: [usize; 3],
    residual: Residual,
    epsilon: f64,
    frames: Frames,
}

impl Adaptive {
    /// Of tensors that are [covered](super::cover_untracked).
    pub fn new(x: Tensor<4>, norm: AdaptiveNorm) -> Self {
        let x = contiguous(primitive(x));
        Self {
            frames: Frames::of(&x),
            x,
            modulation: unit_stride(primitive(norm.modulation)),
            chunks: norm.chunks,
            residual: norm.residual,
            epsilon: norm.epsilon,
        }
    }

    /// `[batch, frames, tokens, width]`
    pub fn shape(&self) -> [usize; 4] {
        self.frames.shape
    }

    /// What the half reads: `[batch, frames, tokens, width]`.
    pub fn input(&self) -> Reused {
        let x = values(&self.x);
        let [shift, scale, _] = self
            .chunks
            .map(|chunk| Vectors::of_chunk(&self.modulation, chunk, self.frames));
        let mut input = Reused::new(x.len());
        fill_chunks(&mut input, self.frames.len, |frame, input| {
            let x = &x[self.frames.range(frame)];
            let [shift, scale] = [shift.of_frame(frame), scale.of_frame(frame)];
            vectorized(
                #[inline(always)]
                || modulate(x, shift, scale, Some(self.epsilon), input),
            );
        });
        input
    }

    /// `residual + gate * (bias + Σ parts)`, the half's output, where its input was if nobody else
    /// has that.
    ///
    /// # Shapes
    /// - `parts`: any number of the output's size; `bias`: `[width]`
    /// - output: `[batch, frames, tokens, width]`
    pub fn output(self, parts: &[f32], bias: &[f32]) -> FlexTensor {
        let Self {
            mut x,
            modulation,
            chunks: [.., gate],
            residual,
            epsilon,
            frames,
        } = self;
        let gate = Vectors::of_chunk(&modulation, gate, frames);
        let Frames { shape, len, width } = frames;
        let (tokens, size) = (len / width, shape.iter().product());
        let start = x.layout().start_offset();
        let stream = &mut x.storage_mut()[start..start + size];
        fill(stream, width, |first, rows| {
            let mut sum = Reused::new(width);
            vectorized(
                #[inline(always)]
                || {
                    for (index, x) in (first..).zip(rows.chunks_exact_mut(width)) {
                        sum.copy_from_slice(bias);
                        for part in parts.chunks_exact(size) {
                            let part = part[index * width..][..width].iter();
                            sum.iter_mut()
                                .zip(part)
                                .for_each(|(sum, part)| *sum += part);
                        }
                        let (mean, rstd) = match residual {
                            Residual::Input => (0.0, 1.0),
                            Residual::Normed => moments(x, epsilon),
                        };
                        let gate = gate.of_frame(index / tokens).iter();
                        for ((x, gate), sum) in x.iter_mut().zip(gate).zip(&*sum) {
                            *x = (*x - mean) * rstd + gate * sum;
                        }
                    }
                },
            );
        });
        x
    }
}
