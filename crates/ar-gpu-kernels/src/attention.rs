//! Attention that keeps its inputs, and no scores.
//!
//! Under Burn's automatic differentiation, attention becomes a dozen operations, half of which keep
//! a result of `[batch, heads, queries, keys]`, including the mask. Here, the backward pass
//! recomputes the probabilities, for one layer at a time:
//!
//! ```text
//! p  = softmax(q kᵀ / √head_dim)      o = p v
//! dp = do vᵀ      ds = p (dp - Σ p dp) / √head_dim
//! dq = ds k       dk = dsᵀ q       dv = pᵀ do
//! ```
//!
//! The products are Burn's, on tensor cores if there are any.

use ar_autodiff::{parents, record, register};
use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops};
use burn::backend::ops::FloatTensorOps;
use burn::backend::tensor::{BoolTensor, FloatTensor};
use burn::backend::{
    Autodiff, Backend, Cube, Dispatch, DispatchTensor, ExtensionType, TensorMetadata,
    backend_extension,
};
use burn::tensor::{Bool, Tensor};

use crate::GpuTensor;
use crate::heads::{HeadKernels, MAX_HEAD_DIM, Rope};
use crate::softmax::SoftmaxKernels;

/// Scaled dot-product attention, `softmax(q kᵀ / √head_dim) v`.
///
/// # Shapes
/// - `q`: `[batch, heads, queries, head_dim]`
/// - `k`: `[batch, heads, keys, head_dim]`; `v`: `[batch, heads, keys, value_dim]`
/// - `hidden`: `[1, 1, queries, keys]`, `true` where a key is hidden; every query must see at least
///   one key
/// - output: `[batch, heads, queries, value_dim]`
pub fn attention(
    q: Tensor<4>,
    k: Tensor<4>,
    v: Tensor<4>,
    hidden: Option<Tensor<4, Bool>>,
) -> Tensor<4> {
    let [q, k, v] = [q, k, v].map(Tensor::into_dispatch);
    Tensor::from_dispatch(Dispatch::attend(q, k, v, mask(hidden)))
}

/// How a projection becomes queries, keys and values.
#[derive(Clone, Debug)]
pub struct Heads {
    /// Number of heads.
    pub count: usize,
    /// Gamma and beta of the layer norms of queries, then of keys, `[head_dim]` each, if any.
    pub norms: Option<[Tensor<1>; 4]>,
    /// Added to the variance in these norms.
    pub epsilon: f64,
    /// RoPE of all queries and keys, if any: `cos | cos` and `-sin | sin` of each pair of channels,
    /// `[1, 1, sequence, head_dim]` each.
    pub rope: Option<[Tensor<4>; 2]>,
}

impl Heads {
    /// Whether there is a kernel for heads of `head_dim` channels.
    pub fn covers(head_dim: usize) -> bool {
        head_dim.is_multiple_of(2) && head_dim <= MAX_HEAD_DIM
    }

    fn norms(&mut self) -> Option<DispatchTensor> {
        let norms = self.norms.take()?;
        Some(Tensor::stack::<2>(norms.to_vec(), 0).into_dispatch())
    }

    fn rope(&mut self) -> Rope<Dispatch> {
        match self.rope.take() {
            Some(tables) => {
                let [cos, sin] = tables.map(Tensor::into_dispatch);
                Rope::Tables { cos, sin }
            }
            None => Rope::None,
        }
    }
}

/// Self-attention over one projection of queries, keys and values. Only the projection is kept for
/// the backward pass.
///
/// # Shapes
/// - `qkv`: `[batch, sequence, 3 * heads * head_dim]`
/// - `hidden`: `[1, 1, sequence, sequence]`, as in [`attention`]
/// - output: `[batch, sequence, heads * head_dim]`
pub fn self_attention(
    qkv: Tensor<3>,
    mut heads: Heads,
    hidden: Option<Tensor<4, Bool>>,
) -> Tensor<3> {
    let (qkv, rope, mask) = (qkv.into_dispatch(), heads.rope(), mask(hidden));
    Tensor::from_dispatch(match heads.norms() {
        None => Dispatch::attend_packed(qkv, rope, mask, heads.count),
        Some(norms) => {
            Dispatch::attend_packed_normed(qkv, norms, rope, mask, heads.count, heads.epsilon)
        }
    })
}

/// The queries, keys and values of [`self_attention`], after layer norms and RoPE; without a
/// backward pass.
///
/// # Shapes
/// - `qkv`: `[batch, sequence, 3 * heads * head_dim]`
/// - outputs: `[batch, heads, sequence, head_dim]`
pub fn split_heads(qkv: Tensor<3>, mut heads: Heads) -> [Tensor<4>; 3] {
    let (qkv, rope) = (qkv.into_dispatch(), heads.rope());
    let (q, k, v) = match heads.norms() {
        None => Dispatch::split_heads(qkv, rope, heads.count),
        Some(norms) => Dispatch::split_normed_heads(qkv, norms, rope, heads.count, heads.epsilon),
    };
    [q, k, v].map(Tensor::from_dispatch)
}

