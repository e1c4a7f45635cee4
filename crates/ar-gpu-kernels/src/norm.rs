//! Layer norm without parameters, by itself and with adaptive modulation.
//!
//! ```text
//! x̂ = (x - mean(x)) / √(variance(x) + ε)        over the last axis
//! y = x̂ (1 + scale) + shift
//! ```
//!
//! The backward pass, with `g = dy (1 + scale)`:
//!
//! ```text
//! dx     = (g - mean(g) - x̂ mean(g x̂)) / √(variance(x) + ε)
//! dscale = Σ dy x̂        dshift = Σ dy        over the tokens of a frame
//! ```

use ar_autodiff::{parents, record, register};
use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops};
#[cfg(feature = "fusion")]
use burn::backend::fusion::custom::TensorSpec;
use burn::backend::ops::FloatTensorOps;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Cube, Dispatch, TensorMetadata, backend_extension};
use burn::tensor::{DType, Shape, Tensor as BurnTensor};
use burn_cubecl::CubeBackend;
use burn_cubecl::ops::numeric::empty_device_contiguous_dtype;
use burn_cubecl::tensor::CubeTensor;
use cubecl::calculate_cube_count_elemwise;
use cubecl::ir::ElemType;
use cubecl::prelude::*;

use crate::GpuTensor;
use crate::cubecl;
use crate::rows::{
    Reduction, Units, address_type, count, elem_type, empty_like, reduce_row, row_start, with_rows,
};

/// Layer normalisation over the last axis, without scale or bias.
pub fn layer_norm<const D: usize>(x: BurnTensor<D>, epsilon: f64) -> BurnTensor<D> {
    BurnTensor::from_dispatch(Dispatch::normalize(x.into_dispatch(), epsilon))
}

/// Layer normalisation and modulation, `x̂ (1 + scale) + shift`.
///
/// # Shapes
/// - `x` and output: `[batch, frames, tokens, width]`
/// - `shift`, `scale`: `[batch or 1, frames or 1, 1, width]`
pub fn layer_norm_modulate(
    x: BurnTensor<4>,
    shift: BurnTensor<4>,
    scale: BurnTensor<4>,
    epsilon: f64,
) -> BurnTensor<4> {
    let [x, shift, scale] = [x, shift, scale].map(BurnTensor::into_dispatch);
    BurnTensor::from_dispatch(Dispatch::normalize_modulate(x, shift, scale, epsilon))
}

/// The operations, with a backward pass.
#[backend_extension(Cube, Autodiff)]
trait NormOps: Backend {
    fn normalize(x: FloatTensor<Self>, epsilon: f64) -> FloatTensor<Self>;

    fn normalize_modulate(
        x: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        epsilon: f64,
    ) -> FloatTensor<Self>;
}

impl NormOps for Cube {
    fn normalize(x: GpuTensor, epsilon: f64) -> GpuTensor {
        Self::norm_forward(x, epsilon)
    }

    fn normalize_modulate(
        x: GpuTensor,
        shift: GpuTensor,
        scale: GpuTensor,
        epsilon: f64,
    ) -> GpuTensor {
        Self::modulated_norm_forward(x, shift, scale, epsilon)
    }
}

impl<C: CheckpointStrategy> NormOps for Autodiff<Cube, C> {
    fn normalize(x: FloatTensor<Self>, epsilon: f64) -> FloatTensor<Self> {
        record::<Cube, C, _, 1>(
            NormBackward,
            [x],
            |[x]| (x.clone(), epsilon),
            |[x]| Cube::norm_forward(x, epsilon),
        )
    }

    fn normalize_modulate(
        x: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        epsilon: f64,
    ) -> FloatTensor<Self> {
        record::<Cube, C, _, 3>(
            ModulatedNormBackward,
            [x, shift, scale],
            |[x, shift, scale]| (x.clone(), shift.shape(), scale.clone(), epsilon),
            |[x, shift, scale]| Cube::modulated_norm_forward(x, shift, scale, epsilon),
        )
    }
}

#[derive(Debug)]
struct NormBackward;

impl Backward<Cube, 1> for NormBackward {
    type State = (GpuTensor, f64);

    fn backward(self, ops: Ops<Self::State, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let parents = parents(&ops);
        let d_output = gradients.consume::<Cube>(&ops.node);
        let (x, epsilon) = ops.state;
        register::<Cube, _>(
            gradients,
            parents,
            [Cube::norm_backward(x, d_output, epsilon)],
        );
    }
}

#[derive(Debug)]
struct ModulatedNormBackward;

impl Backward<Cube, 3> for ModulatedNormBackward {
    /// Input, shape of the shift, scale, epsilon.
    type State = (GpuTensor, Shape, GpuTensor, f64);

