//! Small runs for tests.

use std::path::Path;
use std::rc::Rc;

use burn::nn::{Linear, LinearConfig};
use burn::tensor::{Device, Tensor};

use super::{Run, StageOptions};
use crate::config::{OptimizerConfig, RunConfig, VaeRun};
use crate::error::Result;
use crate::group::Alone;
use crate::trainer::Trainer;

/// Twenty steps, a checkpoint after each, and three that may be skipped in a row.
pub(super) fn config(out: &Path) -> VaeRun {
    VaeRun {
        run: RunConfig {
            out: out.to_owned(),
            steps: 20,
            log_every: 1,
            checkpoint_every: 1,
            ..RunConfig::default()
        },
        optimizer: OptimizerConfig {
            max_skipped: 3,
            ..OptimizerConfig::default()
        },
        ..VaeRun::default()
    }
}

/// A run of one process.
pub(super) fn open(config: &VaeRun, resume: bool) -> Result<Run> {
    let options = StageOptions {
        resume,
        ..StageOptions::default()
    };
    Run::open(config, Rc::new(Alone), &options)
}

/// A step whose loss is multiplied by `factor`, and its checkpoint.
pub(super) fn step(run: &mut Run, trainer: &mut Trainer<Linear>, factor: f32) -> Result<()> {
    let input = Tensor::<2>::ones([1, 2], &Device::flex().autodiff());
    let loss = trainer.model().forward(input).square().sum() * factor;
    let loss = trainer.accumulate(loss, 1.0);
    let report = trainer.update();
    run.step(&[("loss", loss)], report)?;
    run.prove(false)?;
    if run.checkpoint_is_due(false) {
        run.checkpoint(trainer, || Ok(Vec::new()))?;
    }
    Ok(())
}

/// Trains a layer of two weights.
pub(super) fn trainer(config: &VaeRun) -> Trainer<Linear> {
    let model = LinearConfig::new(2, 1).init(&Device::flex().autodiff());
    Trainer::new(model, &config.optimizer, config.run.steps)
}
