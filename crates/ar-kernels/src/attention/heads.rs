//! Where the rows of heads are in memory, and operations on single rows.

use std::ops::Range;

use burn::backend::flex::FlexTensor;

use crate::buffer::{dims, values};
use crate::gemm::Matrix;
use crate::norm::{moments, moments_backward};
use crate::rows::fill;

/// The rows of every head, wherever they are in memory.
#[derive(Clone, Copy)]
pub(super) struct Heads<'a> {
    values: &'a [f32],
    pub heads: usize,
    pub rows: usize,
    pub head_dim: usize,
    /// Strides of samples, heads and rows.
    strides: [usize; 3],
}

impl<'a> Heads<'a> {
    /// The rows of a [`unit_stride`] tensor of `[batch, heads, rows, head_dim]`.
    pub(super) fn of(tensor: &'a FlexTensor) -> Self {
        let [_, heads, rows, head_dim] = dims(tensor);
        let strides = tensor.layout().strides();
        Self {
            values: &tensor.storage()[tensor.layout().start_offset()..],
            heads,
            rows,
            head_dim,
            strides: std::array::from_fn(|axis| strides[axis] as usize),
        }
    }

    /// The rows of one of several parts in a contiguous `[batch, rows, parts * heads * head_dim]`.
    pub(super) fn of_packed(
        tensor: &'a FlexTensor,
        heads: usize,
        part: usize,
        parts: usize,
    ) -> Self {
        let [_, rows, packed] = dims(tensor);
        let width = packed / parts;
        let head_dim = width / heads;
        Self {
            values: &values(tensor)[part * width..],
            heads,
            rows,
            head_dim,
            strides: [rows * packed, head_dim, packed],
        }
    }

    /// The rows of a head.
    pub(super) fn rows(&self, index: usize) -> impl Iterator<Item = &'a [f32]> {
        let start = self.start(index);
        let (values, [_, _, stride], len) = (self.values, self.strides, self.head_dim);
        (0..self.rows).map(move |row| &values[start + row * stride..][..len])
    }

    /// Some rows and columns of a head, as a matrix.
    pub(super) fn matrix(
        &self,
        index: usize,
        rows: Range<usize>,
        columns: Range<usize>,
    ) -> Matrix<'a> {
        let [_, _, stride] = self.strides;
        let values = &self.values[self.start(index) + rows.start * stride + columns.start..];
        Matrix::strided(values, [rows.len(), columns.len()], stride)
    }

    /// Where the rows of a head start; heads are counted through all samples.
    fn start(&self, index: usize) -> usize {
        let (sample, head) = (index / self.heads, index % self.heads);
        sample * self.strides[0] + head * self.strides[1]
    }

    /// Copies the rows of a head into contiguous memory.
    pub(super) fn gather(&self, index: usize, rows: &mut [f32]) {
        for (to, from) in rows.chunks_exact_mut(self.head_dim).zip(self.rows(index)) {
            to.copy_from_slice(from);
        }
    }
}

/// The layer norm of the rows of every head.
#[derive(Clone, Copy)]
pub(super) struct HeadNorm<'a> {
    pub gamma: &'a [f32],
    pub beta: &'a [f32],
    pub epsilon: f64,
}

impl HeadNorm<'_> {
    #[inline(always)]
    pub(super) fn apply(&self, rows: &mut [f32]) {
        for row in rows.chunks_exact_mut(self.gamma.len()) {
            let (mean, rstd) = moments(row, self.epsilon);
            for ((x, gamma), beta) in row.iter_mut().zip(self.gamma).zip(self.beta) {
                *x = (*x - mean) * rstd * gamma + beta;
            }
        }
    }

    /// Replaces the gradient of the normalised rows by the gradient of `rows`; adds to the gradients of
    /// gamma and beta.
    #[inline(always)]
    pub(super) fn backward<'a>(
        &self,
        rows: impl Iterator<Item = &'a [f32]>,
        d_rows: &mut [f32],
        d_gamma: &mut [f32],
        d_beta: &mut [f32],
    ) {
        let width = self.gamma.len();
        for (d_row, row) in d_rows.chunks_exact_mut(width).zip(rows) {
            let (mean, rstd) = moments(row, self.epsilon);
            for i in 0..width {
                d_beta[i] += d_row[i];
                d_gamma[i] += d_row[i] * (row[i] - mean) * rstd;
                d_row[i] *= self.gamma[i];
            }
            moments_backward(row, (mean, rstd), d_row);
        }
    }
}

/// Interleaves heads: copies parts of `[batch, heads, rows, head_dim]` each into
/// `[batch, rows, parts, heads, head_dim]`.
pub(super) fn merge(parts: &[&[f32]], [rows, heads, head_dim]: [usize; 3], merged: &mut [f32]) {
    let width = parts.len() * heads * head_dim;
    fill(merged, width, |first, merged| {
        for (row, merged) in (first..).zip(merged.chunks_exact_mut(width)) {
            let (sample, row) = (row / rows, row % rows);
            for (index, merged) in merged.chunks_exact_mut(head_dim).enumerate() {
                let (part, head) = (index / heads, index % heads);
                let from = ((sample * heads + head) * rows + row) * head_dim;
                merged.copy_from_slice(&parts[part][from..][..head_dim]);
            }
        }
    });
}
