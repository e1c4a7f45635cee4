mod console;
mod dashboard;
mod forecast;
mod places;
mod processes;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;

use anyhow::{Context, Result, bail, ensure};
use ar_cli::without_controls;
use ar_data::Part;
use ar_device::open;
use ar_files::{MOST_TEXT, lies_in, read_text, write_atomically};
use ar_model::{ImportOptions, ModelConfig, Precision, VideoModel, check_directory};
use ar_train::config::{DiffusionRun, LatentsRun, VaeRun, WeightsLocation, read_config};
use ar_train::group::{Alone, Group};
use ar_train::guard::guarded;
use ar_train::presets::{PRESETS, preset};
use ar_train::run::{Ending, StageOptions};
use ar_train::workers::Workers;
use ar_train::{diffusion, latents, vae};
use burn_train::Interrupter;
use clap::{ArgGroup, Args, Parser, Subcommand};
use console::Console;
use dashboard::Dashboard;
use places::ConfigSource;
use processes::together;
use serde::de::DeserializeOwned;

/// Train AR-Diffusion models on your videos.
///
/// The stages are `vae`, `latents` and `diffusion`, in this order. Each reads a configuration:
/// `ar-train init` writes one to start from, with comments.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Train an AR-VAE on the frames of a dataset.
    ///
    /// If ar-train was built with the feature `mpi`, processes started by one mpirun train together, with
    /// run.batch_size clips each.
    Vae(Training),
    /// Encode a dataset with a trained VAE, for the diffusion stage.
    Latents(Latents),
    /// Train a transformer on encoded latents.
    ///
    /// If ar-train was built with the feature `mpi`, processes started by one mpirun train together, with
    /// run.batch_size clips each.
    Diffusion(Training),
    /// List the configurations that `init` can write.
    Presets,
    /// Write a configuration to start from, with comments.
    Init(Init),
    /// Make a model directory from published checkpoints.
    ///
    /// Sizes are inferred from the tensors. Everything else is set as published: the mask, how context and video share
    /// a block, the objective, the noise schedule, the sampling defaults, and which row of the class table belongs to
    /// which class.
    Import(Import),
    /// Copy a model directory, with --half in half precision.
    Export(Export),
}

#[derive(Args)]
struct Stage {
    /// Configuration of the stage, in TOML; `ar-train init` writes one with every key and its
    /// default.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Override a key of the configuration, such as run.steps=500; can be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Continue where the run stopped: from its newest complete checkpoint, or its last file of latents. Lists the
    /// keys of the configuration that have changed since. A run without a checkpoint starts at step 0, and says so.
    /// Without this option, a folder that contains a run is refused.
    #[arg(long)]
    resume: bool,
    /// Device to compute on; `ar-sample devices` lists them. Several, such as cuda:0,cuda:1, share
    /// the clips of every batch; the first holds the weights.
    #[arg(
        long,
        value_name = "NAME[,NAME..]",
        default_value = "auto",
        value_delimiter = ','
    )]
    device: Vec<String>,
}

#[derive(Args)]
struct Training {
    #[command(flatten)]
    stage: Stage,
    /// Draw losses and progress in the terminal while training; `q` stops the run, as Ctrl-C does without it.
    #[arg(long)]
    dashboard: bool,
    /// Take three steps with activation checkpointing and three without, write nothing, and say how much memory and
    /// time the run will need, and what to change if it does not fit.
    #[arg(long)]
    dry_run: bool,
}

#[derive(Args)]
struct Init {
    /// What to start from; `ar-train presets` lists them.
    #[arg(long, value_name = "NAME")]
    preset: String,
    /// File to write; it must not exist yet [default: the preset's name with .toml].
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Args)]
struct Latents {
    #[command(flatten)]
    stage: Stage,
    /// Encode only part i of n of the dataset, counted from 0; run all n, on any machines that share the folder.
    #[arg(long, alias = "shard", value_name = "i/n", default_value = "0/1")]
    part: Part,
}

#[derive(Args)]
#[command(group(ArgGroup::new("files").args(["transformer", "vae"]).required(true).multiple(true)))]
struct Import {
    /// Checkpoint of a diffusion model: a safetensors or PyTorch file, local or on the Hugging Face hub
    /// (hf://OWNER/NAME/FILE, in builds with the feature `hub`). It may contain the VAE, too, under "vae.".
    #[arg(long, value_name = "FILE")]
    transformer: Option<WeightsLocation>,
    /// VAE checkpoint: a file, as for --transformer.
    #[arg(long, value_name = "FILE")]
    vae: Option<WeightsLocation>,
    /// Model configuration that describes the checkpoints, in TOML, instead of inferring it from the tensors.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["frames", "heads", "vae_heads"])]
    config: Option<PathBuf>,
    /// Frames of the clips that the transformer was trained on [default: 16, as published].
    #[arg(long, value_name = "N")]
    frames: Option<usize>,
    /// Attention heads of the transformer [default: one per 72 channels, or else one per 64].
    #[arg(long, value_name = "N")]
    heads: Option<usize>,
    /// Attention heads of the VAE [default: one per 64 channels].
    #[arg(long, value_name = "N")]
    vae_heads: Option<usize>,
    /// Write 16-bit floats, which halves the size.
    #[arg(long)]
    half: bool,
    #[command(flatten)]
    out: Out,
}

