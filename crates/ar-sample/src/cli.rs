//! The command line.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use ar_data::Part;
use ar_eval::{METRICS, Metric, NetworkFile};
use ar_pipeline::ModelSource;
use ar_video::{Enlargement, Interpolation, VideoFormat};
use clap::builder::{PossibleValue, PossibleValuesParser, RangedU64ValueParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum};

/// Generates videos with AR-Diffusion models.
///
/// The default command is `generate`: `ar-sample --frames 32` is `ar-sample generate --frames 32`, and plain
/// `ar-sample` writes sample.mp4 with the built-in model.
///
/// Ctrl-C keeps the finished frames, as a playable video, and ends with status 130.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true, after_help = WATCHING)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub command: Option<Command>,
    #[command(flatten)]
    pub generate: GenerateArgs,
}

/// How to watch frames as they are made.
const WATCHING: &str = "\
Watch frames as they are made:
  ar-sample --frames 500 --out - | ffplay -
  ar-sample --frames 500 --out - --format raw |
    ffplay -f rawvideo -pixel_format rgb24 -video_size 64x64 -framerate 8 -
(with the model's size and frame rate)";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Generate videos (the default)
    Generate(Box<GenerateArgs>),
    /// Show which frame takes which step at which iteration
    Plan(PlanArgs),
    /// Pass a video through a model's VAE and measure what is lost
    Reconstruct(ReconstructArgs),
    /// Measure a model: ground truth, its reconstruction and samples side by side
    Evaluate(Box<EvaluateArgs>),
    /// List the devices that this build can compute on
    Devices,
}

#[derive(Clone, Debug, Args)]
pub struct ModelArgs {
    /// Model directory, local or on the Hugging Face hub (hf://OWNER/NAME, in builds with the feature `hub`) [default:
    /// the built-in model]
    #[arg(long, value_name = "DIR")]
    pub model: Option<PathBuf>,
    /// Device to compute on: auto, or a name that `ar-sample devices` lists
    #[arg(long, value_name = "NAME", default_value = "auto")]
    pub device: String,
}

impl ModelArgs {
    /// Where the model comes from.
    pub fn source(&self) -> ModelSource {
        self.model
            .as_ref()
            .map_or(ModelSource::BuiltIn, ModelSource::from)
    }
}

#[derive(Clone, Debug, Args)]
pub struct VideoArgs {
    /// Frames per second [default: the model's]
    #[arg(long, value_name = "R")]
    pub fps: Option<f64>,
    /// Make frames N times as wide and high, 1 to 64 [default: the model's for MP4 and GIF, which are for watching; 1
    /// for lossless formats]
    #[arg(long, value_name = "N", value_parser = scale_parser())]
    pub scale: Option<usize>,
    /// Filter for enlarging frames
    #[arg(long, value_name = "FILTER", default_value = "lanczos")]
    pub scale_filter: ScaleFilter,
    /// Video format; png is a folder of images, raw is the RGB bytes of all frames [default: from the extension of
    /// --out]
    #[arg(long, value_parser = format_parser())]
    pub format: Option<VideoFormat>,
    /// End with one line of JSON: outputs, sizes, seconds by phase, time to the first frame, frames per second, and
    /// more; on the standard error if --out is -
    #[arg(long)]
    pub json: bool,
    /// Show no progress and no notes
    #[arg(long)]
    pub quiet: bool,
}

#[derive(Clone, Debug, Args)]
pub struct GenerateArgs {
    #[command(flatten, next_help_heading = "Model")]
    pub model: ModelArgs,

    #[command(flatten, next_help_heading = "Sampling")]
    pub sampling: SamplingArgs,

    /// Path of the video; if there are several, each gets a number: out-0.mp4; - is the standard output, which then
    /// gets only the video, each frame as soon as it is finished, as fragmented MP4 or raw [default: sample.mp4, or the
    /// extension of --format]
    #[arg(long, value_name = "PATH", help_heading = "Output")]
    pub out: Option<PathBuf>,
    #[command(flatten, next_help_heading = "Output")]
    pub video: VideoArgs,
    /// Also write the `latents` [videos, frames, tokens, channels], the prefix's frames first; a model without a VAE
    /// writes nothing else
    #[arg(long, value_name = "F.safetensors", help_heading = "Output")]
    pub save_latents: Option<PathBuf>,
    /// Generate only part i of n of the videos, counted from 0; each video is the same as without --part, and a part's
    /// latents go to F-i-of-n.safetensors
    #[arg(
        long,
        alias = "shard",
        value_name = "i/n",
        help_heading = "Output",
        default_value = "0/1"
    )]
    pub part: Part,
    /// Also show the newest frame of each video on the terminal, as blocks of colour, or as a picture if the terminal
    /// is known to show pictures (kitty, Ghostty, WezTerm; sixel in foot, mlterm, contour, yaft)
    #[arg(long, help_heading = "Output")]
    pub preview: bool,
    /// Also show how the video is denoised: write a second video, with a picture for each iteration that shows all
    /// frames side by side at their noise levels
    #[arg(long, value_name = "PATH", help_heading = "Output")]
    pub denoising: Option<PathBuf>,
}

