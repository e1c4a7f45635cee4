//! The frames that a generated video continues.

use std::collections::VecDeque;
use std::path::Path;

use anyhow::{Context, bail};
use ar_video::{Frame, VideoReader, square_crop};

use crate::cli::SamplingArgs;

/// The last frames of the video or image of `--prefix`, brought to `size` x `size`; none without
/// the option. At most `most` where the user does not say how many.
pub fn read(args: &SamplingArgs, size: Option<usize>, most: usize) -> anyhow::Result<Vec<Frame>> {
    let Some(path) = &args.prefix else {
        return Ok(Vec::new());
    };
    let size = size.context("--prefix is given, and this model has no VAE to encode it with")?;
    match args.prefix_frames {
        Some(0) => bail!("--prefix-frames is 0, but a prefix has at least one frame"),
        Some(asked) => {
            let frames = read_last(path, asked, size)?;
            if frames.len() < asked {
                bail!(
                    "--prefix-frames is {asked}, and {} has {} frames",
                    path.display(),
                    frames.len()
                );
            }
            Ok(frames)
        }
        None => read_last(path, most, size),
    }
}

/// The last `most` frames of a video, or all if it has fewer; never more of them in memory.
fn read_last(path: &Path, most: usize, size: usize) -> anyhow::Result<Vec<Frame>> {
    let mut last = VecDeque::new();
    for frame in VideoReader::open(path)? {
        if last.len() == most {
            last.pop_front();
        }
        last.push_back(square_crop(&frame?, size));
    }
    Ok(last.into())
}