    fn backward(self, ops: Ops<Self::State, 3>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let parents = parents(&ops);
        let d_output = gradients.consume::<Cube>(&ops.node);
        let (x, shift_shape, scale, epsilon) = ops.state;
        let scale_shape = scale.shape();
        let (d_x, d_shift, d_scale) = Cube::modulated_norm_backward(x, scale, d_output, epsilon);
        let values = [
            d_x,
            sum_to(d_shift, &shift_shape),
            sum_to(d_scale, &scale_shape),
        ];
        register::<Cube, _>(gradients, parents, values);
    }
}

/// The gradient of vectors that several frames share, from the gradients of all frames.
fn sum_to(mut gradient: GpuTensor, shape: &Shape) -> GpuTensor {
    for axis in 0..2 {
        if shape[axis] != gradient.shape()[axis] {
            gradient = Cube::float_sum_dim(gradient, axis);
        }
    }
    gradient
}

/// The kernels, in order with the other operations in Burn's fusion.
#[backend_extension(Cube, Fusion: cfg(feature = "fusion"))]
trait NormKernels: Backend {
    #[fusion(dtype = x, shape = x)]
    fn norm_forward(x: FloatTensor<Self>, epsilon: f64) -> FloatTensor<Self>;

    #[fusion(dtype = x, shape = x)]
    fn modulated_norm_forward(
        x: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        epsilon: f64,
    ) -> FloatTensor<Self>;

    /// The gradient of `x`.
    #[fusion(dtype = x, shape = x)]
    fn norm_backward(
        x: FloatTensor<Self>,
        d_output: FloatTensor<Self>,
        epsilon: f64,
    ) -> FloatTensor<Self>;

    /// The gradients of `x`, and of shift and scale of every frame.
    #[fusion(meta = modulated_norm_gradients)]
    fn modulated_norm_backward(
        x: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        d_output: FloatTensor<Self>,
        epsilon: f64,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);
}

#[cfg(feature = "fusion")]
fn modulated_norm_gradients(
    x: &TensorSpec,
    _: &TensorSpec,
    _: &TensorSpec,
    _: &f64,
) -> (TensorSpec, TensorSpec, TensorSpec) {
    let vectors = TensorSpec::new(vectors(&x.shape), x.dtype);
    (x.clone(), vectors.clone(), vectors)
}

/// The shape of one vector per frame.
fn vectors(x: &Shape) -> Shape {
    let [batch, frames, _, width] = x.dims();
    [batch, frames, 1, width].into()
}

impl NormKernels for CubeBackend {
    fn norm_forward(x: CubeTensor, epsilon: f64) -> CubeTensor {
        forward(x, None, epsilon)
    }

    fn modulated_norm_forward(
        x: CubeTensor,
        shift: CubeTensor,
        scale: CubeTensor,
        epsilon: f64,
    ) -> CubeTensor {
        let shape = x.shape();
        let vectors = [shift, scale].map(|vectors| Self::float_expand(vectors, shape.clone()));
        forward(x, Some(vectors), epsilon)
    }

    fn norm_backward(x: CubeTensor, d_output: CubeTensor, epsilon: f64) -> CubeTensor {
        backward(with_rows(x), None, with_rows(d_output), epsilon).0
    }

    fn modulated_norm_backward(
        x: CubeTensor,
        scale: CubeTensor,
        d_output: CubeTensor,
        epsilon: f64,
    ) -> (CubeTensor, CubeTensor, CubeTensor) {
        let [x, d_output] = [x, d_output].map(with_rows);
        let scale = with_rows(Self::float_expand(scale, x.shape()));
        let (d_x, moments) = backward(x.clone(), Some(scale), d_output.clone(), epsilon);
        let (d_shift, d_scale) = modulation_backward(x, d_output, moments);
        (d_x, d_shift, d_scale)
    }
}

/// The layer norm, modulated by a shift and a scale for every row if they are given.
fn forward(x: CubeTensor, modulation: Option<[CubeTensor; 2]>, epsilon: f64) -> CubeTensor {
    let x = with_rows(x);
    let shape = x.shape();
    let (rank, rows, width) = (shape.num_dims(), count(&x), shape[shape.num_dims() - 1]);
    let output = empty_like(&x, shape);
    let modulated = modulation.is_some();
    let [shift, scale] = match modulation {
        Some(vectors) => vectors.map(with_rows),
        None => [x.clone(), x.clone()],
    };
    let units = Units::for_rows(&x, width);
    let (cubes, cube) = units.launch(&x, rows);
    let dtype = elem_type(&x);
    // SAFETY: units access only the rows and columns that they get.
    unsafe {
        norm_kernel::launch_unchecked(
            &output.client,
            cubes,
            cube,
            address_type(&[&x, &output]),
            x.into_tensor_arg(),
            shift.into_tensor_arg(),
            scale.into_tensor_arg(),
            output.clone().into_tensor_arg(),
            rows as u32,
            epsilon as f32,
            modulated,
            rank,
            units,
            dtype,
        );
    }
    output
}

