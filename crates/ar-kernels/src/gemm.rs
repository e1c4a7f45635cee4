//! Matrix products on slices.

use std::ops::Range;

use gemm::{Parallelism, gemm};

/// A matrix in row-major order, or the transpose of one.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a, T = f32> {
    values: &'a [T],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a, T> Matrix<'a, T> {
    /// The matrix with `columns` columns whose rows are contiguous in `values`.
    pub(crate) fn new(values: &'a [T], columns: usize) -> Self {
        assert_eq!(values.len() % columns, 0, "{} by {columns}", values.len());
        Self {
            values,
            rows: values.len() / columns,
            columns,
            row_stride: columns,
            column_stride: 1,
        }
    }

    /// `rows` rows of `columns` values, `row_stride` apart.
    pub(crate) fn strided(values: &'a [T], [rows, columns]: [usize; 2], row_stride: usize) -> Self {
        let end = rows.saturating_sub(1) * row_stride + columns;
        Self {
            values: &values[..end],
            rows,
            columns,
            row_stride,
            column_stride: 1,
        }
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Rows and columns.
    pub(crate) fn shape(&self) -> [usize; 2] {
        [self.rows, self.columns]
    }

    /// Values between the beginnings of two rows, and of two columns; one of them is 1.
    pub(crate) fn strides(&self) -> [usize; 2] {
        [self.row_stride, self.column_stride]
    }

    /// All values in memory.
    pub(crate) fn values(&self) -> &'a [T] {
        self.values
    }

    /// The same part of other values.
    pub(crate) fn with_values<U>(self, values: &[U]) -> Matrix<'_, U> {
        assert_eq!(values.len(), self.values.len());
        Matrix {
            values,
            rows: self.rows,
            columns: self.columns,
            row_stride: self.row_stride,
            column_stride: self.column_stride,
        }
    }

    pub(crate) fn transposed(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }
}

/// Some columns of a matrix in row-major order, to write to.
pub(crate) struct ColumnsMut<'a> {
    values: &'a mut [f32],
    rows: usize,
    columns: Range<usize>,
    row_stride: usize,
}

impl<'a> ColumnsMut<'a> {
    /// All columns of the matrix with `columns` columns whose rows are contiguous in `values`.
    pub(crate) fn all(values: &'a mut [f32], columns: usize) -> Self {
        Self::some(values, columns, 0..columns)
    }

    /// The columns `some` of such a matrix.
    pub(crate) fn some(values: &'a mut [f32], columns: usize, some: Range<usize>) -> Self {
        assert_eq!(values.len() % columns, 0, "{} by {columns}", values.len());
        assert!(some.end <= columns, "{some:?} of {columns}");
        Self {
            rows: values.len() / columns,
            values,
            columns: some,
            row_stride: columns,
        }
    }
}

/// `output = a b`, or `output += a b` if `accumulate`.
pub(crate) fn multiply(a: Matrix, b: Matrix, output: ColumnsMut, accumulate: bool) {
    let ColumnsMut {
        values,
        rows,
        columns,
        row_stride,
    } = output;
    let shape = [a.rows, b.columns];
    assert_eq!(shape, [rows, columns.len()], "output");
    if values.is_empty() {
        return;
    }
    let output = values[columns.start..].as_mut_ptr();
    // SAFETY: `values` holds `rows` rows of `row_stride` initialised values, and a row has at least `columns` of them.
    unsafe { product_at(a, b, (output, row_stride), accumulate, Parallelism::None) }
}

/// `a b` in row-major order, computed on all cores.
pub(crate) fn product(a: Matrix, b: Matrix) -> Vec<f32> {
    assert!(a.columns > 0, "a product of nothing");
    let len = a.rows * b.columns;
    // Neither zeroed nor copied: with a few megabytes each, these are most of what training allocates.
    let mut output = Vec::with_capacity(len);
    // SAFETY: there is room for a value for every row of `a` and column of `b`, and the product
    // writes all of them without reading any.
    unsafe {
        product_at(
            a,
            b,
            (output.as_mut_ptr(), b.columns),
            false,
            all_cores(a, b),
        );
        output.set_len(len);
    }
    output
}

