use serde::{Deserialize, Serialize};

use super::{OptimizerConfig, not_negative};
use crate::error::{ConfigError, ensure_config};

/// The adversarial loss of the VAE's image stage, and the network behind it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DiscriminatorConfig {
    /// Step from which the discriminator trains and its loss is added.
    pub start_step: usize,
    /// Whether the two networks take turns from `start_step` on, one step each (published: yes).
    /// Otherwise each step trains both.
    pub turns: bool,
    /// Weight of the adversarial loss, multiplied by the adaptive weight.
    pub weight: f64,
    /// Channels of the first convolution; each following one has twice as many, up to eight times.
    pub filters: usize,
    /// Convolutions that halve the resolution.
    pub layers: usize,
    /// How the discriminator is optimised. Its weights are not averaged.
    pub optimizer: OptimizerConfig,
}

impl Default for DiscriminatorConfig {
    fn default() -> Self {
        Self {
            start_step: 50_000,
            turns: false,
            weight: 1.0,
            filters: 64,
            layers: 3,
            optimizer: OptimizerConfig::default(),
        }
    }
}

impl DiscriminatorConfig {
    /// Checks the sizes and numbers, for frames with sides of `image_size` pixels.
    ///
    /// # Errors
    /// Names the first key that does not fit.
    pub fn validate(&self, image_size: usize) -> Result<(), ConfigError> {
        for (key, value) in [("filters", self.filters), ("layers", self.layers)] {
            ensure_config!(
                value > 0,
                [format!("discriminator.{key}")],
                "discriminator.{key} is 0; it must be at least 1"
            );
        }
        // The two convolutions after the halving ones remove a pixel at each side.
        let left = image_size.checked_shr(self.layers as u32).unwrap_or(0);
        ensure_config!(
            left >= 3,
            ["discriminator.layers"],
            "discriminator.layers = {} leaves {left} of {image_size} pixels a side; at least 3 \
             must be left: use fewer layers",
            self.layers
        );
        not_negative("discriminator.weight", self.weight)?;
        self.optimizer.validate("discriminator.optimizer")
    }
}
