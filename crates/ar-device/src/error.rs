/// A device that cannot be opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// This build and machine have no device of that name.
    #[error(
        "device '{name}' is not available: this build and machine have {available}; build with \
         `--features cuda`, `vulkan`, `wgpu` or `metal` for GPUs"
    )]
    Unknown {
        /// The name given.
        name: String,
        /// The names that are available.
        available: String,
    },
    /// The device exists, but does not compute.
    #[error("device '{name}' does not work: {reason}")]
    Unusable {
        /// Its name.
        name: String,
        /// What it or its driver said.
        reason: String,
    },
}
