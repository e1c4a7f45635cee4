//! GELU in its tanh approximation.

use ar_autodiff::{parents, record, register};
use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Flex, backend_extension};

use crate::buffer::{contiguous, tensor, values};
use crate::exp::sigmoid;
use crate::rows::{fill, vectorized};

/// `2 √(2/π)`: the slope of the logistic function's argument at 0.
const SLOPE: f32 = 1.595_769_2;
/// The coefficient of its cube.
const CUBE: f32 = 0.044_715 * SLOPE;

/// GELU, as an extension of the backend.
#[backend_extension(Flex, Autodiff)]
pub trait GeluOps: Backend {
    /// `x σ(2 √(2/π) (x + 0.044715 x³))`, element by element.
    fn gelu_tanh(x: FloatTensor<Self>) -> FloatTensor<Self>;
}

impl GeluOps for Flex {
    fn gelu_tanh(x: FlexTensor) -> FlexTensor {
        let x = contiguous(x);
        let input = values(&x);
        let mut output = vec![0.0; input.len()];
        fill(&mut output, 1, |first, output| {
            let input = &input[first..first + output.len()];
            vectorized(
                #[inline(always)]
                || forward(input, output),
            );
        });
        tensor(output, x.layout().shape().clone())
    }
}

impl<C: CheckpointStrategy> GeluOps for Autodiff<Flex, C> {
    fn gelu_tanh(x: FloatTensor<Self>) -> FloatTensor<Self> {
        record::<Flex, C, _, 1>(GeluBackward, [x], |[x]| x.clone(), |[x]| Flex::gelu_tanh(x))
    }
}

#[derive(Debug)]
struct GeluBackward;

impl Backward<Flex, 1> for GeluBackward {
    type State = FlexTensor;

    fn backward(self, ops: Ops<FlexTensor, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let parents = parents(&ops);
        let d_output = contiguous(gradients.consume::<Flex>(&ops.node));
        let x = contiguous(ops.state);
        let (input, d_out) = (values(&x), values(&d_output));
        let mut d_input = vec![0.0; input.len()];
        fill(&mut d_input, 1, |first, d_input| {
            let range = first..first + d_input.len();
            let (input, d_out) = (&input[range.clone()], &d_out[range]);
            vectorized(
                #[inline(always)]
                || backward(input, d_out, d_input),
            );
        });
        let d_x = tensor(d_input, x.layout().shape().clone());
        register::<Flex, _>(gradients, parents, [d_x]);
    }
}

/// GELU of every value, in its place.
#[inline(always)]
pub(crate) fn in_place(values: &mut [f32]) {
    for x in values {
        *x *= sigmoid(*x * (SLOPE + CUBE * *x * *x));
    }
}

#[inline(always)]
fn forward(input: &[f32], output: &mut [f32]) {
    for (y, &x) in output.iter_mut().zip(input) {
        *y = x * sigmoid(x * (SLOPE + CUBE * x * x));
    }
}

#[inline(always)]
fn backward(input: &[f32], d_output: &[f32], d_input: &mut [f32]) {
    for ((dx, &x), &dy) in d_input.iter_mut().zip(input).zip(d_output) {
        let square = x * x;
        let s = sigmoid(x * (SLOPE + CUBE * square));
        *dx = dy * (s + x * s * (1.0 - s) * (SLOPE + 3.0 * CUBE * square));
    }
}
