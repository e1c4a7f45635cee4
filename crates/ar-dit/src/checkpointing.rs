use burn::module::Module;
use burn::tensor::{Gradients, Int, Tensor, activation::silu};

use ar_ops::{linear::apply, norm::layer_norm};

use crate::{Dit, Tokens};

impl Dit {
    /// Forward and backward pass that keep what one block computes at a time: only the inputs of
    /// the blocks are kept, and each block is computed again when its gradient is due (Chen et al.,
    /// "Training Deep Nets with Sublinear Memory Cost"). The gradients are those of
    /// `loss(self.forward(x, timesteps, context)).backward()`; they come in several parts, block by
    /// block, each parameter in one of them. Returns the loss.
    ///
    /// # Shapes
    /// - `x`, `timesteps`, `context`: as those of [`Dit::forward`]; gradients flow on into what
    ///   `context` was computed from, not into `x`
    /// - `loss`: from the prediction to a loss, `[1]`
    pub fn backward_by_block(
        &self,
        x: Tensor<4>,
        timesteps: Tensor<2, Int>,
        context: Tensor<3>,
        loss: impl FnOnce(Tensor<4>) -> Tensor<1>,
        mut collect: impl FnMut(Gradients),
    ) -> Tensor<1> {
        let [_, frames, tokens, _] = x.dims();
        let config = self.config();
        let surroundings = |device| {
            let rotation = self.positions.of_sequence(config, 0..frames, &device);
            let mask = config.causal_mask.hidden(
                config.context_tokens,
                frames,
                tokens,
                config.num_frames,
                &device,
            );
            (rotation, mask)
        };

        let video = self.positions.add(apply(&self.x_embedder, x), 0..frames);
        let context = apply(&self.c_embedder, context);
        let conditioning = silu(self.t_embedder.forward(timesteps));

        // Without autodiff: a graph that is built is kept.
        let mut stream = Tokens {
            context: context.clone().inner(),
            video: video.clone().inner(),
        };
        let (rotation, mask) = surroundings(stream.video.device());
        let mut inputs = Vec::with_capacity(self.blocks.len());
        for block in &self.blocks {
            inputs.push(stream.clone());
            let conditioning = conditioning.clone().inner();
            stream = block
                .valid()
                .forward(stream, conditioning, mask.as_ref(), rotation.as_ref());
        }

        let output = leaf(stream.video);
        let loss = loss(apply(&self.final_layer, layer_norm(output.clone(), 1e-6)));
        let mut gradients = loss.clone().backward();
        let mut of_video = output.grad_remove(&mut gradients);
        collect(gradients);

        let (rotation, mask) = surroundings(video.device());
        let mut of_context = None;
        let mut of_conditioning = None;
        for (block, input) in self.blocks.iter().zip(inputs).rev() {
            let input = Tokens {
                context: leaf(input.context),
                video: leaf(input.video),
            };
            let modulating = leaf(conditioning.clone().inner());
            let output = block.forward(
                input.clone(),
                modulating.clone(),
                mask.as_ref(),
                rotation.as_ref(),
            );
            let Some(mut gradients) = backward([
                product(output.video, of_video),
                product(output.context, of_context),
            ]) else {
                return loss;
            };
            of_video = input.video.grad_remove(&mut gradients);
            of_context = input.context.grad_remove(&mut gradients);
            of_conditioning = [of_conditioning, modulating.grad_remove(&mut gradients)]
                .into_iter()
                .flatten()
                .reduce(|sum, gradient| sum + gradient);
            collect(gradients);
        }
        if let Some(gradients) = backward([
            product(video, of_video),
            product(context, of_context),
            product(conditioning, of_conditioning),
        ]) {
            collect(gradients);
        }
        loss
    }
}

/// A value that gradients are wanted of and that was computed from nothing.
fn leaf<const D: usize>(value: Tensor<D>) -> Tensor<D> {
    Tensor::from_inner(value).require_grad()
}

/// A scalar whose gradient over `output` is `gradient`.
fn product<const D: usize>(output: Tensor<D>, gradient: Option<Tensor<D>>) -> Option<Tensor<1>> {
    gradient.map(|gradient| (output * Tensor::from_inner(gradient)).sum())
}

