//! Helpers for operations whose backward pass is written by hand, on any backend.
//!
//! An operation implements [`Backward`] for the backend that it computes on. Its forward pass calls
//! [`record`]; its backward pass asks [`parents`] which inputs need gradients, and passes the
//! gradients to [`register`]. The README has a complete operation.
#![warn(missing_docs)]

use burn::backend::autodiff::NodeId;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend};

/// Runs `forward` on the inputs and, if one of them is tracked, records `backward` with the state
/// that `save` makes from them.
pub fn record<B: Backend, C: CheckpointStrategy, Op: Backward<B, N>, const N: usize>(
    backward: Op,
    inputs: [FloatTensor<Autodiff<B, C>>; N],
    save: impl FnOnce(&[FloatTensor<B>; N]) -> Op::State,
    forward: impl FnOnce([FloatTensor<B>; N]) -> FloatTensor<B>,
) -> FloatTensor<Autodiff<B, C>> {
    let guards = inputs.each_ref().map(|input| input.node());
    let inputs = inputs.map(|input| input.into_primitive());
    match backward.prepare::<C>(guards).compute_bound().stateful() {
        OpsKind::Tracked(prepared) => {
            let saved = save(&inputs);
            prepared.finish(saved, forward(inputs))
        }
        OpsKind::UnTracked(prepared) => prepared.finish(forward(inputs)),
    }
}

/// The inputs of an operation, in order; `None` for those that are not tracked.
pub fn parents<S, const N: usize>(ops: &Ops<S, N>) -> [Option<NodeId>; N] {
    ops.parents
        .each_ref()
        .map(|parent| Some(parent.as_ref()?.id))
}

/// Adds `values` to the gradients of the inputs that are tracked.
pub fn register<B: Backend, const N: usize>(
    gradients: &mut Gradients,
    parents: [Option<NodeId>; N],
    values: [FloatTensor<B>; N],
) {
    for (parent, value) in parents.into_iter().zip(values) {
        if let Some(parent) = parent {
            gradients.register::<B>(parent, value);
        }
    }
}

/// Tests the examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(test)]
mod tests {
    use super::*;
    use burn::backend::autodiff::checkpoint::base::Checkpointer;
    use burn::backend::{Dispatch, Flex, backend_extension};
    use burn::tensor::{Device, Tensor};

    /// `a * b`.
    #[backend_extension(Flex, Autodiff)]
    trait ProductOps: Backend {
        fn product(a: FloatTensor<Self>, b: FloatTensor<Self>) -> FloatTensor<Self>;
    }

    impl ProductOps for Flex {
        fn product(a: FloatTensor<Self>, b: FloatTensor<Self>) -> FloatTensor<Self> {
            use burn::backend::ops::FloatTensorOps;
            Self::float_mul(a, b)
        }
    }

    impl<C: CheckpointStrategy> ProductOps for Autodiff<Flex, C> {
        fn product(a: FloatTensor<Self>, b: FloatTensor<Self>) -> FloatTensor<Self> {
            record::<Flex, C, _, 2>(ProductBackward, [a, b], Clone::clone, |[a, b]| {
                Flex::product(a, b)
            })
        }
    }

    #[derive(Debug)]
    struct ProductBackward;

    impl Backward<Flex, 2> for ProductBackward {
        type State = [FloatTensor<Flex>; 2];

        fn backward(
            self,
            ops: Ops<Self::State, 2>,
            gradients: &mut Gradients,
            _: &mut Checkpointer,
        ) {
            let parents = parents(&ops);
            let d_output = gradients.consume::<Flex>(&ops.node);
            let [a, b] = ops.state;
            let values = [(b, d_output.clone()), (a, d_output)].map(|(x, y)| Flex::product(x, y));
            register::<Flex, 2>(gradients, parents, values);
        }
    }

    fn product(a: &Tensor<1>, b: &Tensor<1>) -> Tensor<1> {
        let [a, b] = [a, b].map(|x| x.clone().into_dispatch());
        Tensor::from_dispatch(Dispatch::product(a, b))
    }

    fn values(x: Tensor<1>) -> Vec<f32> {
        x.into_data().iter::<f32>().collect()
    }

    #[test]
    fn gradients_reach_the_inputs_that_are_tracked() {
        let device = Device::flex().autodiff();
        let a = Tensor::<1>::from_floats([2.0, 3.0], &device);
        let b = Tensor::<1>::from_floats([5.0, 7.0], &device);
        // The first one is used twice: gradients are added up.
        let [tracked, other] = [a.clone().require_grad(), b.clone()];
        let gradients = (product(&tracked, &other) + product(&other, &tracked))
            .sum()
            .backward();
        let gradient = tracked.grad(&gradients).expect("a gradient");
        assert_eq!(values(gradient), [10.0, 14.0]);
        assert!(other.grad(&gradients).is_none());

        let [a, b] = [a.require_grad(), b.require_grad()];
        let gradients = product(&a, &b).sum().backward();
        let of = |x: &Tensor<1>| values(x.grad(&gradients).expect("a gradient"));
        assert_eq!((of(&a), of(&b)), (vec![5.0, 7.0], vec![2.0, 3.0]));
    }

    #[test]
    fn nothing_is_kept_where_no_input_is_tracked() {
        let device = Device::flex().autodiff();
        let a = Tensor::<1>::from_floats([2.0, 3.0], &device);
        let output = product(&a, &a);
        assert!(!output.is_require_grad());
        assert_eq!(values(output), [4.0, 9.0]);
    }
}
