//! From packed projections to heads: layer norms of queries and keys, and RoPE.
//!
//! ```text
//! q, k = rotate(x̂ gamma + beta),   x̂ = (x - mean(x)) / √(variance(x) + ε)   over a head's channels
//! ```
//!
//! Pairs of channels are rotated as in RoPE (Su et al., 2021): `(a, b)` to `(a cos - b sin, a sin + b cos)`. Each unit
//! has one pair of a row, so that a row is read only once.
#![expect(
    clippy::collapsible_if,
    reason = "the outer conditions are decided before a kernel is compiled, the inner ones when it runs"
)]

#[cfg(feature = "fusion")]
use burn::backend::fusion::custom::TensorSpec;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, ExtensionType, TensorMetadata, backend_extension};
use burn::tensor::DType;
use burn_cubecl::CubeBackend;
use burn_cubecl::ops::numeric::empty_device_contiguous_dtype;
use burn_cubecl::tensor::CubeTensor;
use cubecl::ir::ElemType;
use cubecl::prelude::*;

use crate::cubecl;
use crate::rows::{
    Reduction, Units, address_type, elem_type, empty_like, reduce_row, row_start, with_rows,
};

/// Most channels of a head: two for each unit of a cube.
pub(crate) const MAX_HEAD_DIM: usize = 256;
/// Rows over which a unit adds up the gradients of gamma and beta.
const CHUNK: usize = 16;

/// RoPE of all queries and keys.
#[derive(Clone, Debug, ExtensionType)]
#[extension_type(fusion: cfg(feature = "fusion"))]
pub(crate) enum Rope<B: Backend> {
    None,
    /// `[1, 1, sequence, head_dim]` each: `cos | cos` and `-sin | sin` of every pair.
    Tables {
        cos: FloatTensor<B>,
        sin: FloatTensor<B>,
    },
}

/// The kernels, in order with the other operations in Burn's fusion.
///
/// # Shapes
/// - `qkv` and its gradient: `[batch, sequence, 3 * heads * head_dim]`
/// - `norms`: gamma and beta of queries, then of keys, `[4, head_dim]`
/// - queries, keys, values and their gradients: `[batch, heads, sequence, head_dim]`
/// - gradients of the norms, which have to be added up over chunks: f32, `[chunks, 4, head_dim]`
#[backend_extension(Cube, Fusion: cfg(feature = "fusion"))]
pub(crate) trait HeadKernels: Backend {
    #[fusion(meta = |qkv, _rope, heads| split(qkv, *heads))]
    fn split_heads(
        qkv: FloatTensor<Self>,
        #[extension_type] rope: Rope<Self>,
        heads: usize,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);

    #[fusion(meta = |qkv, _norms, _rope, heads, _epsilon| split(qkv, *heads))]
    fn split_normed_heads(
        qkv: FloatTensor<Self>,
        norms: FloatTensor<Self>,
        #[extension_type] rope: Rope<Self>,
        heads: usize,
        epsilon: f64,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);

    #[fusion(dtype = qkv, shape = qkv)]
    fn split_heads_backward(
        qkv: FloatTensor<Self>,
        #[extension_type] rope: Rope<Self>,
        d_q: FloatTensor<Self>,
        d_k: FloatTensor<Self>,
        d_v: FloatTensor<Self>,
    ) -> FloatTensor<Self>;

    #[fusion(meta = |qkv, _norms, _rope, d_q, _d_k, _d_v, _epsilon| {
        (qkv.clone(), norm_gradients(d_q))
    })]
    fn split_normed_heads_backward(
        qkv: FloatTensor<Self>,
        norms: FloatTensor<Self>,
        #[extension_type] rope: Rope<Self>,
        d_q: FloatTensor<Self>,
        d_k: FloatTensor<Self>,
        d_v: FloatTensor<Self>,
        epsilon: f64,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);
}

#[cfg(feature = "fusion")]
fn split(qkv: &TensorSpec, heads: usize) -> (TensorSpec, TensorSpec, TensorSpec) {
    let [batch, sequence, packed] = qkv.shape.dims();
    let shape = [batch, heads, sequence, packed / 3 / heads];
    let part = TensorSpec::new(shape.into(), qkv.dtype);
    (part.clone(), part.clone(), part)
}

#[cfg(feature = "fusion")]
fn norm_gradients(d_q: &TensorSpec) -> TensorSpec {
    let [batch, heads, sequence, head_dim] = d_q.shape.dims();
    let chunks = (batch * heads * sequence).div_ceil(CHUNK);
    TensorSpec::new([chunks, 4, head_dim].into(), DType::F32)
}

impl HeadKernels for CubeBackend {
    fn split_heads(
        qkv: CubeTensor,
        rope: Rope<Self>,
        heads: usize,
    ) -> (CubeTensor, CubeTensor, CubeTensor) {
        forward(qkv, None, rope, heads, 0.0)
    }

