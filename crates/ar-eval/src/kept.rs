//! Clips that are kept as videos.

use std::path::PathBuf;

use ar_video::{Clip, Frame, VideoFormat, write_clip};

use crate::source::Source;
use crate::{EvaluationError, EvaluationOptions};

/// Lossless, so that the video shows exactly what was measured.
const FORMAT: VideoFormat = VideoFormat::Apng;

/// The first clips of every source.
pub(crate) struct Kept {
    folder: PathBuf,
    clips: usize,
    fps: f64,
}

impl Kept {
    /// The clips that `options` request, at `fps` frames per second.
    pub(crate) fn new(options: &EvaluationOptions, fps: f64) -> Self {
        Self {
            folder: options.out.join("clips"),
            clips: options.keep,
            fps,
        }
    }

    /// Whether a clip should be kept but does not exist yet.
    pub(crate) fn lacks(&self, source: &Source, clip: usize) -> bool {
        clip < self.clips && !self.path(source, clip).is_file()
    }

    /// Writes a clip, if it should be kept and does not exist yet.
    ///
    /// # Errors
    /// If that fails.
    pub(crate) fn write(
        &self,
        source: &Source,
        clip: usize,
        frames: &[Frame],
    ) -> Result<(), EvaluationError> {
        if self.lacks(source, clip) {
            let video = Clip::new(frames.to_vec());
            write_clip(self.path(source, clip), &video, FORMAT, self.fps)?;
        }
        Ok(())
    }

    /// `clips/samples-s-5/3.apng`
    fn path(&self, source: &Source, clip: usize) -> PathBuf {
        self.folder
            .join(source.slug())
            .join(format!("{clip}.{}", FORMAT.extension()))
    }
}
