//! Activation checkpointing: between a network's forward and backward pass, only the inputs of its blocks are kept, and
//! the backward pass recomputes each block when it needs it (Chen et al., "Training Deep Nets with Sublinear Memory
//! Cost").
//!
//! A network runs its blocks through [`ActivationCheckpointing::checkpoint`], which recomputes them if checkpointing
//! was enabled in [`ActivationCheckpointing::new`]; [`ActivationCheckpointing::backward`] runs the backward pass.
//! Gradients are the same either way, up to rounding.
#![warn(missing_docs)]

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Gradients, Tensor};

/// One forward pass through the blocks of a network, and its backward pass.
pub struct ActivationCheckpointing {
    /// The checkpointed segments in order; None if all activations are kept.
    segments: Option<Vec<Box<dyn Segment>>>,
}

impl ActivationCheckpointing {
    /// A pass that recomputes its blocks in the backward pass if `enabled`, and keeps their
    /// activations otherwise.
    pub fn new(enabled: bool) -> Self {
        Self {
            segments: enabled.then(Vec::new),
        }
    }

    /// The output of `forward` for a block and its input, which becomes a checkpoint.
    ///
    /// Activations between two blocks are kept. A tensor that is computed there must be read only once, by a block, by
    /// the loss or on the way to them; if it is read more often, [`ActivationCheckpointing::share`] it.
    pub fn checkpoint<M, X, Y>(
        &mut self,
        block: &M,
        input: X,
        forward: impl Fn(&M, X) -> Y + 'static,
    ) -> Y
    where
        M: Module + 'static,
        X: Activations + 'static,
        Y: Activations + 'static,
    {
        let Some(segments) = &mut self.segments else {
            return forward(block, input);
        };
        // Without autodiff, since otherwise a graph would be built and kept.
        let output = forward(&block.valid(), input.clone().inner());
        if !input.is_tracked() && !trains(block) {
            return output.constant();
        }
        let output = output.leaf();
        let block = block.clone();
        segments.push(Box::new(Checkpointed {
            compute: move || forward(&block, input),
            output: output.clone(),
            gradient: Y::Gradient::default(),
        }));
        output
    }

    /// `value`, which may then be read more than once.
    pub fn share<X: Activations + 'static>(&mut self, value: X) -> X {
        let Some(segments) = self.segments.as_mut().filter(|_| value.is_tracked()) else {
            return value;
        };
        let shared = value.clone().inner().leaf();
        segments.push(Box::new(Checkpointed {
            compute: move || value,
            output: shared.clone(),
            gradient: X::Gradient::default(),
        }));
        shared
    }

    /// Passes the gradients of `loss` to `collect`, in one part or in several that have to be added up.
    ///
    /// # Shapes
    /// - `loss`: `[1]`
    ///
    /// # Panics
    /// If `loss` does not depend on any trainable parameter.
    pub fn backward(self, loss: &Tensor<1>, mut collect: impl FnMut(Gradients)) {
        let mut segments = self.segments.unwrap_or_default();
        let mut part = Some(loss.backward());
        loop {
            if let Some(mut gradients) = part.take() {
                for segment in &mut segments {
                    segment.take(&mut gradients);
                }
                collect(gradients);
            }
            let Some(last) = segments.pop() else { return };
            part = last.backward();
        }
    }
}

/// Inputs or outputs of a block: a tensor, or nested pairs of tensors.
pub trait Activations: Clone {
    /// Gradients with respect to the activations.
    type Gradient: Default;

    /// The activations without autodiff.
    fn inner(self) -> Self;

    /// Activations without autodiff as constants of a graph.
    fn constant(self) -> Self;

    /// Activations without autodiff as leaves of a graph, to compute their gradients.
    fn leaf(self) -> Self;

    /// Whether they depend on any trainable parameter.
    fn is_tracked(&self) -> bool;

    /// Moves their gradients out of `from` and adds them to `sum`.
    fn take(&self, from: &mut Gradients, sum: &mut Self::Gradient);