impl Import {
    fn options(&self) -> Result<ImportOptions> {
        let read = |path: &PathBuf| -> Result<ModelConfig> {
            let file = path.display();
            let text = read_text(path, MOST_TEXT).with_context(|| file.to_string())?;
            text.parse().with_context(|| file.to_string())
        };
        let locate =
            |file: &Option<WeightsLocation>| file.as_ref().map(WeightsLocation::path).transpose();
        Ok(ImportOptions {
            transformer: locate(&self.transformer)?,
            vae: locate(&self.vae)?,
            config: self.config.as_ref().map(read).transpose()?,
            frames: self.frames,
            heads: self.heads,
            vae_heads: self.vae_heads,
            precision: precision(self.half),
        })
    }
}

#[derive(Args)]
struct Export {
    /// Model directory to read.
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// Write 16-bit floats, which halves the size.
    #[arg(long)]
    half: bool,
    #[command(flatten)]
    out: Out,
}

/// Where to write a model.
#[derive(Args)]
struct Out {
    /// Model directory to write.
    #[arg(long = "out", value_name = "DIR")]
    path: PathBuf,
    /// Replace the model that is in --out.
    #[arg(long)]
    overwrite: bool,
}

impl Stage {
    fn read<C: DeserializeOwned>(&self) -> Result<(C, ConfigSource)> {
        let file = self.config.display().to_string();
        let text = read_text(&self.config, MOST_TEXT).with_context(|| file.clone())?;
        let config = read_config(&text, &self.set).with_context(|| file.clone())?;
        let overrides = self.set.clone();
        Ok((
            config,
            ConfigSource {
                file,
                text,
                overrides,
            },
        ))
    }

    fn options(&self, interrupter: &Interrupter) -> StageOptions {
        StageOptions {
            resume: self.resume,
            interrupter: interrupter.clone(),
            observer: Rc::new(Console::default()),
        }
    }

    fn workers(&self, group: Rc<dyn Group>) -> Result<Workers> {
        let devices: Result<_, _> = self.device.iter().map(|name| open(name)).collect();
        Ok(Workers {
            devices: devices?,
            group,
        })
    }
}

impl Training {
    fn options(&self, interrupter: &Interrupter) -> Result<StageOptions> {
        let mut options = self.stage.options(interrupter);
        if self.dashboard {
            options.observer = Rc::new(Dashboard::new(options.interrupter.clone())?);
        }
        Ok(options)
    }
}

