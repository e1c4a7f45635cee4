//! Attention, tile by tile: no product of queries and keys outlives its tile.
//!
//! Samples and heads are spread over the cores. A task copies its head's queries, keys and values
//! together and goes through the queries in tiles; keys behind the last one that a tile sees are
//! left out, which halves the work under a causal mask. The backward pass computes the tiles
//! anew.

use std::ops::Range;
use std::sync::Arc;

use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Flex, backend_extension};
use rayon::prelude::*;

use super::buffer::{contiguous, dims, tensor, values};
use super::exp::exp;
use super::gemm::{Matrix, multiply, worth_all_cores};
use super::norm::{moments, moments_backward};
use super::record::{parents, record, register};
use super::rows::{fill, max, sum, sum_pairs, vectorized};

/// Queries of a tile.
const TILE: usize = 64;

/// Which keys are hidden from which queries, in every sample and head. Every query sees a key.
#[derive(Debug)]
pub struct Hidden {
    /// `[queries, keys]`, not 0 where hidden.
    values: Vec<u8>,
    keys: usize,
    /// For every query, the number of keys up to the last one that it sees.
    reach: Vec<usize>,
}

impl Hidden {
    /// # Shapes
    /// - `values`: `[queries, keys]`, not 0 where hidden
    pub fn new(values: Vec<u8>, keys: usize) -> Self {
        let last = |row: &[u8]| row.iter().rposition(|&hidden| hidden == 0);
        let reach = values
            .chunks_exact(keys)
            .map(|row| last(row).map_or(0, |last| last + 1));
        Self {
            reach: reach.collect(),
            keys,
            values,
        }
    }

    fn row(&self, query: usize) -> &[u8] {
        &self.values[query * self.keys..][..self.keys]
    }
}

/// What attention needs to know besides its tensors.
#[derive(Clone, Debug)]
pub struct Setting {
    pub heads: usize,
    pub hidden: Option<Arc<Hidden>>,
    /// Epsilon of the layer norms of queries and keys, where there are any.
    pub epsilon: f64,
}

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
        setting: Setting,
    ) -> FloatTensor<Self>;

    /// Self-attention of one projection's queries, keys and values.
    ///
    /// # Shapes
    /// - `qkv`: `[batch, sequence, 3 * heads * head_dim]`
    /// - output: `[batch, sequence, heads * head_dim]`
    fn attend_packed(qkv: FloatTensor<Self>, setting: Setting) -> FloatTensor<Self>;

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
        setting: Setting,
    ) -> FloatTensor<Self>;
}

impl AttentionOps for Flex {
    fn attend(q: FlexTensor, k: FlexTensor, v: FlexTensor, setting: Setting) -> FlexTensor {
        let [batch, heads, queries, _] = dims(&q);
        let [.., value_dim] = dims::<4>(&v);
        let shape = [batch, heads, queries, value_dim];
        let qkv = [q, k, v].map(unit_stride);
        let output = Problem::of_heads(&qkv, &setting).forward();
        tensor(output, shape)
    }

    fn attend_packed(qkv: FlexTensor, setting: Setting) -> FlexTensor {
        forward_packed(qkv, None, &setting)
    }

    fn attend_packed_normed(
        qkv: FlexTensor,
        q_gamma: FlexTensor,
        q_beta: FlexTensor,
        k_gamma: FlexTensor,
        k_beta: FlexTensor,
        setting: Setting,
    ) -> FlexTensor {
        forward_packed(qkv, Some([q_gamma, q_beta, k_gamma, k_beta]), &setting)
    }
}

impl<C: CheckpointStrategy> AttentionOps for Autodiff<Flex, C> {
    fn attend(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        setting: Setting,
    ) -> FloatTensor<Self> {
        record::<C, _, 3>(
            AttendBackward,
            [q, k, v],
            |qkv| (qkv.clone(), setting.clone()),
            |[q, k, v]| Flex::attend(q, k, v, setting.clone()),
        )
    }

    fn attend_packed(qkv: FloatTensor<Self>, setting: Setting) -> FloatTensor<Self> {
        record::<C, _, 1>(
            PackedBackward,
            [qkv],
            |inputs| (inputs.clone(), setting.clone()),
            |[qkv]| Flex::attend_packed(qkv, setting.clone()),
        )
    }