    /// A scalar whose gradient with respect to the activations is `gradient`; None if there is no gradient.
    ///
    /// # Shapes
    /// - output: `[1]`
    fn product(self, gradient: Self::Gradient) -> Option<Tensor<1>>;
}

impl<const D: usize> Activations for Tensor<D> {
    type Gradient = Option<Tensor<D>>;

    fn inner(self) -> Self {
        Tensor::inner(self)
    }

    fn constant(self) -> Self {
        Tensor::from_inner(self)
    }

    fn leaf(self) -> Self {
        self.constant().require_grad()
    }

    fn is_tracked(&self) -> bool {
        Tensor::is_tracked(self)
    }

    fn take(&self, from: &mut Gradients, sum: &mut Self::Gradient) {
        let parts = [sum.take(), self.grad_remove(from)];
        *sum = parts.into_iter().flatten().reduce(|sum, part| sum + part);
    }

    fn product(self, gradient: Self::Gradient) -> Option<Tensor<1>> {
        let gradient = gradient.filter(|_| Tensor::is_tracked(&self))?;
        Some((self * gradient.constant()).sum())
    }
}

impl<A: Activations, B: Activations> Activations for (A, B) {
    type Gradient = (A::Gradient, B::Gradient);

    fn inner(self) -> Self {
        (self.0.inner(), self.1.inner())
    }

    fn constant(self) -> Self {
        (self.0.constant(), self.1.constant())
    }

    fn leaf(self) -> Self {
        (self.0.leaf(), self.1.leaf())
    }

    fn is_tracked(&self) -> bool {
        self.0.is_tracked() || self.1.is_tracked()
    }

    fn take(&self, from: &mut Gradients, sum: &mut Self::Gradient) {
        self.0.take(from, &mut sum.0);
        self.1.take(from, &mut sum.1);
    }

    fn product(self, gradient: Self::Gradient) -> Option<Tensor<1>> {
        let parts = [self.0.product(gradient.0), self.1.product(gradient.1)];
        parts.into_iter().flatten().reduce(|sum, part| sum + part)
    }
}

/// A segment of the graph that is built when its gradients are needed.
struct Checkpointed<F, Y: Activations> {
    compute: F,
    output: Y,
    /// With respect to the output.
    gradient: Y::Gradient,
}

trait Segment {
    /// Takes the gradients with respect to the output.
    fn take(&mut self, gradients: &mut Gradients);

    /// The gradients with respect to what the output was computed from; None if the loss does not depend on the output.
    fn backward(self: Box<Self>) -> Option<Gradients>;
}

impl<Y: Activations, F: FnOnce() -> Y> Segment for Checkpointed<F, Y> {
    fn take(&mut self, gradients: &mut Gradients) {
        self.output.take(gradients, &mut self.gradient);
    }

    fn backward(self: Box<Self>) -> Option<Gradients> {
        let Self {
            compute,
            output,
            gradient,
        } = *self;
        // Computing needs memory.
        drop(output);
        let scalar = compute().product(gradient)?;
        Some(scalar.backward())
    }
}

/// Whether any parameter of `block` trains.
fn trains(block: &impl Module) -> bool {
    struct Any(bool);
    impl ModuleVisitor for Any {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.0 |= param.val().is_require_grad();
        }
    }
    let mut any = Any(false);
    block.visit(&mut any);
    any.0
}

/// Tests the examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(test)]
mod tests {
    use super::*;
    use burn::nn::{Linear, LinearConfig};
    use burn::optim::{GradientsAccumulator, GradientsParams};
    use burn::tensor::{Device, Distribution};

    const WIDTH: usize = 6;

    #[derive(Module, Debug)]
    struct Network {
        before: Linear,
        blocks: Vec<Linear>,
        after: Linear,
    }

