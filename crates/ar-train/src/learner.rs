//! A network and its optimizer: gradients are accumulated, possibly over several devices and processes, and then one
//! AdamW step is taken.

use std::io;
use std::ops::Range;
use std::panic::resume_unwind;
use std::thread;

use burn::module::Module;
use burn::optim::{AdamWConfig, GradientsAccumulator, GradientsParams, ModuleOptimizer};
use burn::tensor::{Device, Gradients, Tensor};

use crate::config::{ComputePrecision, OptimizerConfig};
use crate::error::{Error, Result};
use crate::gradients::{average, clip_global_norm, widen};
use crate::workers::{Workers, cut};

/// A network with the state of its optimizer.
pub struct Learner<M> {
    /// The weights, on an autodiff device.
    pub model: M,
    /// The optimizer's state.
    pub optimizer: ModuleOptimizer,
    gradients: GradientsAccumulator<M>,
    clip_norm: f64,
    losses_are_finite: bool,
    precision: ComputePrecision,
    workers: Workers,
}

/// What a device computes with one forward and one backward pass.
#[derive(Clone, Debug)]
pub struct MicroBatch<'a, M> {
    /// The network, on its device and in its precision.
    pub network: &'a M,
    /// The device.
    pub device: &'a Device,
    /// Positions of the clips among all clips that this process computes in the step.
    pub clips: Range<usize>,
    /// Their share of those clips.
    pub share: f64,
}

/// What one update did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Update {
    /// Norm of the gradient over all trained parameters, before clipping.
    pub gradient_norm: f64,
    /// Whether the weights did not change, because a loss or the gradient was not finite.
    pub skipped: bool,
}

impl<M: Module> Learner<M> {
    /// A learner at the start of its training.
    pub fn new(model: M, config: &OptimizerConfig) -> Self {
        Self {
            workers: Workers::alone(model.devices().swap_remove(0)),
            model,
            optimizer: AdamWConfig::new()
                .with_beta_1(config.beta_1)
                .with_beta_2(config.beta_2)
                .with_epsilon(config.epsilon)
                .with_weight_decay(config.weight_decay)
                .init(),
            gradients: GradientsAccumulator::new(),
            clip_norm: config.clip_norm,
            losses_are_finite: true,
            precision: ComputePrecision::F32,
        }
    }

    /// Computes in `precision` from now on, in [`Learner::accumulate_parts`] and [`Learner::accumulate_pieces`];
    /// weights and optimizer stay in f32.
    pub fn with_precision(mut self, precision: ComputePrecision) -> Self {
        self.precision = precision;
        self
    }

    /// Trains with all of `workers` from now on: [`Learner::update`] with all processes,
    /// [`Learner::accumulate_parts`] with all devices.
    pub fn with_workers(mut self, workers: &Workers) -> Self {
        self.workers = workers.clone();
        self
    }

    /// Adds `share` of the gradient of `loss`, computed with [`Learner::model`], to the gradient of
    /// the next update, and returns the loss.
    ///
    /// # Shapes
    /// - `loss`: `[1]`
    pub fn accumulate(&mut self, loss: Tensor<1>, share: f64) -> f64 {
        let gradients = (loss.clone() * share).backward();
        let gradients = GradientsParams::from_grads(gradients, &self.model);
        self.gradients.accumulate(&self.model, gradients);
        let loss = f64::from(loss.into_scalar::<f32>());
        self.losses_are_finite &= loss.is_finite();
        loss
    }

    /// Adds the gradients that `backward` passes on, in one or several pieces, to the gradient of the next update.
    /// `backward` gets the network, in the precision that it computes in, and returns the loss.
    pub fn accumulate_pieces(
        &mut self,
        backward: impl FnOnce(&M, &mut dyn FnMut(Gradients)) -> Tensor<1>,
    ) {
        let network = self.precision.of(self.model.clone());
        let loss = backward(&network, &mut |gradients| {
            let mut gradients = GradientsParams::from_grads(gradients, &network);
            widen(&network, &mut gradients);
            self.gradients.accumulate(&self.model, gradients);
        });
        self.losses_are_finite &= loss.into_scalar::<f32>().is_finite();
    }

