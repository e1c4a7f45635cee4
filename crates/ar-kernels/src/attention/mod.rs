//! Attention, tile by tile: no product of queries and keys outlives its tile.
//!
//! Samples and heads are distributed over the cores. A task copies its head's queries, keys and values into contiguous
//! memory and processes the queries in tiles. Keys after the last one that a tile sees are skipped, which halves the
//! work under a causal mask. The backward pass recomputes the tiles.

mod gated_attention;
mod heads;
mod options;
mod tiles;

use ar_autodiff::{parents, record, register};
use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Flex, backend_extension};

use self::heads::{Heads, merge};
use self::tiles::{Sizes, TiledAttention};
use crate::buffer::{contiguous, dims, tensor, unit_stride};

pub use self::gated_attention::GatedAttention;
pub use self::options::{HiddenKeys, KernelOptions};

/// Attention, as an extension of the backend.
#[backend_extension(Flex, Autodiff)]
pub trait AttentionOps: Backend {
    /// Attention of separate queries, keys and values.
    ///
    /// # Shapes
    /// - `q`: `[batch, heads, queries, head_dim]`
    /// - `k`: `[batch, heads, keys, head_dim]`; `v`: `[batch, heads, keys, value_dim]`
    /// - output: `[batch, heads, queries, value_dim]`
    fn attend(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        options: KernelOptions,
    ) -> FloatTensor<Self>;

    /// Self-attention of one projection's queries, keys and values.
    ///
    /// # Shapes
    /// - `qkv`: `[batch, sequence, 3 * heads * head_dim]`
    /// - output: `[batch, sequence, heads * head_dim]`
    fn attend_packed(qkv: FloatTensor<Self>, options: KernelOptions) -> FloatTensor<Self>;

    /// [`AttentionOps::attend_packed`] after layer norms of queries and keys per head.
    ///
    /// # Shapes
    /// - `q_gamma`, `q_beta`, `k_gamma`, `k_beta`: `[head_dim]`
    fn attend_packed_normed(
        qkv: FloatTensor<Self>,
        q_gamma: FloatTensor<Self>,
        q_beta: FloatTensor<Self>,
        k_gamma: FloatTensor<Self>,
        k_beta: FloatTensor<Self>,
        options: KernelOptions,
    ) -> FloatTensor<Self>;
}

impl AttentionOps for Flex {
    fn attend(q: FlexTensor, k: FlexTensor, v: FlexTensor, options: KernelOptions) -> FlexTensor {
        let [batch, heads, queries, _] = dims(&q);
        let [.., value_dim] = dims::<4>(&v);
        let shape = [batch, heads, queries, value_dim];
        let qkv = [q, k, v].map(unit_stride);
        let inputs = qkv.each_ref().map(Heads::of);
        let tiled = TiledAttention::new(Sizes::of(&inputs, batch), None, None, &options);
        tensor(tiled.forward(&inputs), shape)
    }

    fn attend_packed(qkv: FlexTensor, options: KernelOptions) -> FlexTensor {
        forward_packed(qkv, None, None, &options)
    }

    fn attend_packed_normed(
        qkv: FlexTensor,
        q_gamma: FlexTensor,
        q_beta: FlexTensor,
        k_gamma: FlexTensor,
        k_beta: FlexTensor,
        options: KernelOptions,
    ) -> FlexTensor {
        let norms = [q_gamma, q_beta, k_gamma, k_beta];
        forward_packed(qkv, None, Some(norms), &options)
    }
}

impl<C: CheckpointStrategy> AttentionOps for Autodiff<Flex, C> {
    fn attend(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        options: KernelOptions,
    ) -> FloatTensor<Self> {
        record::<Flex, C, _, 3>(
            AttendBackward,
            [q, k, v],
            |qkv| (qkv.clone(), options.clone()),
            |[q, k, v]| Flex::attend(q, k, v, options.clone()),
        )
    }

    fn attend_packed(qkv: FloatTensor<Self>, options: KernelOptions) -> FloatTensor<Self> {
        record::<Flex, C, _, 1>(
            PackedBackward,
            [qkv],
            |inputs| (inputs.clone(), options.clone()),
            |[qkv]| Flex::attend_packed(qkv, options.clone()),
        )
    }

    fn attend_packed_normed(
        qkv: FloatTensor<Self>,
        q_gamma: FloatTensor<Self>,
        q_beta: FloatTensor<Self>,
        k_gamma: FloatTensor<Self>,
        k_beta: FloatTensor<Self>,
        options: KernelOptions,
    ) -> FloatTensor<Self> {
        record::<Flex, C, _, 5>(
            PackedBackward,
            [qkv, q_gamma, q_beta, k_gamma, k_beta],
            |inputs| (inputs.clone(), options.clone()),
            |[qkv, q_gamma, q_beta, k_gamma, k_beta]| {
                Flex::attend_packed_normed(qkv, q_gamma, q_beta, k_gamma, k_beta, options.clone())
            },
        )
    }
}

