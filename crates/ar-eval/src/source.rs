//! The sources of clips that are measured.

use std::fmt;

/// A source of clips; each has one for every clip of the data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// The data themselves: the best that can be measured.
    Truth,
    /// The data, encoded and decoded by the VAE: the best that the model can reach.
    Reconstruction,
    /// Videos from a folder.
    Videos,
    /// Samples of the model, which continue the first frames of the data or start from noise only.
    Samples { ar_step: usize, prefix: usize },
}

impl Source {
    /// Whether the clips should equal the clips of the data.
    pub(crate) fn has_truth(&self) -> bool {
        match self {
            Self::Truth | Self::Reconstruction => true,
            Self::Videos => false,
            Self::Samples { prefix, .. } => *prefix > 0,
        }
    }

    /// A name for a folder.
    pub(crate) fn slug(&self) -> String {
        match self {
            Self::Truth => "ground-truth".into(),
            Self::Reconstruction => "reconstruction".into(),
            Self::Videos => "videos".into(),
            Self::Samples { ar_step, prefix: 0 } => format!("samples-s-{ar_step}"),
            Self::Samples { ar_step, prefix } => format!("after-{prefix}-s-{ar_step}"),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truth => f.write_str("ground truth"),
            Self::Reconstruction => f.write_str("reconstruction"),
            Self::Videos => f.write_str("videos"),
            Self::Samples { ar_step, prefix: 0 } => write!(f, "samples, s = {ar_step}"),
            Self::Samples { ar_step, prefix } => {
                write!(f, "after {prefix} frames, s = {ar_step}")
            }
        }
    }
}