    fn split_normed_heads(
        qkv: CubeTensor,
        norms: CubeTensor,
        rope: Rope<Self>,
        heads: usize,
        epsilon: f64,
    ) -> (CubeTensor, CubeTensor, CubeTensor) {
        forward(qkv, Some(norms), rope, heads, epsilon)
    }

    fn split_heads_backward(
        qkv: CubeTensor,
        rope: Rope<Self>,
        d_q: CubeTensor,
        d_k: CubeTensor,
        d_v: CubeTensor,
    ) -> CubeTensor {
        backward(qkv, None, rope, [d_q, d_k, d_v], 0.0).0
    }

    fn split_normed_heads_backward(
        qkv: CubeTensor,
        norms: CubeTensor,
        rope: Rope<Self>,
        d_q: CubeTensor,
        d_k: CubeTensor,
        d_v: CubeTensor,
        epsilon: f64,
    ) -> (CubeTensor, CubeTensor) {
        backward(qkv, Some(norms), rope, [d_q, d_k, d_v], epsilon)
    }
}

/// Whether there are tables, and placeholders if not.
fn tables(rope: Rope<CubeBackend>, or: &CubeTensor) -> (bool, [CubeTensor; 2]) {
    match rope {
        Rope::None => (false, [or.clone(), or.clone()]),
        Rope::Tables { cos, sin } => (true, [cos, sin].map(with_rows)),
    }
}

fn forward(
    qkv: CubeTensor,
    norms: Option<CubeTensor>,
    rope: Rope<CubeBackend>,
    heads: usize,
    epsilon: f64,
) -> (CubeTensor, CubeTensor, CubeTensor) {
    let qkv = with_rows(qkv);
    let [batch, sequence, packed] = qkv.shape().dims();
    let head_dim = packed / 3 / heads;
    let [q, k, v] = [(); 3].map(|()| empty_like(&qkv, [batch, heads, sequence, head_dim]));
    let normed = norms.is_some();
    let norms = norms.map_or_else(|| qkv.clone(), with_rows);
    let (rotated, [cos, sin]) = tables(rope, &qkv);
    let units = Units::for_pairs(head_dim);
    let (cubes, cube) = units.launch(&qkv, 3 * batch * heads * sequence);
    let types = [&qkv, &norms, &cos].map(elem_type);
    // SAFETY: units access only the rows and channels of the outputs.
    unsafe {
        split_kernel::launch_unchecked(
            &q.client,
            cubes,
            cube,
            address_type(&[&qkv, &q]),
            qkv.into_tensor_arg(),
            norms.into_tensor_arg(),
            cos.into_tensor_arg(),
            sin.into_tensor_arg(),
            q.clone().into_tensor_arg(),
            k.clone().into_tensor_arg(),
            v.clone().into_tensor_arg(),
            epsilon as f32,
            normed,
            rotated,
            units,
            types,
        );
    }
    (q, k, v)
}

/// The gradient of the packed projections, and the parts of the gradients of the norms, which are not written if there
/// are no norms.
fn backward(
    qkv: CubeTensor,
    norms: Option<CubeTensor>,
    rope: Rope<CubeBackend>,
    d_heads: [CubeTensor; 3],
    epsilon: f64,
) -> (CubeTensor, CubeTensor) {
    let qkv = with_rows(qkv);
    let [d_q, d_k, d_v] = d_heads.map(with_rows);
    let [batch, heads, sequence, head_dim] = d_q.shape().dims();
    let chunks = (batch * heads * sequence).div_ceil(CHUNK);
    let d_qkv = empty_like(&qkv, qkv.shape());
    let normed = norms.is_some();
    let norms = norms.map_or_else(|| qkv.clone(), with_rows);
    let (client, device) = (qkv.client.clone(), qkv.device.clone());
    let shape = [if normed { chunks } else { 1 }, 4, head_dim];
    let d_norms = empty_device_contiguous_dtype(client, device, shape.into(), DType::F32);
    let (rotated, [cos, sin]) = tables(rope, &qkv);
    let units = Units::for_pairs(head_dim);
    let (cubes, cube) = units.launch(&qkv, 3 * chunks);
    let types = [&qkv, &norms, &cos].map(elem_type);
    // SAFETY: units access only the rows and channels of the outputs.
    unsafe {
        split_backward_kernel::launch_unchecked(
            &d_qkv.client,
            cubes,
            cube,
            address_type(&[&qkv, &d_qkv, &d_q]),
            qkv.into_tensor_arg(),
            norms.into_tensor_arg(),
            cos.into_tensor_arg(),
            sin.into_tensor_arg(),
            d_q.into_tensor_arg(),
            d_k.into_tensor_arg(),
            d_v.into_tensor_arg(),
            d_qkv.clone().into_tensor_arg(),
            d_norms.clone().into_tensor_arg(),
            epsilon as f32,
            normed,
            rotated,
            units,
            types,
        );
    }
    (d_qkv, d_norms)
}

