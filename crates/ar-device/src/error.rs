/// A device that cannot be opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// This build and machine have no device with that name.
    #[error(
        "device '{name}' is not available: this build and machine have {available}; build with \
         `--features cuda`, `vulkan`, `wgpu` or `metal` for GPUs"
    )]
    Unknown {
        /// The given name.
        name: String,
        /// The names that are available.
        available: String,
    },
    /// The device exists, but does not work.
    #[error("device '{name}' does not work: {reason}")]
    Unusable {
        /// Its name.
        name: String,
        /// The message from the device or its driver.
        reason: String,
    },
}
