//! Rows of the output of one image, which one core computes.

use std::mem::MaybeUninit;

use super::patch::Source;

/// Some rows of the output of one image.
pub(super) struct Band<'a> {
    pub(super) source: Source<'a>,
    pub(super) first_row: usize,
    pub(super) rest: Rest<'a>,
    /// `[rows, width, channels]`, all of which has to be written.
    pub(super) output: &'a mut [MaybeUninit<f32>],
}

/// The terms that are added to the product.
#[derive(Clone, Copy)]
pub(super) struct Rest<'a> {
    pub(super) bias: Option<&'a [f32]>,
    /// In the shape of the band's output.
    pub(super) residual: Option<&'a [f32]>,
}

impl Rest<'_> {
    /// Adds the other terms to `values`, and writes them into the band: the channels from `channel`
    /// on, of the pixel whose first channel is at `pixel` in the band's values.
    #[inline(always)]
    pub(super) fn write(
        &self,
        values: &mut [f32],
        pixel: usize,
        channel: usize,
        output: &mut [MaybeUninit<f32>],
    ) {
        let place = pixel + channel;
        if let Some(bias) = self.bias {
            let bias = &bias[channel..][..values.len()];
            for (x, y) in values.iter_mut().zip(bias) {
                *x += y;
            }
        }
        if let Some(residual) = self.residual {
            let residual = &residual[place..][..values.len()];
            for (x, y) in values.iter_mut().zip(residual) {
                *x += y;
            }
        }
        output[place..][..values.len()].write_copy_of_slice(values);
    }
}

/// Memory that is reused from band to band.
#[derive(Default)]
pub(super) struct Buffers {
    pub(super) patch: Vec<f32>,
    pub(super) transformed: Vec<f32>,
    pub(super) products: Vec<f32>,
}

/// The first `len` values of a buffer, with arbitrary initial values.
pub(super) fn sized(buffer: &mut Vec<f32>, len: usize) -> &mut [f32] {
    if buffer.len() < len {
        *buffer = vec![0.0; len];
    }
    &mut buffer[..len]
}
