//! Floats of any width to 32 bits and back, and transposition, over many values.

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

/// Values that a thread converts at a time.
const CHUNK: usize = 1 << 14;

/// Side of the squares that are transposed at a time: their rows are in the cache together.
const TILE: usize = 32;

impl Floats {
    /// The format of a tensor's elements; None if they are no floats.
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
    pub(crate) fn widen(self, bytes: &[u8]) -> Vec<f32> {
        let mut values = vec![0.0; bytes.len() / self.size()];
        let chunks = values.par_chunks_mut(CHUNK);
        let chunks = chunks.zip(bytes.par_chunks(CHUNK * self.size()));
        chunks.for_each(|(values, bytes)| match self {
            Self::F16 => elements(bytes, f16::from_le_bytes).convert_to_f32_slice(values),
            Self::Bf16 => elements(bytes, bf16::from_le_bytes).convert_to_f32_slice(values),
            Self::F32 => {
                for (value, bytes) in values.iter_mut().zip(bytes.as_chunks().0) {
                    *value = f32::from_le_bytes(*bytes);
                }
            }
            Self::F64 => {
                for (value, bytes) in values.iter_mut().zip(bytes.as_chunks().0) {
                    *value = f64::from_le_bytes(*bytes) as f32;
                }
            }
        });
        values
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

fn elements<T, const N: usize>(bytes: &[u8], element: impl Fn([u8; N]) -> T) -> Vec<T> {
    let (chunks, _) = bytes.as_chunks();
    chunks.iter().map(|bytes| element(*bytes)).collect()
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
            assert!(floats.widen(&bytes) == values, "{floats:?}");
        }
        let special = [f32::INFINITY, f32::NEG_INFINITY, 6e-8, -0.0];
        let bytes = Floats::F16.narrow(&special);
        assert_eq!(bytes[..4], [0x00, 0x7c, 0x00, 0xfc]);
        assert_eq!(Floats::F16.widen(&bytes)[2], 2f32.powi(-24));
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
        }
    }
}