    fn attend_packed_normed(
        qkv: FloatTensor<Self>,
        q_gamma: FloatTensor<Self>,
        q_beta: FloatTensor<Self>,
        k_gamma: FloatTensor<Self>,
        k_beta: FloatTensor<Self>,
        setting: Setting,
    ) -> FloatTensor<Self> {
        record::<C, _, 5>(
            PackedBackward,
            [qkv, q_gamma, q_beta, k_gamma, k_beta],
            |inputs| (inputs.clone(), setting.clone()),
            |[qkv, q_gamma, q_beta, k_gamma, k_beta]| {
                Flex::attend_packed_normed(qkv, q_gamma, q_beta, k_gamma, k_beta, setting.clone())
            },
        )
    }
}

fn forward_packed(
    qkv: FlexTensor,
    norms: Option<[FlexTensor; 4]>,
    setting: &Setting,
) -> FlexTensor {
    let qkv = contiguous(qkv);
    let norms = norms.map(|norms| norms.map(contiguous));
    let [batch, sequence, packed] = dims(&qkv);
    let output = Problem::of_packed(&qkv, norms.as_ref(), setting).forward();
    let mut merged = vec![0.0; output.len()];
    let head_dim = packed / 3 / setting.heads;
    merge(&[&output], [sequence, setting.heads, head_dim], &mut merged);
    tensor(merged, [batch, sequence, packed / 3])
}

#[derive(Debug)]
struct AttendBackward;

impl Backward<Flex, 3> for AttendBackward {
    type State = ([FlexTensor; 3], Setting);

    fn backward(self, ops: Ops<Self::State, 3>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let parents = parents(&ops);
        let d_output = unit_stride(gradients.consume::<Flex>(&ops.node));
        let (qkv, setting) = ops.state;
        let shapes = qkv.each_ref().map(dims::<4>);
        let qkv = qkv.map(unit_stride);
        let d_qkv = Problem::of_heads(&qkv, &setting)
            .backward(Heads::of(&d_output))
            .0;
        let [d_q, d_k, d_v] = d_qkv;
        let [q, k, v] = shapes;
        let values = [tensor(d_q, q), tensor(d_k, k), tensor(d_v, v)];
        register(gradients, parents, values);
    }
}

#[derive(Debug)]
struct PackedBackward;

impl PackedBackward {
    /// Gradients of the packed projections and of the norms' parameters.
    fn gradients(
        qkv: FlexTensor,
        norms: Option<[FlexTensor; 4]>,
        setting: &Setting,
        d_output: FlexTensor,
    ) -> (FlexTensor, [FlexTensor; 4]) {
        let [qkv, d_output] = [qkv, d_output].map(contiguous);
        let norms = norms.map(|norms| norms.map(contiguous));
        let shape: [usize; 3] = dims(&qkv);
        let d_output = Heads::of_packed(&d_output, setting.heads, 0, 1);
        let problem = Problem::of_packed(&qkv, norms.as_ref(), setting);
        let head_dim = problem.q.head_dim;
        let (d_heads, d_norms) = problem.backward(d_output);
        let mut d_qkv = vec![0.0; shape.iter().product()];
        let d_heads = d_heads.each_ref().map(Vec::as_slice);
        merge(&d_heads, [shape[1], setting.heads, head_dim], &mut d_qkv);
        (tensor(d_qkv, shape), d_norms.map(|d| tensor(d, [head_dim])))
    }
}

impl Backward<Flex, 1> for PackedBackward {
    type State = ([FlexTensor; 1], Setting);

    fn backward(self, ops: Ops<Self::State, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let parents = parents(&ops);
        let d_output = gradients.consume::<Flex>(&ops.node);
        let ([qkv], setting) = ops.state;
        let (d_qkv, _) = Self::gradients(qkv, None, &setting, d_output);
        register(gradients, parents, [d_qkv]);
    }
}

impl Backward<Flex, 5> for PackedBackward {
    type State = ([FlexTensor; 5], Setting);

