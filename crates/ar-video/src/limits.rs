//! Limits on what is read.

/// The longest side that is read.
pub(crate) const MAX_SIDE: u64 = 16_384;
/// The most pixels in a frame that is read (192 MiB as RGB).
pub(crate) const MAX_PIXELS: u64 = 1 << 26;
/// The largest picture file that is read, in bytes: more than any picture of [`MAX_PIXELS`] needs.
pub(crate) const MAX_PICTURE_BYTES: u64 = 1 << 29;
/// The most pixels in all frames of a GIF, APNG or WebP together: 32 frames of full HD.
pub(crate) const ANIMATION_PIXELS: u64 = 1 << 26;
/// Added to that for each byte of the file, because changes in a frame take bytes.
pub(crate) const ANIMATION_PIXELS_A_BYTE: u64 = 4096;
