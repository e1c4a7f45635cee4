//! Convolution as a matrix product: the pixels under a row of the kernel are contiguous in the input, so all windows of
//! an image are the (overlapping) rows of a matrix.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::band::{Band, Buffers, sized};
use super::patch::Patch;
use super::shape::Shape;
use crate::level::dispatch;
use crate::packed::{Panels, Rows, multiply};
use crate::rows::{LANES, vectorized};

/// Rows of the weights that are multiplied at once: a panel of them stays in a core's L1 cache.
const DEPTH: usize = 256;

/// Values of a band's input, which stay in a core's L2 cache.
const PATCH: usize = 1 << 17;

/// A convolution with its weights packed.
pub(super) struct Direct {
    shape: Shape,
    panels: Panels,
    segments: Vec<Segment>,
    /// The concatenated segments.
    weights: Vec<f32>,
}

/// Some of the weights in a row of the kernel, over pixels and channels.
struct Segment {
    row: usize,
    first: usize,
    depth: usize,
    /// Where its weights begin.
    offset: usize,
}

impl Direct {
    /// # Shapes
    /// - `weight`: `[channels out, channels in, kernel, kernel]`
    pub(super) fn new(shape: Shape, weight: &[f32]) -> Self {
        let panels = Panels::new(shape.channels_out);
        let width = shape.kernel * shape.channels_in;
        let parts = width.div_ceil(DEPTH);
        let mut segments = Vec::new();
        let mut offset = 0;
        for row in 0..shape.kernel {
            for part in 0..parts {
                let [first, end] = [part, part + 1].map(|part| width * part / parts);
                let depth = end - first;
                segments.push(Segment {
                    row,
                    first,
                    depth,
                    offset,
                });
                offset += depth * panels.padded;
            }
        }
        let mut weights = vec![0.0; offset];
        for segment in &segments {
            let len = segment.depth * panels.padded;
            pack(
                shape,
                panels,
                segment,
                weight,
                &mut weights[segment.offset..][..len],
            );
        }
        Self {
            shape,
            panels,
            segments,
            weights,
        }
    }

    /// Rows of the output that are computed at once: a share of the image for every core, but no more than its cache
    /// can hold the input for.
    pub(super) fn band_rows(&self) -> usize {
        let [height, _] = self.shape.output();
        let row = self.columns() * self.shape.channels_in;
        let overlap = self.shape.kernel.saturating_sub(self.shape.stride);
        let fitting = (PATCH / row.max(1)).saturating_sub(overlap) / self.shape.stride;
        let share = height.div_ceil(rayon::current_num_threads());
        fitting.min(share).max(1)
    }

    /// Columns of the padded input.
    fn columns(&self) -> usize {
        self.shape.input[1] + 2 * self.shape.padding
    }

    /// Computes a band of the output.
    pub(super) fn band(&self, band: Band, buffers: &mut Buffers) {
        let Shape {
            channels_in,
            channels_out,
            kernel,
            stride,
            padding,
            ..
        } = self.shape;
        let [_, width] = self.shape.output();
        let rows = band.output.len() / (width * channels_out);
        let columns = self.columns();
        let patch = Patch {
            start: [
                (band.first_row * stride) as isize - padding as isize,
                -(padding as isize),
            ],
            size: [(rows - 1) * stride + kernel, columns],
            channels: 0..channels_in,
            stride: channels_in,
        };
        let input = if padding == 0 && band.source.is_image() {
            let first = band.first_row * stride * columns * channels_in;
            &band.source.values[first..][..patch.len()]
        } else {
            let input = sized(&mut buffers.patch, patch.len());
            band.source.write(&patch, input);
            input
        };
        // Without gaps between them, the windows of all rows are one matrix; some windows, at the ends of rows, are
        // unused.
        let (runs, pitch) = if stride == 1 {
            let windows = rows * columns - (kernel - 1);
            (vec![(0, 0, windows)], columns)
        } else {
            let run = |row| (row * stride * columns * channels_in, row * width, width);
            ((0..rows).map(run).collect(), width)
        };
        let products = sized(&mut buffers.products, rows * pitch * self.panels.padded);
        dispatch(BandProduct {
            convolution: self,
            input,
            row: columns * channels_in,
            window: stride * channels_in,
            runs,
            products,
        });
        let padded = self.panels.padded;
        let rest = band.rest;
        let output = band.output;
        vectorized(
            #[inline(always)]
            || {
                for pixel in 0..rows * width {
                    let (row, column) = (pixel / width, pixel % width);
                    let product = &mut products[(row * pitch + column) * padded..][..channels_out];
                    for (vector, values) in product.chunks_mut(LANES).enumerate() {
                        rest.write(values, pixel * channels_out, vector * LANES, output);
                    }
                }
            },
        );
    }
}

/// The products of a band with all weights.
struct BandProduct<'a> {
    convolution: &'a Direct,
    input: &'a [f32],
    /// Values from one row of the input to the next.
    row: usize,
    /// Values from one window to the next.
    window: usize,
    /// The position of the first window, its number in the products, and the number of consecutive windows.
    runs: Vec<(usize, usize, usize)>,
    products: &'a mut [f32],
}

impl WithSimd for BandProduct<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let padded = self.convolution.panels.padded;
        for (index, segment) in self.convolution.segments.iter().enumerate() {
            let weights = &self.convolution.weights[segment.offset..][..segment.depth * padded];
            for &(start, first, count) in &self.runs {
                let rows = Rows {
                    values: &self.input[start + segment.row * self.row + segment.first..],
                    stride: self.window,
                    count,
                };
                multiply(
                    simd,
                    rows,
                    (weights, segment.depth, padded),
                    (&mut self.products[first * padded..], padded),
                    index > 0,
                );
            }
        }
    }
}

/// Packs the weights of a segment.
fn pack(shape: Shape, panels: Panels, segment: &Segment, weight: &[f32], packed: &mut [f32]) {
    let taps = shape.kernel * shape.kernel;
    let filter = shape.channels_in * taps;
    let tasks: Vec<_> = panels.split(packed, segment.depth).collect();
    tasks.into_par_iter().for_each(|(start, width, packed)| {
        for (k, packed) in packed.chunks_exact_mut(width).enumerate() {
            let (column, channel) = {
                let k = segment.first + k;
                (k / shape.channels_in, k % shape.channels_in)
            };
            let tap = channel * taps + segment.row * shape.kernel + column;
            let filters = weight.chunks_exact(filter).skip(start);
            for (packed, filter) in packed.iter_mut().zip(filters) {
                *packed = filter[tap];
            }
        }
    });
}