/// Where a head's row starts in the packed projections. Rows are counted over samples, heads and tokens; the parts are
/// queries, keys and values.
#[cube]
fn packed_start<E: Float>(
    packed: &Tensor<E>,
    part: usize,
    row: usize,
    heads: usize,
    head_dim: usize,
) -> usize {
    let tokens = packed.shape(1);
    let token = row % tokens;
    let head = row / tokens % heads;
    let sample = row / tokens / heads;
    sample * packed.stride(0) + token * packed.stride(1) + (part * heads + head) * head_dim
}

/// Mean and reciprocal standard deviation of a row. A unit has one pair of it, or none.
#[cube]
fn moments_of_pairs(
    a: f32,
    b: f32,
    is_pair: bool,
    head_dim: usize,
    epsilon: f32,
    shared: &mut Shared<[f32]>,
    #[comptime] units: Units,
) -> (f32, f32) {
    let count = f32::cast_from(head_dim as u32);
    let mean = reduce_row(a + b, shared, Reduction::Sum, units) / count;
    let squares = (a - mean) * (a - mean) + (b - mean) * (b - mean);
    let squares = select(is_pair, squares, f32::new(0.0));
    let variance = reduce_row(squares, shared, Reduction::Sum, units) / count;
    (mean, f32::new(1.0) / (variance + epsilon).sqrt())
}

#[cube(launch_unchecked, address_type = "dynamic")]
fn split_kernel<E: Float, P: Float, T: Float>(
    qkv: &Tensor<E>,
    norms: &Tensor<P>,
    cos: &Tensor<T>,
    sin: &Tensor<T>,
    q: &mut Tensor<E>,
    k: &mut Tensor<E>,
    v: &mut Tensor<E>,
    epsilon: f32,
    #[comptime] normed: bool,
    #[comptime] rotated: bool,
    #[comptime] units: Units,
    #[define(E, P, T)] _types: [ElemType; 3],
) {
    let mut shared = Shared::<[f32]>::new_slice(comptime!(units.per_row * units.rows));
    let heads = q.shape(1);
    let tokens = q.shape(2);
    let head_dim = q.shape(3);
    let rows = q.shape(0) * heads * tokens;
    let row_of_all = CUBE_POS * units.rows + UNIT_POS_Y as usize;
    let part = row_of_all / rows;
    let row = row_of_all % rows;
    let channel = 2 * UNIT_POS_X as usize;
    let is_pair = part < 3 && channel < head_dim;

    let mut a = f32::new(0.0);
    let mut b = f32::new(0.0);
    if is_pair {
        let start = packed_start::<E>(qkv, part, row, heads, head_dim);
        a = f32::cast_from(qkv[start + channel]);
        b = f32::cast_from(qkv[start + channel + 1]);
    }
    if comptime!(normed) {
        let (mean, rstd) = moments_of_pairs(a, b, is_pair, head_dim, epsilon, &mut shared, units);
        if is_pair && part < 2 {
            let gamma = 2 * part * norms.stride(0) + channel;
            let beta = gamma + norms.stride(0);
            a = (a - mean) * rstd * f32::cast_from(norms[gamma]) + f32::cast_from(norms[beta]);
            b = (b - mean) * rstd * f32::cast_from(norms[gamma + 1])
                + f32::cast_from(norms[beta + 1]);
        }
    }
    if comptime!(rotated) {
        if is_pair && part < 2 {
            let token = row % tokens;
            let cos = f32::cast_from(cos[token * cos.stride(2) + channel + 1]);
            let sin = f32::cast_from(sin[token * sin.stride(2) + channel + 1]);
            let rotated_a = a * cos - b * sin;
            b = a * sin + b * cos;
            a = rotated_a;
        }
    }
    if is_pair {
        if part == 0 {
            let start = row_start(&*q, row, 4usize) + channel;
            q[start] = E::cast_from(a);
            q[start + 1] = E::cast_from(b);
        } else if part == 1 {
            let start = row_start(&*k, row, 4usize) + channel;
            k[start] = E::cast_from(a);
            k[start + 1] = E::cast_from(b);
        } else {
            let start = row_start(&*v, row, 4usize) + channel;
            v[start] = E::cast_from(a);
            v[start + 1] = E::cast_from(b);
        }
    }
}