    fn backward(self, ops: Ops<Self::State, 5>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let parents = parents(&ops);
        let d_output = gradients.consume::<Flex>(&ops.node);
        let ([qkv, norms @ ..], setting) = ops.state;
        let (d_qkv, d_norms) = Self::gradients(qkv, Some(norms), &setting, d_output);
        let [q_gamma, q_beta, k_gamma, k_beta] = d_norms;
        let values = [d_qkv, q_gamma, q_beta, k_gamma, k_beta];
        register(gradients, parents, values);
    }
}

/// The tensor, or a copy of it where its last axis is strided.
fn unit_stride(tensor: FlexTensor) -> FlexTensor {
    let strides = tensor.layout().strides();
    match strides.last() == Some(&1) && strides.iter().all(|&stride| stride >= 0) {
        true => tensor,
        false => tensor.to_contiguous(),
    }
}

/// Puts heads side by side: parts of `[batch, heads, rows, head_dim]` each into
/// `[batch, rows, parts, heads, head_dim]`.
fn merge(parts: &[&[f32]], [rows, heads, head_dim]: [usize; 3], merged: &mut [f32]) {
    let width = parts.len() * heads * head_dim;
    fill(merged, width, |first, merged| {
        for (row, merged) in (first..).zip(merged.chunks_exact_mut(width)) {
            let (sample, row) = (row / rows, row % rows);
            for (index, merged) in merged.chunks_exact_mut(head_dim).enumerate() {
                let (part, head) = (index / heads, index % heads);
                let from = ((sample * heads + head) * rows + row) * head_dim;
                merged.copy_from_slice(&parts[part][from..][..head_dim]);
            }
        }
    });
}

/// The rows of every head, wherever they lie.
#[derive(Clone, Copy)]
struct Heads<'a> {
    values: &'a [f32],
    heads: usize,
    rows: usize,
    head_dim: usize,
    /// Distances of samples, heads and rows.
    strides: [usize; 3],
}

impl<'a> Heads<'a> {
    /// Those of a [`unit_stride`] tensor of `[batch, heads, rows, head_dim]`.
    fn of(tensor: &'a FlexTensor) -> Self {
        let [_, heads, rows, head_dim] = dims(tensor);
        let strides = tensor.layout().strides();
        Self {
            values: &tensor.storage()[tensor.layout().start_offset()..],
            heads,
            rows,
            head_dim,
            strides: std::array::from_fn(|axis| strides[axis] as usize),
        }
    }

    /// Those of one of several parts in a contiguous `[batch, rows, parts * heads * head_dim]`.
    fn of_packed(tensor: &'a FlexTensor, heads: usize, part: usize, parts: usize) -> Self {
        let [_, rows, packed] = dims(tensor);
        let width = packed / parts;
        let head_dim = width / heads;
        Self {
            values: &values(tensor)[part * width..],
            heads,
            rows,
            head_dim,
            strides: [rows * packed, head_dim, packed],
        }
    }

    /// The rows of a head, heads counted through all samples.
    fn rows(&self, index: usize) -> impl Iterator<Item = &'a [f32]> {
        let (sample, head) = (index / self.heads, index % self.heads);
        let start = sample * self.strides[0] + head * self.strides[1];
        let (values, [_, _, stride], len) = (self.values, self.strides, self.head_dim);
        (0..self.rows).map(move |row| &values[start + row * stride..][..len])
    }

    /// Copies the rows of a head together.
    fn gather(&self, index: usize, rows: &mut [f32]) {
        for (to, from) in rows.chunks_exact_mut(self.head_dim).zip(self.rows(index)) {
            to.copy_from_slice(from);
        }
    }
}

/// The layer norm of the rows of every head.
#[derive(Clone, Copy)]
struct HeadNorm<'a> {
    gamma: &'a [f32],
    beta: &'a [f32],
    epsilon: f64,
}

