//! Conversion of floats of any width to f32 and back, and transposition, for many values.

use std::sync::atomic::{AtomicU32, Ordering};

use burn::tensor::DType;
use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use rayon::prelude::*;

/// A floating-point format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Floats {
    F16,
    Bf16,
    F32,
    F64,
}

/// Floats of a file as f32.
pub(crate) struct Widened {
    pub values: Vec<f32>,
    /// The largest absolute value; NaN if there is one. It is found during conversion, since a
    /// separate pass would take as long as reading again.
    pub largest: f32,
}

/// Values that a thread converts at a time.
const CHUNK: usize = 1 << 14;

/// Side of the squares that are transposed at a time: their rows are in the cache together.
const TILE: usize = 64;

impl Floats {
    /// The format of a tensor's elements; None if they are not floats.
    pub(crate) fn of(dtype: DType) -> Option<Self> {
        match dtype {
            DType::F16 => Some(Self::F16),
            DType::BF16 => Some(Self::Bf16),
            DType::F32 => Some(Self::F32),
            DType::F64 => Some(Self::F64),
            _ => None,
        }
    }

    /// Bytes of an element.
    pub(crate) fn size(self) -> usize {
        match self {
            Self::F16 | Self::Bf16 => 2,
            Self::F32 => 4,
            Self::F64 => 8,
        }
    }

    /// Values from little-endian bytes.
    pub(crate) fn widen(self, bytes: &[u8]) -> Widened {
        let mut values = vec![0.0; bytes.len() / self.size()];
        let largest = AtomicU32::new(0);
        let chunks = values.par_chunks_mut(CHUNK);
        let chunks = chunks.zip(bytes.par_chunks(CHUNK * self.size()));
        chunks.for_each(|(values, bytes)| {
            self.widen_to(values, bytes);
            largest.fetch_max(largest_size(values), Ordering::Relaxed);
        });
        Widened {
            values,
            largest: f32::from_bits(largest.into_inner()),
        }
    }

    /// Values from the little-endian bytes of `[rows, columns]`, as `[columns, rows]`.
    pub(crate) fn widen_transposed(self, bytes: &[u8], [rows, columns]: [usize; 2]) -> Widened {
        let mut values = vec![0.0; rows * columns];
        let largest = AtomicU32::new(0);
        if !values.is_empty() {
            let strips = values.par_chunks_mut(TILE * rows).enumerate();
            strips.for_each(|(strip, output)| {
                let width = output.len() / rows;
                let mut tile = [[0.0; TILE]; TILE];
                for first in (0..rows).step_by(TILE) {
                    let height = TILE.min(rows - first);
                    for (row, line) in tile[..height].iter_mut().enumerate() {
                        let start = ((first + row) * columns + strip * TILE) * self.size();
                        self.widen_to(&mut line[..width], &bytes[start..][..width * self.size()]);
                        largest.fetch_max(largest_size(&line[..width]), Ordering::Relaxed);
                    }
                    for (column, output) in output.chunks_exact_mut(rows).enumerate() {
                        for (line, value) in tile.iter().zip(&mut output[first..first + height]) {
                            *value = line[column];
                        }
                    }
                }
            });
        }
        Widened {
            values,
            largest: f32::from_bits(largest.into_inner()),
        }
    }

    /// As many values as there are bytes for.
    fn widen_to(self, values: &mut [f32], bytes: &[u8]) {
        /// Values that are aligned at a time.
        const BLOCK: usize = 64;
        let blocks = values
            .chunks_mut(BLOCK)
            .zip(bytes.chunks(BLOCK * self.size()));
        blocks.for_each(|(values, bytes)| match self {
            Self::F16 => {
                let mut half = [f16::ZERO; BLOCK];
                let half = &mut half[..values.len()];
                put_elements(half, bytes, f16::from_le_bytes);
                half.convert_to_f32_slice(values);
            }
            Self::Bf16 => {
                let mut half = [bf16::ZERO; BLOCK];
                let half = &mut half[..values.len()];
                put_elements(half, bytes, bf16::from_le_bytes);
                half.convert_to_f32_slice(values);
            }
            Self::F32 => put_elements(values, bytes, f32::from_le_bytes),
            Self::F64 => put_elements(values, bytes, |bytes| f64::from_le_bytes(bytes) as f32),
        });
    }

