//! `cargo xtask gallery`: makes every picture of bouncing shapes in README.md and docs, from the outputs of
//! `ar-sample`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use ar_video::{Clip, Frame, Tiles, VideoFormat, read_clip, write_clip};
use clap::Args;

use crate::commands::{build, built, succeed};
use crate::workspace::Workspace;

/// Clips of each kind.
const CLIPS: usize = 6;
/// Number of given frames in continued clips.
const GIVEN: usize = 4;
/// Frames of the long stream.
const STREAM: usize = 300;
/// Frames per second of animations: a little faster than the world's 8, so that clips do not drag.
const FPS: f64 = 10.0;
/// White pixels between tiles.
const GAP: usize = 4;

#[derive(Args)]
pub(crate) struct Options {
    /// Model directory [default: the built-in model]
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,
    /// Device to compute on: a name that `ar-sample devices` lists
    #[arg(long, value_name = "NAME", default_value = "auto")]
    device: String,
}

pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<ExitCode> {
    build(workspace, None)?;
    // Started afresh every time, because the model may have changed.
    let scratch = workspace.target.join("gallery");
    if scratch.is_dir() {
        fs::remove_dir_all(&scratch).with_context(|| scratch.display().to_string())?;
    }
    let studio = Studio {
        workspace,
        options,
        scratch,
        images: workspace.root.join("docs/images"),
    };
    studio.evaluated()?;
    studio.denoising()?;
    studio.stream()?;
    Ok(ExitCode::SUCCESS)
}

struct Studio<'a> {
    workspace: &'a Workspace,
    options: &'a Options,
    /// For the outputs of `ar-sample`.
    scratch: PathBuf,
    images: PathBuf,
}

impl Studio<'_> {
    /// Validation clips, their reconstruction, samples and continuations, by one evaluation.
    fn evaluated(&self) -> Result<()> {
        let mut evaluate = self.sample();
        evaluate.args(["evaluate", "--metrics", "psnr", "--frames", "16"]);
        evaluate.args([
            "--ar-step",
            "0,5,10,50",
            "--prefix-frames",
            &GIVEN.to_string(),
        ]);
        for option in ["--samples", "--keep"] {
            evaluate.args([option, &CLIPS.to_string()]);
        }
        self.run(evaluate.arg("--out").arg(self.scratch.join("evaluation")))?;

        let truth = self.clips("ground-truth")?;
        let reconstruction = self.clips("reconstruction")?;
        let samples = self.clips("samples-s-10")?;
        let continued = self.clips(&format!("after-{GIVEN}-s-10"))?;
        self.show(
            "shapes.gif",
            &side_by_side(&[&samples[..2], &samples[2..4]]),
        )?;
        self.show(
            "shapes-truth.gif",
            &side_by_side(&[&truth[..2], &truth[2..4]]),
        )?;
        for ar_step in [0, 5, 50] {
            let samples = self.clips(&format!("samples-s-{ar_step}"))?;
            let name = format!("gallery-s{ar_step}.gif");
            self.show(&name, &side_by_side(&[&samples[..4]]))?;
        }
        let continued = side_by_side(&[&truth[..4], &continued[..4]]);
        self.show("gallery-prefix.gif", &continued)?;

        let samples: Vec<_> = samples.iter().map(every_second_frame).collect();
        self.print("shapes-samples.png", &grid(&samples))?;
        let pair = [&truth[0], &reconstruction[0]].map(every_second_frame);
        self.print("shapes-reconstruction.png", &grid(&pair))
    }

    /// How eight frames are denoised.
    fn denoising(&self) -> Result<()> {
        let mut generate = self.sample();
        let strips = self.scratch.join("denoising.apng");
        generate.args([
            "generate",
            "--frames",
            "8",
            "--steps",
            "50",
            "--ar-step",
            "5",
        ]);
        generate.arg("--denoising").arg(&strips);
        self.run(
            generate
                .arg("--out")
                .arg(self.scratch.join("denoised.apng")),
        )?;

        let strips = read_clip(&strips)?;
        let last = strips.frames().len() - 1;
        let stills: Vec<_> = (0..=last)
            .step_by(7)
            .chain((!last.is_multiple_of(7)).then_some(last))
            .map(|index| vec![&strips.frames()[index]])
            .collect();
        self.print("denoising.png", &grid(&stills))?;
        // Pauses at its end for a second and a half.
        let rest = (1.5 * FPS) as usize;
        let moving = (0..last).step_by(3).chain([last; 1].repeat(rest));
        let moving = moving.map(|index| strips.frames()[index].clone());
        self.show("denoising.gif", &Clip::new(moving.collect()))
    }

    /// A stream far longer than the model's window.
    fn stream(&self) -> Result<()> {
        let mut generate = self.sample();
        let path = self.scratch.join("stream.apng");
        generate.args(["generate", "--frames", &STREAM.to_string()]);
        self.run(generate.arg("--out").arg(&path))?;

        let stream = read_clip(&path)?;
        self.show("gallery-stream.gif", &stream)?;
        let stills: Vec<&Frame> = stream.frames().iter().step_by(10).collect();
        let rows: Vec<_> = stills.chunks(10).map(<[_]>::to_vec).collect();
        self.print("gallery-stream.png", &grid(&rows))
    }

    fn sample(&self) -> Command {
        let mut command = Command::new(built(self.workspace, "ar-sample"));
        command.current_dir(&self.workspace.root);
        command
    }

    fn run(&self, command: &mut Command) -> Result<()> {
        if let Some(model) = &self.options.model {
            command.arg("--model").arg(model);
        }
        succeed(command.args(["--device", &self.options.device]))
    }

    /// The clips of a source that the evaluation kept.
    fn clips(&self, source: &str) -> Result<Vec<Clip>> {
        let folder = self.scratch.join("evaluation/clips").join(source);
        (0..CLIPS)
            .map(|clip| Ok(read_clip(folder.join(format!("{clip}.apng")))?))
            .collect()
    }

    /// Writes a moving picture.
    fn show(&self, name: &str, clip: &Clip) -> Result<()> {
        self.write(name, clip, VideoFormat::Gif)
    }

    /// Writes a still picture.
    fn print(&self, name: &str, picture: &Frame) -> Result<()> {
        self.write(name, &Clip::new(vec![picture.clone()]), VideoFormat::Apng)
    }

    fn write(&self, name: &str, clip: &Clip, format: VideoFormat) -> Result<()> {
        let path: &Path = &self.images.join(name);
        write_clip(path, clip, format, FPS)?;
        eprintln!("{}", path.display());
        Ok(())
    }
}

fn every_second_frame(clip: &Clip) -> Vec<&Frame> {
    clip.frames().iter().step_by(2).collect()
}

/// One picture of rows of frames.
fn grid(rows: &[Vec<&Frame>]) -> Frame {
    let tiles = Tiles::in_columns(rows[0].len()).with_white_gap(GAP);
    tiles.picture(&rows.concat())
}

/// Clips that play side by side, in rows, twice as large.
fn side_by_side(rows: &[&[Clip]]) -> Clip {
    let tiles = Tiles::in_columns(rows[0].len()).with_white_gap(GAP);
    let clips: Vec<&[Frame]> = rows.iter().copied().flatten().map(Clip::frames).collect();
    tiles.with_scale(2).clip(&clips)
}