/// The gradient of `x`, and mean and reciprocal standard deviation of its rows, `[rows, 2]`.
fn backward(
    x: CubeTensor,
    scale: Option<CubeTensor>,
    d_output: CubeTensor,
    epsilon: f64,
) -> (CubeTensor, CubeTensor) {
    let shape = x.shape();
    let (rank, rows, width) = (shape.num_dims(), count(&x), shape[shape.num_dims() - 1]);
    let d_x = empty_like(&x, shape);
    let (client, device) = (x.client.clone(), x.device.clone());
    let moments = empty_device_contiguous_dtype(client, device, [rows, 2].into(), DType::F32);
    let modulated = scale.is_some();
    let units = Units::for_rows(&x, width);
    let (cubes, cube) = units.launch(&x, rows);
    let dtype = elem_type(&x);
    // SAFETY: units access only the rows and columns that they get.
    unsafe {
        norm_backward_kernel::launch_unchecked(
            &d_x.client,
            cubes,
            cube,
            address_type(&[&x, &d_output, &d_x]),
            x.clone().into_tensor_arg(),
            scale.unwrap_or(x).into_tensor_arg(),
            d_output.into_tensor_arg(),
            d_x.clone().into_tensor_arg(),
            moments.clone().into_tensor_arg(),
            rows as u32,
            epsilon as f32,
            modulated,
            rank,
            units,
            dtype,
        );
    }
    (d_x, moments)
}

/// The gradients of shift and scale of every frame.
fn modulation_backward(
    x: CubeTensor,
    d_output: CubeTensor,
    moments: CubeTensor,
) -> (CubeTensor, CubeTensor) {
    let [batch, frames, _, width] = x.shape().dims();
    let [d_shift, d_scale] = [(); 2].map(|()| empty_like(&x, vectors(&x.shape())));
    let columns = batch * frames * width;
    let cube = CubeDim::new(&x.client, columns);
    let dtype = elem_type(&x);
    // SAFETY: units access only the columns that they get.
    unsafe {
        modulation_backward_kernel::launch_unchecked(
            &d_shift.client,
            calculate_cube_count_elemwise(&x.client, columns, cube),
            cube,
            address_type(&[&x, &d_output]),
            x.into_tensor_arg(),
            d_output.into_tensor_arg(),
            moments.into_tensor_arg(),
            d_shift.clone().into_tensor_arg(),
            d_scale.clone().into_tensor_arg(),
            columns as u32,
            dtype,
        );
    }
    (d_shift, d_scale)
}

/// Mean and reciprocal standard deviation of a row.
#[cube]
fn moments<E: Float>(
    x: &Tensor<E>,
    start: usize,
    width: usize,
    epsilon: f32,
    shared: &mut Shared<[f32]>,
    #[comptime] units: Units,
) -> (f32, f32) {
    let count = f32::cast_from(width as u32);
    let mut sum = f32::new(0.0);
    for column in range_stepped(UNIT_POS_X as usize, width, units.per_row) {
        sum += f32::cast_from(x[start + column]);
    }
    let mean = reduce_row(sum, shared, Reduction::Sum, units) / count;
    let mut squares = f32::new(0.0);
    for column in range_stepped(UNIT_POS_X as usize, width, units.per_row) {
        let centered = f32::cast_from(x[start + column]) - mean;
        squares += centered * centered;
    }
    let variance = reduce_row(squares, shared, Reduction::Sum, units) / count;
    (mean, f32::new(1.0) / (variance + epsilon).sqrt())
}

#[cube(launch_unchecked, address_type = "dynamic")]
fn norm_kernel<E: Float>(
    x: &Tensor<E>,
    shift: &Tensor<E>,
    scale: &Tensor<E>,
    output: &mut Tensor<E>,
    rows: u32,
    epsilon: f32,
    #[comptime] modulated: bool,
    #[comptime] rank: usize,
    #[comptime] units: Units,
    #[define(E)] _dtype: ElemType,
) {
    let mut shared = Shared::<[f32]>::new_slice(comptime!(units.per_row * units.rows));
    let row = CUBE_POS * units.rows + UNIT_POS_Y as usize;
    let is_row = row < rows as usize;
    // Units without a row compute the first row along with the others, because all units must take
    // part in reductions.
    let row = select(is_row, row, 0);
    let width = x.shape(comptime!(rank - 1));
    let x_start = row_start(x, row, rank);
    let (mean, rstd) = moments::<E>(x, x_start, width, epsilon, &mut shared, units);
    if is_row {
        let output_start = row_start(&*output, row, rank);
        let shift_start = row_start(shift, row, rank);
        let scale_start = row_start(scale, row, rank);
        for column in range_stepped(UNIT_POS_X as usize, width, units.per_row) {
            let mut y = (f32::cast_from(x[x_start + column]) - mean) * rstd;
            if comptime!(modulated) {
                let scale = f32::cast_from(scale[scale_start + column]);
                let shift = f32::cast_from(shift[shift_start + column]);
                y = y * (f32::new(1.0) + scale) + shift;
            }
            output[output_start + column] = E::cast_from(y);
        }
    }
}

