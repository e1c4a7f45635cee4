//! The product, tile by tile.

use std::mem::MaybeUninit;

use rayon::prelude::*;

use super::factor::Factor;
use super::layout::{BLOCK, DEPTH, LINES, Line};
use super::pack::{pack_left, pack_right};
use crate::gemm::worth_all_cores;

/// Rows of a task: its right-hand panel is read from the second-level cache once for all of them.
const TASK: usize = 4 * BLOCK;

/// The output of a kernel.
pub(super) type Block = [[f32; BLOCK]; BLOCK];

/// A kernel: the product of a packed block of rows and a packed panel of columns.
pub(super) trait Kernel: Copy + Sync {
    /// Prepares the thread.
    ///
    /// # Safety
    /// The processor must have the instructions.
    unsafe fn begin(self) {}

    /// # Safety
    /// The processor must have the instructions, and this thread must be between `begin` and `end`.
    unsafe fn block(self, rows: &[Line], columns: &[Line], output: &mut Block);

    /// Releases what `begin` took.
    ///
    /// # Safety
    /// The processor must have the instructions.
    unsafe fn end(self) {}
}

/// Writes `a b`, or its sum with a row, to `output`, in row-major order.
///
/// # Safety
/// The processor must have the instructions of `kernel`, and AVX512-BF16.
pub(super) unsafe fn product<K: Kernel>(
    kernel: K,
    [a, b]: [Factor; 2],
    added: Option<&[f32]>,
    output: &mut [MaybeUninit<f32>],
) {
    let ([rows, depth], [_, columns]) = (a.shape(), b.shape());
    let lines = depth.div_ceil(DEPTH) * LINES;
    let panels = columns.div_ceil(BLOCK);
    let parallel = worth_all_cores(rows * depth * columns);
    let packed = packed(lines, panels, parallel, |panel, to| {
        // SAFETY: the caller vouches for the instructions.
        unsafe { pack_right(b, panel * BLOCK, to) }
    });
    let task = |first: usize, output: &mut [MaybeUninit<f32>]| {
        let blocks = (output.len() / columns).div_ceil(BLOCK);
        let left = self::packed(lines, blocks, false, |block, to| {
            // SAFETY: as above.
            unsafe { pack_left(a, first + block * BLOCK, to) }
        });
        // SAFETY: as above.
        unsafe { kernel.begin() };
        let mut sums: Block = [[0.0; BLOCK]; BLOCK];
        for (panel, right) in packed.chunks_exact(lines).enumerate() {
            let start = panel * BLOCK;
            let width = BLOCK.min(columns - start);
            let blocks = output.chunks_mut(BLOCK * columns);
            for (left, output) in left.chunks_exact(lines).zip(blocks) {
                // SAFETY: as above.
                unsafe { kernel.block(left, right, &mut sums) };
                for (row, sums) in output.chunks_exact_mut(columns).zip(&sums) {
                    let row = row[start..start + width].iter_mut().zip(sums);
                    match added {
                        None => row.for_each(|(value, &sum)| {
                            value.write(sum);
                        }),
                        Some(added) => {
                            let row = row.zip(&added[start..start + width]);
                            row.for_each(|((value, sum), added)| {
                                value.write(added + sum);
                            });
                        }
                    }
                }
            }
        }
        // SAFETY: as above.
        unsafe { kernel.end() };
    };
    if parallel {
        // Enough tasks for all cores, whatever their number: no sum depends on it.
        let even = rows.div_ceil(2 * rayon::current_num_threads());
        let size = TASK.min(even.next_multiple_of(BLOCK));
        let tasks = output.par_chunks_mut(size * columns).enumerate();
        tasks.for_each(|(number, output)| task(number * size, output));
    } else {
        for (number, output) in output.chunks_mut(TASK * columns).enumerate() {
            task(number * TASK, output);
        }
    }
}

/// `count` packed blocks or panels of `lines` lines each.
fn packed(
    lines: usize,
    count: usize,
    parallel: bool,
    pack: impl Fn(usize, &mut [MaybeUninit<Line>]) + Sync,
) -> Vec<Line> {
    let mut packed = Vec::with_capacity(lines * count);
    let room = &mut packed.spare_capacity_mut()[..lines * count];
    if parallel {
        let parts = room.par_chunks_exact_mut(lines).enumerate();
        parts.for_each(|(number, to)| pack(number, to));
    } else {
        let parts = room.chunks_exact_mut(lines).enumerate();
        parts.for_each(|(number, to)| pack(number, to));
    }
    // SAFETY: `pack` writes every line.
    unsafe { packed.set_len(lines * count) };
    packed
}
