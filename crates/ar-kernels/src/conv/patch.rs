//! The input of a convolution, patch by patch.

use std::ops::Range;

use crate::exp::sigmoid;
use crate::rows::{LANES, vectorized};

/// An element-wise function of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// None.
    Identity,
    /// `max(x, 0)`
    Relu,
    /// `x σ(x)`
    Silu,
}

/// An image, and how the input of a convolution is made from its pixels.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    /// `[height, width, channels]`
    pub(super) values: &'a [f32],
    pub(super) channels: usize,
    /// Height and width of the input.
    pub(super) input: [usize; 2],
    /// Side of the square in the input that a pixel becomes.
    pub(super) scale: usize,
    /// Scales and shifts of the channels.
    pub(super) affine: Option<[&'a [f32]; 2]>,
    pub(super) activation: Activation,
}

/// A rectangle of the padded input and some of its channels.
pub(super) struct Patch {
    /// Its first row and column; negative ones are padding.
    pub(super) start: [isize; 2],
    /// How many rows and columns.
    pub(super) size: [usize; 2],
    pub(super) channels: Range<usize>,
    /// Values per pixel; those after its channels are zero.
    pub(super) stride: usize,
}

impl Patch {
    pub(super) fn len(&self) -> usize {
        self.size[0] * self.size[1] * self.stride
    }
}

impl<'a> Source<'a> {
    /// Whether the input is the image itself.
    pub(super) fn is_image(&self) -> bool {
        self.scale == 1 && self.affine.is_none() && self.activation == Activation::Identity
    }

    /// Writes the input within `patch`, `[rows, columns, stride]`.
    pub(super) fn write(&self, patch: &Patch, output: &mut [f32]) {
        vectorized(
            #[inline(always)]
            || match self.activation {
                Activation::Identity => self.write_with(
                    patch,
                    output,
                    #[inline(always)]
                    |x| x,
                ),
                Activation::Relu => self.write_with(
                    patch,
                    output,
                    #[inline(always)]
                    |x| x.max(0.0),
                ),
                Activation::Silu => self.write_with(
                    patch,
                    output,
                    #[inline(always)]
                    |x| x * sigmoid(x),
                ),
            },
        );
    }

    #[inline(always)]
    fn write_with(
        &self,
        patch: &Patch,
        output: &mut [f32],
        activation: impl Fn(f32) -> f32 + Copy,
    ) {
        let [height, width] = self.input;
        let image_width = width / self.scale;
        let channels = patch.channels.clone();
        let rows = output.chunks_exact_mut(patch.size[1] * patch.stride);
        for (row, output) in rows.enumerate() {
            let y = patch.start[0] + row as isize;
            if y < 0 || y >= height as isize {
                output.fill(0.0);
                continue;
            }
            let row = y as usize / self.scale * image_width;
            for (column, output) in output.chunks_exact_mut(patch.stride).enumerate() {
                let x = patch.start[1] + column as isize;
                if x < 0 || x >= width as isize {
                    output.fill(0.0);
                    continue;
                }
                let pixel = (row + x as usize / self.scale) * self.channels;
                let input = &self.values[pixel + channels.start..pixel + channels.end];
                let (output, padding) = output.split_at_mut(channels.len());
                padding.fill(0.0);
                match self.affine {
                    None => apply(input, output, activation),
                    Some([scale, shift]) => {
                        let parameters = [&scale[channels.clone()], &shift[channels.clone()]];
                        apply_affine(input, output, parameters, activation);
                    }
                }
            }
        }
    }
}

/// Writes `f` of every value. Pixels have few channels, so a loop over any length would spend its time on remainders;
/// chunks of a fixed length become vectors.
#[inline(always)]
fn apply(input: &[f32], output: &mut [f32], f: impl Fn(f32) -> f32) {
    let (inputs, mut outputs) = (input.chunks_exact(LANES), output.chunks_exact_mut(LANES));
    let rest = inputs.remainder();
    for (output, input) in (&mut outputs).zip(inputs) {
        for lane in 0..LANES {
            output[lane] = f(input[lane]);
        }
    }
    for (y, &x) in outputs.into_remainder().iter_mut().zip(rest) {
        *y = f(x);
    }
}

/// Writes `f(x scale + shift)` for every value `x`.
#[inline(always)]
fn apply_affine(
    input: &[f32],
    output: &mut [f32],
    [scale, shift]: [&[f32]; 2],
    f: impl Fn(f32) -> f32,
) {
    let (inputs, mut outputs) = (input.chunks_exact(LANES), output.chunks_exact_mut(LANES));
    let (scales, shifts) = (scale.chunks_exact(LANES), shift.chunks_exact(LANES));
    let rest = inputs.remainder().iter();
    let rest = rest.zip(scales.remainder().iter().zip(shifts.remainder()));
    for ((output, input), (scale, shift)) in (&mut outputs).zip(inputs).zip(scales.zip(shifts)) {
        for lane in 0..LANES {
            output[lane] = f(input[lane] * scale[lane] + shift[lane]);
        }
    }
    for (y, (&x, (scale, shift))) in outputs.into_remainder().iter_mut().zip(rest) {
        *y = f(x * scale + shift);
    }
}
