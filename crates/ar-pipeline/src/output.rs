//! The outputs of a run.

use std::ffi::OsStr;
use std::io::stdout;
use std::path::{Path, PathBuf};
use std::sync::mpsc::SyncSender;

use ar_files::{check_writable, is_same_file, is_stdout, lies_in, name_of};
use ar_video::{Enlargement, VideoFormat, VideoWriter};

use crate::{GeneratedFrame, PipelineError, ResolvedOptions};

/// White pixels between two frames of the video of the denoising.
pub(crate) const DENOISING_GAP: usize = 2;

/// What a run writes.
#[derive(Clone, Debug, Default)]
pub struct Outputs {
    /// The videos; `None` for a model without a VAE.
    pub video: Option<VideoTarget>,
    /// A safetensors file with the tensor `latents` `[videos, frames, tokens, channels]`, the latents of the prefix
    /// first. It is written when all videos are complete.
    pub latents: Option<PathBuf>,
    /// A video of the denoising, with a picture after each iteration that shows all frames side by side at their noise
    /// levels.
    pub denoising: Option<VideoTarget>,
    /// Another receiver of finished frames, such as a preview. If it has no room for a frame, it misses the frame;
    /// nothing waits for it.
    pub frames: Option<SyncSender<GeneratedFrame>>,
}

/// Where and how a video is written.
#[derive(Clone, Debug)]
pub struct VideoTarget {
    /// Where it is written.
    pub destination: Destination,
    /// Its format.
    pub format: VideoFormat,
    /// Frames per second.
    pub fps: f64,
    /// How frames are enlarged.
    pub enlargement: Enlargement,
}

/// Where a video is written.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Destination {
    /// A file, or a folder of images. If there are several videos, each gets a number: `out-0.mp4`.
    Path(PathBuf),
    /// The standard output, frame by frame, in a [format that streams](VideoFormat::streams).
    Stdout,
}

impl Destination {
    /// The path, of a file or folder.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Path(path) => Some(path),
            Self::Stdout => None,
        }
    }
}

impl Destination {
    /// Whether it is the standard output, either as such or as the file, pipe or device behind it.
    pub fn is_stdout(&self) -> bool {
        match self {
            Self::Path(path) => is_stdout(path),
            Self::Stdout => true,
        }
    }
}

