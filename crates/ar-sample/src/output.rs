//! The outputs of videos, from the command line.

use std::io::{IsTerminal, stdout};
use std::path::Path;
use std::process::ExitCode;

use anyhow::bail;
use ar_cli::INTERRUPTED;
use ar_model::SamplingConfig;
use ar_pipeline::{Destination, VideoTarget};
use ar_video::{Enlargement, VideoFormat};

use crate::cli::VideoArgs;

/// The message at an interrupt when there are frames.
pub(crate) const KEEPING: &str = "keeping the finished frames; press Ctrl-C again to stop at once";

/// The path that means the standard output.
pub(crate) const STDOUT: &str = "-";

/// The target of a video. The format is the given one, or follows from the path's extension; the path is the given one,
/// or `stem` with the format's extension. The standard output accepts formats that stream.
pub(crate) fn video_target(
    path: Option<&Path>,
    format: Option<VideoFormat>,
    fps: f64,
    stem: &str,
) -> anyhow::Result<VideoTarget> {
    let Some(path) = path else {
        let format = format.unwrap_or(VideoFormat::Mp4);
        let path = Path::new(stem).with_extension(format.extension());
        return Ok(VideoTarget {
            destination: Destination::Path(path),
            format,
            fps,
            enlargement: Enlargement::NONE,
        });
    };
    if path == Path::new(STDOUT) {
        let format = format.unwrap_or(VideoFormat::Mp4);
        check_stdout(format)?;
        return Ok(VideoTarget {
            destination: Destination::Stdout,
            format,
            fps,
            enlargement: Enlargement::NONE,
        });
    }
    let format = match (format, VideoFormat::from_path(path)) {
        (Some(format), Some(extension)) if format != extension => bail!(
            "--out {} has the extension of {extension} and --format is {format}",
            path.display()
        ),
        (Some(format), _) | (None, Some(format)) => format,
        (None, None) => bail!(
            "--out {}: no format has this extension; use .mp4, .gif, .apng, .frames or .rgb, or give \
             --format",
            path.display()
        ),
    };
    Ok(VideoTarget {
        destination: Destination::Path(path.to_owned()),
        format,
        fps,
        enlargement: Enlargement::NONE,
    })
}

/// The target whose frames of `size` pixels are enlarged as requested; by default, as the model says if the format is
/// for watching.
pub(crate) fn enlarged(
    target: VideoTarget,
    args: &VideoArgs,
    size: usize,
    sampling: &SamplingConfig,
) -> anyhow::Result<VideoTarget> {
    let default = match target.format {
        VideoFormat::Mp4 | VideoFormat::Gif => sampling.scale,
        _ => 1,
    };
    let factor = args.scale.unwrap_or(default);
    let side = factor * size;
    if target.format == VideoFormat::Mp4 && factor > 1 && side > MP4_SIDE {
        bail!(
            "--scale {factor} makes frames of {side}x{side}, but MP4 allows at most \
             {MP4_SIDE}x{MP4_SIDE}: ask for less"
        );
    }
    Ok(VideoTarget {
        enlargement: Enlargement {
            factor,
            interpolation: args.scale_filter.into(),
        },
        ..target
    })
}

/// The largest square frame of our MP4 files.
const MP4_SIDE: usize = 2160;

fn check_stdout(format: VideoFormat) -> anyhow::Result<()> {
    if !format.streams() {
        bail!("--out - takes mp4 or raw, which can be played while they are written, not {format}");
    }
    if stdout().is_terminal() {
        bail!("--out - is for a pipe or a file, and the standard output is a terminal");
    }
    Ok(())
}

/// A destination in the notation of the command line.
pub(crate) fn shown(destination: &Destination) -> String {
    destination
        .path()
        .map_or_else(|| STDOUT.into(), |path| path.display().to_string())
}

/// Reports how a run ended: on the standard error if an output is on the standard output. The exit status says if it
/// was interrupted, even if the report cannot be printed.
pub(crate) fn finish(
    stdout_is_used: bool,
    text: &str,
    interrupted: bool,
) -> anyhow::Result<ExitCode> {
    let told = if stdout_is_used {
        text.lines().for_each(ar_cli::tell);
        Ok(())
    } else {
        ar_cli::print(text)
    };
    if interrupted {
        return Ok(INTERRUPTED.into());
    }
    told?;
    Ok(ExitCode::SUCCESS)
}

/// Fails if `path` is the name of the standard output, for an option that only accepts files.
pub(crate) fn check_is_file(option: &str, path: Option<&Path>) -> anyhow::Result<()> {
    if path == Some(Path::new(STDOUT)) {
        bail!("{option} - : this is written to a file; only --out takes - (a file can be ./-)");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(path: Option<&str>, format: Option<VideoFormat>) -> anyhow::Result<VideoTarget> {
        video_target(path.map(Path::new), format, 8.0, "sample")
    }

    #[test]
    fn path_and_format_complete_each_other() {
        use VideoFormat::*;
        for (given, format, expected_path, expected_format) in [
            (None, None, "sample.mp4", Mp4),
            (None, Some(Gif), "sample.gif", Gif),
            (None, Some(Png), "sample.frames", Png),
            (None, Some(Raw), "sample.rgb", Raw),
            (Some("a/b.png"), None, "a/b.png", Apng),
            (Some("folder"), Some(Png), "folder", Png),
            (Some("v1.2"), Some(Mp4), "v1.2", Mp4),
        ] {
            let target = target(given, format).unwrap();
            assert_eq!(target.destination.path(), Some(Path::new(expected_path)));
            assert_eq!(target.format, expected_format);
        }
        assert!(target(Some("a.webm"), None).is_err());
        assert!(target(Some("a.mp4"), Some(Gif)).is_err());
    }
}