impl HeadNorm<'_> {
    #[inline(always)]
    fn apply(&self, rows: &mut [f32]) {
        for row in rows.chunks_exact_mut(self.gamma.len()) {
            let (mean, rstd) = moments(row, self.epsilon);
            for ((x, gamma), beta) in row.iter_mut().zip(self.gamma).zip(self.beta) {
                *x = (*x - mean) * rstd * gamma + beta;
            }
        }
    }

    /// Turns the gradient of normalised rows into that of `rows`; adds to those of gamma and beta.
    #[inline(always)]
    fn backward<'a>(
        &self,
        rows: impl Iterator<Item = &'a [f32]>,
        d_rows: &mut [f32],
        d_gamma: &mut [f32],
        d_beta: &mut [f32],
    ) {
        let width = self.gamma.len();
        for (d_row, row) in d_rows.chunks_exact_mut(width).zip(rows) {
            let (mean, rstd) = moments(row, self.epsilon);
            for i in 0..width {
                d_beta[i] += d_row[i];
                d_gamma[i] += d_row[i] * (row[i] - mean) * rstd;
                d_row[i] *= self.gamma[i];
            }
            moments_backward(row, (mean, rstd), d_row);
        }
    }
}

/// Attention of all heads of all samples.
struct Problem<'a> {
    q: Heads<'a>,
    k: Heads<'a>,
    v: Heads<'a>,
    /// Of queries and of keys.
    norms: Option<[HeadNorm<'a>; 2]>,
    hidden: Option<&'a Hidden>,
    /// Samples times heads.
    count: usize,
}

impl<'a> Problem<'a> {
    fn of_heads(qkv: &'a [FlexTensor; 3], setting: &'a Setting) -> Self {
        let [batch, heads, ..] = dims::<4>(&qkv[0]);
        let [q, k, v] = qkv.each_ref().map(Heads::of);
        Self::new([q, k, v], None, setting, batch * heads)
    }

    fn of_packed(
        qkv: &'a FlexTensor,
        norms: Option<&'a [FlexTensor; 4]>,
        setting: &'a Setting,
    ) -> Self {
        let [batch, ..] = dims::<3>(qkv);
        let part = |part| Heads::of_packed(qkv, setting.heads, part, 3);
        let norms = norms.map(|norms| {
            [0, 2].map(|first| HeadNorm {
                gamma: values(&norms[first]),
                beta: values(&norms[first + 1]),
                epsilon: setting.epsilon,
            })
        });
        Self::new([0, 1, 2].map(part), norms, setting, batch * setting.heads)
    }

