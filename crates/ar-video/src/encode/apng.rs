//! Animated PNG.

use std::path::Path;

use super::encoder::Encoder;
use super::output::OutputFile;
use super::png::{header, png_error};
use crate::{Frame, VideoError};

pub(super) struct ApngEncoder {
    output: OutputFile,
    /// Numerator and denominator of a frame's duration in seconds.
    delay: (u16, u16),
    /// Kept, because the number of frames is at the start of the file.
    frames: Vec<Frame>,
}

impl ApngEncoder {
    pub(super) fn create(path: &Path, fps: f64) -> Result<Self, VideoError> {
        Ok(Self {
            output: OutputFile::create(path)?,
            delay: fraction(1.0 / fps),
            frames: Vec::new(),
        })
    }
}

impl Encoder for ApngEncoder {
    fn write(&mut self, frame: &Frame) -> Result<(), VideoError> {
        self.frames.push(frame.clone());
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<(), VideoError> {
        let Self {
            mut output,
            delay,
            frames,
        } = *self;
        let path = output.path().to_owned();
        let failed = |e| png_error(&path, e);
        let count = u32::try_from(frames.len())
            .map_err(|_| VideoError::encode(&path, "too many frames"))?;
        let mut encoder = header(&mut output, &frames[0]);
        encoder.set_animated(count, 0).map_err(failed)?;
        encoder.set_frame_delay(delay.0, delay.1).map_err(failed)?;
        let mut writer = encoder.write_header().map_err(failed)?;
        for frame in frames {
            writer.write_image_data(frame.rgb()).map_err(failed)?;
        }
        writer.finish().map_err(failed)?;
        output.persist()
    }
}

/// The nearest fraction of 16-bit numbers, with the smallest denominator.
fn fraction(value: f64) -> (u16, u16) {
    let mut best = (u16::MAX, 1, f64::INFINITY);
    for denominator in 1..=u16::MAX {
        let numerator = (value * f64::from(denominator)).round();
        let error = (numerator / f64::from(denominator) - value).abs();
        // Smaller differences are rounding errors.
        if numerator <= f64::from(u16::MAX) && error < best.2 - 1e-12 {
            best = (numerator as u16, denominator, error);
        }
    }
    (best.0, best.1)
}

#[cfg(test)]
mod tests {
    use super::fraction;

    #[test]
    fn frame_times_are_exact() {
        assert_eq!(fraction(1.0 / 25.0), (1, 25));
        assert_eq!(fraction(1001.0 / 30_000.0), (1001, 30_000));
        assert_eq!(fraction(1.0 / 12.5), (2, 25));
        assert_eq!(fraction(1.0 / 1000.0), (1, 1000));
        assert_eq!(fraction(1.0 / 0.01), (100, 1));
    }
}
