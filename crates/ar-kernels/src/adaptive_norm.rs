//! Adaptive layer norm around a sub-layer of a transformer block at sampling, without a backward pass.

use burn::backend::flex::FlexTensor;

use crate::buffer::{contiguous, unit_stride, values};
use crate::gated_residual::{Frames, Vectors};
use crate::norm::{modulate, moments};
use crate::rows::{fill, fill_chunks, vectorized};
use crate::scratch::Scratch;

/// Shift, scale and gate of a sub-layer.
pub struct Modulation {
    /// `n` concatenated vectors of `width` channels: `[batch or 1, frames or 1, n * width]`.
    pub vectors: FlexTensor,
    /// Which of the `n` are this sub-layer's shift, scale and gate.
    pub chunks: [usize; 3],
    /// Whether the residual is the input after its layer norm rather than the input itself.
    pub normed_residual: bool,
    /// Added to the variance.
    pub epsilon: f64,
}

/// The input of a sub-layer, and how it is conditioned.
pub struct AdaptiveNorm {
    /// `[batch, frames, tokens, width]`
    x: FlexTensor,
    /// `[batch or 1, frames or 1, n * width]`
    modulation: FlexTensor,
    /// Shift, scale and gate.
    chunks: [usize; 3],
    normed_residual: bool,
    epsilon: f64,
    frames: Frames,
}

impl AdaptiveNorm {
    /// An adaptive layer norm with its input.
    ///
    /// # Shapes
    /// - `x`: `[batch, frames, tokens, width]`
    pub fn new(x: FlexTensor, modulation: Modulation) -> Self {
        let x = contiguous(x);
        Self {
            frames: Frames::of(&x),
            x,
            modulation: unit_stride(modulation.vectors),
            chunks: modulation.chunks,
            normed_residual: modulation.normed_residual,
            epsilon: modulation.epsilon,
        }
    }

    /// `[batch, frames, tokens, width]`
    pub(crate) fn shape(&self) -> [usize; 4] {
        self.frames.shape
    }

    /// The input of the sub-layer: `[batch, frames, tokens, width]`.
    pub(crate) fn input(&self) -> Scratch {
        let x = values(&self.x);
        let [shift, scale, _] = self
            .chunks
            .map(|chunk| Vectors::of_chunk(&self.modulation, chunk, self.frames));
        let mut input = Scratch::new(x.len());
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

    /// `residual + gate * (bias + Σ parts)`, the sub-layer's output. It replaces the input in place if nobody else
    /// holds the input.
    ///
    /// # Shapes
    /// - `parts`: any number of parts of the output's size; `bias`: `[width]`
    /// - output: `[batch, frames, tokens, width]`
    pub(crate) fn output(self, parts: &[f32], bias: &[f32]) -> FlexTensor {
        let Self {
            mut x,
            modulation,
            chunks: [.., gate],
            normed_residual,
            epsilon,
            frames,
        } = self;
        let gate = Vectors::of_chunk(&modulation, gate, frames);
        let Frames { shape, len, width } = frames;
        let (tokens, size) = (len / width, shape.iter().product());
        let start = x.layout().start_offset();
        let stream = &mut x.storage_mut()[start..start + size];
        fill(stream, width, |first, rows| {
            let mut sum = Scratch::new(width);
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
                        let (mean, rstd) = if normed_residual {
                            moments(x, epsilon)
                        } else {
                            (0.0, 1.0)
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
