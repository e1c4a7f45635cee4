//! Linear layers: one matrix product each way, into memory that is not cleared first.
//!
//! Burn computes the product of a batch with a weight as a batched product, computes the weight's
//! gradient for every sample and adds these up; its CPU backend clears and copies the memory of
//! every product.
//!
//! Inputs, outputs, biases and gradients are in f32. With a weight in bf16, products are in bf16 with sums in f32, where
//! the processor has instructions for it.

use ar_autodiff::{parents, record};
use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Flex, backend_extension};
use rayon::prelude::*;

use crate::bf16::{self, Factor};
use crate::buffer::{contiguous, dims, tensor, values};
use crate::gemm::{self, Matrix};
use crate::rows::vectorized;

/// Linear layers, as an extension of the backend.
#[backend_extension(Flex, Autodiff)]
pub trait LinearOps: Backend {
    /// `x weight + bias`.
    ///
    /// # Shapes
    /// - `x`: `[.., d_input]`; `weight`, in f32 or bf16: `[d_input, d_output]`; `bias`: `[d_output]`
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
        let (input, bias) = (Matrix::new(values(&x), d_input), values(&bias));
        let output = match factor(&weight, d_output) {
            Factor::F32(weight) => gemm::product_onto(bias, input, weight),
            weight => bf16::product_onto(bias, Factor::F32(input), weight),
        };
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
        let product = |a: Matrix, b: Factor| match (factor(&weight, d_out), b) {
            (Factor::F32(_), Factor::F32(b)) => gemm::product(a, b),
            _ => bf16::product(Factor::F32(a), b),
        };
        let mut add = |parent: Option<_>, gradient: &dyn Fn() -> FlexTensor| {
            // Data has no gradient, so that product is skipped.
            if let Some(parent) = parent {
                gradients.register::<Flex>(parent, gradient());
            }
        };
        add(parents[0], &|| {
            let d_x = product(d_rows, factor(&weight, d_out).transposed());
            tensor(d_x, x.layout().shape().clone())
        });
        add(parents[1], &|| {
            let rows = Matrix::new(values(&x), d_input);
            let d_weight = product(rows.transposed(), Factor::F32(d_rows));
            tensor(d_weight, [d_input, d_out])
        });
        add(parents[2], &|| {
            tensor(column_sums(values(&d_output), d_out), [d_out])
        });
    }
}

/// A contiguous weight of `d_output` columns, in f32 or bf16.
fn factor(weight: &FlexTensor, d_output: usize) -> Factor<'_> {
    match weight.as_slice() {
        Some(values) => Factor::Bf16(Matrix::new(values, d_output)),
        None => Factor::F32(Matrix::new(values(weight), d_output)),
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
