//! Where videos go: paths and formats.

use std::io::{IsTerminal, stdout};
use std::path::{Path, PathBuf};

use anyhow::bail;
use ar_video::{VideoFormat, VideoWriter};

/// The path that stands for the standard output.
pub const STDOUT: &str = "-";

/// What videos are written as.
#[derive(Clone, Debug)]
pub struct VideoTarget {
    pub path: PathBuf,
    pub format: VideoFormat,
    pub fps: f64,
}

impl VideoTarget {
    /// The format is the one given or that of the path's extension; the path is the one given or
    /// `stem` with the format's extension. The standard output takes what streams.
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
        if path == Path::new(STDOUT) {
            let format = format.unwrap_or(VideoFormat::Mp4);
            check_stdout(format)?;
            let path = path.to_owned();
            return Ok(Self { path, format, fps });
        }
        let format = match (format, VideoFormat::from_path(path)) {
            (Some(format), Some(extension)) if format != extension => bail!(
                "--out {} has the extension of {extension} and --format is {format}",
                path.display()
            ),
            (Some(format), _) | (None, Some(format)) => format,
            (None, None) => bail!(
                "--out {}: no format has this extension; use .mp4, .gif, .apng, .frames or \
                 .rgb, or give --format",
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
        with_suffix(&self.path, &format!("-{index:0digits$}"))
    }

    /// Whether the video goes to the standard output, which then carries nothing else.
    pub fn is_stdout(&self) -> bool {
        self.path == Path::new(STDOUT)
    }

    /// Starts the video at `path`.
    pub fn create(&self, path: &Path) -> anyhow::Result<VideoWriter> {
        Ok(match self.is_stdout() {
            true => VideoWriter::stream(stdout(), "standard output", self.format, self.fps)?,
            false => VideoWriter::create(path, self.format, self.fps)?,
        })
    }
}

/// The path with `suffix` before its extension.
pub fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.file_stem().unwrap_or_default().to_owned();
    name.push(suffix);
    if let Some(extension) = path.extension() {
        name.push(".");
        name.push(extension);
    }
    path.with_file_name(name)
}

fn check_stdout(format: VideoFormat) -> anyhow::Result<()> {
    if !format.streams() {
        bail!("--out - takes mp4 or raw, which play while they are written, and not {format}");
    }
    if stdout().is_terminal() {
        bail!("--out - is for a pipe or a file, and the standard output is a terminal");
    }
    Ok(())
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
            (None, Some(Raw), "sample.rgb", Raw),
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
