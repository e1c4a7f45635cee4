//! GELU in its tanh approximation, which keeps only its input.
//!
//! With `s = σ(2 √(2/π) (x + 0.044715 x³))`:
//!
//! ```text
//! y  = x s
//! dx = dy (s + x s (1 - s) 2 √(2/π) (1 + 3 · 0.044715 x²))
//! ```
//!
//! The operations are Burn's, whose fusion makes one kernel from them. With Burn's own backward
//! pass, they would keep three results as large as the input, the widest tensor of a transformer
//! block.

use std::f64::consts::PI;

use ar_autodiff::{parents, record, register};
use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops};
use burn::backend::ops::{ActivationOps, FloatTensorOps};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Cube, Dispatch, backend_extension};
use burn::tensor::Tensor;

use crate::GpuTensor;

/// The coefficient of the cube.
const CUBE: f64 = 0.044715;

/// GELU in its tanh approximation, `x/2 (1 + tanh(√(2/π) (x + 0.044715 x³)))`.
pub fn gelu_tanh<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    Tensor::from_dispatch(Dispatch::gelu_tanh(x.into_dispatch()))
}

#[backend_extension(Cube, Autodiff)]
trait GeluOps: Backend {
    fn gelu_tanh(x: FloatTensor<Self>) -> FloatTensor<Self>;
}

impl GeluOps for Cube {
    fn gelu_tanh(x: GpuTensor) -> GpuTensor {
        Self::float_mul(logistic(x.clone()), x)
    }
}

impl<C: CheckpointStrategy> GeluOps for Autodiff<Cube, C> {
    fn gelu_tanh(x: FloatTensor<Self>) -> FloatTensor<Self> {
        record::<Cube, C, _, 1>(GeluBackward, [x], |[x]| x.clone(), |[x]| Cube::gelu_tanh(x))
    }
}

/// `s` of the module's equations.
fn logistic(x: GpuTensor) -> GpuTensor {
    Cube::sigmoid(Cube::float_mul(slope(x.clone(), 1.0), x))
}

/// `2 √(2/π) (1 + cubes · 0.044715 x²)`
fn slope(x: GpuTensor, cubes: f64) -> GpuTensor {
    let at_zero = 2.0 * (2.0 / PI).sqrt();
    let square = Cube::float_mul(x.clone(), x);
    let square = Cube::float_mul_scalar(square, (cubes * CUBE * at_zero).into());
    Cube::float_add_scalar(square, at_zero.into())
}

#[derive(Debug)]
struct GeluBackward;

impl Backward<Cube, 1> for GeluBackward {
    type State = GpuTensor;

    fn backward(self, ops: Ops<GpuTensor, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let parents = parents(&ops);
        let d_output = gradients.consume::<Cube>(&ops.node);
        let x = ops.state;
        let s = logistic(x.clone());
        // 1 - s
        let rest = Cube::float_add_scalar(Cube::float_neg(s.clone()), 1.0.into());
        let bend = Cube::float_mul(Cube::float_mul(x.clone(), rest), slope(x, 3.0));
        // s + x s (1 - s) slope = s (1 + x (1 - s) slope)
        let derivative = Cube::float_mul(s, Cube::float_add_scalar(bend, 1.0.into()));
        register::<Cube, _>(gradients, parents, [Cube::float_mul(d_output, derivative)]);
    }
}
