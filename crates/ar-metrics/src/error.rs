use std::path::PathBuf;

/// Features that cannot be measured.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MetricError {
    /// A feature is NaN or infinite.
    #[error("sample {sample} has a feature that is not finite; check the videos and the weights")]
    NotFinite {
        /// Index in the batch.
        sample: usize,
    },
    /// A row of class probabilities does not sum to 1.
    #[error("sample {sample} has class probabilities that sum to {sum}, not to 1")]
    NotProbabilities {
        /// Index in the batch.
        sample: usize,
        /// Their sum.
        sum: f32,
    },
    /// The features come from different networks.
    #[error("samples of {found} features do not compare with samples of {expected}")]
    Width {
        /// Number of features in earlier samples.
        expected: usize,
        /// Number of features in later samples.
        found: usize,
    },
    /// There are not enough samples.
    #[error("{found} samples are too few; at least {needed} are needed")]
    TooFew {
        /// Number of samples.
        found: usize,
        /// Number of samples needed.
        needed: usize,
    },
    /// An eigenvalue decomposition does not converge.
    #[error("the eigenvalues of a covariance cannot be computed")]
    Decomposition,
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The error from the system.
        source: std::io::Error,
    },
    /// A file does not contain what it should.
    #[error("{}: not a file of {content}: {reason}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What it should contain.
        content: &'static str,
        /// What is wrong.
        reason: String,
    },
}
