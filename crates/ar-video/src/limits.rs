//! The sizes that are read.

/// The longest side that is read.
pub(crate) const MAX_SIDE: u64 = 16_384;
/// The most pixels of a frame that are read (192 MiB as RGB).
pub(crate) const MAX_PIXELS: u64 = 1 << 26;
/// The largest picture file that is read, in bytes: more than any picture of [`MAX_PIXELS`] takes.
pub(crate) const MAX_PICTURE_BYTES: u64 = 1 << 29;
/// The most pixels that all frames of a GIF, APNG or WebP have together: 32 frames of full HD.
pub(crate) const ANIMATION_PIXELS: u64 = 1 << 26;
/// And so many more for each byte of the file: what changes in a frame takes bytes.
pub(crate) const ANIMATION_PIXELS_A_BYTE: u64 = 4096;
