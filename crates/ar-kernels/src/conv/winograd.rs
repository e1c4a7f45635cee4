//! Winograd's minimal filtering F(4 x 4, 3 x 3) (Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks"):
//! a tile of 4 x 4 outputs takes 36 multiplications per pair of channels, where the definition takes 144.
//!
//! The transforms interpolate polynomials at 0, ±√½, ±√2 and infinity. With the customary points 0, ±1 and ±2,
//! intermediate values grow, and errors are twice as large.

use std::f32::consts::{FRAC_1_SQRT_2, SQRT_2};
use std::mem::MaybeUninit;

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::band::{Band, Buffers, Rest, sized};
use super::patch::Patch;
use super::shape::Shape;
use crate::level::dispatch;
use crate::packed::{Panels, Rows, multiply};
use crate::rows::{LANES, vectorized};

/// Side of a tile of the output.
const SIDE: usize = 4;
/// Side of the input tile for it.
const INPUT: usize = SIDE + 2;
/// Number of values in a transformed tile.
const POINTS: usize = INPUT * INPUT;

/// Tiles for which the weights are read only once.
const TILES: usize = 64;
/// Channels of the input that are transformed at once, and a multiple of every vector's lanes.
const CHANNELS: usize = 16;
/// Channels of the output that are computed at once.
const OUTPUTS: usize = 64;
/// Values between the points of all tiles: with a power of two as the stride, they would compete for the same few cache
/// lines.
const GAP: usize = 16;

/// A convolution with its weights transformed and packed.
pub(super) struct Winograd {
    shape: Shape,
    panels: Panels,
    /// Channels of the input, padded.
    depth: usize,
    /// `[panels, points, depth, columns of a panel]`
    weights: Vec<f32>,
}

impl Winograd {
    /// Whether this algorithm is faster: it multiplies a quarter as often, but reads four times as many weights, which
    /// takes as long unless there are many pixels for them. This depends only on the shape of an image, so that an
    /// image's result is the same in every batch.
    pub(super) fn suits(shape: &Shape) -> bool {
        let [height, width] = shape.input;
        let tiles = height.div_ceil(SIDE) * width.div_ceil(SIDE);
        (shape.kernel, shape.stride, shape.padding) == (3, 1, 1)
            && shape.channels_in >= 16
            && shape.channels_out >= 16
            && tiles >= 64
    }

    /// # Shapes
    /// - `weight`: `[channels out, channels in, 3, 3]`
    pub(super) fn new(shape: Shape, weight: &[f32]) -> Self {
        let panels = Panels::new(shape.channels_out);
        let depth = shape.channels_in.next_multiple_of(CHANNELS);
        Self {
            shape,
            panels,
            depth,
            weights: transform_weights(shape, panels, depth, weight),
        }
    }

    /// Rows of the output that are computed at once: whole tiles, about [`TILES`] of them.
    pub(super) fn band_rows(&self) -> usize {
        (TILES / self.tile_columns()).max(1) * SIDE
    }

    fn tile_columns(&self) -> usize {
        self.shape.input[1].div_ceil(SIDE)
    }

    /// Computes a band of the output.
    pub(super) fn band(&self, band: Band, buffers: &mut Buffers) {
        let width = self.shape.input[1];
        let rows = band.output.len() / (width * self.shape.channels_out);
        let tiles = [rows.div_ceil(SIDE), self.tile_columns()];
        let count = tiles[0] * tiles[1];
        let size = tiles.map(|tiles| SIDE * tiles + 2);
        let patch = |first: usize| Patch {
            start: [band.first_row as isize - 1, -1],
            size,
            channels: first..(first + CHANNELS).min(self.shape.channels_in),
            stride: CHANNELS,
        };
        let point = count * self.depth + GAP;
        let transformed = sized(&mut buffers.transformed, POINTS * point);
        let input = sized(&mut buffers.patch, patch(0).len());
        for first in (0..self.depth).step_by(CHANNELS) {
            band.source.write(&patch(first), input);
            dispatch(TransformInput {
                input,
                columns: size[1],
                tiles,
                output: &mut transformed[first..],
                point,
                depth: self.depth,
            });
        }
        let outputs = self.panels.whole_panels(OUTPUTS);
        for first in (0..self.panels.padded).step_by(outputs) {
            let columns = outputs.min(self.panels.padded - first);
            let output_point = count * columns + GAP;
            let products = sized(&mut buffers.products, POINTS * output_point);
            dispatch(Products {
                transformed,
                point,
                count,
                depth: self.depth,
                weights: &self.weights[POINTS * self.depth * first..],
                panels: self.panels,
                columns,
                products,
                output_point,
            });
            dispatch(TransformOutput {
                products,
                point: output_point,
                columns,
                tiles,
                first,
                width,
                channels: self.shape.channels_out,
                rest: band.rest,
                output: band.output,
            });
        }
    }
}

