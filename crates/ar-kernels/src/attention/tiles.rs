//! The tiles of queries and their keys, forward and backward.

use std::ops::Range;

use burn::backend::flex::FlexTensor;
use rayon::prelude::*;

use super::heads::{HeadNorm, Heads};
use super::options::{HiddenKeys, KernelOptions};
use crate::buffer::values;
use crate::exp::exp;
use crate::gemm::{ColumnsMut, Matrix, multiply, worth_all_cores};
use crate::rotary::{Rope, apply_rotary};
use crate::rows::{LANES, max, replace_and_sum, sum_pairs, vectorized};
use crate::scratch::Scratch;

/// Queries per tile.
const TILE: usize = 64;

/// Attention of all heads of all samples.
pub(super) struct TiledAttention<'a> {
    pub sizes: Sizes,
    /// The cache: keys, after layer norm and RoPE, with one channel per row, and values.
    pub cache: Option<[Heads<'a>; 2]>,
    /// The norms of queries and of keys.
    pub norms: Option<[HeadNorm<'a>; 2]>,
    pub rope: Option<&'a Rope>,
    pub hidden: Option<&'a HiddenKeys>,
}

#[derive(Clone, Copy)]
pub(super) struct Sizes {
    /// Samples times heads.
    pub count: usize,
    pub queries: usize,
    /// Keys that are not cached.
    pub new_keys: usize,
    pub head_dim: usize,
    pub value_dim: usize,
}

impl Sizes {
    /// The sizes of queries, keys and values.
    pub(super) fn of([q, k, v]: &[Heads; 3], batch: usize) -> Self {
        Self {
            count: batch * q.heads,
            queries: q.rows,
            new_keys: k.rows,
            head_dim: q.head_dim,
            value_dim: v.head_dim,
        }
    }
}

impl<'a> TiledAttention<'a> {
    pub(super) fn new(
        sizes: Sizes,
        cache: Option<&'a [FlexTensor; 2]>,
        norms: Option<&'a [FlexTensor; 4]>,
        options: &'a KernelOptions,
    ) -> Self {
        let norms = norms.map(|norms| {
            [0, 2].map(|first| HeadNorm {
                gamma: values(&norms[first]),
                beta: values(&norms[first + 1]),
                epsilon: options.epsilon,
            })
        });
        Self {
            sizes,
            cache: cache.map(|cache| cache.each_ref().map(Heads::of)),
            norms,
            rope: options.rope.as_ref(),
            hidden: options.hidden.as_deref(),
        }
        .checked()
    }

    fn checked(self) -> Self {
        if let Some(hidden) = self.hidden {
            let shape = [hidden.reach.len(), hidden.keys];
            let expected = [self.sizes.queries, self.keys()];
            assert_eq!(shape, expected, "mask over [queries, keys]");
        }
        if let Some(rope) = self.rope {
            let rotated = rope.angles.rows();
            let Sizes {
                queries,
                new_keys,
                head_dim,
                ..
            } = self.sizes;
            assert!(
                rotated <= queries.min(new_keys),
                "{rotated} rows are rotated"
            );
            assert_eq!(2 * rope.angles.pairs, head_dim, "rotary pairs");
        }
        self
    }

    /// How many keys are cached.
    fn cached(&self) -> usize {
        self.cache.as_ref().map_or(0, |[_, v]| v.rows)
    }

    fn keys(&self) -> usize {
        self.cached() + self.sizes.new_keys
    }

    /// How many of the first keys use queries without RoPE.
    fn unrotated_keys(&self) -> usize {
        self.rope.map_or(0, |rope| rope.unrotated_keys)
    }

    /// Applies norms and RoPE to a head's queries and new keys, and scales the queries.
    pub(super) fn prepare(&self, rows: &mut Rows) {
        let scale = self.scale();
        let Rows {
            q, unrotated_q, k, ..
        } = rows;
        vectorized(
            #[inline(always)]
            || {
                if let Some([q_norm, k_norm]) = &self.norms {
                    q_norm.apply(q);
                    k_norm.apply(k);
                }
                q.iter_mut().for_each(|q| *q *= scale);
                if !unrotated_q.is_empty() {
                    unrotated_q.copy_from_slice(q);
                }
                self.apply_rotary(q, false);
                self.apply_rotary(k, false);
            },
        );
    }

    /// Applies RoPE to the last rows, or its transpose to their gradients.
    #[inline(always)]
    fn apply_rotary(&self, rows: &mut [f32], transposed: bool) {
        if let Some(Rope { angles, .. }) = self.rope {
            let unrotated = rows.len() - 2 * angles.cos.len();
            apply_rotary(&mut rows[unrotated..], angles, transposed);
        }
    }

    fn scale(&self) -> f32 {
        (self.sizes.head_dim as f32).powf(-0.5)
    }

    /// The tiles: their queries, and the number of keys up to the last one that any of them sees.
    fn tiles(&self) -> impl Iterator<Item = (Range<usize>, usize)> {
        let (queries, keys, hidden) = (self.sizes.queries, self.keys(), self.hidden);
        (0..queries).step_by(TILE).map(move |first| {
            let tile = first..queries.min(first + TILE);
            let reach = hidden.map_or(keys, |hidden| {
                let reach = hidden.reach[tile.clone()].iter().max();
                *reach.expect("a tile has queries")
            });
            (tile, reach)
        })
    }

    /// The first `reach` keys of a head, in contiguous stretches that use the same queries.
    fn stretches<'s>(
        &'s self,
        index: usize,
        rows: &'s Rows,
        reach: usize,
    ) -> impl Iterator<Item = Stretch<'s>> {
        let (cached, unrotated) = (self.cached(), self.unrotated_keys());
        let [first, second] =
            [cached.min(unrotated), cached.max(unrotated)].map(|end| end.min(reach));
        let stretches = [0..first, first..second, second..reach];
        stretches
            .into_iter()
            .filter(|keys| !keys.is_empty())
            .map(move |keys| {
                let [k, v] = match &self.cache {
                    Some([k, v]) if keys.end <= cached => [
                        k.matrix(index, 0..k.rows, keys.clone()),
                        v.matrix(index, keys.clone(), 0..v.head_dim),
                    ],
                    _ => {
                        let new = keys.start - cached..keys.end - cached;
                        let Sizes {
                            head_dim,
                            value_dim,
                            ..
                        } = self.sizes;
                        [
                            rows_of(&rows.k, head_dim, new.clone()).transposed(),
                            rows_of(&rows.v, value_dim, new),
                        ]
                    }
                };
                Stretch {
                    unrotated: keys.end <= unrotated,
                    keys,
                    k,
                    v,
                }
            })
    }

    /// The weights of a tile before normalisation, and the sums to divide them by.
    fn weights(&self, index: usize, tile: Range<usize>, reach: usize, rows: &Rows, out: &mut Tile) {
        let dim = self.sizes.head_dim;
        let stride = padded(reach);
        let weights = &mut out.weights[..tile.len() * stride];
        pad(weights, stride, f32::NEG_INFINITY);
        for Stretch {
            keys, unrotated, k, ..
        } in self.stretches(index, rows, reach)
        {
            let q = rows_of(rows.queries(unrotated), dim, tile.clone());
            let scores = ColumnsMut::some(weights, stride, keys);
            multiply(q, k, scores, false);
        }
        let sums = &mut out.sums;
        vectorized(
            #[inline(always)]
            || {
                let rows = weights.chunks_exact_mut(stride).zip(sums);
                for (query, (row, sum)) in tile.zip(rows) {
                    let hidden = self.hidden.map(|hidden| &hidden.row(query)[..reach]);
                    *sum = exponentials(row, hidden);
                }
            },
        );
    }

    /// The output, `[batch, heads, queries, value_dim]`.
    pub(super) fn forward(&self, inputs: &[Heads; 3]) -> Vec<f32> {
        let Sizes {
            count,
            queries,
            head_dim,
            value_dim,
            ..
        } = self.sizes;
        let head = queries * value_dim;
        let mut output = vec![0.0; count * head];
        let forward_head = |workspace: &mut Workspace, (index, output): (usize, &mut [f32])| {
            workspace.rows.gather(inputs, index);
            self.forward_head(index, workspace, output);
        };
        if worth_all_cores(count * queries * self.keys() * (head_dim + value_dim)) {
            let heads = output.par_chunks_mut(head).enumerate();
            heads.for_each_init(|| Workspace::new(self), forward_head);
        } else {
            let mut workspace = Workspace::new(self);
            let heads = output.chunks_mut(head).enumerate();
            heads.for_each(|head| forward_head(&mut workspace, head));
        }
        output
    }

    /// The output, `[queries, value_dim]`, of a head whose queries, keys and values are in the
    /// workspace.
    pub(super) fn forward_head(&self, index: usize, workspace: &mut Workspace, output: &mut [f32]) {
        let dim = self.sizes.value_dim;
        let Workspace {
            rows,
            tile: workspace,
        } = workspace;
        self.prepare(rows);
        for (tile, reach) in self.tiles() {
            self.weights(index, tile.clone(), reach, rows, workspace);
            let stride = padded(reach);
            let weights = &workspace.weights[..tile.len() * stride];
            let output = &mut output[tile.start * dim..tile.end * dim];
            for Stretch { keys, v, .. } in self.stretches(index, rows, reach) {
                let accumulate = keys.start > 0;
                let weights = columns_of(weights, stride, keys);
                multiply(weights, v, ColumnsMut::all(output, dim), accumulate);
            }
            for (row, sum) in output.chunks_exact_mut(dim).zip(&workspace.sums) {
                row.iter_mut().for_each(|x| *x /= sum);
            }
        }
    }

    /// Gradients of queries, keys and values, in their shapes, and of the norms' gamma and beta,
    /// queries before keys. There must be no cache.
    pub(super) fn backward(
        &self,
        inputs: &[Heads; 3],
        d_output: Heads,
    ) -> ([Vec<f32>; 3], [Vec<f32>; 4]) {
        assert!(self.cache.is_none(), "gradients of cached keys and values");
        let (dim, count) = (self.sizes.head_dim, self.sizes.count);
        let [q, k, v] = inputs.map(|heads| heads.rows * heads.head_dim);
        let [mut d_q, mut d_k, mut d_v] = [q, k, v].map(|len| vec![0.0; count * len]);
        let mut d_norms = vec![0.0; count * 4 * dim];
        d_q.par_chunks_mut(q)
            .zip(d_k.par_chunks_mut(k))
            .zip(d_v.par_chunks_mut(v))
            .zip(d_norms.par_chunks_mut(4 * dim))
            .enumerate()
            .for_each_init(
                || BackwardWorkspace::new(self),
                |workspace, (index, (((d_q, d_k), d_v), d_norms))| {
                    workspace.forward.rows.gather(inputs, index);
                    d_output.gather(index, &mut workspace.d_output);
                    self.backward_head(inputs, index, workspace, [d_q, d_k, d_v], d_norms);
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
        [q, k, _]: &[Heads; 3],
        index: usize,
        BackwardWorkspace {
            forward:
                Workspace {
                    rows,
                    tile: workspace,
                },
            d_output,
            d_unrotated_q,
            d_weights,
        }: &mut BackwardWorkspace,
        [d_q, d_k, d_v]: [&mut [f32]; 3],
        d_norms: &mut [f32],
    ) {
        let (dim, value_dim) = (self.sizes.head_dim, self.sizes.value_dim);
        self.prepare(rows);
        d_unrotated_q.fill(0.0);
        for (tile, reach) in self.tiles() {
            self.weights(index, tile.clone(), reach, rows, workspace);
            let stride = padded(reach);
            let size = tile.len() * stride;
            let (weights, d_scores) = (&mut workspace.weights[..size], &mut d_weights[..size]);
            let d_output = rows_of(d_output, value_dim, tile.clone());
            let v = rows_of(&rows.v, value_dim, 0..reach);
            pad(d_scores, stride, 0.0);
            multiply(
                d_output,
                v.transposed(),
                ColumnsMut::some(d_scores, stride, 0..reach),
                false,
            );

            let sums = &workspace.sums;
            vectorized(
                #[inline(always)]
                || softmax_backward(weights, sums, d_scores, stride),
            );

            let d_v = ColumnsMut::all(&mut d_v[..reach * value_dim], value_dim);
            let weights = columns_of(weights, stride, 0..reach);
            multiply(weights.transposed(), d_output, d_v, true);
            for Stretch {
                keys, unrotated, k, ..
            } in self.stretches(index, rows, reach)
            {
                let d_scores = columns_of(d_scores, stride, keys.clone());
                let q = rows_of(rows.queries(unrotated), dim, tile.clone());
                let d_k = ColumnsMut::all(&mut d_k[keys.start * dim..keys.end * dim], dim);
                multiply(d_scores.transposed(), q, d_k, true);
                let d_q = if unrotated {
                    &mut d_unrotated_q[..]
                } else {
                    &mut d_q[..]
                };
                let d_q = &mut d_q[tile.start * dim..tile.end * dim];
                multiply(d_scores, k.transposed(), ColumnsMut::all(d_q, dim), true);
            }
        }
        let scale = self.scale();
        let (q, k) = (q.rows(index), k.rows(index));
        vectorized(
            #[inline(always)]
            || {
                self.apply_rotary(d_q, true);
                self.apply_rotary(d_k, true);
                let d_unrotated_q = d_unrotated_q.iter();
                d_q.iter_mut()
                    .zip(d_unrotated_q)
                    .for_each(|(d, unrotated)| *d += unrotated);
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

/// The length of a row of weights, padded with weights of 0 to whole vectors.
fn padded(reach: usize) -> usize {
    reach.next_multiple_of(LANES)
}

/// Sets the padding of rows to a value. All of it is in the last vector of a row, whose keys are
/// written later.
fn pad(rows: &mut [f32], stride: usize, value: f32) {
    for row in rows.chunks_exact_mut(stride) {
        row[stride - LANES..].fill(value);
    }
}

/// Contiguous keys, and their values.
struct Stretch<'a> {
    keys: Range<usize>,
    /// Whether they use queries without RoPE.
    unrotated: bool,
    /// `[head_dim, keys]`
    k: Matrix<'a>,
    /// `[keys, value_dim]`
    v: Matrix<'a>,
}

fn rows_of(values: &[f32], width: usize, rows: Range<usize>) -> Matrix<'_> {
    Matrix::new(&values[rows.start * width..rows.end * width], width)
}

fn columns_of(values: &[f32], width: usize, columns: Range<usize>) -> Matrix<'_> {
    let shape = [values.len() / width, columns.len()];
    Matrix::strided(&values[columns.start..], shape, width)
}

/// One head's queries, new keys and new values, each in contiguous rows.
pub(super) struct Rows {
    pub q: Scratch,
    /// Queries without RoPE; empty if no key needs them.
    unrotated_q: Scratch,
    pub k: Scratch,
    pub v: Scratch,
}

impl Rows {
    fn new(tiled: &TiledAttention) -> Self {
        let sizes = &tiled.sizes;
        let q = sizes.queries * sizes.head_dim;
        Self {
            q: Scratch::new(q),
            unrotated_q: Scratch::new(if tiled.unrotated_keys() == 0 { 0 } else { q }),
            k: Scratch::new(sizes.new_keys * sizes.head_dim),
            v: Scratch::new(sizes.new_keys * sizes.value_dim),
        }
    }

    /// Copies the rows of a head into contiguous memory.
    fn gather(&mut self, [q, k, v]: &[Heads; 3], index: usize) {
        q.gather(index, &mut self.q);
        k.gather(index, &mut self.k);
        v.gather(index, &mut self.v);
    }

    fn queries(&self, unrotated: bool) -> &[f32] {
        if unrotated {
            &self.unrotated_q
        } else {
            &self.q
        }
    }
}

/// One tile's weights.
struct Tile {
    /// `[tile, keys in reach]`, rows [`padded`]
    weights: Scratch,
    sums: [f32; TILE],
}

/// The working memory of a thread.
pub(super) struct Workspace {
    pub rows: Rows,
    tile: Tile,
}

impl Workspace {
    pub(super) fn new(tiled: &TiledAttention) -> Self {
        Self {
            rows: Rows::new(tiled),
            tile: Tile {
                weights: Scratch::new(TILE.min(tiled.sizes.queries) * padded(tiled.keys())),
                sums: [0.0; TILE],
            },
        }
    }
}

/// The working memory of a thread in the backward pass.
struct BackwardWorkspace {
    forward: Workspace,
    /// Gradients of one head's output.
    d_output: Scratch,
    /// Gradients of queries without RoPE.
    d_unrotated_q: Scratch,
    /// `[tile, keys in reach]`, rows [`padded`]
    d_weights: Scratch,
}

impl BackwardWorkspace {
    fn new(tiled: &TiledAttention) -> Self {
        let forward = Workspace::new(tiled);
        Self {
            d_output: Scratch::new(tiled.sizes.queries * tiled.sizes.value_dim),
            d_unrotated_q: Scratch::new(forward.rows.unrotated_q.len()),
            d_weights: Scratch::new(forward.tile.weights.len()),
            forward,
        }
    }
}

/// Replaces scores by `exp(score - largest score)`, 0 where hidden; returns their sum.
#[inline(always)]
fn exponentials(scores: &mut [f32], hidden: Option<&[bool]>) -> f32 {
    if let Some(hidden) = hidden {
        for (score, &hidden) in scores.iter_mut().zip(hidden) {
            *score = if hidden { f32::NEG_INFINITY } else { *score };
        }
    }
    let largest = max(scores);
    replace_and_sum(
        scores,
        #[inline(always)]
        |score| exp(score - largest),
    )
}

/// Divides the weights by their sums, and replaces their gradients by the gradients of the scores.
#[inline(always)]
fn softmax_backward(weights: &mut [f32], sums: &[f32], d_weights: &mut [f32], stride: usize) {
    let rows = weights
        .chunks_exact_mut(stride)
        .zip(d_weights.chunks_exact_mut(stride));
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