/// `a b + row`, with `row` in every row, in row-major order, computed on all cores.
pub(crate) fn product_onto(row: &[f32], a: Matrix, b: Matrix) -> Vec<f32> {
    assert_eq!(row.len(), b.columns, "a row of the output");
    let mut output = row.repeat(a.rows);
    // SAFETY: `output` holds a value for every row of `a` and column of `b`, all initialised.
    unsafe {
        product_at(
            a,
            b,
            (output.as_mut_ptr(), b.columns),
            true,
            all_cores(a, b),
        )
    }
    output
}

/// All cores, if a product is worth waking them.
fn all_cores(a: Matrix, b: Matrix) -> Parallelism {
    if worth_all_cores(a.rows * a.columns * b.columns) {
        Parallelism::Rayon(0)
    } else {
        Parallelism::None
    }
}

/// Whether this many multiplications take much longer than waking the other cores.
pub(crate) fn worth_all_cores(multiplications: usize) -> bool {
    multiplications >= 1 << 18
}

/// # Safety
/// `output` and the stride of its rows must be valid for writing `a.rows` rows of `b.columns`
/// values, which are initialised if `accumulate`.
unsafe fn product_at(
    a: Matrix,
    b: Matrix,
    (output, row_stride): (*mut f32, usize),
    accumulate: bool,
    parallelism: Parallelism,
) {
    let (m, k, n) = (a.rows, a.columns, b.columns);
    assert_eq!(k, b.rows, "{m} x {k} times {} x {n}", b.rows);
    // SAFETY: a `Matrix` describes only elements of its slice. The caller vouches for `output`, which is not part of
    // those slices, because it is borrowed for writing.
    unsafe {
        gemm(
            m,
            n,
            k,
            output,
            1,
            row_stride as isize,
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
            parallelism,
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
        let (left, right) = (Matrix::new(&a, 3), Matrix::new(&b, 2));
        multiply(left, right, ColumnsMut::all(&mut output, 2), false);
        assert_eq!(output, [5.0, 11.0, 14.0, 23.0]);
        let (a, b) = (
            Matrix::new(&a, 2).transposed(),
            Matrix::new(&b, 3).transposed(),
        );
        let mut output = [1.0; 4];
        multiply(a, b, ColumnsMut::all(&mut output, 2), true);
        // [1 3 5; 2 4 6] [1 1; 0 0; 2 3] + 1
        assert_eq!(output, [12.0, 17.0, 15.0, 21.0]);
    }

    #[test]
    fn reads_and_writes_parts_of_rows() {
        let a = [1.0, 2.0, -1.0, 3.0, 4.0]; // [1 2; 3 4], rows 3 apart
        let b = [1.0, 1.0];
        let mut output = [0.0; 6];
        let a = Matrix::strided(&a, [2, 2], 3);
        let column = ColumnsMut::some(&mut output, 3, 1..2);
        multiply(a, Matrix::new(&b, 1), column, false);
        assert_eq!(output, [0.0, 3.0, 0.0, 0.0, 7.0, 0.0]);
    }

    #[test]
    fn cores_share_a_product() {
        let a: Vec<f32> = (0..128 * 96).map(|i| (i % 7) as f32 - 3.0).collect();
        let b: Vec<f32> = (0..96 * 128).map(|i| (i % 5) as f32 - 2.0).collect();
        let (a, b) = (Matrix::new(&a, 96), Matrix::new(&b, 128));
        let mut alone = vec![0.0; 128 * 128];
        multiply(a, b, ColumnsMut::all(&mut alone, 128), false);
        // Small integers: every sum is exact.
        assert_eq!(product(a, b), alone);
        let row: Vec<f32> = (0..128).map(|column| column as f32).collect();
        let onto = product_onto(&row, a, b);
        let expected = alone.iter().zip(row.iter().cycle());
        assert!(
            onto.iter()
                .eq(expected.map(|(x, row)| x + row).collect::<Vec<_>>().iter())
        );
    }
}
