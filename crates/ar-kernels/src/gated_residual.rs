//! Broadcast of per-frame vectors over tokens: the gated residual.

use ar_autodiff::{parents, record, register};
use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Flex, backend_extension};
use rayon::prelude::*;

use crate::buffer::{contiguous, dims, tensor, unit_stride, values};
use crate::rows::{fill_chunks, vectorized};

/// The gated residual, as an extension of the backend.
#[backend_extension(Flex, Autodiff)]
pub trait GateOps: Backend {
    /// `residual + gate * x`.
    ///
    /// # Shapes
    /// - `residual`, `x` and output: `[batch, frames, tokens, width]`
    /// - `gate`: `[batch or 1, frames or 1, 1, width]`
    fn gated_residual(
        residual: FloatTensor<Self>,
        gate: FloatTensor<Self>,
        x: FloatTensor<Self>,
    ) -> FloatTensor<Self>;
}

impl GateOps for Flex {
    fn gated_residual(residual: FlexTensor, gate: FlexTensor, x: FlexTensor) -> FlexTensor {
        let ([residual, x], gate) = ([residual, x].map(contiguous), unit_stride(gate));
        let frames = Frames::of(&x);
        let gate = Vectors::of(&gate, frames);
        let [residual, input] = [&residual, &x].map(values);
        let mut output = vec![0.0; input.len()];
        fill_chunks(&mut output, frames.len, |frame, output| {
            let range = frames.range(frame);
            let (residual, input) = (&residual[range.clone()], &input[range]);
            let gate = gate.of_frame(frame);
            vectorized(
                #[inline(always)]
                || forward(residual, gate, input, output),
            );
        });
        tensor(output, frames.shape)
    }
}

impl<C: CheckpointStrategy> GateOps for Autodiff<Flex, C> {
    fn gated_residual(
        residual: FloatTensor<Self>,
        gate: FloatTensor<Self>,
        x: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        record::<Flex, C, _, 3>(
            GateBackward,
            [residual, gate, x],
            |[_, gate, x]| [gate.clone(), x.clone()],
            |[residual, gate, x]| Flex::gated_residual(residual, gate, x),
        )
    }
}

#[derive(Debug)]
struct GateBackward;

impl Backward<Flex, 3> for GateBackward {
    type State = [FlexTensor; 2];

    fn backward(self, ops: Ops<Self::State, 3>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let parents = parents(&ops);
        let d_output = contiguous(gradients.consume::<Flex>(&ops.node));
        let [gate, x] = ops.state;
        let (gate, x) = (unit_stride(gate), contiguous(x));
        let frames = Frames::of(&x);
        let gate = Vectors::of(&gate, frames);
        let (input, d_out) = (values(&x), values(&d_output));
        let mut d_x = vec![0.0; input.len()];
        let mut d_gate = vec![0.0; frames.count() * frames.width];
        d_x.par_chunks_mut(frames.len)
            .zip(d_gate.par_chunks_mut(frames.width))
            .enumerate()
            .for_each(|(frame, (d_x, d_gate))| {
                let range = frames.range(frame);
                let (input, d_out) = (&input[range.clone()], &d_out[range]);
                let vector = gate.of_frame(frame);
                vectorized(
                    #[inline(always)]
                    || backward(input, vector, d_out, d_x, d_gate),
                );
            });
        let d_gate = gate.gradient(d_gate);
        let d_x = tensor(d_x, frames.shape);
        register::<Flex, _>(gradients, parents, [d_output, d_gate, d_x]);
    }
}

#[inline(always)]
fn forward(residual: &[f32], gate: &[f32], x: &[f32], output: &mut [f32]) {
    let width = gate.len();
    let rows = residual.chunks_exact(width).zip(x.chunks_exact(width));
    for (output, (residual, x)) in output.chunks_exact_mut(width).zip(rows) {
        for i in 0..width {
            output[i] = residual[i] + gate[i] * x[i];
        }
    }
}

#[inline(always)]
fn backward(x: &[f32], gate: &[f32], d_output: &[f32], d_x: &mut [f32], d_gate: &mut [f32]) {
    let width = gate.len();
    let rows = x.chunks_exact(width).zip(d_output.chunks_exact(width));
    for (d_x, (x, d_output)) in d_x.chunks_exact_mut(width).zip(rows) {
        for i in 0..width {
            d_x[i] = d_output[i] * gate[i];
            d_gate[i] += d_output[i] * x[i];
        }
    }
}

