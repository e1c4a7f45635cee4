use std::collections::BTreeSet;

use super::*;
use ar_dit::{CausalMask, DitConfig};
use ar_model::ConditioningConfig;
use burn::module::{ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::DType;

use crate::config::ComputePrecision;

fn config() -> DiffusionRun {
    DiffusionRun {
        context_dropout: 0.2,
        transformer: DitConfig {
            num_frames: 3,
            tokens_per_frame: 2,
            in_channels: 4,
            hidden_size: 16,
            depth: 1,
            num_heads: 2,
            context_tokens: 2,
            context_dim: 8,
            ..DitConfig::default()
        },
        conditioning: ConditioningConfig {
            classes: 3,
            ..ConditioningConfig::default()
        },
        ..DiffusionRun::default()
    }
}

fn items(count: usize) -> Vec<LatentItem> {
    let item = |clip| LatentItem {
        latents: (0..24).map(|i| ((clip * 24 + i) as f32).sin()).collect(),
        shape: [3, 2, 4],
        label: Some(clip % 3),
    };
    (0..count).map(item).collect()
}

fn network(config: &DiffusionRun, device: &Device) -> Transformer {
    Transformer::new(&config.transformer, &config.conditioning, device).expect("a network")
}

#[test]
fn the_context_is_dropped_with_the_stated_probability() {
    for probability in [0.0, 0.2, 1.0] {
        let config = DiffusionRun {
            context_dropout: probability,
            ..config()
        };
        let objective = Objective::new(&config, None).expect("an objective");
        let clips = 50.0 * 400.0;
        let dropped: usize = (0..50)
            .map(|step| objective.draws(step, [400, 3]))
            .map(|draws| draws.dropped().iter().filter(|&&dropped| dropped).count())
            .sum();
        // Five standard deviations of a binomial count.
        let tolerance = 5.0 * (clips * probability * (1.0 - probability)).sqrt();
        let error = (dropped as f64 - clips * probability).abs();
        assert!(error <= tolerance, "{dropped} of {clips} at {probability}");
    }
}

#[test]
fn training_is_steady_with_classes_that_are_dropped() {
    let device = Device::flex().autodiff();
    let mut config = config();
    config.transformer.depth = 4;
    config.optimizer.learning_rate = 1e-3;
    device.seed(6);
    let network = network(&config, &device);
    let [without, with] = [0.0, 0.5].map(|context_dropout| {
        config.context_dropout = context_dropout;
        let objective = Objective::new(&config, None).expect("an objective");
        let mut trainer = Trainer::new(network.clone(), &config.optimizer, 60);
        let step = |step| {
            let draws = objective.draws(step, [8, 3]);
            let loss = objective.accumulate(&mut trainer, &items(8), &draws);
            (loss.expect("a loss"), trainer.update().gradient_norm)
        };
        let (losses, norms): (Vec<f64>, Vec<f64>) = (0..60).map(step).unzip();
        assert_eq!(trainer.position.skipped, 0);
        let half = losses[30..].iter().sum::<f64>() / 30.0;
        assert!(half < 0.9 * losses[0], "{losses:?}");
        norms.into_iter().fold(0.0, f64::max)
    });
    assert!(with < 2.0 * without, "{with} {without}");
}

#[test]
fn the_validation_loss_is_that_of_any_batches() {
    let device = Device::flex();
    device.seed(5);
    let mut config = config();
    let transformer = network(&config, &device);
    let items = items(5);
    let [whole, parts] = [5, 2].map(|batch_size| {
        config.run.batch_size = batch_size;
        let objective = Objective::new(&config, None).expect("an objective");
        let loss = objective.validation_loss(&transformer, &items);
        loss.expect("labels in range").mean()
    });
    // Sums of 120 numbers in another order.
    assert!((whole - parts).abs() < 1e-5 * whole, "{whole} {parts}");
}

#[test]
fn short_clips_divide_the_whole() {
    let lengths = |shorter| {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        (0..64)
            .map(|_| piece_length(6, shorter, &mut rng))
            .collect::<BTreeSet<usize>>()
    };
    assert_eq!(lengths(0.0), [6].into());
    assert_eq!(lengths(1.0), [1, 2, 3].into());
    assert_eq!(lengths(0.5), [1, 2, 3, 6].into());
}

#[test]
fn pieces_keep_the_label_of_their_clip() {
    assert_eq!(repeat_each(&[4, 7], 3), [4, 4, 4, 7, 7, 7]);
}

#[test]
fn batches_of_a_step_have_the_loss_and_the_gradient_of_the_whole() {
    // Clips of three frames cut into single ones.
    let config = DiffusionRun {
        short_clips: 1.0,
        ..config()
    };
    let device = Device::flex().autodiff();
    let objective = Objective::new(&config, None).expect("an objective");
    let items = items(6);
    let draws = objective.draws(5, [6, 3]);
    let mut whole = Trainer::new(network(&config, &device), &config.optimizer, 10);
    let mut parts = Trainer::new(whole.model().clone(), &config.optimizer, 10);
    let loss = objective.loss(whole.model(), &items, draws.clone());
    let whole_loss = whole.accumulate(loss.expect("a loss"), 1.0);
    let mut part_loss = 0.0;
    for (part, items) in items.chunks(2).enumerate() {
        let draws = draws.part(2 * part, 2);
        let loss = objective.loss(parts.model(), items, draws);
        part_loss += parts.accumulate(loss.expect("a loss"), 1.0 / 3.0) / 3.0;
    }
    assert!((whole_loss - part_loss).abs() < 1e-5);
    let [whole, parts] = [whole.update(), parts.update()].map(|report| report.gradient_norm);
    assert!((whole / parts - 1.0).abs() < 1e-4, "{whole} {parts}");
}

/// A causal network with the planned sampler.
fn planned() -> DiffusionRun {
    let config = config();
    DiffusionRun {
        timestep_sampler: TimestepSampler::Planned,
        transformer: DitConfig {
            causal_mask: CausalMask::TemporalCausal,
            ..config.transformer
        },
        ..config
    }
}

#[test]
fn the_loss_of_a_plan_is_the_mean_over_active_frames() {
    let config = planned();
    let device = Device::flex();
    let objective = Objective::new(&config, None).expect("an objective");
    let transformer = network(&config, &device);
    let items = items(1);
    let mut waited = false;
    for step in 0..16 {
        let draws = objective.draws(step, [1, 3]);
        let active = draws.active.clone().expect("plans");
        waited |= draws.end_of_active().expect("plans") < 3;
        let loss = objective.loss(&transformer, &items, draws.clone());
        let loss = f64::from(loss.expect("a loss").into_scalar::<f32>());

        // All frames, including waiting ones: nothing is cut off.
        let whole = Draws {
            active: None,
            ..draws
        };
        let task = objective.task(&transformer, &items, &whole);
        let task = task.expect("a task");
        let prediction = transformer
            .dit()
            .forward(task.noisy, task.timesteps, task.context);
        let error = (prediction - task.target).square();
        let error: Vec<f32> = error.into_data().iter().collect();
        let frames: Vec<&[f32]> = error.chunks(8).collect();
        let active = &frames[active[0].clone()];
        let expected =
            active.concat().into_iter().map(f64::from).sum::<f64>() / (8 * active.len()) as f64;
        assert!((loss / expected - 1.0).abs() < 1e-5, "{loss} {expected}");
    }
    assert!(waited, "no step in which a frame waits");
}

#[test]
fn batches_of_a_planned_step_have_the_loss_of_the_whole() {
    let config = planned();
    let device = Device::flex();
    let objective = Objective::new(&config, None).expect("an objective");
    let transformer = network(&config, &device);
    let items = items(6);
    let loss = |draws: Draws, items: &[LatentItem]| {
        let loss = objective.loss(&transformer, items, draws);
        f64::from(loss.expect("a loss").into_scalar::<f32>())
    };
    for step in 0..8 {
        let draws = objective.draws(step, [6, 3]);
        let parts: f64 = (0..3)
            .map(|part| loss(draws.part(2 * part, 2), &items[2 * part..2 * part + 2]) / 3.0)
            .sum();
        let whole = loss(draws, &items);
        assert!((whole / parts - 1.0).abs() < 1e-5, "{whole} {parts}");
    }
}

#[test]
fn impossible_plans_are_refused() {
    let mut config = planned();
    config.sampling.steps = 20;
    let error = Objective::new(&config, None)
        .map(drop)
        .expect_err("refused");
    assert_eq!(error.keys(), ["planned.ar_steps"]);
    let cause = std::error::Error::source(&error).expect("a cause");
    let message = format!("{error}: {cause}");
    assert!(message.contains("[planned]: ar_steps has 25"), "{message}");
}

#[test]
fn blocks_that_are_computed_again_train_the_same() {
    let device = Device::flex().autodiff();
    let [mut norms, mut losses] = [[0.0; 2], [0.0; 2]];
    let network = network(&config(), &device);
    for activation_checkpointing in [false, true] {
        let config = DiffusionRun {
            activation_checkpointing,
            ..config()
        };
        let objective = Objective::new(&config, None).expect("an objective");
        let mut trainer = Trainer::new(network.clone(), &config.optimizer, 10);
        for step in 0..4 {
            let draws = objective.draws(step, [2, 3]);
            let loss = objective.accumulate(&mut trainer, &items(2), &draws);
            losses[usize::from(activation_checkpointing)] = loss.expect("a loss");
            norms[usize::from(activation_checkpointing)] = trainer.update().gradient_norm;
        }
    }
    // Adam's first steps amplify rounding.
    assert!((norms[0] / norms[1] - 1.0).abs() < 1e-3, "{norms:?}");
    assert!((losses[0] / losses[1] - 1.0).abs() < 1e-4, "{losses:?}");
}

#[test]
fn sixteen_bits_train_weights_of_thirty_two() {
    let device = Device::flex().autodiff();
    for activation_checkpointing in [false, true] {
        let config = DiffusionRun {
            activation_checkpointing,
            ..config()
        };
        let objective = Objective::new(&config, None).expect("an objective");
        let network = network(&config, &device);
        let [full, half, products] = [
            ComputePrecision::F32,
            ComputePrecision::Bf16,
            ComputePrecision::Bf16Products,
        ]
        .map(|precision| {
            let mut trainer = Trainer::new(network.clone(), &config.optimizer, 10);
            // The last layer starts at zero, so all gradients are nonzero only after two steps.
            for step in 0..2 {
                let draws = objective.draws(step, [4, 3]);
                let loss = objective.accumulate(&mut trainer, &items(4), &draws);
                loss.expect("a loss");
                trainer.update();
            }
            trainer = trainer.with_precision(precision);
            let draws = objective.draws(2, [4, 3]);
            let loss = objective.accumulate(&mut trainer, &items(4), &draws);
            let norm = trainer.update().gradient_norm;
            let weights = trainer.model().context().unconditional(1);
            assert_eq!(weights.dtype(), DType::F32);
            [loss.expect("a loss"), norm]
        });
        for half in [half, products] {
            for (full, half) in full.iter().zip(half) {
                // bf16 has 8 bits of precision: different from f32, but close to it.
                let error = (half / full - 1.0).abs();
                assert!(error > 0.0 && error < 0.02, "{full} and {half}");
            }
        }
    }
}

#[test]
fn the_context_vectors_train_or_stay() {
    /// The gradient of the class table, the only tensor with three axes.
    struct OfContext<'a>(&'a GradientsParams, Option<Vec<f32>>);
    impl ModuleVisitor for OfContext<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if D == 3
                && let Some(gradient) = self.0.get::<D>(param.id)
            {
                self.1 = Some(gradient.into_data().iter::<f32>().collect());
            }
        }
    }
    let device = Device::flex().autodiff();
    for trainable in [true, false] {
        let mut config = config();
        config.conditioning.trainable = trainable;
        config.context_dropout = 0.0;
        let objective = Objective::new(&config, None).expect("an objective");
        let mut trainer = Trainer::new(network(&config, &device), &config.optimizer, 10);
        // The last layer starts at zero, so no gradient reaches the context in the first step.
        for step in 0..3 {
            let draws = objective.draws(step, [2, 3]);
            let loss = objective.loss(trainer.model(), &items(2), draws);
            trainer.accumulate(loss.expect("a loss"), 1.0);
            trainer.update();
        }
        let draws = objective.draws(3, [2, 3]);
        let loss = objective.loss(trainer.model(), &items(2), draws);
        let gradients = loss.expect("a loss").backward();
        let gradients = GradientsParams::from_grads(gradients, trainer.model());
        let mut of_context = OfContext(&gradients, None);
        trainer.model().context().visit(&mut of_context);
        match (trainable, of_context.1) {
            (false, gradient) => assert!(gradient.is_none()),
            (true, gradient) => {
                let gradient = gradient.expect("a gradient");
                // Rows of null, class 0, 1 and 2, of which the batch has 0 and 1.
                let moved = |row: &[f32]| row.iter().any(|&value| value != 0.0);
                let rows: Vec<bool> = gradient.chunks_exact(16).map(moved).collect();
                assert_eq!(rows, [false, true, true, false]);
            }
        }
    }
}

#[test]
fn the_bound_is_added_with_its_weight() {
    let device = Device::flex();
    let loss = |vlb| {
        let mut config = config();
        config.loss.vlb = vlb;
        let objective = Objective::new(&config, None).expect("an objective");
        let draws = objective.draws(3, [4, 3]);
        // A freshly initialised network predicts zeros.
        let network = network(&config, &device);
        let loss = objective.loss(&network, &items(4), draws);
        f64::from(loss.expect("a loss").into_scalar::<f32>())
    };
    let [without, one, two] = [0.0, 1.0, 2.0].map(loss);
    assert!(one > without, "{one} {without}");
    let ratio = (two - without) / (one - without);
    assert!((ratio - 2.0).abs() < 1e-4, "{ratio}");
}
