//! Rows of tensors: where they lie, who computes them, and sums and maxima over them.
//!
//! A row is what lies along the last axis, its values side by side. Some units (GPU threads) share
//! a row, and a cube (a thread block) has a few rows. Reductions go through shared memory, which
//! every platform has, rather than through planes (warps), whose size differs or is unknown.

use burn::backend::TensorMetadata;
use burn::backend::cubecl::dtype_to_storage_type;
use burn::tensor::Shape;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::ops::numeric::empty_device_dtype;
use burn_cubecl::tensor::CubeTensor;
use cubecl::calculate_cube_count_elemwise;
use cubecl::ir::ElemType;
use cubecl::prelude::*;

use crate::cubecl;

/// Units of a row at most.
const UNITS: usize = 128;
/// Values that a unit has of a row at least, where it may share.
const VALUES: usize = 4;

/// How a cube's units are divided among rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Units {
    /// Units of a row: a power of two.
    pub per_row: usize,
    /// Rows of a cube.
    pub rows: usize,
}

impl Units {
    /// Units for rows of `width` values.
    pub(crate) fn for_rows(tensor: &CubeTensor, width: usize) -> Self {
        let most = tensor.client.properties().hardware.max_units_per_cube as usize;
        let most = UNITS.min(1 << most.ilog2());
        let per_row = width.div_ceil(VALUES).next_power_of_two().min(most);
        Self {
            per_row,
            rows: most / per_row,
        }
    }

    /// Units for rows of `width` values of which each has two.
    pub(crate) fn for_pairs(width: usize) -> Self {
        let per_row = width.div_ceil(2).next_power_of_two();
        Self {
            per_row,
            rows: (UNITS / per_row).max(1),
        }
    }

    /// Launch sizes for so many rows.
    pub(crate) fn launch(self, tensor: &CubeTensor, rows: usize) -> (CubeCount, CubeDim) {
        let dim = CubeDim::new_2d(self.per_row as u32, self.rows as u32);
        let units = rows.next_multiple_of(self.rows) * self.per_row;
        (
            calculate_cube_count_elemwise(&tensor.client, units, dim),
            dim,
        )
    }
}

/// The tensor itself if the values of its rows lie side by side, else a copy.
pub(crate) fn with_rows(tensor: CubeTensor) -> CubeTensor {
    let [.., width] = tensor.meta.shape[..] else {
        return tensor;
    };
    let [.., stride] = tensor.meta.strides[..] else {
        return tensor;
    };
    if tensor.meta.is_tiled() || (stride != 1 && width != 1) {
        into_contiguous(tensor)
    } else {
        tensor
    }
}

/// An uninitialised tensor like this one, of another shape.
pub(crate) fn empty_like(tensor: &CubeTensor, shape: impl Into<Shape>) -> CubeTensor {
    let (client, device) = (tensor.client.clone(), tensor.device.clone());
    empty_device_dtype(client, device, shape.into(), tensor.dtype)
}

/// The number of rows.
pub(crate) fn count(tensor: &CubeTensor) -> usize {
    let shape = tensor.shape();
    shape[..shape.num_dims() - 1].iter().product()
}

/// What kernels need to address the largest of these.
pub(crate) fn address_type(tensors: &[&CubeTensor]) -> AddressType {
    let types = tensors.iter().map(|tensor| tensor.required_address_type());
    types.max().unwrap_or_default()
}

/// Where a row starts, rows counted over all axes but the last.
#[cube]
pub(crate) fn row_start<E: Scalar>(
    tensor: &Tensor<E>,
    row: usize,
    #[comptime] rank: usize,
) -> usize {
    let mut start = 0;
    let mut rest = row;
    #[unroll]
    for i in 1..rank {
        let axis = comptime!(rank - 1 - i);
        let size = tensor.shape(axis);
        start += rest % size * tensor.stride(axis);
        rest /= size;
    }
    start
}

/// What a row is reduced to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Reduction {
    Sum,
    Max,
}

/// The reduction of the values that the units of a row have, for all of them.
///
/// Every unit of the cube must get here: they wait for one another.
#[cube]
pub(crate) fn reduce_row(
    value: f32,
    shared: &mut Shared<[f32]>,
    #[comptime] reduction: Reduction,
    #[comptime] units: Units,
) -> f32 {
    let unit = UNIT_POS as usize;
    let in_row = UNIT_POS_X as usize;
    shared[unit] = value;
    sync_cube();
    #[unroll]
    for step in 0..comptime!(units.per_row.ilog2()) {
        let half = comptime!(units.per_row >> (step + 1));
        if in_row < half {
            let other = shared[unit + half];
            let own = shared[unit];
            shared[unit] = match comptime!(reduction) {
                Reduction::Sum => own + other,
                Reduction::Max => max(own, other),
            };
        }
        sync_cube();
    }
    let reduced = shared[unit - in_row];
    // The next reduction must not overwrite it before everybody has read it.
    sync_cube();
    reduced
}

/// What kernels call the type of a tensor's values.
pub(crate) fn elem_type(tensor: &CubeTensor) -> ElemType {
    dtype_to_storage_type(tensor.dtype)
}