fn mask(hidden: Option<Tensor<4, Bool>>) -> Mask<Dispatch> {
    match hidden {
        Some(hidden) => Mask::Hidden(hidden.into_dispatch()),
        None => Mask::None,
    }
}

/// Which keys are hidden.
#[derive(Clone, Debug, ExtensionType)]
enum Mask<B: Backend> {
    None,
    Hidden(BoolTensor<B>),
}

#[backend_extension(Cube, Autodiff)]
trait AttentionOps: Backend {
    fn attend(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        #[extension_type] mask: Mask<Self>,
    ) -> FloatTensor<Self>;

    fn attend_packed(
        qkv: FloatTensor<Self>,
        #[extension_type] rope: Rope<Self>,
        #[extension_type] mask: Mask<Self>,
        heads: usize,
    ) -> FloatTensor<Self>;

    fn attend_packed_normed(
        qkv: FloatTensor<Self>,
        norms: FloatTensor<Self>,
        #[extension_type] rope: Rope<Self>,
        #[extension_type] mask: Mask<Self>,
        heads: usize,
        epsilon: f64,
    ) -> FloatTensor<Self>;
}

impl AttentionOps for Cube {
    fn attend(q: GpuTensor, k: GpuTensor, v: GpuTensor, mask: Mask<Self>) -> GpuTensor {
        Self::float_matmul(probabilities(q, k, mask), v)
    }

    fn attend_packed(
        qkv: GpuTensor,
        rope: Rope<Self>,
        mask: Mask<Self>,
        heads: usize,
    ) -> GpuTensor {
        let (q, k, v) = Self::split_heads(qkv, rope, heads);
        merge_heads(Self::attend(q, k, v, mask))
    }

    fn attend_packed_normed(
        qkv: GpuTensor,
        norms: GpuTensor,
        rope: Rope<Self>,
        mask: Mask<Self>,
        heads: usize,
        epsilon: f64,
    ) -> GpuTensor {
        let (q, k, v) = Self::split_normed_heads(qkv, norms, rope, heads, epsilon);
        merge_heads(Self::attend(q, k, v, mask))
    }
}

impl<C: CheckpointStrategy> AttentionOps for Autodiff<Cube, C> {
    fn attend(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        mask: Mask<Self>,
    ) -> FloatTensor<Self> {
        let mask = mask.without_autodiff();
        record::<Cube, C, _, 3>(
            AttentionBackward,
            [q, k, v],
            |qkv| (qkv.clone(), mask.clone()),
            |[q, k, v]| Cube::attend(q, k, v, mask.clone()),
        )
    }

    fn attend_packed(
        qkv: FloatTensor<Self>,
        rope: Rope<Self>,
        mask: Mask<Self>,
        heads: usize,
    ) -> FloatTensor<Self> {
        let (rope, mask) = (rope.without_autodiff(), mask.without_autodiff());
        record::<Cube, C, _, 1>(
            PackedBackward {
                heads,
                epsilon: 0.0,
            },
            [qkv],
            |inputs| (inputs.clone(), rope.clone(), mask.clone()),
            |[qkv]| Cube::attend_packed(qkv, rope.clone(), mask.clone(), heads),
        )
    }

    fn attend_packed_normed(
        qkv: FloatTensor<Self>,
        norms: FloatTensor<Self>,
        rope: Rope<Self>,
        mask: Mask<Self>,
        heads: usize,
        epsilon: f64,
    ) -> FloatTensor<Self> {
        let (rope, mask) = (rope.without_autodiff(), mask.without_autodiff());
        record::<Cube, C, _, 2>(
            PackedBackward { heads, epsilon },
            [qkv, norms],
            |inputs| (inputs.clone(), rope.clone(), mask.clone()),
            |[qkv, norms]| {
                let (rope, mask) = (rope.clone(), mask.clone());
                Cube::attend_packed_normed(qkv, norms, rope, mask, heads, epsilon)
            },
        )
    }
}

impl<C: CheckpointStrategy> Mask<Autodiff<Cube, C>> {
    fn without_autodiff(self) -> Mask<Cube> {
        match self {
            Self::None => Mask::None,
            Self::Hidden(hidden) => Mask::Hidden(hidden),
        }
    }
}

impl<C: CheckpointStrategy> Rope<Autodiff<Cube, C>> {
    fn without_autodiff(self) -> Rope<Cube> {
        match self {
            Self::None => Rope::None,
            Self::Tables { cos, sin } => Rope::Tables {
                cos: cos.into_primitive(),
                sin: sin.into_primitive(),
            },
        }
    }
}