    /// Adds the gradient of the mean loss over `clips` clips to the gradient of the next update, and returns that loss.
    /// The devices share the clips, and evaluate them in batches of `batch_size` over all devices together. `backward`
    /// computes one part: it passes on the gradients of the part's mean loss times its share, in one or several pieces,
    /// and returns that product.
    ///
    /// # Shapes
    /// - loss: `[1]`
    ///
    /// # Errors
    /// The errors of `backward`, or if the system has no thread left for a device.
    pub fn accumulate_parts(
        &mut self,
        clips: usize,
        batch_size: usize,
        backward: impl Fn(MicroBatch<'_, M>, &mut dyn FnMut(Gradients)) -> Result<Tensor<1>> + Sync,
    ) -> Result<f64> {
        let devices = &self.workers.devices;
        let batch_size = batch_size.div_ceil(devices.len());
        let precision = self.precision;
        let compute = |network: M, device: &Device, own: Range<usize>| {
            let network = precision.of(network);
            let mut sum = GradientsAccumulator::new();
            let mut losses = Vec::new();
            for start in own.clone().step_by(batch_size) {
                let batch = start..own.end.min(start + batch_size);
                let part = MicroBatch {
                    network: &network,
                    device,
                    share: batch.len() as f64 / clips as f64,
                    clips: batch,
                };
                let part_loss = backward(part, &mut |gradients| {
                    let mut gradients = GradientsParams::from_grads(gradients, &network);
                    widen(&network, &mut gradients);
                    sum.accumulate(&network, gradients);
                })?;
                losses.push(part_loss.detach());
            }
            Ok((sum.grads(), sum_of(losses)))
        };
        let outcomes: Vec<Result<_>> = match &devices[..] {
            [device] => vec![compute(self.model.clone(), device, 0..clips)],
            _ => thread::scope(|scope| {
                let start = |(device, own)| {
                    let (network, compute) = (self.model.clone(), &compute);
                    thread::Builder::new()
                        .spawn_scoped(scope, move || compute(network.fork(device), device, own))
                };
                let threads: Vec<_> = devices
                    .iter()
                    .zip(cut(0..clips, devices.len()))
                    .map(start)
                    .collect();
                let join = |thread: io::Result<thread::ScopedJoinHandle<'_, _>>| {
                    let outcome = thread.map_err(Error::NoThread)?.join();
                    outcome.unwrap_or_else(|panic| resume_unwind(panic))
                };
                threads.into_iter().map(join).collect()
            }),
        };
        let main = self.workers.main_device();
        let mut loss = 0.0;
        for outcome in outcomes {
            let (gradients, part_loss) = outcome?;
            let gradients = gradients.to_device(main, &self.model);
            self.gradients.accumulate(&self.model, gradients);
            loss += part_loss;
        }
        self.losses_are_finite &= loss.is_finite();
        Ok(loss)
    }

    /// Takes one step along the accumulated gradient, averaged over the processes and clipped; no step if the gradient
    /// or a loss of any process is not finite.
    pub fn update(&mut self, learning_rate: f64) -> Update {
        let mut gradients = self.gradients.grads();
        let mut is_broken = !self.losses_are_finite;
        self.losses_are_finite = true;
        let group = &*self.workers.group;
        if group.size() > 1 {
            average(&self.model, &mut gradients, group);
            is_broken = group.any(is_broken);
        }
        let gradient_norm = clip_global_norm(&self.model, &mut gradients, self.clip_norm);
        let skipped = is_broken || !gradient_norm.is_finite();
        if !skipped {
            let model = self.model.clone();
            self.model = self.optimizer.step(learning_rate, model, gradients);
        }
        Update {
            gradient_norm,
            skipped,
        }
    }
}