/// The tiles of a band, transformed, times the weights of some channels of the output.
struct Products<'a> {
    transformed: &'a [f32],
    point: usize,
    count: usize,
    depth: usize,
    /// The weights of whole panels.
    weights: &'a [f32],
    panels: Panels,
    columns: usize,
    products: &'a mut [f32],
    output_point: usize,
}

impl WithSimd for Products<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        for (start, width) in self.panels.iter_to(self.columns) {
            let len = self.depth * width;
            let weights = &self.weights[POINTS * self.depth * start..][..POINTS * len];
            for (point, weights) in weights.chunks_exact(len).enumerate() {
                let rows = Rows {
                    values: &self.transformed[point * self.point..],
                    stride: self.depth,
                    count: self.count,
                };
                let output = &mut self.products[point * self.output_point + start..];
                let output = (output, self.columns);
                multiply(simd, rows, (weights, self.depth, width), output, false);
            }
        }
    }
}

/// Transforms the tiles of some channels of a patch, `[rows, columns, CHANNELS]`.
struct TransformInput<'a> {
    input: &'a [f32],
    columns: usize,
    tiles: [usize; 2],
    /// `[points, tiles, depth]`, starting at the first channel.
    output: &'a mut [f32],
    point: usize,
    depth: usize,
}

impl WithSimd for TransformInput<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let zero = simd.splat_f32s(0.0);
        let vectors = CHANNELS / S::F32_LANES;
        let (input, _) = S::as_simd_f32s(self.input);
        for row in 0..self.tiles[0] {
            for column in 0..self.tiles[1] {
                let first = SIDE * row * self.columns + SIDE * column;
                let tile = (row * self.tiles[1] + column) * self.depth;
                for vector in 0..vectors {
                    let mut half = [[zero; INPUT]; INPUT];
                    for (y, half) in half.iter_mut().enumerate() {
                        let start = (first + y * self.columns) * vectors + vector;
                        let pixels = &input[start..][..(INPUT - 1) * vectors + 1];
                        let mut values = [zero; INPUT];
                        for (x, value) in values.iter_mut().enumerate() {
                            *value = pixels[x * vectors];
                        }
                        *half = transform_input(simd, values);
                    }
                    for x in 0..INPUT {
                        let mut values = [zero; INPUT];
                        for (value, half) in values.iter_mut().zip(&half) {
                            *value = half[x];
                        }
                        let values = transform_input(simd, values);
                        for (y, value) in values.into_iter().enumerate() {
                            let start = (y * INPUT + x) * self.point + tile + vector * S::F32_LANES;
                            let output = &mut self.output[start..][..S::F32_LANES];
                            S::as_mut_simd_f32s(output).0[0] = value;
                        }
                    }
                }
            }
        }
    }
}

/// The values of a polynomial at the six points, scaled to keep them small.
#[inline(always)]
fn transform_input<S: Simd>(simd: S, d: [S::f32s; INPUT]) -> [S::f32s; INPUT] {
    let times = |factor: f32, x, y| simd.mul_add_e_f32s(simd.splat_f32s(factor), x, y);
    let scaled = |factor: f32, x| simd.mul_f32s(simd.splat_f32s(factor), x);
    let even = [times(-2.0, d[2], d[4]), times(-0.5, d[2], d[4])];
    let odd = [
        times(FRAC_1_SQRT_2, d[3], scaled(-SQRT_2, d[1])),
        times(SQRT_2, d[3], scaled(-FRAC_1_SQRT_2, d[1])),
    ];
    [
        times(-2.5, d[2], simd.add_f32s(d[0], d[4])),
        simd.add_f32s(even[0], odd[0]),
        simd.sub_f32s(even[0], odd[0]),
        simd.add_f32s(even[1], odd[1]),
        simd.sub_f32s(even[1], odd[1]),
        times(-2.5, d[3], simd.add_f32s(d[1], d[5])),
    ]
}

/// Transforms products back, and writes the pixels.
struct TransformOutput<'a> {
    /// `[points, tiles, columns]`
    products: &'a [f32],
    point: usize,
    columns: usize,
    tiles: [usize; 2],
    /// The first channel.
    first: usize,
    /// Width of the output.
    width: usize,
    channels: usize,
    rest: Rest<'a>,
    output: &'a mut [MaybeUninit<f32>],
}

