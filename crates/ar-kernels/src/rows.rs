//! Work on rows: in parallel across them, in vectors along them.

use rayon::prelude::*;

pub(crate) use crate::level::vectorized;

/// Elements per task: enough to be worth handing to a thread.
const TASK: usize = 1 << 12;

/// How many rows of `width` values a task gets.
fn task_rows(width: usize) -> usize {
    (TASK / width.max(1)).max(1)
}

/// Fills `output` in tasks of whole rows: `kernel(first row, rows)`.
pub(crate) fn fill(output: &mut [f32], width: usize, kernel: impl Fn(usize, &mut [f32]) + Sync) {
    let rows = task_rows(width);
    fill_chunks(output, rows * width, |task, output| {
        kernel(task * rows, output);
    });
}

/// Fills `output` in chunks of `len` elements: `kernel(chunk, elements)`. If it is no more than one
/// task's work, it stays on this thread.
pub(crate) fn fill_chunks(
    output: &mut [f32],
    len: usize,
    kernel: impl Fn(usize, &mut [f32]) + Sync,
) {
    if output.len() <= TASK {
        let chunks = output.chunks_mut(len).enumerate();
        chunks.for_each(|(chunk, output)| kernel(chunk, output));
    } else {
        let chunks = output.par_chunks_mut(len).enumerate();
        chunks.for_each(|(chunk, output)| kernel(chunk, output));
    }
}

/// Adds a vector to every row of the same width.
#[inline(always)]
pub(crate) fn add_to_rows(vector: &[f32], rows: &mut [f32]) {
    for row in rows.chunks_exact_mut(vector.len()) {
        for (x, y) in row.iter_mut().zip(vector) {
            *x += y;
        }
    }
}

/// Lanes of the accumulators of a sum: compilers do not reorder float additions by themselves.
pub(crate) const LANES: usize = 16;

/// `Σ f(a, b)` over the elements of two rows of one length.
#[inline(always)]
pub(crate) fn sum_pairs(a: &[f32], b: &[f32], f: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [0.0; LANES];
    let (a_chunks, b_chunks) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest = a_chunks.remainder().iter().zip(b_chunks.remainder());
    let rest: f32 = rest.map(|(&a, &b)| f(a, b)).sum();
    for (a, b) in a_chunks.zip(b_chunks) {
        for lane in 0..LANES {
            lanes[lane] += f(a[lane], b[lane]);
        }
    }
    fold(lanes, |a, b| a + b) + rest
}

/// Replaces every element x of a row by `f(x)`, and returns the sum.
#[inline(always)]
pub(crate) fn replace_and_sum(row: &mut [f32], f: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0.0; LANES];
    let mut chunks = row.chunks_exact_mut(LANES);
    for chunk in &mut chunks {
        for lane in 0..LANES {
            chunk[lane] = f(chunk[lane]);
            lanes[lane] += chunk[lane];
        }
    }
    let mut rest = 0.0;
    for x in chunks.into_remainder() {
        *x = f(*x);
        rest += *x;
    }
    fold(lanes, |a, b| a + b) + rest
}

/// Combines all lanes, in halves, so that few operations wait for each other.
#[inline(always)]
fn fold(mut lanes: [f32; LANES], f: impl Fn(f32, f32) -> f32) -> f32 {
    let mut half = LANES / 2;
    while half > 0 {
        for lane in 0..half {
            lanes[lane] = f(lanes[lane], lanes[lane + half]);
        }
        half /= 2;
    }
    lanes[0]
}

/// `Σ f(a)` over the elements of a row.
#[inline(always)]
pub(crate) fn sum(a: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    sum_pairs(
        a,
        a,
        #[inline(always)]
        |a, _| f(a),
    )
}

/// The largest element of a row.
#[inline(always)]
pub(crate) fn max(a: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let chunks = a.chunks_exact(LANES);
    let rest = chunks.remainder().iter().copied();
    let rest = rest.fold(f32::NEG_INFINITY, f32::max);
    for chunk in chunks {
        for lane in 0..LANES {
            lanes[lane] = larger(lanes[lane], chunk[lane]);
        }
    }
    larger(rest, fold(lanes, larger))
}

/// One instruction, unlike `f32::max`, which checks for NaN.
#[inline(always)]
fn larger(a: f32, b: f32) -> f32 {
    if b > a { b } else { a }
}
