//! Products with matrices that are packed once and read many times, such as the weights of a
//! convolution.

use pulp::{Simd, WithSimd};

/// Rows of the output tile that stays in registers.
const ROWS: usize = 6;

/// Columns of that tile, in vectors, such that the tile fills three quarters of the registers.
const fn tile_vectors<S: Simd>() -> usize {
    if S::REGISTER_COUNT >= 32 { 4 } else { 2 }
}

/// The layout of a packed matrix: columns are padded to whole vectors, and divided into panels as wide as a tile. A
/// panel has its columns of the first row, then of the second, and so on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Panels {
    /// Columns of a panel.
    panel: usize,
    /// Number of columns, padded.
    pub(crate) padded: usize,
}

impl Panels {
    /// The layout that the kernels of this process read.
    pub(crate) fn new(columns: usize) -> Self {
        struct Sizes;

        impl WithSimd for Sizes {
            type Output = [usize; 2];

            #[inline(always)]
            fn with_simd<S: Simd>(self, _: S) -> [usize; 2] {
                [S::F32_LANES, tile_vectors::<S>()]
            }
        }

        let [lanes, vectors] = crate::level::dispatch(Sizes);
        Self {
            panel: vectors * lanes,
            padded: columns.next_multiple_of(lanes),
        }
    }

    /// First column and width of the panels of `columns` columns.
    pub(crate) fn iter_to(self, columns: usize) -> impl Iterator<Item = (usize, usize)> {
        let starts = (0..columns).step_by(self.panel);
        starts.map(move |start| (start, self.panel.min(columns - start)))
    }

    /// First column, width and values of every panel of a matrix of `depth` rows.
    pub(crate) fn split(
        self,
        packed: &mut [f32],
        depth: usize,
    ) -> impl Iterator<Item = (usize, usize, &mut [f32])> {
        let parts = packed.chunks_mut((self.panel * depth).max(1));
        let panels = self.iter_to(self.padded).zip(parts);
        panels.map(|((start, width), values)| (start, width, values))
    }

    /// The width of whole panels that hold at least `columns` columns.
    pub(crate) fn whole_panels(self, columns: usize) -> usize {
        columns.next_multiple_of(self.panel)
    }
}

/// Rows of a matrix, `stride` values apart.
#[derive(Clone, Copy)]
pub(crate) struct Rows<'a> {
    pub(crate) values: &'a [f32],
    pub(crate) stride: usize,
    pub(crate) count: usize,
}

/// `output = a b`, or `output += a b` if `accumulate`, for some panels of a packed `b` of `depth`
/// rows.
///
/// # Shapes
/// - `a`: `[count, depth]`
/// - `b`: `columns` columns of `depth` rows, packed
/// - `output`: `count` rows of `columns` values, `output_stride` apart
#[inline(always)]
pub(crate) fn multiply<S: Simd>(
    simd: S,
    a: Rows,
    (b, depth, columns): (&[f32], usize, usize),
    (output, output_stride): (&mut [f32], usize),
    accumulate: bool,
) {
    debug_assert_eq!(b.len(), depth * columns);
    let panel = tile_vectors::<S>() * S::F32_LANES;
    for start in (0..columns).step_by(panel) {
        let width = panel.min(columns - start);
        let b = &b[start * depth..][..width * depth];
        for row in (0..a.count).step_by(ROWS) {
            let tile = Tile {
                a: &a.values[row * a.stride..],
                a_stride: a.stride,
                depth,
                b,
                output: &mut output[row * output_stride + start..],
                output_stride,
                accumulate,
            };
            let rows = ROWS.min(a.count - row);
            match width / S::F32_LANES {
                1 => tile.of_rows::<S, 1>(simd, rows),
                2 => tile.of_rows::<S, 2>(simd, rows),
                3 => tile.of_rows::<S, 3>(simd, rows),
                _ => tile.of_rows::<S, 4>(simd, rows),
            }
        }
    }
}

/// A tile of the output, and its factors.
struct Tile<'a> {
    a: &'a [f32],
    a_stride: usize,
    depth: usize,
    b: &'a [f32],
    output: &'a mut [f32],
    output_stride: usize,
    accumulate: bool,
}

impl<'a> Tile<'a> {
    #[inline(always)]
    fn of_rows<S: Simd, const VECTORS: usize>(self, simd: S, rows: usize) {
        match rows {
            1 => simd.vectorize(Product::<'a, 1, VECTORS>(self)),
            2 => simd.vectorize(Product::<'a, 2, VECTORS>(self)),
            3 => simd.vectorize(Product::<'a, 3, VECTORS>(self)),
            4 => simd.vectorize(Product::<'a, 4, VECTORS>(self)),
            5 => simd.vectorize(Product::<'a, 5, VECTORS>(self)),
            _ => simd.vectorize(Product::<'a, ROWS, VECTORS>(self)),
        }
    }
}

/// The product for a tile of `ROWS` rows and `VECTORS` vectors.
struct Product<'a, const ROWS: usize, const VECTORS: usize>(Tile<'a>);

impl<const ROWS: usize, const VECTORS: usize> WithSimd for Product<'_, ROWS, VECTORS> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let tile = self.0;
        let depth = tile.depth;
        let mut a: [&[f32]; ROWS] = [&[]; ROWS];
        for (row, a) in a.iter_mut().enumerate() {
            *a = &tile.a[row * tile.a_stride..][..depth];
        }
        let (b, _) = S::as_simd_f32s(tile.b);
        let b = &b[..depth * VECTORS];
        let mut sums = [[simd.splat_f32s(0.0); VECTORS]; ROWS];
        for k in 0..depth {
            let mut vectors = [simd.splat_f32s(0.0); VECTORS];
            for (v, vector) in vectors.iter_mut().enumerate() {
                // SAFETY: `b` has `VECTORS` vectors for each of the `depth` values of `k`.
                *vector = *unsafe { b.get_unchecked(k * VECTORS + v) };
            }
            for (sums, a) in sums.iter_mut().zip(&a) {
                // SAFETY: each row is `depth` values long.
                let x = simd.splat_f32s(*unsafe { a.get_unchecked(k) });
                for (sum, vector) in sums.iter_mut().zip(vectors) {
                    *sum = simd.mul_add_e_f32s(x, vector, *sum);
                }
            }
        }
        for (row, sums) in sums.into_iter().enumerate() {
            let output = &mut tile.output[row * tile.output_stride..][..VECTORS * S::F32_LANES];
            let (output, _) = S::as_mut_simd_f32s(output);
            for (output, sum) in output.iter_mut().zip(sums) {
                *output = if tile.accumulate {
                    simd.add_f32s(*output, sum)
                } else {
                    sum
                };
            }
        }
    }
}