/// The gradients of the sum, if there is anything to sum.
fn backward<const N: usize>(parts: [Option<Tensor<1>>; N]) -> Option<Gradients> {
    let sum = parts.into_iter().flatten().reduce(|sum, part| sum + part);
    sum.map(|sum| sum.backward())
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::module::{Module, ModuleVisitor, Param};
    use burn::optim::{GradientsAccumulator, GradientsParams};
    use burn::tensor::Device;

    use crate::testing::{Inputs, frame_rotary, random_network};
    use crate::{CausalMask, DitConfig, MergeMode, Positions};

    struct Values<'a>(&'a GradientsParams, Vec<f32>);

    impl ModuleVisitor for Values<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let gradient = self.0.get::<D>(param.id).expect("a gradient");
            self.1.extend(gradient.into_data().iter::<f32>());
        }
    }

    fn values(network: &Dit, gradients: &GradientsParams) -> Vec<f32> {
        let mut values = Values(gradients, Vec::new());
        network.visit(&mut values);
        values.1
    }

    fn relative_error(actual: &[f32], expected: &[f32]) -> f32 {
        let norm =
            |values: &mut dyn Iterator<Item = f32>| values.map(|v| v * v).sum::<f32>().sqrt();
        let mut difference = actual.iter().zip(expected).map(|(a, b)| a - b);
        norm(&mut difference) / norm(&mut expected.iter().copied())
    }

    fn check(config: &DitConfig) {
        let device = Device::flex().autodiff();
        let network = random_network(config).train();
        let Inputs {
            x,
            timesteps,
            context,
        } = Inputs::new(config, config.num_frames);
        let x = Tensor::from_inner(x);
        let timesteps = Tensor::from_data(timesteps.into_data(), &device);
        // Leaves, as a table of contexts that trains.
        let [whole_context, context] = [context.clone(), context].map(leaf);
        let loss = |prediction: Tensor<4>| prediction.square().mean();

        let prediction = network.forward(x.clone(), timesteps.clone(), whole_context.clone());
        let whole_loss = loss(prediction);
        let mut gradients = whole_loss.clone().backward();
        let whole_context = whole_context.grad_remove(&mut gradients);
        let whole = values(&network, &GradientsParams::from_grads(gradients, &network));

        let mut accumulator = GradientsAccumulator::new();
        let mut of_context = None;
        let block_loss =
            network.backward_by_block(x, timesteps, context.clone(), loss, |mut gradients| {
                of_context = of_context.take().or(context.grad_remove(&mut gradients));
                let gradients = GradientsParams::from_grads(gradients, &network);
                accumulator.accumulate(&network, gradients);
            });
        let by_block = values(&network, &accumulator.grads());

        let [whole_loss, block_loss] = [whole_loss, block_loss].map(Tensor::into_scalar::<f32>);
        assert!(
            (whole_loss - block_loss).abs() < 1e-6 * whole_loss,
            "{config:?}"
        );
        let error = relative_error(&by_block, &whole);
        assert!(error < 1e-5, "{error} for {config:?}");
        let [of_context, whole_context] = [of_context, whole_context].map(|gradient| {
            let gradient = gradient.expect("the context matters");
            gradient.into_data().iter::<f32>().collect::<Vec<f32>>()
        });
        let error = relative_error(&of_context, &whole_context);
        assert!(error < 1e-5, "{error} over the context for {config:?}");
    }

    #[test]
    fn gradients_by_block_are_those_of_the_whole() {
        check(&frame_rotary());
        for (merge_mode, causal_mask) in [
            (MergeMode::ShareNorm, CausalMask::VideoTemporalCausal),
            (MergeMode::SeparateNorm, CausalMask::TemporalCausal),
            (MergeMode::ShareNormShiftFirstT, CausalMask::None),
            (MergeMode::Reproduce, CausalMask::None),
        ] {
            check(&DitConfig {
                positions: Positions::SinCos,
                merge_mode,
                causal_mask,
                ..frame_rotary()
            });
        }
    }
}
