//! The sizes that are read.

/// The longest side that is read.
pub(crate) const MAX_SIDE: u64 = 16_384;
/// The most pixels of a frame that are read (192 MiB as RGB).
pub(crate) const MAX_PIXELS: u64 = 1 << 26;
