//! GELU, exact and in its tanh approximation.

use std::f32::consts::FRAC_1_SQRT_2;

use ar_autodiff::{parents, record, register};
use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Flex, backend_extension};

use crate::buffer::{contiguous, tensor, values};
use crate::exp::{erf, exp, sigmoid};
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

    /// `x Φ(x)`, element by element, with the distribution function of the normal distribution.
    fn gelu_erf(x: FloatTensor<Self>) -> FloatTensor<Self>;
}

impl GeluOps for Flex {
    fn gelu_tanh(x: FlexTensor) -> FlexTensor {
        map(
            x,
            #[inline(always)]
            |x| x * sigmoid(x * (SLOPE + CUBE * x * x)),
        )
    }

    fn gelu_erf(x: FlexTensor) -> FlexTensor {
        map(
            x,
            #[inline(always)]
            |x| x * normal_distribution(x),
        )
    }
}

impl<C: CheckpointStrategy> GeluOps for Autodiff<Flex, C> {
    fn gelu_tanh(x: FloatTensor<Self>) -> FloatTensor<Self> {
        record::<Flex, C, _, 1>(TanhBackward, [x], |[x]| x.clone(), |[x]| Flex::gelu_tanh(x))
    }

    fn gelu_erf(x: FloatTensor<Self>) -> FloatTensor<Self> {
        record::<Flex, C, _, 1>(ErfBackward, [x], |[x]| x.clone(), |[x]| Flex::gelu_erf(x))
    }
}

#[derive(Debug)]
struct TanhBackward;

impl Backward<Flex, 1> for TanhBackward {
    type State = FlexTensor;

    fn backward(self, ops: Ops<FlexTensor, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        map_backward(
            ops,
            gradients,
            #[inline(always)]
            |x| {
                let square = x * x;
                let s = sigmoid(x * (SLOPE + CUBE * square));
                s + x * s * (1.0 - s) * (SLOPE + 3.0 * CUBE * square)
            },
        );
    }
}

#[derive(Debug)]
struct ErfBackward;

impl Backward<Flex, 1> for ErfBackward {
    type State = FlexTensor;

    fn backward(self, ops: Ops<FlexTensor, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        map_backward(
            ops,
            gradients,
            #[inline(always)]
            |x| {
                let density = DENSITY_AT_0 * exp(-0.5 * x * x);
                normal_distribution(x) + x * density
            },
        );
    }
}

/// `1 / √(2π)`
const DENSITY_AT_0: f32 = 0.398_942_3;

/// The distribution function of the normal distribution, `Φ(x)`.
#[inline(always)]
fn normal_distribution(x: f32) -> f32 {
    0.5 + 0.5 * erf(x * FRAC_1_SQRT_2)
}

/// A new tensor with `f` of every value.
fn map(x: FlexTensor, f: impl Fn(f32) -> f32 + Sync) -> FlexTensor {
    let x = contiguous(x);
    let input = values(&x);
    let mut output = vec![0.0; input.len()];
    fill(&mut output, 1, |first, output| {
        let input = &input[first..first + output.len()];
        vectorized(
            #[inline(always)]
            || {
                for (y, &x) in output.iter_mut().zip(input) {
                    *y = f(x);
                }
            },
        );
    });
    tensor(output, x.layout().shape().clone())
}

/// The backward pass of an element-wise function, given its derivative.
fn map_backward(
    ops: Ops<FlexTensor, 1>,
    gradients: &mut Gradients,
    derivative: impl Fn(f32) -> f32 + Sync,
) {
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
            || {
                for ((dx, &x), &dy) in d_input.iter_mut().zip(input).zip(d_out) {
                    *dx = dy * derivative(x);
                }
            },
        );
    });
    let d_x = tensor(d_input, x.layout().shape().clone());
    register::<Flex, _>(gradients, parents, [d_x]);
}

/// GELU of every value, in place.
#[inline(always)]
pub(crate) fn in_place(values: &mut [f32]) {
    for x in values {
        *x *= sigmoid(*x * (SLOPE + CUBE * *x * *x));
    }
}