impl VideoTarget {
    /// A file or folder, in the format of its extension.
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
                enlargement: Enlargement::NONE,
            }),
            None => Err(PipelineError::Extension { path }),
        }
    }

    /// Where video `index` of `count` is written: a numbered path if there are several.
    pub fn numbered(&self, index: usize, count: usize) -> Destination {
        match &self.destination {
            Destination::Path(path) if count > 1 => {
                let digits = (count - 1).to_string().len();
                Destination::Path(with_suffix(path, &format!("-{index:0digits$}")))
            }
            destination => destination.clone(),
        }
    }

    /// The number of the video, out of `count`, that is written to the file called `name`, if it is one of them.
    fn index_of(&self, name: &OsStr, count: usize) -> Option<usize> {
        let Destination::Path(path) = &self.destination else {
            return None;
        };
        if count == 1 {
            return (path.file_name() == Some(name)).then_some(0);
        }
        let [stem, found] = [path.file_stem()?, Path::new(name).file_stem()?];
        let number = found.to_str()?.strip_prefix(stem.to_str()?)?;
        let index: usize = number.strip_prefix('-')?.parse().ok()?;
        let numbered = self.numbered(index, count);
        (index < count && numbered.path()?.file_name() == Some(name)).then_some(index)
    }

    /// The existing files that videos of the run would replace, found by their names.
    fn there(&self, options: &ResolvedOptions) -> Vec<PathBuf> {
        let Destination::Path(path) = &self.destination else {
            return Vec::new();
        };
        if options.count == 1 {
            return vec![path.clone()];
        }
        let folder = match path.parent() {
            Some(folder) if folder != Path::new("") => folder,
            _ => Path::new("."),
        };
        let entries = std::fs::read_dir(folder).into_iter().flatten();
        entries
            .filter_map(|entry| Some(entry.ok()?.file_name()))
            .filter(|name| {
                let index = self.index_of(name, options.count);
                index.is_some_and(|index| options.videos.contains(&index))
            })
            .map(|name| path.with_file_name(name))
            .collect()
    }

    /// Fails if the only video could not be written, as far as this can be known in advance.
    ///
    /// # Errors
    /// If the destination cannot be written, or does not support the format or frame rate.
    pub fn check_one(&self) -> Result<(), PipelineError> {
        self.check_path(&self.destination)
    }

    /// Fails if a video of the run could not be written.
    fn check(&self, options: &ResolvedOptions) -> Result<(), PipelineError> {
        // All are in one folder, and the last has the longest name. For the others, which may be a million, something
        // can only be in their way.
        let last = options.videos.end.max(1) - 1;
        self.check_path(&self.numbered(last, options.count))?;
        for path in self.there(options) {
            self.check_path(&Destination::Path(path))?;
        }
        Ok(())
    }

    fn check_path(&self, destination: &Destination) -> Result<(), PipelineError> {
        match destination.path() {
            Some(path) => VideoWriter::check(path, self.format, self.fps)?,
            // This refuses a format and frame rate that it could not write.
            None => drop(self.create(destination)?),
        }
        Ok(())
    }

    /// Fails if the format cannot hold frames of this size, before they are enlarged.
    ///
    /// # Errors
    /// In that case.
    pub fn check_size(&self, size: [usize; 2]) -> Result<(), PipelineError> {
        let path = self.destination.path();
        let path = path.unwrap_or(Path::new("standard output"));
        let enlarged = size.map(|side| side.saturating_mul(self.enlargement.factor));
        Ok(VideoWriter::check_size(path, self.format, enlarged)?)
    }

    /// Whether a video of the run would replace the file or folder at `path`, or the folder that it
    /// is in, or be put into the folder.
    pub fn replaces(&self, path: impl AsRef<Path>, options: &ResolvedOptions) -> bool {
        let path = path.as_ref();
        match &self.destination {
            Destination::Stdout => return is_stdout(path),
            // A folder of frames would become something else.
            Destination::Path(video) if is_in_folder(video, path) => return true,
            Destination::Path(_) => {}
        }
        let replaces = |video: &Path| self.format_replaces(video, path);
        if self.there(options).iter().any(|video| replaces(video)) {
            return true;
        }
        // A file that does not exist yet, with the name of a video.
        let Some((_, name)) = name_of(path) else {
            return false;
        };
        let index = self.index_of(&name, options.count);
        index
            .and_then(|index| match self.numbered(index, options.count) {
                Destination::Path(video) => Some(replaces(&video)),
                Destination::Stdout => None,
            })
            .is_some_and(|replaces| replaces)
    }

    /// Whether the only video would replace the file or folder at `path`, or the folder that it is in, or be put into the
    /// folder.
    pub fn would_replace(&self, path: impl AsRef<Path>) -> bool {
        match &self.destination {
            Destination::Path(video) => {
                is_in_folder(video, path.as_ref()) || self.format_replaces(video, path.as_ref())
            }
            Destination::Stdout => is_stdout(path),
        }
    }

    fn format_replaces(&self, video: &Path, path: &Path) -> bool {
        match self.format {
            // The whole folder.
            VideoFormat::Png => lies_in(path, video),
            _ => is_same_file(path, video),
        }
    }

    /// Starts a video.
    ///
    /// # Errors
    /// If the destination cannot be written, or does not support the format or frame rate.
    pub fn create(&self, destination: &Destination) -> Result<VideoWriter, PipelineError> {
        let writer = match destination {
            Destination::Path(path) => VideoWriter::create(path, self.format, self.fps)?,
            Destination::Stdout => {
                VideoWriter::stream(stdout(), "standard output", self.format, self.fps)?
            }
        };
        Ok(writer.enlarging(self.enlargement))
    }
}

