//! Matrix products of values in bf16 whose sums are in f32, by the instructions that some processors have for them: AMX
//! (Intel since Sapphire Rapids) or AVX512-BF16 (AMD since Zen 4).
//!
//! Both factors are packed into tiles, which also rounds factors in f32. An AMX tile is 16 rows of 64 bytes: 16 rows of
//! 32 values of the left factor, or 16 pairs of rows of 16 columns of the right one (the two values of a pair side by
//! side). AVX512-BF16 reads the same tiles.

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod amx;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod factor;
#[cfg(target_arch = "x86_64")]
mod layout;
#[cfg(target_arch = "x86_64")]
mod pack;
#[cfg(target_arch = "x86_64")]
mod tiles;

use std::mem::MaybeUninit;

pub(crate) use factor::Factor;

use crate::gemm;
#[cfg(target_arch = "x86_64")]
use crate::level;

/// `a b` in row-major order, computed on all cores.
pub(crate) fn product(a: Factor, b: Factor) -> Vec<f32> {
    sum(a, b, None)
}

/// `a b + row`, with `row` in every row, in row-major order, computed on all cores.
pub(crate) fn product_onto(row: &[f32], a: Factor, b: Factor) -> Vec<f32> {
    sum(a, b, Some(row))
}

fn sum(a: Factor, b: Factor, row: Option<&[f32]>) -> Vec<f32> {
    let ([rows, depth], [b_rows, columns]) = (a.shape(), b.shape());
    assert!(depth > 0, "a product of nothing");
    assert_eq!(depth, b_rows, "{rows} x {depth} times {b_rows} x {columns}");
    assert!(
        row.is_none_or(|row| row.len() == columns),
        "a row of the output"
    );
    let mut output = Vec::with_capacity(rows * columns);
    let room = &mut output.spare_capacity_mut()[..rows * columns];
    if into(a, b, row, room) {
        // SAFETY: the product writes all of them.
        unsafe { output.set_len(rows * columns) };
        return output;
    }
    let [a, b] = [a, b].map(factor::Widened::new);
    match row {
        None => gemm::product(a.matrix(), b.matrix()),
        Some(row) => gemm::product_onto(row, a.matrix(), b.matrix()),
    }
}

/// Writes `a b`, or its sum with a row, to `output` if this processor has instructions for it. `AR_SIMD=avx512` leaves
/// out AMX, and the names of older instructions leave out AVX512-BF16.
fn into(a: Factor, b: Factor, row: Option<&[f32]>, output: &mut [MaybeUninit<f32>]) -> bool {
    #[cfg(target_arch = "x86_64")]
    if avx512::is_available() && !output.is_empty() {
        let factors = [a, b];
        #[cfg(target_os = "linux")]
        if level::is_unrestricted() && amx::is_available() {
            // SAFETY: the processor has AMX, and with it AVX512-BF16.
            unsafe { tiles::product(amx::Amx, factors, row, output) };
            return true;
        }
        if level::has_avx512() {
            // SAFETY: the processor has AVX512-BF16.
            unsafe { tiles::product(avx512::Avx512, factors, row, output) };
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gemm::Matrix;
    use burn::tensor::bf16;

    /// Small integers, which bf16 holds exactly, and so are their products and sums.
    fn integers(len: usize, modulus: usize) -> Vec<f32> {
        let middle = (modulus / 2) as f32;
        (0..len)
            .map(|i| (i * 7 % modulus) as f32 - middle)
            .collect()
    }

    fn transposed(values: &[f32], columns: usize) -> Vec<f32> {
        let rows = values.len() / columns;
        let place = |i: usize| values[i % rows * columns + i / rows];
        (0..values.len()).map(place).collect()
    }

    fn narrow(values: &[f32]) -> Vec<bf16> {
        values.iter().map(|&value| bf16::from_f32(value)).collect()
    }

    /// Writes the sum of a product and a row.
    type Product = fn(Factor, Factor, Option<&[f32]>, &mut [MaybeUninit<f32>]) -> bool;

    /// Every way of computing it that this processor has.
    fn products() -> Vec<Product> {
        vec![
            into,
            #[cfg(target_arch = "x86_64")]
            |a, b, row, output| {
                let available = avx512::is_available();
                if available {
                    // SAFETY: the processor has AVX512-BF16.
                    unsafe { tiles::product(avx512::Avx512, [a, b], row, output) };
                }
                available
            },
        ]
    }

    #[test]
    fn equals_the_product_in_f32() {
        // Sizes below, at and beyond tiles, blocks and tasks.
        for [rows, depth, columns] in [[1, 1, 1], [16, 32, 32], [33, 70, 50], [300, 129, 31]] {
            let a = integers(rows * depth, 7);
            let b = integers(depth * columns, 5);
            let (a_t, b_t) = (transposed(&a, depth), transposed(&b, columns));
            let narrowed = [&a, &a_t, &b, &b_t].map(|values| narrow(values));
            let [a_16, a_t_16, b_16, b_t_16] = narrowed.each_ref();
            let left = [
                Factor::F32(Matrix::new(&a, depth)),
                Factor::F32(Matrix::new(&a_t, rows)).transposed(),
                Factor::Bf16(Matrix::new(a_16, depth)),
                Factor::Bf16(Matrix::new(a_t_16, rows)).transposed(),
            ];
            let right = [
                Factor::F32(Matrix::new(&b, columns)),
                Factor::F32(Matrix::new(&b_t, depth)).transposed(),
                Factor::Bf16(Matrix::new(b_16, columns)),
                Factor::Bf16(Matrix::new(b_t_16, depth)).transposed(),
            ];
            let expected = gemm::product(Matrix::new(&a, depth), Matrix::new(&b, columns));
            for a in left {
                for b in right {
                    assert_eq!(product(a, b), expected, "{rows} x {depth} x {columns}");
                    let row: Vec<f32> = (0..columns).map(|column| column as f32).collect();
                    let onto = product_onto(&row, a, b);
                    for product in products() {
                        let mut output = vec![MaybeUninit::new(f32::NAN); expected.len()];
                        if !product(a, b, Some(&row), &mut output) {
                            continue;
                        }
                        for (place, value) in output.iter().enumerate() {
                            let sum = expected[place] + row[place % columns];
                            // SAFETY: it was initialised above.
                            assert_eq!([unsafe { value.assume_init() }, onto[place]], [sum; 2]);
                        }
                    }
                }
            }
        }
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn rounds_to_nearest_and_adds_in_f32() {
        // 257 lies between 256 and 258 in bf16, and rounds to the even one. 256 + 1/128 needs 16 bits.
        let (a, b) = ([257.0, 1.0], [1.0, 1.0 / 128.0]);
        let (a, b) = (Matrix::new(&a, 2), Matrix::new(&b, 1));
        let rounds = level::has_avx512() && avx512::is_available();
        let expected = if rounds { 256.0 } else { 257.0 };
        let sum = product(Factor::F32(a), Factor::F32(b));
        assert_eq!(sum, [expected + 1.0 / 128.0]);
    }
}
