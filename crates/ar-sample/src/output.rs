//! Where videos go: paths, formats, and the way from latents to files.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::bail;
use ar_data::to_frames;
use ar_model::VideoModel;
use ar_video::{VideoFormat, VideoWriter};
use burn::tensor::Tensor;

use crate::report::timed;

/// What videos are written as.
#[derive(Clone, Debug)]
pub struct VideoTarget {
    pub path: PathBuf,
    pub format: VideoFormat,
    pub fps: f64,
}

impl VideoTarget {
    /// The format is the one given or that of the path's extension; the path is the one given or
    /// `stem` with the format's extension.
    pub fn new(
        path: Option<&Path>,
        format: Option<VideoFormat>,
        fps: f64,
        stem: &str,
    ) -> anyhow::Result<Self> {
        let Some(path) = path else {
            let format = format.unwrap_or(VideoFormat::Mp4);
            let path = Path::new(stem).with_extension(format.extension());
            return Ok(Self { path, format, fps });
        };
        let format = match (format, VideoFormat::from_path(path)) {
            (Some(format), Some(extension)) if format != extension => bail!(
                "--out {} has the extension of {extension} and --format is {format}",
                path.display()
            ),
            (Some(format), _) | (None, Some(format)) => format,
            (None, None) => bail!(
                "--out {}: no format has this extension; use .mp4, .gif, .apng or .frames, or \
                 give --format",
                path.display()
            ),
        };
        let path = path.to_owned();
        Ok(Self { path, format, fps })
    }

    /// The path of video `index` of `count`: numbered if there are several.
    pub fn numbered(&self, index: usize, count: usize) -> PathBuf {
        if count == 1 {
            return self.path.clone();
        }
        let digits = (count - 1).to_string().len();
        let mut name = self.path.file_stem().unwrap_or_default().to_owned();
        name.push(format!("-{index:0digits$}"));
        if let Some(extension) = self.path.extension() {
            name.push(".");
            name.push(extension);
        }
        self.path.with_file_name(name)
    }

    /// Starts the video at `path`.
    pub fn create(&self, path: &Path) -> anyhow::Result<VideoWriter> {
        Ok(VideoWriter::create(path, self.format, self.fps)?)
    }
}

/// Decodes the frames of a batch of videos and writes each to its file.
pub struct VideoSink<'a> {
    model: &'a VideoModel,
    writers: Vec<VideoWriter>,
    /// Frames that are decoded together.
    chunk: usize,
    /// Latents that wait for their chunk, `[batch, 1, tokens, channels]`.
    pending: Vec<Tensor<4>>,
    /// Time spent in the VAE.
    pub decode: Duration,
    /// Time spent in the video encoder.
    pub encode: Duration,
}

impl<'a> VideoSink<'a> {
    /// A sink for one video a writer.
    pub fn new(model: &'a VideoModel, writers: Vec<VideoWriter>, window: usize) -> Self {
        // A temporal decoder attends between frames: it gets clips of the length it was trained on.
        let temporal = model
            .config()
            .vae
            .as_ref()
            .is_some_and(|vae| vae.is_temporal());
        Self {
            model,
            writers,
            chunk: if temporal { window } else { 1 },
            pending: Vec::new(),
            decode: Duration::ZERO,
            encode: Duration::ZERO,
        }
    }

    /// Takes the next frame of every video, `[batch, 1, tokens, channels]`.
    pub fn write(&mut self, latent: Tensor<4>) -> anyhow::Result<()> {
        self.pending.push(latent);
        if self.pending.len() == self.chunk {
            self.flush()?;
        }
        Ok(())
    }

    /// Completes the files.
    pub fn finish(mut self) -> anyhow::Result<[Duration; 2]> {
        self.flush()?;
        for writer in self.writers {
            timed(&mut self.encode, || writer.finish())?;
        }
        Ok([self.decode, self.encode])
    }

    fn flush(&mut self) -> anyhow::Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let latents = Tensor::cat(std::mem::take(&mut self.pending), 1);
        let length = latents.dims()[1];
        let frames = timed(&mut self.decode, || {
            let pixels = self.model.decode(latents)?;
            anyhow::Ok(to_frames(pixels.flatten(0, 1)))
        })?;
        timed(&mut self.encode, || {
            for (writer, frames) in self.writers.iter_mut().zip(frames.chunks_exact(length)) {
                for frame in frames {
                    writer.write(frame)?;
                }
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(path: Option<&str>, format: Option<VideoFormat>) -> anyhow::Result<VideoTarget> {
        VideoTarget::new(path.map(Path::new), format, 8.0, "sample")
    }

    #[test]
    fn path_and_format_complete_each_other() {
        use VideoFormat::*;
        for (path, format, expected_path, expected_format) in [
            (None, None, "sample.mp4", Mp4),
            (None, Some(Gif), "sample.gif", Gif),
            (None, Some(Png), "sample.frames", Png),
            (Some("a/b.png"), None, "a/b.png", Apng),
            (Some("folder"), Some(Png), "folder", Png),
            (Some("v1.2"), Some(Mp4), "v1.2", Mp4),
        ] {
            let target = target(path, format).unwrap();
            assert_eq!(target.path, Path::new(expected_path));
            assert_eq!(target.format, expected_format);
        }
        assert!(target(Some("a.webm"), None).is_err());
        assert!(target(Some("a.mp4"), Some(Gif)).is_err());
    }

    #[test]
    fn several_videos_are_numbered() {
        let target = target(Some("a/b.mp4"), None).unwrap();
        assert_eq!(target.numbered(0, 1), Path::new("a/b.mp4"));
        assert_eq!(target.numbered(1, 3), Path::new("a/b-1.mp4"));
        assert_eq!(target.numbered(7, 11), Path::new("a/b-07.mp4"));
    }
}
