//! Packing factors into tiles. Beyond the edge of a matrix, tiles are zero.

use std::arch::x86_64::*;
use std::mem::{MaybeUninit, transmute};

use burn::tensor::bf16;

use super::factor::Factor;
use super::layout::{DEPTH, LINES, Line};
use crate::gemm::Matrix;

/// Rows of a tile, and columns of a tile of the right factor.
const SIDE: usize = 16;

/// Packs 32 rows of the left factor.
///
/// # Safety
/// The processor must have AVX512-BF16.
pub(super) unsafe fn pack_left(a: Factor, first: usize, to: &mut [MaybeUninit<Line>]) {
    // SAFETY: the caller vouches for the instructions.
    unsafe {
        match a {
            Factor::F32(a) => pack(a.transposed(), first, false, to),
            Factor::Bf16(a) => pack(a.transposed(), first, false, to),
        }
    }
}

/// Packs 32 columns of the right factor.
///
/// # Safety
/// The processor must have AVX512-BF16.
pub(super) unsafe fn pack_right(b: Factor, first: usize, to: &mut [MaybeUninit<Line>]) {
    // SAFETY: the caller vouches for the instructions.
    unsafe {
        match b {
            Factor::F32(b) => pack(b, first, true, to),
            Factor::Bf16(b) => pack(b, first, true, to),
        }
    }
}

/// Packs 32 columns of `matrix`: for every 32 of its rows two tiles of 16 columns, with a line for each pair of rows if
/// `pairs`, or else with a line for each column.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn pack<T: Value>(
    matrix: Matrix<T>,
    first: usize,
    pairs: bool,
    to: &mut [MaybeUninit<Line>],
) {
    let [rows, columns] = matrix.shape();
    let [row_stride, column_stride] = matrix.strides();
    debug_assert!(row_stride == 1 || column_stride == 1);
    for (tile, to) in to.chunks_exact_mut(SIDE).enumerate() {
        let row = tile / (LINES / SIDE) * DEPTH;
        let column = first + tile % (LINES / SIDE) * SIDE;
        let (height, width) = (
            DEPTH.min(rows - row),
            SIDE.min(columns.saturating_sub(column)),
        );
        let mut lines = [_mm512_setzero_si512(); SIDE];
        if width > 0 {
            let from = &matrix.values()[row * row_stride + column * column_stride..];
            // SAFETY: the loads below stay within `height` rows and `width` columns.
            unsafe {
                if column_stride == 1 {
                    for (pair, line) in lines.iter_mut().enumerate().take(height.div_ceil(2)) {
                        let from = from.as_ptr().add(2 * pair * row_stride);
                        let odd = (2 * pair + 1 < height).then(|| from.add(row_stride));
                        *line = T::pair_of_rows(from, odd, width);
                    }
                } else {
                    for (column, line) in lines.iter_mut().enumerate().take(width) {
                        *line = T::column(from.as_ptr().add(column * column_stride), height);
                    }
                }
            }
        }
        if pairs != (column_stride == 1) {
            lines = transposed(lines);
        }
        for (to, line) in to.iter_mut().zip(lines) {
            // SAFETY: both are 64 bytes without padding.
            to.write(unsafe { transmute::<__m512i, Line>(line) });
        }
    }
}

/// A number that is packed.
trait Value: Copy {
    /// The first `width` (at most 16) columns of two rows, the two values of a column side by side. Without a second
    /// row, its values are zero.
    unsafe fn pair_of_rows(even: *const Self, odd: Option<*const Self>, width: usize) -> __m512i;

    /// The first `height` (at most 32) values of a contiguous column.
    unsafe fn column(from: *const Self, height: usize) -> __m512i;
}

/// The lowest `count` bits.
fn mask(count: usize) -> u32 {
    debug_assert!(count <= 32);
    ((1u64 << count) - 1) as u32
}

/// 16 values of one row and then 16 of another, side by side.
#[target_feature(enable = "avx512f,avx512bw")]
fn interleaved(rows: __m512i) -> __m512i {
    let index: [u16; 32] = std::array::from_fn(|i| (i / 2 + i % 2 * 16) as u16);
    // SAFETY: both are 64 bytes.
    _mm512_permutexvar_epi16(unsafe { transmute::<[u16; 32], __m512i>(index) }, rows)
}