impl Outputs {
    /// Fails if an output could not be written, or would replace another output or something that the videos are made
    /// from. Missing parent folders of the outputs are created.
    ///
    /// # Errors
    /// For the first such output; and if there are several videos but an output can only have one, or if the model
    /// makes no pixels.
    pub fn check(&self, options: &ResolvedOptions) -> Result<(), PipelineError> {
        if options.image_size.is_none() && (self.video.is_some() || self.denoising.is_some()) {
            return Err(PipelineError::NoVae);
        }
        self.check_sizes(options)?;
        self.check_number(options.count)?;
        self.check_distinct(options)?;
        self.check_inputs(options, &options.inputs)?;
        if let Some(video) = &self.video {
            video.check(options)?;
        }
        if let Some(denoising) = &self.denoising {
            denoising.check_one()?;
        }
        match &self.latents {
            Some(path) => check_writable(path).map_err(PipelineError::write(path)),
            None => Ok(()),
        }
    }
}

impl Outputs {
    /// Whether one of them is written to the standard output, so that messages must not be.
    pub fn use_stdout(&self) -> bool {
        let mut videos = self.video.iter().chain(&self.denoising);
        videos.any(|target| target.destination.is_stdout())
            || self.latents.as_ref().is_some_and(is_stdout)
    }

    /// Fails if a format cannot hold the frames of its video.
    ///
    /// # Errors
    /// In that case.
    pub fn check_sizes(&self, options: &ResolvedOptions) -> Result<(), PipelineError> {
        let Some(side) = options.image_size else {
            return Ok(());
        };
        if let Some(video) = &self.video {
            video.check_size([side, side])?;
        }
        if let Some(denoising) = &self.denoising {
            let width = (side + DENOISING_GAP).saturating_mul(options.frames);
            denoising.check_size([width - DENOISING_GAP, side])?;
        }
        Ok(())
    }

    /// Fails if two outputs are the same file, pipe or device.
    ///
    /// # Errors
    /// In that case.
    pub fn check_distinct(&self, options: &ResolvedOptions) -> Result<(), PipelineError> {
        let denoising = self.denoising.as_ref();
        let denoising = denoising.and_then(|target| target.destination.path());
        let both = |options: [&'static str; 2], path: &Path| PipelineError::SameOutput {
            options,
            path: path.to_owned(),
        };
        let others = [
            ("denoising", denoising),
            ("save_latents", self.latents.as_deref()),
        ];
        for (option, path) in others {
            let Some(path) = path else { continue };
            if let Some(video) = &self.video
                && video.replaces(path, options)
            {
                return Err(both(["out", option], path));
            }
        }
        match (denoising, &self.latents) {
            (Some(denoising), Some(latents)) if is_same_file(denoising, latents) => {
                Err(both(["denoising", "save_latents"], latents))
            }
            _ => Ok(()),
        }
    }

    /// Fails if an output would replace one of `inputs`, which are named by their options.
    ///
    /// # Errors
    /// In that case.
    pub fn check_inputs(
        &self,
        options: &ResolvedOptions,
        inputs: &[(&'static str, PathBuf)],
    ) -> Result<(), PipelineError> {
        for (input, path) in inputs {
            let of_video = |target: &Option<VideoTarget>| {
                let target = target.as_ref();
                target.is_some_and(|target| target.replaces(path, options))
            };
            let latents = self.latents.as_ref();
            let option = if of_video(&self.video) {
                "out"
            } else if of_video(&self.denoising) {
                "denoising"
            } else if latents
                .is_some_and(|latents| is_same_file(latents, path) || is_in_folder(latents, path))
            {
                "save_latents"
            } else {
                continue;
            };
            return Err(PipelineError::ReplacesInput {
                option,
                input,
                path: path.clone(),
            });
        }
        Ok(())
    }

    /// Fails if there are several videos but an output can only have one.
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

/// Whether `path` is a folder, and `output` would be written into it.
fn is_in_folder(output: &Path, path: &Path) -> bool {
    path.is_dir() && lies_in(output, path)
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
        let index = |name: &str, count| target.index_of(OsStr::new(name), count);
        assert_eq!(index("b.mp4", 1), Some(0));
        assert_eq!(index("b-07.mp4", 11), Some(7));
        for other in [
            "b.mp4", "b-7.mp4", "b-11.mp4", "b-+7.mp4", "b-07.gif", "c-07.mp4",
        ] {
            assert_eq!(index(other, 11), None, "{other}");
        }
    }
}