/// The sum of scalars, read together: if they were read one by one, a GPU would be idle until the next operation is
/// queued.
fn sum_of(losses: Vec<Tensor<1>>) -> f64 {
    if losses.is_empty() {
        return 0.0;
    }
    let losses = Tensor::cat(losses, 0).into_data();
    losses.iter::<f32>().map(f64::from).sum()
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;
    use crate::group::{Group, testing::together};
    use burn::module::Param;
    use burn::nn::Linear;
    use burn::tensor::TensorData;

    const STEPS: usize = 5;

    fn network() -> Linear {
        let device = Device::flex().autodiff();
        Linear {
            weight: Param::from_data(TensorData::from([[0.3], [-0.2]]), &device),
            bias: Some(Param::from_data(TensorData::from([0.1]), &device)),
        }
    }

    fn learner(devices: usize, group: Option<Rc<dyn Group>>) -> Learner<Linear> {
        let mut workers = Workers::alone(Device::flex());
        workers.devices = vec![Device::flex(); devices];
        if let Some(group) = group {
            workers.group = group;
        }
        let config = OptimizerConfig {
            clip_norm: 0.5,
            ..OptimizerConfig::default()
        };
        Learner::new(network(), &config).with_workers(&workers.autodiff())
    }

    /// The clips of a step, with two numbers each.
    fn clips(step: usize) -> Vec<[f32; 2]> {
        let value = |i: usize| (7.0 * (step * 24 + i) as f32).sin();
        (0..12).map(|i| [value(2 * i), value(2 * i + 1)]).collect()
    }

    /// Takes a step on `clips` and returns the loss and the norm of the gradient.
    fn step(learner: &mut Learner<Linear>, clips: &[[f32; 2]], batch_size: usize) -> [f64; 2] {
        let backward = |part: MicroBatch<'_, Linear>, collect: &mut dyn FnMut(Gradients)| {
            let clips = clips[part.clips].concat();
            let shape = [clips.len() / 2, 2];
            let input = Tensor::<2>::from_data(TensorData::new(clips, shape), part.device);
            let loss = (part.network.forward(input) - 1.0).square().mean() * part.share;
            collect(loss.clone().backward());
            Ok(loss)
        };
        let loss = learner.accumulate_parts(clips.len(), batch_size, backward);
        let loss = loss.expect("threads");
        [loss, learner.update(0.05).gradient_norm]
    }

    fn weights(learner: &Learner<Linear>) -> Vec<f32> {
        let weights = learner.model.weight.val().into_data();
        weights.iter::<f32>().collect()
    }

    #[track_caller]
    fn assert_close(actual: &[f64], expected: &[f64]) {
        for (actual, expected) in actual.iter().zip(expected) {
            assert!((actual / expected - 1.0).abs() < 1e-5, "{actual:?}");
        }
    }

    fn widened(values: &[f32]) -> Vec<f64> {
        values.iter().copied().map(f64::from).collect()
    }

    #[test]
    fn devices_that_share_a_batch_train_like_one() {
        for (devices, batch_size) in [(2, 12), (3, 12), (5, 12), (2, 3), (16, 12)] {
            let mut one = learner(1, None);
            let mut several = learner(devices, None);
            for number in 0..STEPS {
                let clips = clips(number);
                let expected = step(&mut one, &clips, 12);
                assert_close(&step(&mut several, &clips, batch_size), &expected);
            }
            assert_close(&widened(&weights(&several)), &widened(&weights(&one)));
        }
    }

    #[test]
    fn processes_train_like_one_on_all_their_clips() {
        let mut one = learner(1, None);
        let expected: Vec<_> = (0..STEPS)
            .map(|number| step(&mut one, &clips(number), 12))
            .collect();
        let outcomes = together(3, |group| {
            let mut learner = learner(2, Some(group.clone()));
            for (number, &[loss, norm]) in expected.iter().enumerate() {
                let clips = clips(number);
                let own = &clips[4 * group.rank()..][..4];
                let [own_loss, own_norm] = step(&mut learner, own, 2);
                assert_close(&[group.mean(own_loss), own_norm], &[loss, norm]);
            }
            weights(&learner)
        });
        assert_close(&widened(&outcomes[0]), &widened(&weights(&one)));
        assert!(outcomes.iter().all(|outcome| *outcome == outcomes[0]));
    }

    #[test]
    fn all_processes_skip_what_is_broken_in_one() {
        let skipped = together(2, |group| {
            let mut learner = learner(1, Some(group.clone()));
            let before = weights(&learner);
            let mut clips = clips(0);
            if group.rank() == 1 {
                clips[0] = [f32::INFINITY; 2];
            }
            let [_, norm] = step(&mut learner, &clips, 12);
            !norm.is_finite() && weights(&learner) == before
        });
        assert_eq!(skipped, [true, true]);
        // A loss that is not finite, with a finite gradient.
        let skipped = together(2, |group| {
            let mut learner = learner(1, Some(group.clone()));
            let loss = learner.model.weight.val().sum();
            learner.accumulate(loss, 1.0);
            if group.rank() == 1 {
                let device = Device::flex().autodiff();
                let broken = Tensor::<1>::from_floats([f32::NAN], &device);
                learner.accumulate(broken.require_grad(), 1.0);
            }
            let update = learner.update(0.05);
            update.skipped && update.gradient_norm.is_finite()
        });
        assert_eq!(skipped, [true, true]);
    }
}