#[cube(launch_unchecked, address_type = "dynamic")]
fn norm_backward_kernel<E: Float>(
    x: &Tensor<E>,
    scale: &Tensor<E>,
    d_output: &Tensor<E>,
    d_x: &mut Tensor<E>,
    moments_of_rows: &mut Tensor<f32>,
    rows: u32,
    epsilon: f32,
    #[comptime] modulated: bool,
    #[comptime] rank: usize,
    #[comptime] units: Units,
    #[define(E)] _dtype: ElemType,
) {
    let mut shared = Shared::<[f32]>::new_slice(comptime!(units.per_row * units.rows));
    let row = CUBE_POS * units.rows + UNIT_POS_Y as usize;
    let is_row = row < rows as usize;
    let row = select(is_row, row, 0);
    let width = x.shape(comptime!(rank - 1));
    let x_start = row_start(x, row, rank);
    let scale_start = row_start(scale, row, rank);
    let d_start = row_start(d_output, row, rank);
    let (mean, rstd) = moments::<E>(x, x_start, width, epsilon, &mut shared, units);

    let mut sum = f32::new(0.0);
    let mut products = f32::new(0.0);
    for column in range_stepped(UNIT_POS_X as usize, width, units.per_row) {
        let mut g = f32::cast_from(d_output[d_start + column]);
        if comptime!(modulated) {
            g *= f32::new(1.0) + f32::cast_from(scale[scale_start + column]);
        }
        sum += g;
        products += g * (f32::cast_from(x[x_start + column]) - mean) * rstd;
    }
    let count = f32::cast_from(width as u32);
    let mean_g = reduce_row(sum, &mut shared, Reduction::Sum, units) / count;
    let mean_gx = reduce_row(products, &mut shared, Reduction::Sum, units) / count;

    if is_row {
        let d_x_start = row_start(&*d_x, row, rank);
        for column in range_stepped(UNIT_POS_X as usize, width, units.per_row) {
            let mut g = f32::cast_from(d_output[d_start + column]);
            if comptime!(modulated) {
                g *= f32::new(1.0) + f32::cast_from(scale[scale_start + column]);
            }
            let normed = (f32::cast_from(x[x_start + column]) - mean) * rstd;
            d_x[d_x_start + column] = E::cast_from(rstd * (g - mean_g - normed * mean_gx));
        }
        if UNIT_POS_X == 0 {
            moments_of_rows[2 * row] = mean;
            moments_of_rows[2 * row + 1] = rstd;
        }
    }
}

/// Each unit has one column of a frame, and adds up its tokens.
#[cube(launch_unchecked, address_type = "dynamic")]
fn modulation_backward_kernel<E: Float>(
    x: &Tensor<E>,
    d_output: &Tensor<E>,
    moments_of_rows: &Tensor<f32>,
    d_shift: &mut Tensor<E>,
    d_scale: &mut Tensor<E>,
    columns: u32,
    #[define(E)] _dtype: ElemType,
) {
    if ABSOLUTE_POS >= columns as usize {
        terminate!();
    }
    let tokens = x.shape(2);
    let width = x.shape(3);
    let frame = ABSOLUTE_POS / width;
    let column = ABSOLUTE_POS % width;
    let first = frame * tokens;
    let mut x_at = row_start(x, first, 4usize) + column;
    let mut d_at = row_start(d_output, first, 4usize) + column;
    let mut sum = f32::new(0.0);
    let mut products = f32::new(0.0);
    for row in first..first + tokens {
        let mean = moments_of_rows[2 * row];
        let rstd = moments_of_rows[2 * row + 1];
        let d = f32::cast_from(d_output[d_at]);
        sum += d;
        products += d * (f32::cast_from(x[x_at]) - mean) * rstd;
        x_at += x.stride(2);
        d_at += d_output.stride(2);
    }
    let shift_start = row_start(&*d_shift, frame, 4usize);
    let scale_start = row_start(&*d_scale, frame, 4usize);
    d_shift[shift_start + column] = E::cast_from(sum);
    d_scale[scale_start + column] = E::cast_from(products);
}
