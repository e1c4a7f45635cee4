//! Images with channels last in memory.

use burn::backend::flex::FlexTensor;
use rayon::prelude::*;

use crate::buffer::{contiguous, dims, tensor, values};

/// Images in memory as `[images, height, width, channels]`.
pub(super) struct Images {
    tensor: FlexTensor,
    pub(super) count: usize,
    pub(super) channels: usize,
    pub(super) height: usize,
    pub(super) width: usize,
}

impl Images {
    /// The images of a tensor `[images, channels, height, width]`: without a copy if they already
    /// have this layout.
    pub(super) fn new(x: FlexTensor) -> Self {
        let [count, channels, height, width] = dims(&x);
        let last = x.permute(&[0, 2, 3, 1]);
        let tensor = if last.is_contiguous() {
            last
        } else {
            let shape = [count, height, width, channels];
            tensor(transposed(&contiguous(x), channels), shape)
        };
        Self {
            tensor,
            count,
            channels,
            height,
            width,
        }
    }

    /// `[height, width, channels]`
    pub(super) fn image(&self, index: usize) -> &[f32] {
        let len = self.height * self.width * self.channels;
        &values(&self.tensor)[index * len..][..len]
    }
}

/// `[images, height, width, channels]` with its axes in the usual order.
pub(super) fn view(images: FlexTensor) -> FlexTensor {
    images.permute(&[0, 3, 1, 2])
}

/// The values of `[images, channels, height, width]` with channels last.
fn transposed(x: &FlexTensor, channels: usize) -> Vec<f32> {
    /// Pixels that are moved together, because their values share cache lines.
    const PIXELS: usize = 16;
    let [_, _, height, width] = dims(x);
    let pixels = height * width;
    let input = values(x);
    let mut output = vec![0.0; input.len()];
    let image = (pixels * channels).max(1);
    output
        .par_chunks_mut(image)
        .zip(input.par_chunks(image))
        .for_each(|(output, input)| {
            let blocks = output.par_chunks_mut(PIXELS * channels).enumerate();
            blocks.for_each(|(block, output)| {
                let first = block * PIXELS;
                for (channel, plane) in input.chunks_exact(pixels).enumerate() {
                    let pixels = output.chunks_exact_mut(channels);
                    for (pixel, x) in pixels.zip(&plane[first..]) {
                        pixel[channel] = *x;
                    }
                }
            });
        });
    output
}