impl WithSimd for TransformOutput<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let zero = simd.splat_f32s(0.0);
        let rows = self.output.len() / (self.width * self.channels);
        for row in 0..self.tiles[0] {
            for column in 0..self.tiles[1] {
                let tile = (row * self.tiles[1] + column) * self.columns;
                let end = self.columns.min(self.channels - self.first);
                for offset in (0..end).step_by(S::F32_LANES) {
                    let mut half = [[zero; INPUT]; SIDE];
                    for x in 0..INPUT {
                        let mut values = [zero; INPUT];
                        for (y, value) in values.iter_mut().enumerate() {
                            let start = (y * INPUT + x) * self.point + tile + offset;
                            let products = &self.products[start..][..S::F32_LANES];
                            *value = S::as_simd_f32s(products).0[0];
                        }
                        let values = transform_output(simd, values);
                        for (half, value) in half.iter_mut().zip(values) {
                            half[x] = value;
                        }
                    }
                    let channel = self.first + offset;
                    let lanes = S::F32_LANES.min(end - offset);
                    for (y, half) in half.into_iter().enumerate().take(rows - SIDE * row) {
                        let values = transform_output(simd, half);
                        let columns = self.width - SIDE * column;
                        for (x, mut value) in values.into_iter().enumerate().take(columns) {
                            let pixel = (SIDE * row + y) * self.width + SIDE * column + x;
                            let pixel = pixel * self.channels;
                            let value = std::slice::from_mut(&mut value);
                            let value: &mut [f32] = pulp::bytemuck::cast_slice_mut(value);
                            // A whole vector has a length that the compiler knows.
                            let value = if lanes < S::F32_LANES {
                                &mut value[..lanes]
                            } else {
                                value
                            };
                            self.rest.write(value, pixel, channel, self.output);
                        }
                    }
                }
            }
        }
    }
}

#[inline(always)]
fn transform_output<S: Simd>(simd: S, m: [S::f32s; INPUT]) -> [S::f32s; SIDE] {
    let times = |factor: f32, x, y| simd.mul_add_e_f32s(simd.splat_f32s(factor), x, y);
    let scaled = |factor: f32, x| simd.mul_f32s(simd.splat_f32s(factor), x);
    let sums = [simd.add_f32s(m[1], m[2]), simd.add_f32s(m[3], m[4])];
    let differences = [simd.sub_f32s(m[1], m[2]), simd.sub_f32s(m[3], m[4])];
    let [near, far] = differences;
    [
        simd.add_f32s(m[0], simd.add_f32s(sums[0], sums[1])),
        times(FRAC_1_SQRT_2, near, scaled(SQRT_2, far)),
        times(0.5, sums[0], scaled(2.0, sums[1])),
        times(0.5 * FRAC_1_SQRT_2, near, times(2.0 * SQRT_2, far, m[5])),
    ]
}

/// The weights of every panel and point.
fn transform_weights(shape: Shape, panels: Panels, depth: usize, weight: &[f32]) -> Vec<f32> {
    let filter = TAPS * shape.channels_in;
    let mut weights = vec![0.0; POINTS * depth * panels.padded];
    let tasks: Vec<_> = panels.split(&mut weights, POINTS * depth).collect();
    tasks.into_par_iter().for_each(|(start, width, weights)| {
        let filters: Vec<&[f32]> = weight
            .chunks_exact(filter)
            .skip(start)
            .take(width)
            .collect();
        vectorized(
            #[inline(always)]
            || transform_filters(&filters, width, depth, weights),
        );
    });
    weights
}

/// Weights of a pair of channels.
const TAPS: usize = 9;

/// The weights of a panel, `[points, depth, width]`.
#[inline(always)]
fn transform_filters(filters: &[&[f32]], width: usize, depth: usize, output: &mut [f32]) {
    for (group, filters) in filters.chunks(LANES).enumerate() {
        let lanes = filters.len();
        for channel in 0..filters[0].len() / TAPS {
            let mut taps = [[0.0; LANES]; TAPS];
            for (lane, filter) in filters.iter().enumerate() {
                let kernel = &filter[channel * TAPS..][..TAPS];
                for tap in 0..TAPS {
                    taps[tap][lane] = kernel[tap];
                }
            }
            let mut half = [[[0.0; LANES]; 3]; INPUT];
            for x in 0..3 {
                let column = transform_taps([taps[x], taps[3 + x], taps[6 + x]]);
                for y in 0..INPUT {
                    half[y][x] = column[y];
                }
            }
            for (y, row) in half.into_iter().enumerate() {
                for (x, value) in transform_taps(row).into_iter().enumerate() {
                    let start = ((y * INPUT + x) * depth + channel) * width + group * LANES;
                    output[start..][..lanes].copy_from_slice(&value[..lanes]);
                }
            }
        }
    }
}

#[inline(always)]
fn transform_taps([a, b, c]: [[f32; LANES]; 3]) -> [[f32; LANES]; INPUT] {
    let mut points = [[0.0; LANES]; INPUT];
    for lane in 0..LANES {
        let (a, b, c) = (a[lane], b[lane], c[lane]);
        let [near, far] = [-(2.0 * a + c) / 3.0, (a + 2.0 * c) / 6.0];
        let [near_odd, far_odd] = [-SQRT_2 * b / 3.0, SQRT_2 * b / 6.0];
        let values = [
            a,
            near + near_odd,
            near - near_odd,
            far + far_odd,
            far - far_odd,
            c,
        ];
        for (points, value) in points.iter_mut().zip(values) {
            points[lane] = value;
        }
    }
    points
}