    impl Network {
        fn new(device: &Device) -> Self {
            let linear = || LinearConfig::new(WIDTH, WIDTH).init(device);
            Self {
                before: linear(),
                blocks: (0..3).map(|_| linear()).collect(),
                after: linear(),
            }
        }

        /// Blocks with two inputs, all with the same second one, and with two outputs, where the last block's second
        /// one is not read; layers between blocks; and a loss that reads more than the last block's output.
        fn loss(&self, checkpointing: &mut ActivationCheckpointing, x: Tensor<2>) -> Tensor<1> {
            let condition = checkpointing.share(self.after.forward(x.clone()).tanh());
            let mut x = self.before.forward(x);
            let mut side = condition.clone();
            for block in &self.blocks {
                let input = ((x, side), condition.clone());
                (x, side) =
                    checkpointing.checkpoint(block, input, |block, ((x, side), condition)| {
                        let output = (block.forward(x.clone()) + side * condition).tanh();
                        (output.clone(), output - x)
                    });
                x = checkpointing.share(self.after.forward(x));
            }
            x.clone().square().mean() + (x * condition).mean()
        }
    }

    /// The loss, and the gradients of all parameters that have one.
    fn run(network: &Network, x: &Tensor<2>, recompute: bool) -> (f32, Vec<f32>) {
        struct Collect<'a>(&'a GradientsParams, Vec<f32>);
        impl ModuleVisitor for Collect<'_> {
            fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
                if let Some(gradient) = self.0.get::<D>(param.id) {
                    self.1.extend(gradient.into_data().iter::<f32>());
                }
            }
        }
        let mut checkpointing = ActivationCheckpointing::new(recompute);
        let loss = network.loss(&mut checkpointing, x.clone());
        let mut sum = GradientsAccumulator::new();
        let mut parts = 0;
        checkpointing.backward(&loss, |gradients| {
            sum.accumulate(network, GradientsParams::from_grads(gradients, network));
            parts += 1;
        });
        assert_eq!(parts > 1, recompute);
        let gradients = sum.grads();
        let mut collect = Collect(&gradients, Vec::new());
        network.visit(&mut collect);
        (loss.into_scalar(), collect.1)
    }

    #[track_caller]
    fn check(network: &Network, gradients: usize) {
        let device = Device::flex().autodiff();
        let x = Tensor::random([4, WIDTH], Distribution::Normal(0.0, 1.0), &device);
        let (kept_loss, kept) = run(network, &x, false);
        let (loss, again) = run(network, &x, true);
        assert!((loss / kept_loss - 1.0).abs() < 1e-6, "{loss} {kept_loss}");
        assert_eq!([kept.len(), again.len()], [gradients; 2]);
        let largest = kept.iter().fold(0.0_f32, |largest, g| largest.max(g.abs()));
        for (kept, again) in kept.iter().zip(&again) {
            assert!((kept - again).abs() < 1e-6 * largest, "{kept} {again}");
        }
    }

    #[test]
    fn gradients_are_the_same_as_without_checkpointing() {
        let network = Network::new(&Device::flex().autodiff());
        check(&network, 5 * (WIDTH * WIDTH + WIDTH));
    }

    #[test]
    fn gradients_pass_through_blocks_that_do_not_train() {
        let mut network = Network::new(&Device::flex().autodiff());
        network.blocks = network.blocks.into_iter().map(Module::no_grad).collect();
        check(&network, 2 * (WIDTH * WIDTH + WIDTH));
    }

    #[test]
    fn frozen_blocks_at_the_start_are_not_recomputed() {
        let device = Device::flex().autodiff();
        let block = LinearConfig::new(WIDTH, WIDTH).init(&device).no_grad();
        let mut checkpointing = ActivationCheckpointing::new(true);
        let input = Tensor::<2>::ones([1, WIDTH], &device);
        let output = checkpointing.checkpoint(&block, input, Linear::forward);
        assert!(output.is_autodiff() && !output.is_tracked());
        assert!(checkpointing.segments.is_some_and(|rest| rest.is_empty()));
    }
}
