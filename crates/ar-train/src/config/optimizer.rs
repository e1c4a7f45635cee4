use serde::{Deserialize, Serialize};

use super::not_negative;
use crate::error::{ConfigError, ensure_config};

/// AdamW, learning-rate schedule, clipping and averaging. Defaults are the published ones.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OptimizerConfig {
    /// Peak learning rate.
    pub learning_rate: f64,
    /// Steps over which the learning rate rises linearly from 0.
    pub warmup_steps: usize,
    /// How the learning rate falls after the warm-up.
    pub schedule: LearningRateSchedule,
    /// The learning rate at the last step, unless it is constant.
    pub final_learning_rate: f64,
    /// Exponent of the polynomial schedule.
    pub power: f64,
    /// Decoupled weight decay.
    pub weight_decay: f32,
    /// AdamW's decay of the first moment.
    pub beta_1: f32,
    /// AdamW's decay of the second moment.
    pub beta_2: f32,
    /// AdamW's epsilon.
    pub epsilon: f32,
    /// Largest norm of the gradient over all trained parameters; 0 disables clipping.
    pub clip_norm: f64,
    /// Largest decay of the moving average of the weights; after n steps it is
    /// `min(ema_decay, (1 + n) / (10 + n))`.
    pub ema_decay: f64,
    /// Steps in a row that may be skipped because the loss or the gradient is not finite; one more
    /// ends the run.
    pub max_skipped: usize,
}

impl Default for OptimizerConfig {
    fn default() -> Self {
        Self {
            learning_rate: 2e-4,
            warmup_steps: 0,
            schedule: LearningRateSchedule::Constant,
            final_learning_rate: 0.0,
            power: 2.0,
            weight_decay: 1e-4,
            beta_1: 0.9,
            beta_2: 0.999,
            epsilon: 1e-8,
            clip_norm: 1.0,
            ema_decay: 0.9999,
            max_skipped: 10,
        }
    }
}

/// How the learning rate falls after the warm-up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LearningRateSchedule {
    /// Not at all.
    #[default]
    Constant,
    /// Half a cosine.
    Cosine,
    /// A line.
    Linear,
    /// `(1 - progress)^power`
    Polynomial,
}

impl OptimizerConfig {
    /// Checks the numbers of the section called `section`: `optimizer` or
    /// `discriminator.optimizer`.
    ///
    /// # Errors
    /// Names the first key that does not fit.
    pub fn validate(&self, section: &str) -> Result<(), ConfigError> {
        for (key, value) in [
            ("learning_rate", self.learning_rate),
            ("final_learning_rate", self.final_learning_rate),
            ("power", self.power),
            ("clip_norm", self.clip_norm),
        ] {
            not_negative(&format!("{section}.{key}"), value)?;
        }
        not_negative(&format!("{section}.weight_decay"), self.weight_decay)?;
        for (key, value) in [("beta_1", self.beta_1), ("beta_2", self.beta_2)] {
            ensure_config!(
                (0.0..1.0).contains(&value),
                [format!("{section}.{key}")],
                "{section}.{key} = {value}; it must be at least 0 and below 1"
            );
        }
        ensure_config!(
            self.epsilon.is_finite() && self.epsilon > 0.0,
            [format!("{section}.epsilon")],
            "{section}.epsilon = {}; it must be above 0, as a 32-bit float",
            self.epsilon
        );
        ensure_config!(
            (0.0..=1.0).contains(&self.ema_decay),
            [format!("{section}.ema_decay")],
            "{section}.ema_decay = {}; it must be in 0..=1",
            self.ema_decay
        );
        Ok(())
    }

    /// The learning rate at `step` (counted from 0) of a run of `steps` steps.
    pub fn learning_rate_at(&self, step: usize, steps: usize) -> f64 {
        if step < self.warmup_steps {
            return self.learning_rate * (step + 1) as f64 / self.warmup_steps as f64;
        }
        let length = steps.saturating_sub(self.warmup_steps).max(1);
        let progress = ((step - self.warmup_steps) as f64 / length as f64).min(1.0);
        let share = match self.schedule {
            LearningRateSchedule::Constant => return self.learning_rate,
            LearningRateSchedule::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * progress).cos()),
            LearningRateSchedule::Linear => 1.0 - progress,
            LearningRateSchedule::Polynomial => (1.0 - progress).powf(self.power),
        };
        self.final_learning_rate + (self.learning_rate - self.final_learning_rate) * share
    }

    /// The decay of the moving average at step `n`, counted from 1.
    pub fn ema_decay_at(&self, n: usize) -> f64 {
        let n = n as f64;
        self.ema_decay.min((1.0 + n) / (10.0 + n))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_break_training_are_refused() {
        OptimizerConfig::default()
            .validate("optimizer")
            .expect("the published ones");
        for (set, named) in [
            ("learning_rate = -1e-4", "learning_rate = -0.0001;"),
            ("final_learning_rate = nan", "final_learning_rate = NaN;"),
            ("power = -1.0", "power = -1;"),
            ("weight_decay = inf", "weight_decay = inf;"),
            ("beta_1 = -0.1", "beta_1 = -0.1;"),
            ("beta_2 = 1.0", "beta_2 = 1;"),
            ("epsilon = 1e-50", "epsilon = 0;"),
            ("clip_norm = -1.0", "clip_norm = -1;"),
            ("ema_decay = 1.5", "ema_decay = 1.5;"),
        ] {
            let config: OptimizerConfig = toml::from_str(set).expect("a configuration");
            let error = config.validate("discriminator.optimizer").expect_err(set);
            let start = format!("discriminator.optimizer.{named}");
            assert!(error.to_string().starts_with(&start), "{error}");
        }
    }

    #[test]
    fn the_learning_rate_warms_up_and_falls() {
        for (schedule, half_way) in [
            (LearningRateSchedule::Constant, 1.0),
            (LearningRateSchedule::Cosine, 0.5),
            (LearningRateSchedule::Linear, 0.5),
            (LearningRateSchedule::Polynomial, 0.125),
        ] {
            let mut config = OptimizerConfig {
                learning_rate: 1.0,
                warmup_steps: 10,
                schedule,
                power: 3.0,
                ..OptimizerConfig::default()
            };
            let at = |config: &OptimizerConfig, step| config.learning_rate_at(step, 110);
            assert_eq!(at(&config, 0), 0.1, "{schedule:?}");
            assert_eq!(at(&config, 9), 1.0, "{schedule:?}");
            assert_eq!(at(&config, 10), 1.0, "{schedule:?}");
            let falls = schedule != LearningRateSchedule::Constant;
            assert!((at(&config, 60) - half_way).abs() < 1e-12, "{schedule:?}");
            assert_eq!(at(&config, 109) < 0.02, falls, "{schedule:?}");

            config.final_learning_rate = 0.2;
            let half_way = if falls { 0.2 + 0.8 * half_way } else { 1.0 };
            assert!((at(&config, 60) - half_way).abs() < 1e-12, "{schedule:?}");
            // Past its end, the schedule stays at its last value.
            let end = if falls { 0.2 } else { 1.0 };
            assert!((at(&config, 500) - end).abs() < 1e-12, "{schedule:?}");
        }
    }
}