    /// Little-endian bytes of values.
    pub(crate) fn narrow(self, values: &[f32]) -> Vec<u8> {
        let mut bytes = vec![0; values.len() * self.size()];
        let chunks = bytes.par_chunks_mut(CHUNK * self.size());
        chunks
            .zip(values.par_chunks(CHUNK))
            .for_each(|(bytes, values)| match self {
                Self::F16 => {
                    let mut half = vec![f16::ZERO; values.len()];
                    half.convert_from_f32_slice(values);
                    put(bytes, &half, |value| value.to_le_bytes());
                }
                Self::Bf16 => {
                    let mut half = vec![bf16::ZERO; values.len()];
                    half.convert_from_f32_slice(values);
                    put(bytes, &half, |value| value.to_le_bytes());
                }
                Self::F32 => put(bytes, values, |value| value.to_le_bytes()),
                Self::F64 => put(bytes, values, |value| f64::from(value).to_le_bytes()),
            });
        bytes
    }
}

fn put_elements<T, const N: usize>(
    elements: &mut [T],
    bytes: &[u8],
    element: impl Fn([u8; N]) -> T,
) {
    for (place, bytes) in elements.iter_mut().zip(bytes.as_chunks().0) {
        *place = element(*bytes);
    }
}

/// The bits of the largest absolute value. Floats without their sign are in the order of their
/// bits, with infinity and then NaN at the end.
fn largest_size(values: &[f32]) -> u32 {
    let sizes = values.iter().map(|value| value.abs().to_bits());
    sizes.fold(0, u32::max)
}

fn put<T: Copy, const N: usize>(bytes: &mut [u8], values: &[T], bytes_of: impl Fn(T) -> [u8; N]) {
    for (bytes, value) in bytes.as_chunks_mut().0.iter_mut().zip(values) {
        *bytes = bytes_of(*value);
    }
}

/// `[rows, columns]` as `[columns, rows]`.
pub(crate) fn transpose(values: &[f32], [rows, columns]: [usize; 2]) -> Vec<f32> {
    let mut transposed = vec![0.0; values.len()];
    if values.is_empty() {
        return transposed;
    }
    let strips = transposed.par_chunks_mut(TILE * rows).enumerate();
    strips.for_each(|(strip, output)| {
        for first in (0..rows).step_by(TILE) {
            let tile = first..rows.min(first + TILE);
            for (column, output) in output.chunks_exact_mut(rows).enumerate() {
                let column = strip * TILE + column;
                for (row, output) in tile.clone().zip(&mut output[tile.clone()]) {
                    *output = values[row * columns + column];
                }
            }
        }
    });
    transposed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_that_all_formats_have_come_back() {
        let values: Vec<f32> = (0..40_000).map(|i| (i % 255) as f32 - 127.0).collect();
        for floats in [Floats::F16, Floats::Bf16, Floats::F32, Floats::F64] {
            let bytes = floats.narrow(&values);
            assert_eq!(bytes.len(), floats.size() * values.len());
            assert!(floats.widen(&bytes).values == values, "{floats:?}");
        }
        let special = [f32::INFINITY, f32::NEG_INFINITY, 6e-8, -0.0];
        let bytes = Floats::F16.narrow(&special);
        assert_eq!(bytes[..4], [0x00, 0x7c, 0x00, 0xfc]);
        assert_eq!(Floats::F16.widen(&bytes).values[2], 2f32.powi(-24));
    }

    #[test]
    fn rows_become_columns() {
        for [rows, columns] in [[1, 1], [3, 70], [33, 32], [100, 65]] {
            let values: Vec<f32> = (0..rows * columns).map(|i| i as f32).collect();
            let transposed = transpose(&values, [rows, columns]);
            for row in 0..rows {
                for column in 0..columns {
                    assert_eq!(
                        transposed[column * rows + row],
                        values[row * columns + column]
                    );
                }
            }
            for floats in [Floats::F16, Floats::Bf16, Floats::F32, Floats::F64] {
                let bytes = floats.narrow(&values);
                let rounded = floats.widen(&bytes).values;
                let widened = floats.widen_transposed(&bytes, [rows, columns]);
                assert_eq!(
                    widened.largest,
                    rounded.iter().fold(0.0, |most, x| f32::max(most, x.abs()))
                );
                assert!(widened.values == transpose(&rounded, [rows, columns]));
            }
        }
    }

    #[test]
    fn values_that_are_not_finite_are_noticed_wherever_they_are() {
        let [rows, columns] = [70, 65];
        for floats in [Floats::F16, Floats::Bf16, Floats::F32, Floats::F64] {
            for place in [0, 63, 64, 4479, rows * columns - 1] {
                for special in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                    let mut values = vec![1.0; rows * columns];
                    values[place] = special;
                    let bytes = floats.narrow(&values);
                    let largest = floats.widen(&bytes).largest;
                    assert!(!largest.is_finite());
                    let transposed = floats.widen_transposed(&bytes, [rows, columns]);
                    assert_eq!(transposed.largest.to_bits(), largest.to_bits());
                }
            }
        }
        let too_large = Floats::F64.widen(&1e300f64.to_le_bytes());
        assert!(!too_large.largest.is_finite());
    }
}
