use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use ar_video::{Frame, VideoReader, square_crop};

use crate::PipelineError;

/// The frames that videos start with and continue.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Prefix {
    /// The last frames of a video, an image or a folder of images, cropped to the size of the VAE.
    File(PathBuf),
    /// These frames for every video, in the size of the VAE.
    All(Vec<Frame>),
    /// Frames for each of the videos that are made: the same number for each, in the size of the
    /// VAE.
    Each(Vec<Vec<Frame>>),
}

impl Prefix {
    /// Reads the frames into memory, in the size of the VAE. From a file, `asked` frames are read,
    /// or else at most `most`.
    pub(crate) fn read(
        &self,
        asked: Option<usize>,
        size: Option<usize>,
        most: usize,
    ) -> Result<Self, PipelineError> {
        let size = size.ok_or(PipelineError::PrefixWithoutVae)?;
        let Self::File(path) = self else {
            return Ok(self.clone());
        };
        let frames = match asked {
            Some(0) => {
                return Err(PipelineError::Option {
                    option: "prefix_frames",
                    found: "0".into(),
                    expected: "at least 1".into(),
                });
            }
            Some(asked) => {
                let frames = read_last(path, asked, size)?;
                if frames.len() < asked {
                    return Err(PipelineError::ShortPrefix {
                        asked,
                        path: path.clone(),
                        found: frames.len(),
                    });
                }
                frames
            }
            None => read_last(path, most, size)?,
        };
        Ok(Self::All(frames))
    }

    /// Number of frames that each video starts with.
    pub(crate) fn frames(&self) -> usize {
        self.of_video(0).len()
    }

    /// The frames that the video at position `place` starts with.
    pub(crate) fn of_video(&self, place: usize) -> &[Frame] {
        match self {
            Self::File(_) => &[],
            Self::All(frames) => frames,
            Self::Each(videos) => videos.get(place).map_or(&[], Vec::as_slice),
        }
    }

    /// Fails if the frames do not fit `videos` videos with frames of `size` x `size`.
    pub(crate) fn check(&self, videos: usize, size: usize) -> Result<(), PipelineError> {
        let all = match self {
            Self::File(_) | Self::All(_) => 1,
            Self::Each(given) => given.len().max(videos),
        };
        let length = self.frames();
        for video in (0..all).map(|place| self.of_video(place)) {
            let found = match video {
                _ if video.len() != length || video.is_empty() => {
                    format!("{} frames for a video", video.len())
                }
                video => match video.iter().find(|frame| frame.size() != (size, size)) {
                    Some(frame) => format!("frames of {}x{}", frame.width(), frame.height()),
                    None => continue,
                },
            };
            return Err(PipelineError::Option {
                option: "prefix",
                found,
                expected: format!("frames of {size}x{size}, as many for each of {videos} videos"),
            });
        }
        Ok(())
    }
}

/// The last `most` frames of a video, or all if it has fewer; there are never more in memory.
fn read_last(path: &Path, most: usize, size: usize) -> Result<Vec<Frame>, PipelineError> {
    let mut last = VecDeque::new();
    for frame in VideoReader::open(path)? {
        if last.len() == most {
            last.pop_front();
        }
        last.push_back(square_crop(&frame?, size));
    }
    Ok(last.into())
}
