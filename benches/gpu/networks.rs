//! The networks that are measured.

use ar_benches::{perturbed_model, small_model};
use ar_dit::{CausalMask, DitConfig};
use ar_model::{ModelConfig, VideoModel};
use burn::tensor::Device;

/// A size of the transformer, with the clips of a training step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Network {
    /// The preset `shapes`.
    Small,
    /// A fifth of the published width and number of blocks.
    Larger,
    /// The published size.
    Published,
}

impl Network {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Small => "small",
            Self::Larger => "larger",
            Self::Published => "published",
        }
    }

    /// Clips of a training step.
    pub(crate) fn batch(self) -> usize {
        match self {
            Self::Small => 64,
            Self::Larger => 16,
            Self::Published => 4,
        }
    }

    /// All with the mask that lets nothing flow back in time, so that sampling by active frames is
    /// possible.
    pub(crate) fn config(self) -> ModelConfig {
        let transformer = match self {
            Self::Small => return small_model(),
            Self::Larger => DitConfig {
                hidden_size: 256,
                depth: 6,
                num_heads: 4,
                ..DitConfig::published()
            },
            Self::Published => DitConfig::published(),
        };
        ModelConfig {
            transformer: Some(DitConfig {
                causal_mask: CausalMask::TemporalCausal,
                ..transformer
            }),
            ..ModelConfig::default()
        }
    }

    /// The network with random weights, none of which is zero.
    pub(crate) fn init(self, device: &Device) -> VideoModel {
        perturbed_model(self.config(), device)
    }
}