/// [`AttentionOps::attend_packed`] from new tokens to cached ones and to each other, after the layer norms of queries
/// and new keys per head, if there are any; without a backward pass.
///
/// # Shapes
/// - `qkv`: `[batch, new, 3 * heads * head_dim]`
/// - `cache`: keys, `[batch, heads, head_dim, cached]`, and values, `[batch, heads, cached, head_dim]`
/// - `norms`: gamma and beta of queries, then of keys, `[head_dim]`
/// - output: `[batch, new, heads * head_dim]`
pub fn forward_packed(
    qkv: FlexTensor,
    cache: Option<[FlexTensor; 2]>,
    norms: Option<[FlexTensor; 4]>,
    options: &KernelOptions,
) -> FlexTensor {
    let qkv = contiguous(qkv);
    let cache = cache.map(|cache| cache.map(unit_stride));
    let norms = norms.map(|norms| norms.map(contiguous));
    let [batch, sequence, packed] = dims(&qkv);
    let inputs = packed_heads(&qkv, options);
    let sizes = Sizes::of(&inputs, batch);
    let output =
        TiledAttention::new(sizes, cache.as_ref(), norms.as_ref(), options).forward(&inputs);
    let mut merged = vec![0.0; output.len()];
    let heads = [sequence, options.heads, sizes.head_dim];
    merge(&[&output], heads, &mut merged);
    tensor(merged, [batch, sequence, packed / 3])
}

/// Queries, keys and values of one projection.
fn packed_heads<'a>(qkv: &'a FlexTensor, options: &KernelOptions) -> [Heads<'a>; 3] {
    [0, 1, 2].map(|part| Heads::of_packed(qkv, options.heads, part, 3))
}

#[derive(Debug)]
struct AttendBackward;

impl Backward<Flex, 3> for AttendBackward {
    type State = ([FlexTensor; 3], KernelOptions);

    fn backward(self, ops: Ops<Self::State, 3>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let parents = parents(&ops);
        let d_output = unit_stride(gradients.consume::<Flex>(&ops.node));
        let (qkv, options) = ops.state;
        let shapes = qkv.each_ref().map(dims::<4>);
        let qkv = qkv.map(unit_stride);
        let inputs = qkv.each_ref().map(Heads::of);
        let sizes = Sizes::of(&inputs, shapes[0][0]);
        let tiled = TiledAttention::new(sizes, None, None, &options);
        let (d_qkv, _) = tiled.backward(&inputs, Heads::of(&d_output));
        let [d_q, d_k, d_v] = d_qkv;
        let [q, k, v] = shapes;
        let values = [tensor(d_q, q), tensor(d_k, k), tensor(d_v, v)];
        register::<Flex, _>(gradients, parents, values);
    }
}

#[derive(Debug)]
struct PackedBackward;

impl PackedBackward {
    /// Gradients of the packed projections and of the norms' parameters.
    fn gradients(
        qkv: FlexTensor,
        norms: Option<[FlexTensor; 4]>,
        options: &KernelOptions,
        d_output: FlexTensor,
    ) -> (FlexTensor, [FlexTensor; 4]) {
        let [qkv, d_output] = [qkv, d_output].map(contiguous);
        let norms = norms.map(|norms| norms.map(contiguous));
        let shape: [usize; 3] = dims(&qkv);
        let d_output = Heads::of_packed(&d_output, options.heads, 0, 1);
        let inputs = packed_heads(&qkv, options);
        let sizes = Sizes::of(&inputs, shape[0]);
        let head_dim = sizes.head_dim;
        let tiled = TiledAttention::new(sizes, None, norms.as_ref(), options);
        let (d_heads, d_norms) = tiled.backward(&inputs, d_output);
        let mut d_qkv = vec![0.0; shape.iter().product()];
        let d_heads = d_heads.each_ref().map(Vec::as_slice);
        merge(&d_heads, [shape[1], options.heads, head_dim], &mut d_qkv);
        (tensor(d_qkv, shape), d_norms.map(|d| tensor(d, [head_dim])))
    }
}

impl Backward<Flex, 1> for PackedBackward {
    type State = ([FlexTensor; 1], KernelOptions);

    fn backward(self, ops: Ops<Self::State, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let parents = parents(&ops);
        let d_output = gradients.consume::<Flex>(&ops.node);
        let ([qkv], options) = ops.state;
        let (d_qkv, _) = Self::gradients(qkv, None, &options, d_output);
        register::<Flex, _>(gradients, parents, [d_qkv]);
    }
}

impl Backward<Flex, 5> for PackedBackward {
    type State = ([FlexTensor; 5], KernelOptions);

    fn backward(self, ops: Ops<Self::State, 5>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let parents = parents(&ops);
        let d_output = gradients.consume::<Flex>(&ops.node);
        let ([qkv, norms @ ..], options) = ops.state;
        let (d_qkv, d_norms) = Self::gradients(qkv, Some(norms), &options, d_output);
        let [q_gamma, q_beta, k_gamma, k_beta] = d_norms;
        let values = [d_qkv, q_gamma, q_beta, k_gamma, k_beta];
        register::<Flex, _>(gradients, parents, values);
    }
}
