//! The output of every decoder.

use std::path::Path;

use crate::limits::{MAX_PIXELS, MAX_SIDE};
use crate::{Frame, VideoError};

/// The frames of a video in order.
pub(super) type Frames = Box<dyn Iterator<Item = Result<Frame, VideoError>> + Send>;

/// The size as `usize`, if it is within the limits. `width * height * 4` cannot overflow then.
pub(super) fn checked_size(
    path: &Path,
    width: u64,
    height: u64,
) -> Result<(usize, usize), VideoError> {
    if width == 0 || height == 0 {
        return Err(VideoError::decode(
            path,
            format!("a frame of {width}x{height} pixels"),
        ));
    }
    if width > MAX_SIDE || height > MAX_SIDE || width * height > MAX_PIXELS {
        return Err(VideoError::TooLarge {
            path: path.to_owned(),
            width,
            height,
        });
    }
    Ok((width as usize, height as usize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_checked_without_overflow() {
        let path = Path::new("x");
        assert_eq!(checked_size(path, 16_384, 4096).unwrap(), (16_384, 4096));
        for (width, height) in [(0, 1), (16_385, 1), (16_384, 4097), (u64::MAX, u64::MAX)] {
            assert!(checked_size(path, width, height).is_err());
        }
    }
}
