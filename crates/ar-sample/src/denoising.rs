//! How the frames of a video are denoised, as a video of its own.

use std::path::{Path, PathBuf};

use anyhow::Context;
use ar_data::to_frames;
use ar_diffusion::{NoiseSource, Sampling};
use ar_model::VideoModel;
use ar_video::{Frame, VideoFormat, VideoWriter};
use burn::tensor::Tensor;

/// Pixels between two frames, and their colour.
const GAP: usize = 2;
const BETWEEN: u8 = 255;

/// A picture after every iteration: all frames side by side, each as noisy as it is then.
pub struct Denoising<'a> {
    model: &'a VideoModel,
    writer: VideoWriter,
    /// `[1, 1, tokens, channels]` of each frame.
    latents: Vec<Tensor<4>>,
}

/// Where it is written to, and how.
#[derive(Clone, Debug)]
pub struct DenoisingTarget {
    path: PathBuf,
    format: VideoFormat,
    fps: f64,
}

impl DenoisingTarget {
    /// # Errors
    /// If no format has the path's extension.
    pub fn new(path: &Path, fps: f64) -> anyhow::Result<Self> {
        let format = VideoFormat::from_path(path).with_context(|| {
            format!(
                "--denoising {}: no format has this extension; use .mp4, .gif, .apng, .frames or \
                 .rgb",
                path.display()
            )
        })?;
        Ok(Self {
            path: path.to_owned(),
            format,
            fps,
        })
    }

    /// Starts the video.
    pub fn create(&self) -> anyhow::Result<VideoWriter> {
        Ok(VideoWriter::create(&self.path, self.format, self.fps)?)
    }
}

impl<'a> Denoising<'a> {
    /// Begins with the frames as they are before the first iteration: `prefix`, if there is one, and
    /// noise.
    pub fn start(
        target: &DenoisingTarget,
        model: &'a VideoModel,
        prefix: Option<&Tensor<4>>,
        noise: &dyn NoiseSource,
        frames: usize,
    ) -> anyhow::Result<Self> {
        let given = prefix.map_or(0, |prefix| prefix.dims()[1]);
        let latent = |frame| match prefix {
            Some(prefix) if frame < given => prefix.clone().narrow(1, frame, 1),
            _ => noise.start(frame),
        };
        let mut denoising = Self {
            model,
            writer: target.create()?,
            latents: (0..frames).map(latent).collect(),
        };
        denoising.write()?;
        Ok(denoising)
    }

    /// Adds a picture of the frames as they stand.
    pub fn add<N: NoiseSource + ?Sized>(&mut self, run: &Sampling<'_, N>) -> anyhow::Result<()> {
        for (frame, latent) in self.latents.iter_mut().enumerate() {
            if let Some(held) = run.latent(frame) {
                *latent = held.clone();
            }
        }
        self.write()
    }

    /// Completes the file.
    pub fn finish(self) -> anyhow::Result<()> {
        Ok(self.writer.finish()?)
    }

    fn write(&mut self) -> anyhow::Result<()> {
        let pixels = self.model.decode(Tensor::cat(self.latents.clone(), 1))?;
        let frames = to_frames(pixels.flatten(0, 1));
        Ok(self.writer.write(&side_by_side(&frames))?)
    }
}

/// One picture of frames of one size.
fn side_by_side(frames: &[Frame]) -> Frame {
    let (width, height) = frames[0].size();
    let full = frames.len() * (width + GAP) - GAP;
    let mut rgb = Vec::with_capacity(full * height * 3);
    for y in 0..height {
        for (index, frame) in frames.iter().enumerate() {
            if index > 0 {
                rgb.extend([BETWEEN; GAP * 3]);
            }
            rgb.extend(&frame.rgb()[y * width * 3..][..width * 3]);
        }
    }
    Frame::new(full, height, rgb)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_lie_side_by_side() {
        let grey = |level: u8| Frame::new(1, 2, vec![level; 6]);
        let row = [[1; 3], [255; 3], [255; 3], [7; 3]].concat();
        assert_eq!(
            side_by_side(&[grey(1), grey(7)]),
            Frame::new(4, 2, [row.clone(), row].concat())
        );
    }
}
