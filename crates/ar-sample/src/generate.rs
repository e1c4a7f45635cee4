//! `ar-sample generate`

mod report;

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{anyhow, bail};
use ar_cli::Interrupt;
use ar_model::{ModelConfig, ModelFiles};
use ar_pipeline::{
    Classes, GenerateOptions, Generation, ModelSource, Outputs, Pipeline, Prefix, StartNoise,
    VideoTarget, guidance_note, timed, with_suffix,
};

use crate::cli::GenerateArgs;
use crate::devices::open_device;
use crate::output::{KEEPING, check_is_file, enlarged, finish, video_target};
use crate::preview::Preview;
use crate::progress::Progress;
use crate::report::json_line;
use report::{GenerateReport, Run};

/// Generates videos and reports what was written.
pub(crate) fn run(args: &GenerateArgs) -> anyhow::Result<ExitCode> {
    let start = Instant::now();
    let interrupt = Interrupt::listen(KEEPING)?;
    let source = args.model.source();
    let config = source.config()?;
    let options = GenerateOptions::try_from(args)?.resolve(&config)?;
    let mut outputs = outputs(args, &config)?;
    // Before the device is opened, which takes longer.
    outputs.check_number(options.count)?;
    outputs.check_sizes(&options)?;
    outputs.check_distinct(&options)?;
    outputs.check_inputs(&options, &inputs(&source))?;
    let (device_name, device) = open_device(&args.model.device)?;
    if let Some(note) = guidance_note(options.guidance, &config).filter(|_| !args.video.quiet) {
        ar_cli::tell(note);
    }
    outputs.check(&options)?;
    // Once they are written, the standard output may be another file than theirs.
    let stdout_is_used = outputs.use_stdout();

    let mut load = Duration::ZERO;
    let pipeline = timed(&mut load, || Pipeline::from_source(&source, &device))?;
    if let Some(note) = source.note().filter(|_| !args.video.quiet) {
        ar_cli::tell(note);
    }
    let generation = Generation::new(&pipeline, options)?;
    let shown = shown_progress(&generation, args.video.quiet);
    let preview = if args.preview {
        Preview::start(shown.bar(), generation.options().batch)?
    } else {
        None
    };
    outputs.frames = preview.as_ref().map(Preview::sender);
    let written = generation.write_all(&outputs, progress(shown, interrupt));
    outputs.frames = None;
    if let Some(preview) = preview {
        preview.finish();
    }
    let outcome = written.map_err(|error| or_unwritten(error.into(), &outputs))?;

    let report = GenerateReport::new(Run {
        args,
        source: &source,
        config: &config,
        options: generation.options(),
        outputs: &outputs,
        device_name,
        load,
        total: start.elapsed(),
        outcome: &outcome,
    });
    let mut text = report.summary(generation.options(), &config);
    if args.video.json {
        text += &json_line(&report);
    }
    finish(stdout_is_used, &text, outcome.interrupted)
}

/// The error to report. If the reader of the video has closed it, that is an error only if other outputs were requested
/// and have not been written.
fn or_unwritten(error: anyhow::Error, outputs: &Outputs) -> anyhow::Error {
    let denoising = outputs.denoising.as_ref();
    let denoising = denoising.and_then(|target| target.destination.path());
    let unwritten: Vec<String> = [outputs.latents.as_deref(), denoising]
        .into_iter()
        .flatten()
        .map(|path| path.display().to_string())
        .collect();
    if unwritten.is_empty() || !ar_cli::is_broken_pipe(error.as_ref()) {
        return error;
    }
    anyhow!(
        "the reader of the video has closed it before its end, so {} is not written",
        unwritten.join(" and ")
    )
}

fn finished(finished: usize, frames: usize) -> String {
    format!("{finished} of {frames} frames")
}

