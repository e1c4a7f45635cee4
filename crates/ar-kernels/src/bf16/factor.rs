//! The factors of a product.

use burn::tensor::bf16;

use crate::gemm::Matrix;

/// A factor in either precision.
#[derive(Clone, Copy)]
pub(crate) enum Factor<'a> {
    F32(Matrix<'a>),
    Bf16(Matrix<'a, bf16>),
}

impl Factor<'_> {
    pub(crate) fn transposed(self) -> Self {
        match self {
            Self::F32(matrix) => Self::F32(matrix.transposed()),
            Self::Bf16(matrix) => Self::Bf16(matrix.transposed()),
        }
    }

    /// Rows and columns.
    pub(super) fn shape(self) -> [usize; 2] {
        match self {
            Self::F32(matrix) => matrix.shape(),
            Self::Bf16(matrix) => matrix.shape(),
        }
    }
}

/// A factor in f32.
pub(super) enum Widened<'a> {
    Borrowed(Matrix<'a>),
    Owned(Vec<f32>, Matrix<'a, bf16>),
}

impl<'a> Widened<'a> {
    pub(super) fn new(factor: Factor<'a>) -> Self {
        match factor {
            Factor::F32(matrix) => Self::Borrowed(matrix),
            Factor::Bf16(matrix) => {
                let values = matrix.values().iter().map(|value| value.to_f32());
                Self::Owned(values.collect(), matrix)
            }
        }
    }

    pub(super) fn matrix(&self) -> Matrix<'_> {
        match self {
            Self::Borrowed(matrix) => *matrix,
            Self::Owned(values, matrix) => matrix.with_values(values),
        }
    }
}