    fn new(
        [q, k, v]: [Heads<'a>; 3],
        norms: Option<[HeadNorm<'a>; 2]>,
        setting: &'a Setting,
        count: usize,
    ) -> Self {
        let hidden = setting.hidden.as_deref();
        if let Some(hidden) = hidden {
            let shape = [hidden.reach.len(), hidden.keys];
            assert_eq!(shape, [q.rows, k.rows], "mask over [queries, keys]");
        }
        Self {
            q,
            k,
            v,
            norms,
            hidden,
            count,
        }
    }

    /// Queries, keys and values of a head, each in rows one after the other; queries are scaled.
    fn gather(&self, index: usize, scratch: &mut Scratch) {
        self.q.gather(index, &mut scratch.q);
        self.k.gather(index, &mut scratch.k);
        self.v.gather(index, &mut scratch.v);
        let scale = self.scale();
        let (q, k, norms) = (&mut scratch.q, &mut scratch.k, &self.norms);
        vectorized(
            #[inline(always)]
            || {
                if let Some([q_norm, k_norm]) = norms {
                    q_norm.apply(q);
                    k_norm.apply(k);
                }
                q.iter_mut().for_each(|q| *q *= scale);
            },
        );
    }

    fn scale(&self) -> f32 {
        (self.q.head_dim as f32).powf(-0.5)
    }

    /// The tiles: their queries, and the number of keys up to the last that one of them sees.
    fn tiles(&self) -> impl Iterator<Item = (Range<usize>, usize)> {
        let (queries, keys, hidden) = (self.q.rows, self.k.rows, self.hidden);
        (0..queries).step_by(TILE).map(move |first| {
            let tile = first..queries.min(first + TILE);
            let reach = hidden.map_or(keys, |hidden| {
                let reach = hidden.reach[tile.clone()].iter().max();
                *reach.expect("a tile has queries")
            });
            (tile, reach)
        })
    }

    /// The weights of a tile before their division by what they add up to, and those sums.
    fn weights(&self, tile: Range<usize>, reach: usize, scratch: &mut Scratch) {
        let dim = self.q.head_dim;
        let q = Matrix::new(&scratch.q[tile.start * dim..tile.end * dim], dim);
        let k = Matrix::new(&scratch.k[..reach * dim], dim);
        let weights = &mut scratch.weights[..tile.len() * reach];
        multiply(q, k.transposed(), weights, false);
        let sums = &mut scratch.sums;
        vectorized(
            #[inline(always)]
            || {
                let rows = weights.chunks_exact_mut(reach).zip(sums);
                for (query, (row, sum)) in tile.zip(rows) {
                    let hidden = self.hidden.map(|hidden| &hidden.row(query)[..reach]);
                    *sum = exponentials(row, hidden);
                }
            },
        );
    }

    /// The output, `[batch, heads, queries, value_dim]`.
    fn forward(&self) -> Vec<f32> {
        let dim = self.v.head_dim;
        let mut output = vec![0.0; self.count * self.q.rows * dim];
        let head = self.q.rows * dim;
        let multiplications = self.count * self.q.rows * self.k.rows * (self.q.head_dim + dim);
        if worth_all_cores(multiplications) {
            let heads = output.par_chunks_mut(head).enumerate();
            heads.for_each_init(
                || Scratch::new(self),
                |scratch, (index, output)| self.forward_head(index, scratch, output),
            );
        } else {
            let mut scratch = Scratch::new(self);
            let heads = output.chunks_mut(head).enumerate();
            heads.for_each(|(index, output)| self.forward_head(index, &mut scratch, output));
        }
        output
    }

    fn forward_head(&self, index: usize, scratch: &mut Scratch, output: &mut [f32]) {
        let dim = self.v.head_dim;
        self.gather(index, scratch);
        for (tile, reach) in self.tiles() {
            self.weights(tile.clone(), reach, scratch);
            let weights = Matrix::new(&scratch.weights[..tile.len() * reach], reach);
            let output = &mut output[tile.start * dim..tile.end * dim];
            multiply(
                weights,
                Matrix::new(&scratch.v[..reach * dim], dim),
                output,
                false,
            );
            for (row, sum) in output.chunks_exact_mut(dim).zip(&scratch.sums) {
                row.iter_mut().for_each(|x| *x /= sum);
            }
        }
    }

    /// Gradients of queries, keys and values, in their shapes, and of the norms' gamma and beta,
    /// queries before keys.
    fn backward(&self, d_output: Heads) -> ([Vec<f32>; 3], [Vec<f32>; 4]) {
        let dim = self.q.head_dim;
        let [q, k, v] = [self.q, self.k, self.v].map(|heads| heads.rows * heads.head_dim);
        let [mut d_q, mut d_k, mut d_v] = [q, k, v].map(|len| vec![0.0; self.count * len]);
        let mut d_norms = vec![0.0; self.count * 4 * dim];
        d_q.par_chunks_mut(q)
            .zip(d_k.par_chunks_mut(k))
            .zip(d_v.par_chunks_mut(v))
            .zip(d_norms.par_chunks_mut(4 * dim))
            .enumerate()
            .for_each_init(
                || (Scratch::new(self), vec![0.0; self.q.rows * self.v.head_dim]),
                |(scratch, d_head), (index, (((d_q, d_k), d_v), d_norms))| {
                    d_output.gather(index, d_head);
                    self.backward_head(index, scratch, d_head, [d_q, d_k, d_v], d_norms);
                },
            );
        let mut sums = [(); 4].map(|()| vec![0.0; dim]);
        for (part, d) in d_norms.chunks_exact(dim).enumerate() {
            let sum = &mut sums[part % 4];
            sum.iter_mut().zip(d).for_each(|(sum, d)| *sum += d);
        }
        ([d_q, d_k, d_v], sums)
    }

    fn backward_head(
        &self,
        index: usize,
        scratch: &mut Scratch,
        d_output: &[f32],
        [d_q, d_k, d_v]: [&mut [f32]; 3],
        d_norms: &mut [f32],
    ) {
        let (dim, value_dim) = (self.q.head_dim, self.v.head_dim);
        self.gather(index, scratch);
        for (tile, reach) in self.tiles() {
            self.weights(tile.clone(), reach, scratch);
            let size = tile.len() * reach;
            let (queries, keys) = (tile.start * dim..tile.end * dim, ..reach * dim);
            let d_output = &d_output[tile.start * value_dim..tile.end * value_dim];
            let d_output = Matrix::new(d_output, value_dim);
            let values = ..reach * value_dim;
            let v = Matrix::new(&scratch.v[values], value_dim);
            multiply(
                d_output,
                v.transposed(),
                &mut scratch.d_weights[..size],
                false,
            );

            let (weights, d_scores) =
                (&mut scratch.weights[..size], &mut scratch.d_weights[..size]);
            let sums = &scratch.sums;
            vectorized(
                #[inline(always)]
                || softmax_backward(weights, sums, d_scores, reach),
            );

            let weights = Matrix::new(weights, reach);
            let d_scores = Matrix::new(d_scores, reach);
            let (q, k) = (&scratch.q[queries.clone()], &scratch.k[keys]);
            multiply(weights.transposed(), d_output, &mut d_v[values], true);
            multiply(
                d_scores.transposed(),
                Matrix::new(q, dim),
                &mut d_k[keys],
                true,
            );
            multiply(d_scores, Matrix::new(k, dim), &mut d_q[queries], false);
        }
        let scale = self.scale();
        let (q, k) = (self.q.rows(index), self.k.rows(index));
        vectorized(
            #[inline(always)]
            || {
                d_q.iter_mut().for_each(|d| *d *= scale);
                if let Some([q_norm, k_norm]) = &self.norms {
                    let (d_q_norm, d_k_norm) = d_norms.split_at_mut(2 * dim);
                    let (d_gamma, d_beta) = d_q_norm.split_at_mut(dim);
                    q_norm.backward(q, d_q, d_gamma, d_beta);
                    let (d_gamma, d_beta) = d_k_norm.split_at_mut(dim);
                    k_norm.backward(k, d_k, d_gamma, d_beta);
                }
            },
        );
    }
}

/// What a thread works in: one head's rows and one tile's weights.
struct Scratch {
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    /// `[tile, keys in reach]`
    weights: Vec<f32>,
    d_weights: Vec<f32>,
    sums: [f32; TILE],
}

impl Scratch {
    fn new(problem: &Problem) -> Self {
        let zeros = |len| vec![0.0; len];
        let (queries, keys, dim) = (problem.q.rows, problem.k.rows, problem.q.head_dim);
        let value_dim = problem.v.head_dim;
        let tile = TILE.min(queries);
        Self {
            q: zeros(queries * dim),
            k: zeros(keys * dim),
            v: zeros(keys * value_dim),
            weights: zeros(tile * keys),
            d_weights: zeros(tile * keys),
            sums: [0.0; TILE],
        }
    }
}

/// Turns scores into exponentials of their distances from the largest, 0 where hidden; returns
/// what they add up to.
#[inline(always)]
fn exponentials(scores: &mut [f32], hidden: Option<&[u8]>) -> f32 {
    if let Some(hidden) = hidden {
        for (score, &hidden) in scores.iter_mut().zip(hidden) {
            *score = if hidden == 0 {
                *score
            } else {
                f32::NEG_INFINITY
            };
        }
    }
    let largest = max(scores);
    for score in scores.iter_mut() {
        *score = exp(*score - largest);
    }
    sum(
        scores,
        #[inline(always)]
        |x| x,
    )
}

/// Divides the weights by their sums, and turns their gradients into those of the scores.
#[inline(always)]
fn softmax_backward(weights: &mut [f32], sums: &[f32], d_weights: &mut [f32], reach: usize) {
    let rows = weights
        .chunks_exact_mut(reach)
        .zip(d_weights.chunks_exact_mut(reach));
    for ((weights, d_weights), &sum) in rows.zip(sums) {
        weights.iter_mut().for_each(|w| *w /= sum);
        let mean = sum_pairs(
            weights,
            d_weights,
            #[inline(always)]
            |w, d| w * d,
        );
        for (d, &w) in d_weights.iter_mut().zip(weights.iter()) {
            *d = w * (*d - mean);
        }
    }
}
