//! The kernel of AVX512-BF16.

use std::arch::x86_64::*;
use std::mem::transmute;

use super::layout::{BLOCK, LINES, Line};
use super::tiles::{Block, Kernel};

/// Rows whose sums stay in registers: with two vectors each, 16 of 32.
const ROWS: usize = 8;

pub(super) fn is_available() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512bf16")
}

#[derive(Clone, Copy)]
pub(super) struct Avx512;

impl Kernel for Avx512 {
    unsafe fn block(self, rows: &[Line], columns: &[Line], output: &mut Block) {
        // SAFETY: the caller vouches for the instructions.
        unsafe { block(rows, columns, output) }
    }
}

#[target_feature(enable = "avx512f,avx512bf16")]
fn block(rows: &[Line], columns: &[Line], output: &mut Block) {
    let side = LINES / 2;
    for (group, output) in output.chunks_exact_mut(ROWS).enumerate() {
        let first = group * ROWS;
        let mut sums = [[_mm512_setzero_ps(); 2]; ROWS];
        let tiles = rows.chunks_exact(LINES).zip(columns.chunks_exact(LINES));
        for (rows, columns) in tiles {
            let rows = &rows[first..first + ROWS];
            let (left, right) = columns.split_at(side);
            for (pair, columns) in left.iter().zip(right).enumerate() {
                // SAFETY: both are 64 bytes.
                let columns = unsafe {
                    [columns.0, columns.1].map(|line| transmute::<Line, __m512bh>(*line))
                };
                for (sums, row) in sums.iter_mut().zip(rows) {
                    // SAFETY: a line has 16 pairs.
                    let pair = unsafe { *row.0.as_ptr().cast::<i32>().add(pair) };
                    // SAFETY: both are 64 bytes.
                    let pair = unsafe { transmute::<__m512i, __m512bh>(_mm512_set1_epi32(pair)) };
                    sums[0] = _mm512_dpbf16_ps(sums[0], pair, columns[0]);
                    sums[1] = _mm512_dpbf16_ps(sums[1], pair, columns[1]);
                }
            }
        }
        for (output, sums) in output.iter_mut().zip(sums) {
            let (left, right) = output.split_at_mut(BLOCK / 2);
            // SAFETY: each half of a row has 16 values.
            unsafe {
                _mm512_storeu_ps(left.as_mut_ptr(), sums[0]);
                _mm512_storeu_ps(right.as_mut_ptr(), sums[1]);
            }
        }
    }
}