#[derive(Clone, Debug, Args)]
pub struct SamplingArgs {
    /// Frames per video, including the prefix [default: the prefix and the model's window]
    #[arg(long, value_name = "N")]
    pub frames: Option<usize>,
    /// Videos to generate [default: 1]
    #[arg(long, value_name = "N")]
    pub count: Option<NonZeroUsize>,
    /// Videos to sample at the same time [default: all, up to 4]
    #[arg(long, value_name = "B")]
    pub batch: Option<NonZeroUsize>,
    /// Denoising steps per frame [default: the model's]
    #[arg(long, value_name = "S")]
    pub steps: Option<usize>,
    /// Steps that each frame is behind the frame before it: 0 denoises all frames together, S one after another
    /// [default: the model's]
    #[arg(long, value_name = "s")]
    pub ar_step: Option<usize>,
    /// Classifier-free guidance; 1 is none [default: the model's]
    #[arg(long, value_name = "G", allow_negative_numbers = true)]
    pub guidance: Option<f64>,
    /// Fresh noise in each step: 0 is none (DDIM), 1 is ancestral (DDPM) [default: the model's]
    #[arg(long, value_name = "E", allow_negative_numbers = true)]
    pub eta: Option<f64>,
    /// Class to generate: its name, or its number from 0 if no class has a number as its name [default: none]
    #[arg(long, value_name = "C")]
    pub class: Option<String>,
    /// Seed of the noise; a video's noise depends only on the seed and on the video's number
    #[arg(long, value_name = "K", default_value_t = 0, allow_negative_numbers = true, value_parser = seed)]
    pub seed: u64,
    /// Start from the noise `x_T` [videos, frames, tokens, channels] in this file, which sets the number of videos and
    /// frames; noise for the prefix's frames is not used [default: noise from --seed]
    #[arg(long, value_name = "F.safetensors")]
    pub noise: Option<PathBuf>,
    /// Continue a video, an image or a folder of images: its last frames, cropped to the model's size and otherwise
    /// unchanged, become the first frames of the video
    #[arg(long, value_name = "VIDEO")]
    pub prefix: Option<PathBuf>,
    /// Number of frames to take from the end of the prefix [default: all, up to one less than the model's window]
    #[arg(long, value_name = "N", requires = "prefix")]
    pub prefix_frames: Option<usize>,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct PlanArgs {
    /// Frames of the video
    #[arg(long, value_name = "N", default_value_t = 16)]
    pub frames: usize,
    /// Denoising steps per frame
    #[arg(long, value_name = "S", default_value_t = 50)]
    pub steps: usize,
    /// Steps that each frame is behind the frame before it: 0 denoises all frames together, S one after another
    #[arg(long, value_name = "s", default_value_t = 5)]
    pub ar_step: usize,
    /// Frames that the network sees at once [default: all]
    #[arg(long, value_name = "W")]
    pub window: Option<usize>,
    /// Also draw the plan, as .svg or .png
    #[arg(long, value_name = "FILE")]
    pub picture: Option<PathBuf>,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct ReconstructArgs {
    /// The video: a file or a folder of images
    #[arg(value_name = "VIDEO")]
    pub input: PathBuf,
    #[command(flatten)]
    pub model: ModelArgs,
    /// Path of the reconstruction; - is the standard output [default: reconstruction.mp4, or the extension of --format]
    #[arg(long, value_name = "PATH")]
    pub out: Option<PathBuf>,
    #[command(flatten)]
    pub video: VideoArgs,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct EvaluateArgs {
    #[command(flatten, next_help_heading = "Model")]
    pub model: ModelArgs,

    /// What to compare with: the validation clips of the `[data]` section of this ar-train configuration [default:
    /// validation clips of bouncing shapes]
    #[arg(long, value_name = "CONFIG", help_heading = "Data")]
    pub data: Option<PathBuf>,
    /// How clips are chosen and measured
    #[arg(
        long,
        value_name = "NAME",
        default_value = "validation",
        help_heading = "Data"
    )]
    pub protocol: ProtocolName,
    /// Number of data clips, and of samples with each step difference [default: 64; with --protocol published 2048]
    #[arg(long, value_name = "N", help_heading = "Data")]
    pub samples: Option<NonZeroUsize>,
    /// Pass every clip through an MP4 file before it is measured, as published videos were; needs ffmpeg
    #[arg(long, help_heading = "Data")]
    pub through_mp4: bool,
    /// Frames per clip [default: the model's window; for a dataset of videos, its data.videos.frames]
    #[arg(long, value_name = "N", help_heading = "Data")]
    pub frames: Option<NonZeroUsize>,
    /// Measure the videos of this folder instead of sampling
    #[arg(long, value_name = "DIR", help_heading = "Data",
          conflicts_with_all = ["ar_step", "steps", "guidance", "eta", "class", "seed", "prefix_frames"])]
    pub videos: Option<PathBuf>,

    /// Metrics to compute, a list [default: all that apply and have their weights]
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        value_parser = metric_parser(),
        help_heading = "Measures"
    )]
    pub metrics: Vec<Metric>,
    #[arg(long, value_name = "NETWORK=FILE", help = weights_help(), help_heading = "Measures")]
    pub weights: Vec<NetworkFile>,

    /// Step differences to sample with, as in `generate`, a list [default: the model's]
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        help_heading = "Sampling"
    )]
    pub ar_step: Vec<usize>,
    /// Denoising steps per frame [default: the model's]
    #[arg(long, value_name = "S", help_heading = "Sampling")]
    pub steps: Option<usize>,
    /// Classifier-free guidance; 1 is none [default: the model's]
    #[arg(
        long,
        value_name = "G",
        allow_negative_numbers = true,
        help_heading = "Sampling"
    )]
    pub guidance: Option<f64>,
    /// Fresh noise in each step: 0 is none (DDIM), 1 is ancestral (DDPM) [default: the model's]
    #[arg(
        long,
        value_name = "E",
        allow_negative_numbers = true,
        help_heading = "Sampling"
    )]
    pub eta: Option<f64>,
    /// Class to sample: its name, or its number from 0; with labelled data, only clips of that class are used [default:
    /// with labelled data, the class of each clip]
    #[arg(long, value_name = "C", help_heading = "Sampling")]
    pub class: Option<String>,
    /// Seed of the noise, and of the order of training clips
    #[arg(long, value_name = "K", default_value_t = 0, help_heading = "Sampling",
          allow_negative_numbers = true, value_parser = seed)]
    pub seed: u64,
    /// Clips to sample at the same time
    #[arg(long, value_name = "B", default_value = "8", help_heading = "Sampling")]
    pub batch: NonZeroUsize,
    /// Also continue the first N frames of every clip, and measure how far shapes are from where they were in the clip
    #[arg(long, value_name = "N", help_heading = "Sampling")]
    pub prefix_frames: Option<NonZeroUsize>,

    /// Folder for the measures of the clips, report.json and report.html; measures that it already has are not made
    /// again
    #[arg(
        long,
        value_name = "DIR",
        default_value = "evaluation",
        help_heading = "Output"
    )]
    pub out: PathBuf,
    /// Also keep the first N clips of every source as videos, in the folder `clips` inside --out
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Output")]
    pub keep: usize,
    /// Do only part i of n, counted from 0; the last one to finish writes the report for all
    #[arg(
        long,
        alias = "shard",
        value_name = "i/n",
        help_heading = "Output",
        default_value = "0/1"
    )]
    pub part: Part,
    /// Show no progress and no notes
    #[arg(long, help_heading = "Output")]
    pub quiet: bool,
}