impl Value for f32 {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    unsafe fn pair_of_rows(even: *const Self, odd: Option<*const Self>, width: usize) -> __m512i {
        let mask = mask(width) as u16;
        // SAFETY: the caller vouches for `width` values.
        let [even, odd] = unsafe {
            [
                _mm512_maskz_loadu_ps(mask, even),
                odd.map_or(_mm512_setzero_ps(), |odd| _mm512_maskz_loadu_ps(mask, odd)),
            ]
        };
        // SAFETY: both are 64 bytes.
        interleaved(unsafe { transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(odd, even)) })
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    unsafe fn column(from: *const Self, height: usize) -> __m512i {
        let mask = mask(height);
        // SAFETY: the caller vouches for `height` values; masked loads read no others.
        let [low, high] = unsafe {
            [
                _mm512_maskz_loadu_ps(mask as u16, from),
                _mm512_maskz_loadu_ps((mask >> 16) as u16, from.wrapping_add(16)),
            ]
        };
        // SAFETY: both are 64 bytes.
        unsafe { transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(high, low)) }
    }
}

impl Value for bf16 {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    unsafe fn pair_of_rows(even: *const Self, odd: Option<*const Self>, width: usize) -> __m512i {
        let mask = mask(width) as u16;
        // SAFETY: the caller vouches for `width` values.
        let load = |from: *const Self| unsafe { _mm256_maskz_loadu_epi16(mask, from.cast()) };
        let odd = odd.map_or(_mm256_setzero_si256(), load);
        interleaved(_mm512_inserti64x4(
            _mm512_castsi256_si512(load(even)),
            odd,
            1,
        ))
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    unsafe fn column(from: *const Self, height: usize) -> __m512i {
        // SAFETY: the caller vouches for `height` values.
        unsafe { _mm512_maskz_loadu_epi16(mask(height), from.cast()) }
    }
}

/// The transpose of 16 lines of 16 pairs.
#[inline]
#[target_feature(enable = "avx512f")]
fn transposed(lines: [__m512i; SIDE]) -> [__m512i; SIDE] {
    // Within each 128-bit lane: 2 by 2 pairs, then 4 by 4.
    let mut twos = lines;
    for i in (0..SIDE).step_by(2) {
        twos[i] = _mm512_unpacklo_epi32(lines[i], lines[i + 1]);
        twos[i + 1] = _mm512_unpackhi_epi32(lines[i], lines[i + 1]);
    }
    let mut fours = twos;
    for i in (0..SIDE).step_by(4) {
        for half in 0..2 {
            let [a, b] = [twos[i + half], twos[i + 2 + half]];
            fours[i + 2 * half] = _mm512_unpacklo_epi64(a, b);
            fours[i + 2 * half + 1] = _mm512_unpackhi_epi64(a, b);
        }
    }
    // `fours[4 q + c]` has columns c, 4 + c, 8 + c, 12 + c of lines 4 q to 4 q + 3, a lane each. Now lanes move.
    let mut columns = fours;
    for c in 0..4 {
        let [a, b, d, e] = [fours[c], fours[4 + c], fours[8 + c], fours[12 + c]];
        let (low_ab, high_ab) = (
            _mm512_shuffle_i32x4(a, b, 0b01_00_01_00),
            _mm512_shuffle_i32x4(a, b, 0b11_10_11_10),
        );
        let (low_de, high_de) = (
            _mm512_shuffle_i32x4(d, e, 0b01_00_01_00),
            _mm512_shuffle_i32x4(d, e, 0b11_10_11_10),
        );
        columns[c] = _mm512_shuffle_i32x4(low_ab, low_de, 0b10_00_10_00);
        columns[4 + c] = _mm512_shuffle_i32x4(low_ab, low_de, 0b11_01_11_01);
        columns[8 + c] = _mm512_shuffle_i32x4(high_ab, high_de, 0b10_00_10_00);
        columns[12 + c] = _mm512_shuffle_i32x4(high_ab, high_de, 0b11_01_11_01);
    }
    columns
}
