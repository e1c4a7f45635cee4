//! Linear layers: one matrix product each way, into memory that is not cleared first.
//!
//! Burn computes the product of a batch with a weight as a batched product, computes the weight's
//! gradient for every sample and adds these up; its CPU backend clears and copies the memory of
//! every product.

use ar_autodiff::{parents, record};
use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Flex, backend_extension};
use rayon::prelude::*;

use crate::buffer::{contiguous, dims, tensor, values};
use crate::gemm::{Matrix, add_product, product};
use crate::rows::vectorized;

/// Linear layers, as an extension of the backend.
#[backend_extension(Flex, Autodiff)]
pub trait LinearOps: Backend {
    /// `x weight + bias`.
    ///
    /// # Shapes
    /// - `x`: `[.., d_input]`; `weight`: `[d_input, d_output]`; `bias`: `[d_output]`
    /// - output: `[.., d_output]`
    fn linear_biased(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self>;
}

impl LinearOps for Flex {
    fn linear_biased(x: FlexTensor, weight: FlexTensor, bias: FlexTensor) -> FlexTensor {
        let [x, weight, bias] = [x, weight, bias].map(contiguous);
        let [d_input, d_output] = dims(&weight);
        let input = values(&x);
        let mut output = values(&bias).repeat(input.len() / d_input);
        let weight = Matrix::new(values(&weight), d_output);
        add_product(Matrix::new(input, d_input), weight, &mut output);
        let mut shape = x.layout().shape().clone();
        let last = shape.num_dims() - 1;
        shape[last] = d_output;
        tensor(output, shape)
    }
}

impl<C: CheckpointStrategy> LinearOps for Autodiff<Flex, C> {
    fn linear_biased(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        record::<Flex, C, _, 3>(
            LinearBackward,
            [x, weight, bias],
            |[x, weight, _]| [x.clone(), weight.clone()],
            |[x, weight, bias]| Flex::linear_biased(x, weight, bias),
        )
    }
}

#[derive(Debug)]
struct LinearBackward;

impl Backward<Flex, 3> for LinearBackward {
    type State = [FlexTensor; 2];

    fn backward(self, ops: Ops<Self::State, 3>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let parents = parents(&ops);
        let d_output = contiguous(gradients.consume::<Flex>(&ops.node));
        let [x, weight] = ops.state.map(contiguous);
        let [d_input, d_out] = dims(&weight);
        let d_rows = Matrix::new(values(&d_output), d_out);
        let mut add = |parent: Option<_>, gradient: &dyn Fn() -> FlexTensor| {
            // Data has no gradient, so that product is skipped.
            if let Some(parent) = parent {
                gradients.register::<Flex>(parent, gradient());
            }
        };
        add(parents[0], &|| {
            let weight = Matrix::new(values(&weight), d_out);
            let d_x = product(d_rows, weight.transposed());
            tensor(d_x, x.layout().shape().clone())
        });
        add(parents[1], &|| {
            let rows = Matrix::new(values(&x), d_input);
            tensor(product(rows.transposed(), d_rows), [d_input, d_out])
        });
        add(parents[2], &|| {
            tensor(column_sums(values(&d_output), d_out), [d_out])
        });
    }
}

/// The sums over rows of `width` values, a fixed number of rows at a time, so that the order of
/// additions does not depend on the number of cores.
fn column_sums(rows: &[f32], width: usize) -> Vec<f32> {
    const TASK: usize = 256;
    let partial = rows.par_chunks(TASK * width).map(|rows| {
        let mut sums = vec![0.0; width];
        vectorized(
            #[inline(always)]
            || add_rows(rows, &mut sums),
        );
        sums
    });
    let partial: Vec<_> = partial.collect();
    let mut sums = vec![0.0; width];
    partial.iter().for_each(|part| add_rows(part, &mut sums));
    sums
}

#[inline(always)]
fn add_rows(rows: &[f32], sums: &mut [f32]) {
    for row in rows.chunks_exact(sums.len()) {
        for (sum, x) in sums.iter_mut().zip(row) {
            *sum += x;
        }
    }
}