/// The units of a row process a chunk of rows, and add up the gradients of gamma and beta.
#[cube(launch_unchecked, address_type = "dynamic")]
fn split_backward_kernel<E: Float, P: Float, T: Float>(
    qkv: &Tensor<E>,
    norms: &Tensor<P>,
    cos: &Tensor<T>,
    sin: &Tensor<T>,
    d_q: &Tensor<E>,
    d_k: &Tensor<E>,
    d_v: &Tensor<E>,
    d_qkv: &mut Tensor<E>,
    d_norms: &mut Tensor<f32>,
    epsilon: f32,
    #[comptime] normed: bool,
    #[comptime] rotated: bool,
    #[comptime] units: Units,
    #[define(E, P, T)] _types: [ElemType; 3],
) {
    let mut shared = Shared::<[f32]>::new_slice(comptime!(units.per_row * units.rows));
    let heads = d_q.shape(1);
    let tokens = d_q.shape(2);
    let head_dim = d_q.shape(3);
    let rows = d_q.shape(0) * heads * tokens;
    let chunks = rows.div_ceil(CHUNK);
    let chunk_of_all = CUBE_POS * units.rows + UNIT_POS_Y as usize;
    let part = chunk_of_all / chunks;
    let chunk = chunk_of_all % chunks;
    let channel = 2 * UNIT_POS_X as usize;
    let is_channel = part < 3 && channel < head_dim;
    let count = f32::cast_from(head_dim as u32);

    let mut gamma_a = f32::new(1.0);
    let mut gamma_b = f32::new(1.0);
    if comptime!(normed) {
        if is_channel && part < 2 {
            gamma_a = f32::cast_from(norms[2 * part * norms.stride(0) + channel]);
            gamma_b = f32::cast_from(norms[2 * part * norms.stride(0) + channel + 1]);
        }
    }
    let mut d_gamma_a = f32::new(0.0);
    let mut d_gamma_b = f32::new(0.0);
    let mut d_beta_a = f32::new(0.0);
    let mut d_beta_b = f32::new(0.0);
    for i in 0..CHUNK {
        let row = chunk * CHUNK + i;
        let is_pair = is_channel && row < rows;
        let start = packed_start::<E>(&*d_qkv, part, row, heads, head_dim) + channel;

        let mut d_a = f32::new(0.0);
        let mut d_b = f32::new(0.0);
        if is_pair {
            if part == 0 {
                let from = row_start(d_q, row, 4usize) + channel;
                d_a = f32::cast_from(d_q[from]);
                d_b = f32::cast_from(d_q[from + 1]);
            } else if part == 1 {
                let from = row_start(d_k, row, 4usize) + channel;
                d_a = f32::cast_from(d_k[from]);
                d_b = f32::cast_from(d_k[from + 1]);
            } else {
                let from = row_start(d_v, row, 4usize) + channel;
                d_a = f32::cast_from(d_v[from]);
                d_b = f32::cast_from(d_v[from + 1]);
            }
        }
        if comptime!(rotated) {
            if is_pair && part < 2 {
                let token = row % tokens;
                let cos = f32::cast_from(cos[token * cos.stride(2) + channel + 1]);
                let sin = f32::cast_from(sin[token * sin.stride(2) + channel + 1]);
                let rotated_a = d_a * cos + d_b * sin;
                d_b = d_b * cos - d_a * sin;
                d_a = rotated_a;
            }
        }
        if comptime!(normed) {
            let mut a = f32::new(0.0);
            let mut b = f32::new(0.0);
            if is_pair {
                let from = packed_start::<E>(qkv, part, row, heads, head_dim) + channel;
                a = f32::cast_from(qkv[from]);
                b = f32::cast_from(qkv[from + 1]);
            }
            let (mean, rstd) =
                moments_of_pairs(a, b, is_pair, head_dim, epsilon, &mut shared, units);
            let normed_a = (a - mean) * rstd;
            let normed_b = (b - mean) * rstd;
            d_gamma_a += d_a * normed_a;
            d_gamma_b += d_b * normed_b;
            d_beta_a += d_a;
            d_beta_b += d_b;
            let g_a = d_a * gamma_a;
            let g_b = d_b * gamma_b;
            let products = g_a * normed_a + g_b * normed_b;
            let mean_g = reduce_row(g_a + g_b, &mut shared, Reduction::Sum, units) / count;
            let mean_gx = reduce_row(products, &mut shared, Reduction::Sum, units) / count;
            if part < 2 {
                d_a = rstd * (g_a - mean_g - normed_a * mean_gx);
                d_b = rstd * (g_b - mean_g - normed_b * mean_gx);
            }
        }
        if is_pair {
            d_qkv[start] = E::cast_from(d_a);
            d_qkv[start + 1] = E::cast_from(d_b);
        }
    }
    if comptime!(normed) {
        if is_channel && part < 2 {
            let gamma = (chunk * 4 + 2 * part) * head_dim + channel;
            d_norms[gamma] = d_gamma_a;
            d_norms[gamma + 1] = d_gamma_b;
            d_norms[gamma + head_dim] = d_beta_a;
            d_norms[gamma + head_dim + 1] = d_beta_b;
        }
    }
}
