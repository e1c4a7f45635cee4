//! Layer norm without parameters, by itself and with adaptive modulation.

use ar_autodiff::{parents, record, register};
use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Flex, backend_extension};
use rayon::prelude::*;

use crate::buffer::{contiguous, tensor, unit_stride, values};
use crate::gated_residual::{Frames, Vectors};
use crate::rows::{fill, fill_chunks, sum, sum_pairs, vectorized};

/// Layer norm and modulation, as an extension of the backend.
#[backend_extension(Flex, Autodiff)]
pub trait NormOps: Backend {
    /// Layer normalisation over the last axis, without scale or bias.
    fn layer_norm_plain(x: FloatTensor<Self>, epsilon: f64) -> FloatTensor<Self>;

    /// `x (1 + scale) + shift`.
    ///
    /// # Shapes
    /// - `x` and output: `[batch, frames, tokens, width]`
    /// - `shift`, `scale`: `[batch or 1, frames or 1, 1, width]`
    fn modulate(
        x: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        scale: FloatTensor<Self>,
    ) -> FloatTensor<Self>;

    /// [`NormOps::modulate`] after [`NormOps::layer_norm_plain`], with the shapes of the former.
    fn layer_norm_modulate(
        x: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        epsilon: f64,
    ) -> FloatTensor<Self>;
}

impl NormOps for Flex {
    fn layer_norm_plain(x: FlexTensor, epsilon: f64) -> FlexTensor {
        let x = contiguous(x);
        let shape = x.layout().shape().clone();
        let width = shape[shape.num_dims() - 1];
        let input = values(&x);
        let mut output = vec![0.0; input.len()];
        fill(&mut output, width, |row, output| {
            let input = &input[row * width..][..output.len()];
            vectorized(
                #[inline(always)]
                || normalize(input, width, epsilon, output),
            );
        });
        tensor(output, shape)
    }

    fn modulate(x: FlexTensor, shift: FlexTensor, scale: FlexTensor) -> FlexTensor {
        modulated(x, shift, scale, None)
    }

    fn layer_norm_modulate(
        x: FlexTensor,
        shift: FlexTensor,
        scale: FlexTensor,
        epsilon: f64,
    ) -> FlexTensor {
        modulated(x, shift, scale, Some(epsilon))
    }
}

/// Modulation, of normalised rows if an epsilon is given.
fn modulated(
    x: FlexTensor,
    shift: FlexTensor,
    scale: FlexTensor,
    epsilon: Option<f64>,
) -> FlexTensor {
    let (x, [shift, scale]) = (contiguous(x), [shift, scale].map(unit_stride));
    let frames = Frames::of(&x);
    let vectors = [&shift, &scale].map(|vectors| Vectors::of(vectors, frames));
    let input = values(&x);
    let mut output = vec![0.0; input.len()];
    fill_chunks(&mut output, frames.len, |frame, output| {
        let input = &input[frames.range(frame)];
        let [shift, scale] = vectors.map(|vectors| vectors.of_frame(frame));
        vectorized(
            #[inline(always)]
            || modulate(input, shift, scale, epsilon, output),
        );
    });
    tensor(output, frames.shape)
}

impl<C: CheckpointStrategy> NormOps for Autodiff<Flex, C> {
    fn layer_norm_plain(x: FloatTensor<Self>, epsilon: f64) -> FloatTensor<Self> {
        record::<Flex, C, _, 1>(
            NormBackward,
            [x],
            |[x]| (x.clone(), epsilon),
            |[x]| Flex::layer_norm_plain(x, epsilon),
        )
    }

    fn modulate(
        x: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        scale: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        record::<Flex, C, _, 3>(
            ModulateBackward,
            [x, shift, scale],
            |[x, _, scale]| (x.clone(), scale.clone(), None),
            |[x, shift, scale]| Flex::modulate(x, shift, scale),
        )
    }

    fn layer_norm_modulate(
        x: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        epsilon: f64,
    ) -> FloatTensor<Self> {
        record::<Flex, C, _, 3>(
            ModulateBackward,
            [x, shift, scale],
            |[x, _, scale]| (x.clone(), scale.clone(), Some(epsilon)),
            |[x, shift, scale]| Flex::layer_norm_modulate(x, shift, scale, epsilon),
        )
    }
}

#[derive(Debug)]
struct NormBackward;

impl Backward<Flex, 1> for NormBackward {
    type State = (FlexTensor, f64);

    fn backward(self, ops: Ops<Self::State, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let parents = parents(&ops);
        let d_output = contiguous(gradients.consume::<Flex>(&ops.node));
        let (x, epsilon) = ops.state;
        let x = contiguous(x);
        let shape = x.layout().shape().clone();
        let width = shape[shape.num_dims() - 1];
        let (input, d_out) = (values(&x), values(&d_output));
        let mut d_x = vec![0.0; input.len()];
        fill(&mut d_x, width, |row, d_x| {
            let range = row * width..row * width + d_x.len();
            let (input, d_out) = (&input[range.clone()], &d_out[range]);
            vectorized(
                #[inline(always)]
                || normalize_backward(input, d_out, width, epsilon, d_x),
            );
        });
        register::<Flex, _>(gradients, parents, [tensor(d_x, shape)]);
    }
}

#[derive(Debug)]
struct ModulateBackward;

