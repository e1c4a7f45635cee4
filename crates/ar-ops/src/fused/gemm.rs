//! Matrix products on slices, on the calling thread.

use gemm::{Parallelism, gemm};

/// A matrix in row-major order, or the transpose of one.
#[derive(Clone, Copy)]
pub struct Matrix<'a> {
    values: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// The matrix of `columns` columns whose rows `values` holds one after the other.
    pub fn new(values: &'a [f32], columns: usize) -> Self {
        assert_eq!(values.len() % columns, 0, "{} by {columns}", values.len());
        Self {
            values,
            rows: values.len() / columns,
            columns,
            row_stride: columns,
            column_stride: 1,
        }
    }

    pub fn transposed(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }
}

/// `output = a b`, or `output += a b` if `accumulate`; `output` is in row-major order.
pub fn multiply(a: Matrix, b: Matrix, output: &mut [f32], accumulate: bool) {
    let (m, k, n) = (a.rows, a.columns, b.columns);
    assert_eq!(k, b.rows, "{m} x {k} times {} x {n}", b.rows);
    assert_eq!(output.len(), m * n, "{m} x {n}");
    // SAFETY: `Matrix` only describes elements of its slice; `output` holds m * n values, which
    // the exclusive borrow keeps apart from the operands.
    unsafe {
        gemm(
            m,
            n,
            k,
            output.as_mut_ptr(),
            1,
            n as isize,
            accumulate,
            a.values.as_ptr(),
            a.column_stride as isize,
            a.row_stride as isize,
            b.values.as_ptr(),
            b.column_stride as isize,
            b.row_stride as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn multiplies_and_accumulates() {
        let a = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]; // 2 x 3
        let b = [1.0, 0.0, 2.0, 1.0, 0.0, 3.0]; // 3 x 2
        let mut output = [0.0; 4];
        multiply(Matrix::new(&a, 3), Matrix::new(&b, 2), &mut output, false);
        assert_eq!(output, [5.0, 11.0, 14.0, 23.0]);
        let (a, b) = (
            Matrix::new(&a, 2).transposed(),
            Matrix::new(&b, 3).transposed(),
        );
        let mut output = [1.0; 4];
        multiply(a, b, &mut output, true);
        // [1 3 5; 2 4 6] [1 1; 0 0; 2 3] + 1
        assert_eq!(output, [12.0, 17.0, 15.0, 21.0]);
    }
}
