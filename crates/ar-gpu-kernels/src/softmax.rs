//! Softmax of attention scores, scaled and masked.
//!
//! ```text
//! p  = softmax(scale s) over the visible keys, 0 for hidden ones
//! ds = scale p (dp - Σ p dp)
//! ```

use burn::backend::ops::BoolTensorOps;
use burn::backend::tensor::{BoolTensor, FloatTensor};
use burn::backend::{Backend, TensorMetadata, backend_extension};
use burn_cubecl::CubeBackend;
use burn_cubecl::tensor::CubeTensor;
use cubecl::ir::ElemType;
use cubecl::prelude::*;

use crate::cubecl;
use crate::rows::{
    Reduction, Units, address_type, count, elem_type, empty_like, reduce_row, row_start, with_rows,
};

/// The kernels, in order with the other operations in Burn's fusion.
///
/// # Shapes
/// - `scores`, `p`, `d_p` and outputs: `[batch, heads, queries, keys]`
/// - `hidden`: `[1, 1, queries, keys]`, `true` where a key is hidden
#[backend_extension(Cube, Fusion: cfg(feature = "fusion"))]
pub(crate) trait SoftmaxKernels: Backend {
    #[fusion(dtype = scores, shape = scores)]
    fn scaled_softmax(scores: FloatTensor<Self>, scale: f64) -> FloatTensor<Self>;

    #[fusion(dtype = scores, shape = scores)]
    fn masked_softmax(
        scores: FloatTensor<Self>,
        hidden: BoolTensor<Self>,
        scale: f64,
    ) -> FloatTensor<Self>;

    /// The gradient of the scores from probabilities and their gradient.
    #[fusion(dtype = p, shape = p)]
    fn softmax_backward(
        p: FloatTensor<Self>,
        d_p: FloatTensor<Self>,
        scale: f64,
    ) -> FloatTensor<Self>;
}

impl SoftmaxKernels for CubeBackend {
    fn scaled_softmax(scores: CubeTensor, scale: f64) -> CubeTensor {
        softmax(scores, None, scale)
    }

    fn masked_softmax(scores: CubeTensor, hidden: CubeTensor, scale: f64) -> CubeTensor {
        let hidden = Self::bool_expand(hidden, scores.shape());
        softmax(scores, Some(hidden), scale)
    }

    fn softmax_backward(p: CubeTensor, d_p: CubeTensor, scale: f64) -> CubeTensor {
        let [p, d_p] = [p, d_p].map(with_rows);
        let shape = p.shape();
        let (rows, width) = (count(&p), shape[3]);
        let d_scores = empty_like(&p, shape);
        let units = Units::for_rows(&p, width);
        let (cubes, cube) = units.launch(&p, rows);
        let dtype = elem_type(&p);
        // SAFETY: units access only the rows and columns that they get.
        unsafe {
            softmax_backward_kernel::launch_unchecked(
                &d_scores.client,
                cubes,
                cube,
                address_type(&[&p, &d_p, &d_scores]),
                p.into_tensor_arg(),
                d_p.into_tensor_arg(),
                d_scores.clone().into_tensor_arg(),
                rows as u32,
                scale as f32,
                units,
                dtype,
            );
        }
        d_scores
    }
}

fn softmax(scores: CubeTensor, hidden: Option<CubeTensor>, scale: f64) -> CubeTensor {
    let scores = with_rows(scores);
    let shape = scores.shape();
    let (rows, width) = (count(&scores), shape[3]);
    let output = empty_like(&scores, shape);
    let masked = hidden.is_some();
    let hidden = hidden.map_or_else(|| scores.clone(), with_rows);
    let units = Units::for_rows(&scores, width);
    let (cubes, cube) = units.launch(&scores, rows);
    let types = [&scores, &hidden].map(elem_type);
    // SAFETY: units access only the rows and columns that they get.
    unsafe {
        softmax_kernel::launch_unchecked(
            &output.client,
            cubes,
            cube,
            address_type(&[&scores, &hidden, &output]),
            scores.into_tensor_arg(),
            hidden.into_tensor_arg(),
            output.clone().into_tensor_arg(),
            rows as u32,
            scale as f32,
            masked,
            units,
            types,
        );
    }
    output
}