impl Backward<Flex, 3> for ModulateBackward {
    /// Input, scale, and the epsilon of a layer norm before the modulation.
    type State = (FlexTensor, FlexTensor, Option<f64>);

    fn backward(self, ops: Ops<Self::State, 3>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let parents = parents(&ops);
        let d_output = contiguous(gradients.consume::<Flex>(&ops.node));
        let (x, scale, epsilon) = ops.state;
        let (x, scale) = (contiguous(x), unit_stride(scale));
        let frames = Frames::of(&x);
        let scale = Vectors::of(&scale, frames);
        let (input, d_out) = (values(&x), values(&d_output));
        let mut d_x = vec![0.0; input.len()];
        let [mut d_shift, mut d_scale] = [(); 2].map(|()| vec![0.0; frames.count() * frames.width]);
        d_x.par_chunks_mut(frames.len)
            .zip(d_shift.par_chunks_mut(frames.width))
            .zip(d_scale.par_chunks_mut(frames.width))
            .enumerate()
            .for_each(|(frame, ((d_x, d_shift), d_scale))| {
                let range = frames.range(frame);
                let (input, d_out) = (&input[range.clone()], &d_out[range]);
                let vector = scale.of_frame(frame);
                vectorized(
                    #[inline(always)]
                    || modulate_backward(input, vector, epsilon, d_out, [d_x, d_shift, d_scale]),
                );
            });
        let [d_shift, d_scale] = [d_shift, d_scale].map(|d| scale.gradient(d));
        let d_x = tensor(d_x, frames.shape);
        register::<Flex, _>(gradients, parents, [d_x, d_shift, d_scale]);
    }
}

/// Mean and reciprocal standard deviation of a row.
#[inline(always)]
pub(crate) fn moments(row: &[f32], epsilon: f64) -> (f32, f32) {
    let n = row.len() as f32;
    let mean = sum(
        row,
        #[inline(always)]
        |x| x,
    ) / n;
    let variance = sum(
        row,
        #[inline(always)]
        |x| (x - mean) * (x - mean),
    ) / n;
    (mean, 1.0 / (variance + epsilon as f32).sqrt())
}

/// Replaces the gradient `d_row` of a normalised row by the gradient of the row.
#[inline(always)]
pub(crate) fn moments_backward(row: &[f32], (mean, rstd): (f32, f32), d_row: &mut [f32]) {
    let n = row.len() as f32;
    let d_mean = sum(
        d_row,
        #[inline(always)]
        |d| d,
    ) / n;
    let d_rstd = sum_pairs(
        d_row,
        row,
        #[inline(always)]
        |d, x| d * (x - mean) * rstd,
    ) / n;
    for (d, &x) in d_row.iter_mut().zip(row) {
        *d = rstd * (*d - d_mean - (x - mean) * rstd * d_rstd);
    }
}

#[inline(always)]
fn normalize(input: &[f32], width: usize, epsilon: f64, output: &mut [f32]) {
    for (y, x) in output
        .chunks_exact_mut(width)
        .zip(input.chunks_exact(width))
    {
        let (mean, rstd) = moments(x, epsilon);
        for i in 0..width {
            y[i] = (x[i] - mean) * rstd;
        }
    }
}

#[inline(always)]
fn normalize_backward(
    input: &[f32],
    d_output: &[f32],
    width: usize,
    epsilon: f64,
    d_x: &mut [f32],
) {
    d_x.copy_from_slice(d_output);
    for (d_x, x) in d_x.chunks_exact_mut(width).zip(input.chunks_exact(width)) {
        moments_backward(x, moments(x, epsilon), d_x);
    }
}

/// Modulates all rows with the same shift and scale, and normalises them before if an epsilon is
/// given.
#[inline(always)]
pub(crate) fn modulate(
    input: &[f32],
    shift: &[f32],
    scale: &[f32],
    epsilon: Option<f64>,
    output: &mut [f32],
) {
    let width = scale.len();
    let shift = &shift[..width];
    for (y, x) in output
        .chunks_exact_mut(width)
        .zip(input.chunks_exact(width))
    {
        let (mean, rstd) = match epsilon {
            Some(epsilon) => moments(x, epsilon),
            None => (0.0, 1.0),
        };
        for i in 0..width {
            y[i] = (x[i] - mean) * rstd * (1.0 + scale[i]) + shift[i];
        }
    }
}

#[inline(always)]
fn modulate_backward(
    input: &[f32],
    scale: &[f32],
    epsilon: Option<f64>,
    d_output: &[f32],
    [d_x, d_shift, d_scale]: [&mut [f32]; 3],
) {
    let width = scale.len();
    let (d_shift, d_scale) = (&mut d_shift[..width], &mut d_scale[..width]);
    let rows = input.chunks_exact(width).zip(d_output.chunks_exact(width));
    for (d_x, (x, d_y)) in d_x.chunks_exact_mut(width).zip(rows) {
        let (mean, rstd) = match epsilon {
            Some(epsilon) => moments(x, epsilon),
            None => (0.0, 1.0),
        };
        for i in 0..width {
            d_shift[i] += d_y[i];
            d_scale[i] += d_y[i] * (x[i] - mean) * rstd;
            d_x[i] = d_y[i] * (1.0 + scale[i]);
        }
        if epsilon.is_some() {
            moments_backward(x, (mean, rstd), d_x);
        }
    }
}