/// Frames of a `[batch, frames, tokens, width]` tensor.
#[derive(Clone, Copy)]
pub(crate) struct Frames {
    pub(crate) shape: [usize; 4],
    /// Values of a frame.
    pub(crate) len: usize,
    pub(crate) width: usize,
}

impl Frames {
    pub(crate) fn of(x: &FlexTensor) -> Self {
        let shape = dims(x);
        let [_, _, tokens, width] = shape;
        Self {
            shape,
            len: tokens * width,
            width,
        }
    }

    /// Number of frames in all samples.
    pub(crate) fn count(&self) -> usize {
        self.shape[0] * self.shape[1]
    }

    /// The range of a frame's values.
    pub(crate) fn range(&self, frame: usize) -> std::ops::Range<usize> {
        frame * self.len..(frame + 1) * self.len
    }
}

/// Vectors `[batch or 1, frames or 1, 1, width]` that are broadcast over the tokens of frames.
#[derive(Clone, Copy)]
pub(crate) struct Vectors<'a> {
    values: &'a [f32],
    shape: [usize; 4],
    /// Strides of samples and of frames.
    strides: [usize; 2],
    /// The frames that they are broadcast over.
    frames: Frames,
}

impl<'a> Vectors<'a> {
    /// The vectors of a [`unit_stride`](super::buffer::unit_stride) tensor.
    pub(crate) fn of(vectors: &'a FlexTensor, frames: Frames) -> Self {
        let [batch, count, one, width] = dims(vectors);
        assert_eq!([one, width], [1, frames.width], "vectors");
        Self::at(vectors, [batch, count], 0, frames)
    }

    /// Chunk number `chunk` of `n` concatenated chunks, as wide as the frames, in a
    /// [`unit_stride`](super::buffer::unit_stride) tensor of `[batch or 1, frames or 1, n * width]`.
    pub(crate) fn of_chunk(vectors: &'a FlexTensor, chunk: usize, frames: Frames) -> Self {
        let [batch, count, width] = dims(vectors);
        assert_eq!(width % frames.width, 0, "vectors of {}", frames.width);
        let chunks = width / frames.width;
        assert!(chunk < chunks, "chunk {chunk} of {chunks}");
        Self::at(vectors, [batch, count], chunk * frames.width, frames)
    }

    /// The vectors that start at this channel.
    fn at(
        vectors: &'a FlexTensor,
        [batch, count]: [usize; 2],
        channel: usize,
        frames: Frames,
    ) -> Self {
        let layout = vectors.layout();
        let stride = |axis: usize, size: usize| {
            assert!(
                [1, frames.shape[axis]].contains(&size),
                "{size} vectors along axis {axis} of {:?}",
                frames.shape
            );
            if size == 1 {
                0
            } else {
                layout.strides()[axis] as usize
            }
        };
        Self {
            values: &vectors.storage()[layout.start_offset() + channel..],
            shape: [batch, count, 1, frames.width],
            strides: [stride(0, batch), stride(1, count)],
            frames,
        }
    }

    /// The vector of a frame; frames are counted through all samples.
    pub(crate) fn of_frame(&self, frame: usize) -> &'a [f32] {
        let frames = self.frames.shape[1];
        let start = frame / frames * self.strides[0] + frame % frames * self.strides[1];
        &self.values[start..start + self.frames.width]
    }

    /// The gradient of the vectors, from the gradients per frame, `[batch, frames, width]`.
    pub(crate) fn gradient(&self, per_frame: Vec<f32>) -> FlexTensor {
        let width = self.frames.width;
        let [batch, frames, ..] = self.shape;
        let mut gradient = vec![0.0; batch * frames * width];
        for (frame, d) in per_frame.chunks_exact(width).enumerate() {
            let count = self.frames.shape[1];
            let index = (frame / count % batch) * frames + frame % count % frames;
            let sum = &mut gradient[index * width..][..width];
            sum.iter_mut().zip(d).for_each(|(sum, d)| *sum += d);
        }
        tensor(gradient, self.shape)
    }
}
