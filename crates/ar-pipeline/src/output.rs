//! Where videos go.

use std::io::stdout;
use std::path::{Path, PathBuf};

use ar_files::check_writable;
use ar_video::{VideoFormat, VideoWriter};

use crate::{PipelineError, ResolvedOptions};

/// What a run writes.
#[derive(Clone, Debug, Default)]
pub struct Outputs {
    /// The videos; none of a model without a VAE.
    pub video: Option<VideoTarget>,
    /// A safetensors file with the tensor `latents` `[videos, frames, tokens, channels]`,
    /// undecoded, the latents of the prefix first. It is written when all videos are complete.
    pub latents: Option<PathBuf>,
    /// How the video is denoised, as a video: after each iteration a picture of all frames side by
    /// side, as noisy as they are then.
    pub denoising: Option<VideoTarget>,
}

/// What a video is written as.
#[derive(Clone, Debug)]
pub struct VideoTarget {
    /// Where it goes.
    pub destination: Destination,
    /// Its format.
    pub format: VideoFormat,
    /// Frames per second.
    pub fps: f64,
}

/// Where a video goes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Destination {
    /// A file, or a folder of images. Of several videos each gets a number: `out-0.mp4`.
    Path(PathBuf),
    /// The standard output, frame by frame, in a [format that streams](VideoFormat::streams).
    Stdout,
}

impl VideoTarget {
    /// A file or folder in the format of its extension.
    ///
    /// # Errors
    /// If no format has that extension.
    pub fn by_extension(path: impl AsRef<Path>, fps: f64) -> Result<Self, PipelineError> {
        let path = path.as_ref().to_owned();
        match VideoFormat::from_path(&path) {
            Some(format) => Ok(Self {
                destination: Destination::Path(path),
                format,
                fps,
            }),
            None => Err(PipelineError::Extension { path }),
        }
    }

    /// Where video `index` of `count` goes: a numbered path if there are several.
    pub fn numbered(&self, index: usize, count: usize) -> Destination {
        match &self.destination {
            Destination::Path(path) if count > 1 => {
                let digits = (count - 1).to_string().len();
                Destination::Path(with_suffix(path, &format!("-{index:0digits$}")))
            }
            destination => destination.clone(),
        }
    }

    /// Starts a video.
    ///
    /// # Errors
    /// If the destination cannot be written, or does not take the format or frame rate.
    pub fn create(&self, destination: &Destination) -> Result<VideoWriter, PipelineError> {
        Ok(match destination {
            Destination::Path(path) => VideoWriter::create(path, self.format, self.fps)?,
            Destination::Stdout => {
                VideoWriter::stream(stdout(), "standard output", self.format, self.fps)?
            }
        })
    }
}

impl Outputs {
    /// Fails if an output could not be written. Missing folders above the outputs are made.
    ///
    /// # Errors
    /// Of the first such output, and if there are several videos where there is room for one, or
    /// the model makes no pixels.
    pub fn check(&self, options: &ResolvedOptions) -> Result<(), PipelineError> {
        if !options.has_vae && (self.video.is_some() || self.denoising.is_some()) {
            return Err(PipelineError::NoVae);
        }
        self.check_number(options.count)?;
        if let Some(video) = &self.video {
            for index in options.videos.clone() {
                // Dropped at once, which leaves nothing behind.
                video.create(&video.numbered(index, options.count))?;
            }
        }
        if let Some(denoising) = &self.denoising {
            denoising.create(&denoising.destination)?;
        }
        match &self.latents {
            Some(path) => check_writable(path).map_err(PipelineError::write(path)),
            None => Ok(()),
        }
    }
}

impl Outputs {
    /// Fails if there are several videos where there is room for one.
    ///
    /// # Errors
    /// In that case.
    pub fn check_number(&self, videos: usize) -> Result<(), PipelineError> {
        let mut video = self.video.iter();
        let (option, shows) = if video.any(|video| video.destination == Destination::Stdout) {
            ("out", "- is one video")
        } else if self.denoising.is_some() {
            ("denoising", "shows one video")
        } else {
            return Ok(());
        };
        if videos > 1 {
            return Err(PipelineError::OneVideo {
                option,
                shows,
                videos,
            });
        }
        Ok(())
    }
}

/// The path with `suffix` before its extension.
pub fn with_suffix(path: impl AsRef<Path>, suffix: &str) -> PathBuf {
    let path = path.as_ref();
    let mut name = path.file_stem().unwrap_or_default().to_owned();
    name.push(suffix);
    if let Some(extension) = path.extension() {
        name.push(".");
        name.push(extension);
    }
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_videos_are_numbered() {
        let target = VideoTarget::by_extension("a/b.mp4", 8.0).unwrap();
        let numbered = |index, count| match target.numbered(index, count) {
            Destination::Path(path) => path,
            Destination::Stdout => unreachable!("a path"),
        };
        assert_eq!(numbered(0, 1), Path::new("a/b.mp4"));
        assert_eq!(numbered(1, 3), Path::new("a/b-1.mp4"));
        assert_eq!(numbered(7, 11), Path::new("a/b-07.mp4"));
    }
}