/// How an evaluation chooses and measures clips.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProtocolName {
    /// Compare with the validation clips, which the model has not seen
    Validation,
    /// Measure like published figures: compare with training clips in random order, FID on one frame of each clip
    Published,
}

/// How frames are enlarged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ScaleFilter {
    /// Smooth
    Lanczos,
    /// Pixel by pixel
    Nearest,
}

impl From<ScaleFilter> for Interpolation {
    fn from(filter: ScaleFilter) -> Self {
        match filter {
            ScaleFilter::Lanczos => Self::Lanczos,
            ScaleFilter::Nearest => Self::Nearest,
        }
    }
}

fn scale_parser() -> impl TypedValueParser<Value = usize> {
    RangedU64ValueParser::<usize>::new().range(1..=Enlargement::MOST as u64)
}

fn metric_parser() -> impl TypedValueParser<Value = Metric> {
    let metrics = METRICS.iter();
    let values = metrics.map(|metric| PossibleValue::new(metric.name()).help(metric.help()));
    PossibleValuesParser::new(values)
        .map(|name| Metric::named(&name).expect("the name of a metric"))
}

/// The networks, and the metrics that look through them.
fn weights_help() -> String {
    let networks = METRICS.iter().flat_map(|metric| {
        let networks = metric.networks().iter();
        networks.map(|network| format!("{} ({})", network.name, metric.name()))
    });
    format!(
        "File with the weights of a published network that metrics need; can be repeated: {}",
        networks.collect::<Vec<_>>().join(", ")
    )
}

fn seed(text: &str) -> Result<u64, String> {
    text.parse()
        .map_err(|_| format!("a seed is a whole number from 0 to {}", u64::MAX))
}

fn format_parser() -> impl TypedValueParser<Value = VideoFormat> {
    PossibleValuesParser::new(VideoFormat::ALL.map(VideoFormat::name))
        .map(|name| name.parse().expect("the name of a format"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
