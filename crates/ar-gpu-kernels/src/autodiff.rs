//! Recording of operations in the graph of automatic differentiation.

use burn::backend::autodiff::NodeId;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Cube};

/// A tensor of the GPU backend without autodiff.
pub(crate) type GpuTensor = FloatTensor<Cube>;

/// Runs `forward` on the inputs and, where one of them is tracked, records `backward` with what
/// `save` keeps of them.
pub(crate) fn record<C: CheckpointStrategy, Op: Backward<Cube, N>, const N: usize>(
    backward: Op,
    inputs: [FloatTensor<Autodiff<Cube, C>>; N],
    save: impl FnOnce(&[GpuTensor; N]) -> Op::State,
    forward: impl FnOnce([GpuTensor; N]) -> GpuTensor,
) -> FloatTensor<Autodiff<Cube, C>> {
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

/// The inputs of an operation that are tracked.
pub(crate) fn parents<S, const N: usize>(ops: &Ops<S, N>) -> [Option<NodeId>; N] {
    ops.parents
        .each_ref()
        .map(|parent| Some(parent.as_ref()?.id))
}

/// Adds to the gradients of the tracked inputs.
pub(crate) fn register<const N: usize>(
    gradients: &mut Gradients,
    parents: [Option<NodeId>; N],
    values: [GpuTensor; N],
) {
    for (parent, value) in parents.into_iter().zip(values) {
        if let Some(parent) = parent {
            gradients.register::<Cube>(parent, value);
        }
    }
}