/// Progress before the first iteration.
fn shown_progress(generation: &Generation, quiet: bool) -> Progress {
    let options = generation.options();
    let frames = options.videos.len() * options.sampled_frames();
    Progress::new(
        "iteration",
        options.iterations(),
        finished(0, frames),
        quiet,
    )
}

/// Shows progress, and ends the run at an interrupt.
fn progress(
    mut shown: Progress,
    interrupt: Interrupt,
) -> impl FnMut(ar_pipeline::WriteProgress) -> ControlFlow<()> {
    move |progress| {
        let message = finished(progress.frames_sampled, progress.frames);
        shown.update(progress.iteration, message);
        ar_cli::work_begins();
        if interrupt.is_set() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }
}

impl TryFrom<&GenerateArgs> for GenerateOptions {
    type Error = anyhow::Error;

    /// Reads the starting noise, if there is a file with it.
    fn try_from(args: &GenerateArgs) -> anyhow::Result<Self> {
        let asked = &args.sampling;
        let noise = asked.noise.as_ref().map(StartNoise::read).transpose()?;
        let given = asked.count.map(usize::from);
        let count = noise.as_ref().map_or(given.unwrap_or(1), StartNoise::count);
        let videos = args.part.range(count);
        if videos.is_empty() {
            bail!(
                "--part {} of {} has none of the {count} videos: ask for fewer parts",
                args.part.index,
                args.part.count
            );
        }
        Ok(Self {
            frames: asked.frames,
            count: given,
            videos: Some(videos),
            batch: asked.batch.map(usize::from),
            steps: asked.steps,
            ar_step: asked.ar_step,
            guidance: asked.guidance,
            eta: asked.eta,
            classes: asked.class.clone().map_or(Classes::None, Classes::Named),
            seed: asked.seed,
            noise,
            prefix: asked.prefix.clone().map(Prefix::File),
            prefix_frames: asked.prefix_frames,
        })
    }
}

/// The files of the model, which no output may replace.
fn inputs(source: &ModelSource) -> Vec<(&'static str, PathBuf)> {
    let ModelSource::Directory(path) = source else {
        return Vec::new();
    };
    let ModelFiles {
        config,
        transformer,
        vae,
    } = ModelFiles::new(path);
    let checksums = path.join(ar_files::CHECKSUMS);
    [config, transformer, vae, checksums]
        .map(|file| ("model", file))
        .into()
}

fn outputs(args: &GenerateArgs, model: &ModelConfig) -> anyhow::Result<Outputs> {
    check_is_file("--denoising", args.denoising.as_deref())?;
    check_is_file("--save-latents", args.save_latents.as_deref())?;
    let fps = args.video.fps.unwrap_or(model.sampling.fps);
    let video = if let Some(vae) = &model.vae {
        let target = video_target(args.out.as_deref(), args.video.format, fps, "sample")?;
        let size = vae.image_size();
        Some(enlarged(target, &args.video, size, &model.sampling)?)
    } else {
        check_latents_only(args)?;
        None
    };
    let denoising = args.denoising.as_ref();
    let denoising = denoising.map(|path| VideoTarget::by_extension(path, fps));
    let latents = args.save_latents.as_deref();
    let outputs = Outputs {
        video,
        latents: latents.map(|path| with_suffix(path, &args.part.suffix())),
        denoising: denoising.transpose()?,
        frames: None,
    };
    Ok(outputs)
}

/// Fails unless only latents are requested.
fn check_latents_only(args: &GenerateArgs) -> anyhow::Result<()> {
    if args.save_latents.is_none() {
        bail!("this model has no VAE to make videos with; --save-latents FILE writes the latents");
    }
    for (option, given) in [
        ("--out", args.out.is_some()),
        ("--format", args.video.format.is_some()),
        ("--fps", args.video.fps.is_some()),
        ("--denoising", args.denoising.is_some()),
    ] {
        if given {
            bail!("{option} is given, and this model has no VAE to make videos with");
        }
    }
    Ok(())
}
