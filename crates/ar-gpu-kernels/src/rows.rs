//! Rows of tensors: where they are in memory, which units compute them, and sums and maxima over
//! them.
//!
//! A row is along the last axis, with contiguous values. Several units (GPU threads) share a row,
//! and a cube (a thread block) has a few rows. Reductions go through shared memory, which every
//! platform has, rather than through planes (warps), whose size differs or is unknown.

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

/// Most units per row.
const UNITS: usize = 128;
/// Fewest values of a row per unit, if a row has more than one unit.
const VALUES: usize = 4;

/// How a cube's units are divided among rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Units {
    /// Units per row: a power of two.
    pub per_row: usize,
    /// Rows per cube.
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

    /// Units for rows of `width` values, with two values per unit.
    pub(crate) fn for_pairs(width: usize) -> Self {
        let per_row = width.div_ceil(2).next_power_of_two();
        Self {
            per_row,
            rows: (UNITS / per_row).max(1),
        }
    }

    /// Launch sizes for `rows` rows.
    pub(crate) fn launch(self, tensor: &CubeTensor, rows: usize) -> (CubeCount, CubeDim) {
        let dim = CubeDim::new_2d(self.per_row as u32, self.rows as u32);
        let units = rows.next_multiple_of(self.rows) * self.per_row;
        (
            calculate_cube_count_elemwise(&tensor.client, units, dim),
            dim,
        )
    }
}

/// The tensor itself if the values of its rows are contiguous, otherwise a copy.
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

/// The address type that kernels need for the largest of these.
pub(crate) fn address_type(tensors: &[&CubeTensor]) -> AddressType {
    let types = tensors.iter().map(|tensor| tensor.required_address_type());
    types.max().unwrap_or_default()
}

/// Where a row starts; rows are counted over all axes except the last.
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

/// The kind of reduction of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Reduction {
    Sum,
    Max,
}

/// Reduces the values of the units of a row; all of them get the result.
///
/// Every unit of the cube must call this, because they wait for each other.
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
    // The next reduction must not overwrite it before every unit has read it.
    sync_cube();
    reduced
}

/// The type of a tensor's values in kernels.
pub(crate) fn elem_type(tensor: &CubeTensor) -> ElemType {
    dtype_to_storage_type(tensor.dtype)
}