pub(crate) fn run() -> Result<ExitCode> {
    let command = ar_cli::parse::<Cli>().command;
    // Before anything that takes long.
    let interrupter = interrupter(&command)?;
    match command {
        Command::Vae(training) => {
            let (config, source): (VaeRun, _) = training.stage.read()?;
            if training.dry_run {
                let workers = training.stage.workers(Rc::new(Alone))?;
                let options = training.options(&interrupter)?;
                let forecast = || vae::forecast(&config, &workers, &options);
                return Ok(match source.locate(guarded(&config, &workers, forecast))? {
                    Some(forecast) => {
                        say(forecast::describe(&forecast, &config));
                        ExitCode::SUCCESS
                    }
                    None => ExitCode::from(ar_cli::INTERRUPTED),
                });
            }
            together(|group| {
                let workers = training.stage.workers(group)?;
                let options = training.options(&interrupter)?;
                let ending = guarded(&config, &workers, || {
                    vae::train(&config, &workers, &options)
                });
                let ending = source.locate(ending)?;
                Ok(farewell(ending, &config.run.out, &workers))
            })
        }
        Command::Latents(Latents { stage, part }) => {
            let (config, source): (LatentsRun, _) = stage.read()?;
            let [device] = &stage.device[..] else {
                bail!("a process encodes on one device: share the work between them with --part");
            };
            let device = open(device)?;
            let ending = latents::encode(&config, part, &device, &stage.options(&interrupter));
            let ending = source.locate(ending)?;
            let out = without_controls(config.out.display());
            say(match ending {
                Ending::Finished => format!("latents in {out}"),
                Ending::NotStarted => NOT_STARTED.into(),
                _ => "stopped; continue with --resume".into(),
            });
            Ok(exit_code(ending))
        }
        Command::Diffusion(training) => {
            let (config, source): (DiffusionRun, _) = training.stage.read()?;
            if training.dry_run {
                let workers = training.stage.workers(Rc::new(Alone))?;
                let forecast = || diffusion::forecast(&config, &workers);
                let forecast = source.locate(guarded(&config, &workers, forecast))?;
                say(forecast::describe(&forecast, &config));
                return Ok(ExitCode::SUCCESS);
            }
            together(|group| {
                let workers = training.stage.workers(group)?;
                let options = training.options(&interrupter)?;
                let train = || diffusion::train(&config, &workers, &options);
                let ending = guarded(&config, &workers, train);
                let ending = source.locate(ending)?;
                Ok(farewell(ending, &config.run.out, &workers))
            })
        }
        Command::Presets => {
            for preset in PRESETS {
                ar_cli::print(&format!(
                    "{:26} {:10} {}\n",
                    preset.name, preset.stage, preset.about
                ))?;
            }
            Ok(ExitCode::SUCCESS)
        }
        Command::Init(init) => {
            let preset = preset(&init.preset)?;
            let out = init
                .out
                .unwrap_or_else(|| PathBuf::from(format!("{}.toml", preset.name)));
            ensure!(!out.exists(), "{}: exists already", out.display());
            write_atomically(&out, preset.text.as_bytes())
                .with_context(|| out.display().to_string())?;
            say(format!(
                "{out}: edit it, then\n  ar-train {} --config {out}",
                preset.stage,
                out = without_controls(out.display())
            ));
            Ok(ExitCode::SUCCESS)
        }
        Command::Import(import) => {
            let options = import.options()?;
            let inputs = [&options.transformer, &options.vae, &import.config];
            let out = import.out.checked(inputs.into_iter().flatten())?;
            let found = ar_model::import(&options, out)?;
            say(format!(
                "{found}\nmodel in {}",
                without_controls(out.display())
            ));
            Ok(ExitCode::SUCCESS)
        }
        Command::Export(export) => {
            let out = export.out.checked([&export.model])?;
            let device = open("auto")?;
            let model = VideoModel::load(&export.model, &device)?;
            model.save(out, precision(export.half))?;
            say(format!("model in {}", without_controls(out.display())));
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn precision(half: bool) -> Precision {
    if half {
        Precision::Half
    } else {
        Precision::Full
    }
}

impl Out {
    /// The path. Fails if a model cannot be written there, or would replace its own source or, without `--overwrite`,
    /// another model.
    fn checked<'a>(&self, inputs: impl IntoIterator<Item = &'a PathBuf>) -> Result<&Path> {
        let out = &*self.path;
        for input in inputs {
            ensure!(
                !lies_in(input, out),
                "--out {} would replace {}, which the model is made from: write to another folder",
                out.display(),
                input.display()
            );
        }
        check_directory(out)?;
        let holds_files = fs::read_dir(out).is_ok_and(|mut entries| entries.next().is_some());
        ensure!(
            self.overwrite || !holds_files,
            "--out {} holds a model already: write to another folder, or replace it with --overwrite",
            out.display()
        );
        Ok(out)
    }
}

fn farewell(ending: Ending, out: &Path, workers: &Workers) -> ExitCode {
    let text = match ending {
        Ending::Finished => format!("model in {}", without_controls(out.join("model").display())),
        Ending::NotStarted => NOT_STARTED.into(),
        _ => format!(
            "stopped; the checkpoint is in {}, continue with --resume",
            without_controls(out.display())
        ),
    };
    if workers.group.is_leader() {
        say(text);
    }
    exit_code(ending)
}

const NOT_STARTED: &str = "stopped while the data were read; nothing was written";

/// After an interrupt, a shell must not continue with `ar-train vae .. && ar-train latents ..`.
fn exit_code(ending: Ending) -> ExitCode {
    match ending {
        Ending::Finished => ExitCode::SUCCESS,
        _ => ExitCode::from(ar_cli::INTERRUPTED),
    }
}

/// Prints how the work ended. If it cannot be printed, the work is done all the same.
fn say(text: impl std::fmt::Display) {
    let _ = ar_cli::print(&format!("{text}\n"));
}

/// What Ctrl-C stops: a stage at the next step, with a checkpoint. It ends other commands, a stage before
/// its first step, and a stage that is asked twice, at once.
fn interrupter(command: &Command) -> Result<Interrupter> {
    let interrupter = Interrupter::new();
    match command {
        Command::Vae(_) | Command::Latents(_) | Command::Diffusion(_) => {
            let handle = interrupter.clone();
            let message = "stopping after this step; press Ctrl-C again to stop at once";
            ar_cli::on_interrupt(message, move || handle.stop(None))?;
        }
        _ => ar_cli::end_on_interrupt()?,
    }
    Ok(interrupter)
}