/// `1 / √head_dim`
fn scale(q: &GpuTensor) -> f64 {
    let [.., head_dim] = q.shape().dims::<4>();
    1.0 / (head_dim as f64).sqrt()
}

/// `[batch, heads, queries, keys]`
fn probabilities(q: GpuTensor, k: GpuTensor, mask: Mask<Cube>) -> GpuTensor {
    let scale = scale(&q);
    let scores = Cube::float_matmul(q, transposed(k));
    match mask {
        Mask::None => Cube::scaled_softmax(scores, scale),
        Mask::Hidden(hidden) => Cube::masked_softmax(scores, hidden, scale),
    }
}

fn transposed(matrices: GpuTensor) -> GpuTensor {
    Cube::float_swap_dims(matrices, 2, 3)
}

/// `[batch, heads, sequence, head_dim]` to `[batch, sequence, heads * head_dim]`
fn merge_heads(x: GpuTensor) -> GpuTensor {
    let [batch, heads, sequence, head_dim] = x.shape().dims();
    let x = Cube::float_swap_dims(x, 1, 2);
    Cube::float_reshape(x, [batch, sequence, heads * head_dim].into())
}

/// The gradients of queries, keys and values.
fn backward([q, k, v]: [GpuTensor; 3], mask: Mask<Cube>, d_output: GpuTensor) -> [GpuTensor; 3] {
    let p = probabilities(q.clone(), k.clone(), mask);
    let d_v = Cube::float_matmul(transposed(p.clone()), d_output.clone());
    let d_p = Cube::float_matmul(d_output, transposed(v));
    let d_scores = Cube::softmax_backward(p, d_p, scale(&q));
    let d_q = Cube::float_matmul(d_scores.clone(), k);
    let d_k = Cube::float_matmul(transposed(d_scores), q);
    [d_q, d_k, d_v]
}

#[derive(Debug)]
struct AttentionBackward;

impl Backward<Cube, 3> for AttentionBackward {
    type State = ([GpuTensor; 3], Mask<Cube>);

    fn backward(self, ops: Ops<Self::State, 3>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let parents = parents(&ops);
        let d_output = gradients.consume::<Cube>(&ops.node);
        let (qkv, mask) = ops.state;
        register::<Cube, _>(gradients, parents, backward(qkv, mask, d_output));
    }
}

#[derive(Debug)]
struct PackedBackward {
    heads: usize,
    epsilon: f64,
}

impl PackedBackward {
    /// The gradient of merged heads, split into heads.
    fn split(&self, d_output: GpuTensor) -> GpuTensor {
        let [batch, sequence, width] = d_output.shape().dims();
        let shape = [batch, sequence, self.heads, width / self.heads];
        Cube::float_swap_dims(Cube::float_reshape(d_output, shape.into()), 1, 2)
    }
}

impl Backward<Cube, 1> for PackedBackward {
    type State = ([GpuTensor; 1], Rope<Cube>, Mask<Cube>);

    fn backward(self, ops: Ops<Self::State, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let parents = parents(&ops);
        let d_output = self.split(gradients.consume::<Cube>(&ops.node));
        let ([qkv], rope, mask) = ops.state;
        let (q, k, v) = Cube::split_heads(qkv.clone(), rope.clone(), self.heads);
        let [d_q, d_k, d_v] = backward([q, k, v], mask, d_output);
        let d_qkv = Cube::split_heads_backward(qkv, rope, d_q, d_k, d_v);
        register::<Cube, _>(gradients, parents, [d_qkv]);
    }
}

impl Backward<Cube, 2> for PackedBackward {
    type State = ([GpuTensor; 2], Rope<Cube>, Mask<Cube>);

    fn backward(self, ops: Ops<Self::State, 2>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let parents = parents(&ops);
        let d_output = self.split(gradients.consume::<Cube>(&ops.node));
        let ([qkv, norms], rope, mask) = ops.state;
        let inputs = (qkv.clone(), norms.clone(), rope.clone());
        let (q, k, v) =
            Cube::split_normed_heads(inputs.0, inputs.1, inputs.2, self.heads, self.epsilon);
        let [d_q, d_k, d_v] = backward([q, k, v], mask, d_output);
        let [four, head_dim] = norms.shape().dims();
        let dtype = norms.dtype().into();
        let (d_qkv, d_norms) =
            Cube::split_normed_heads_backward(qkv, norms, rope, d_q, d_k, d_v, self.epsilon);
        let d_norms = Cube::float_reshape(Cube::float_sum_dim(d_norms, 0), [four, head_dim].into());
        register::<Cube, _>(
            gradients,
            parents,
            [d_qkv, Cube::float_cast(d_norms, dtype)],
        );
    }
}