/// One pass finds the largest score and the sum of exponentials, a second one writes.
#[cube(launch_unchecked, address_type = "dynamic")]
fn softmax_kernel<E: Float, B: Numeric>(
    scores: &Tensor<E>,
    hidden: &Tensor<B>,
    output: &mut Tensor<E>,
    rows: u32,
    scale: f32,
    #[comptime] masked: bool,
    #[comptime] units: Units,
    #[define(E, B)] _types: [ElemType; 2],
) {
    let mut shared = Shared::<[f32]>::new_slice(comptime!(units.per_row * units.rows));
    let row = CUBE_POS * units.rows + UNIT_POS_Y as usize;
    let is_row = row < rows as usize;
    // Units without a row compute the first row along with the others, because all units must take
    // part in reductions.
    let row = select(is_row, row, 0);
    let width = scores.shape(3);
    let scores_start = row_start(scores, row, 4usize);
    let hidden_start = row_start(hidden, row, 4usize);

    // The largest score of this unit so far, and the sum of exponentials relative to it. The large
    // negative number represents minus infinity, which WGSL does not have.
    let mut largest = f32::new(-1.0e30);
    let mut sum = f32::new(0.0);
    for key in range_stepped(UNIT_POS_X as usize, width, units.per_row) {
        let mut visible = true;
        if comptime!(masked) {
            visible = hidden[hidden_start + key] == B::from_int(0);
        }
        if visible {
            let score = scale * f32::cast_from(scores[scores_start + key]);
            let larger = max(largest, score);
            sum = sum * (largest - larger).exp() + (score - larger).exp();
            largest = larger;
        }
    }
    let largest_of_row = reduce_row(largest, &mut shared, Reduction::Max, units);
    let share = sum * (largest - largest_of_row).exp();
    let sum_of_row = reduce_row(share, &mut shared, Reduction::Sum, units);

    if is_row {
        let output_start = row_start(&*output, row, 4usize);
        for key in range_stepped(UNIT_POS_X as usize, width, units.per_row) {
            let mut visible = true;
            if comptime!(masked) {
                visible = hidden[hidden_start + key] == B::from_int(0);
            }
            let mut p = f32::new(0.0);
            if visible {
                let score = scale * f32::cast_from(scores[scores_start + key]);
                p = (score - largest_of_row).exp() / sum_of_row;
            }
            output[output_start + key] = E::cast_from(p);
        }
    }
}

#[cube(launch_unchecked, address_type = "dynamic")]
fn softmax_backward_kernel<E: Float>(
    p: &Tensor<E>,
    d_p: &Tensor<E>,
    d_scores: &mut Tensor<E>,
    rows: u32,
    scale: f32,
    #[comptime] units: Units,
    #[define(E)] _dtype: ElemType,
) {
    let mut shared = Shared::<[f32]>::new_slice(comptime!(units.per_row * units.rows));
    let row = CUBE_POS * units.rows + UNIT_POS_Y as usize;
    let is_row = row < rows as usize;
    let row = select(is_row, row, 0);
    let width = p.shape(3);
    let p_start = row_start(p, row, 4usize);
    let d_p_start = row_start(d_p, row, 4usize);

    let mut products = f32::new(0.0);
    for key in range_stepped(UNIT_POS_X as usize, width, units.per_row) {
        products += f32::cast_from(p[p_start + key]) * f32::cast_from(d_p[d_p_start + key]);
    }
    let sum = reduce_row(products, &mut shared, Reduction::Sum, units);

    if is_row {
        let d_scores_start = row_start(&*d_scores, row, 4usize);
        for key in range_stepped(UNIT_POS_X as usize, width, units.per_row) {
            let p = f32::cast_from(p[p_start + key]);
            let d = f32::cast_from(d_p[d_p_start + key]) - sum;
            d_scores[d_scores_start + key] = E::cast_from(scale * p * d);
        }
    }
}
