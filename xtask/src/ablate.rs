//! `cargo xtask ablate`: trains and samples small models that differ in one thing each, with the same commands as
//! users, and prints the results in Markdown.
//!
//! Everything that is finished is kept in a folder and not done again. The commands are kept there too, so that all
//! figures of a table come from one build, whatever happens to the sources in the meantime.

mod experiments;
mod figures;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::SystemTime;

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::Value;

use crate::commands::{COMMANDS, build, built, executable, succeed};
use crate::json;
use crate::machine;
use crate::table::table;
use crate::workspace::Workspace;
use experiments::{Case, Experiment, Variant, experiments};

/// Clips of every evaluation.
const SAMPLES: &str = "128";
/// Clips that are sampled together.
const BATCH: &str = "32";

#[derive(Args)]
pub(crate) struct Options {
    /// Seeds to train with; figures are means over them
    #[arg(long, value_name = "N", default_value_t = 3)]
    seeds: u64,
    /// Folder for everything that is trained and measured; what it already has is not done again
    #[arg(long, value_name = "DIR", default_value = "runs/ablations")]
    out: PathBuf,
    /// Overrides a key of every training run, such as run.steps=20000; can be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Device to compute on: a name that `ar-sample devices` lists
    #[arg(long, value_name = "NAME", default_value = "auto")]
    device: String,
    /// Backends to build in besides the CPU's, such as cuda or vulkan
    #[arg(long, value_name = "FEATURES")]
    features: Option<String>,
}

pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<ExitCode> {
    ensure!(options.seeds > 0, "--seeds is 0; it must be at least 1");
    let experiments = experiments();
    let bench = Bench::set_up(workspace, options)?;

    let evaluations = evaluations(&experiments);
    let runs = evaluations.len() as u64 * options.seeds;
    // Seed by seed, so that tables of fewer seeds are available early.
    let mut number = 0;
    for seed in 0..options.seeds {
        for evaluation in &evaluations {
            number += 1;
            eprintln!(
                "{number} of {runs}: {}, guidance {}, seed {seed}",
                evaluation.variant.name, evaluation.guidance
            );
            bench.train(evaluation.variant, seed)?;
            bench.evaluate(evaluation, seed)?;
        }
    }

    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    println!(
        "{}, {cores} cores; device {}; {}; commit {}; {} seeds\n",
        machine::processor(),
        options.device,
        machine::utc(SystemTime::now()),
        bench.commit()?,
        options.seeds,
    );
    let sections: Vec<String> = experiments
        .iter()
        .map(|experiment| bench.section(experiment, options.seeds))
        .collect::<Result<_>>()?;
    print!("{}", sections.join("\n"));
    Ok(ExitCode::SUCCESS)
}

/// What one call of `ar-sample evaluate` measures, for a seed.
struct Evaluation {
    variant: &'static Variant,
    guidance: f64,
    ar_steps: BTreeSet<usize>,
}

impl Evaluation {
    fn holds(&self, case: &Case) -> bool {
        self.variant == case.variant && self.guidance == case.guidance
    }
}

/// The evaluations for all experiments, each once.
fn evaluations(experiments: &[Experiment]) -> Vec<Evaluation> {
    let mut evaluations: Vec<Evaluation> = Vec::new();
    for case in experiments.iter().flat_map(|e| &e.cases) {
        match evaluations.iter_mut().find(|e| e.holds(case)) {
            Some(evaluation) => {
                evaluation.ar_steps.insert(case.ar_step);
            }
            None => evaluations.push(Evaluation {
                variant: case.variant,
                guidance: case.guidance,
                ar_steps: BTreeSet::from([case.ar_step]),
            }),
        }
    }
    evaluations
}

/// The folder of the ablations.
struct Bench<'a> {
    workspace: &'a Workspace,
    options: &'a Options,
    out: PathBuf,
}

impl<'a> Bench<'a> {
    /// Builds the commands and encodes the clips.
    fn set_up(workspace: &'a Workspace, options: &'a Options) -> Result<Self> {
        let bench = Self {
            workspace,
            options,
            out: workspace.root.join(&options.out),
        };
        bench.build()?;
        let tokenizer = bench.out.join("tokenizer");
        if !tokenizer.join("config.toml").is_file() {
            let mut export = bench.command("ar-train");
            export.args(["export", "--model", "crates/ar-pipeline/model", "--out"]);
            succeed(export.arg(&tokenizer))?;
        }
        let mut latents = bench.command("ar-train");
        latents.args(["latents", "--resume", "--config", LATENTS]);
        set(&mut latents, "vae", &tokenizer);
        set(&mut latents, "out", &bench.out.join("latents"));
        succeed(latents.args(["--device", &options.device]))?;
        Ok(bench)
    }

    /// Builds the commands, once for all.
    fn build(&self) -> Result<()> {
        let folder = self.out.join("bin");
        let note = folder.join("commit");
        if note.is_file() {
            return Ok(());
        }
        let commit = self.workspace.commit()?;
        build(self.workspace, self.options.features.as_deref())?;
        fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        for name in COMMANDS {
            let path = folder.join(executable(name));
            fs::copy(built(self.workspace, name), &path)
                .with_context(|| path.display().to_string())?;
        }
        fs::write(&note, commit).with_context(|| note.display().to_string())
    }

    /// The commit that the commands were built from.
    fn commit(&self) -> Result<String> {
        let note = self.out.join("bin/commit");
        fs::read_to_string(&note).with_context(|| note.display().to_string())
    }

    /// One of the commands.
    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(self.out.join("bin").join(executable(name)));
        command.current_dir(&self.workspace.root);
        command
    }

    fn train(&self, variant: &Variant, seed: u64) -> Result<()> {
        let folder = self.training(variant, seed);
        if is_trained(&folder) {
            return Ok(());
        }
        let mut train = self.command("ar-train");
        train.args(["diffusion", "--resume", "--config", DIFFUSION]);
        set(&mut train, "vae", &self.out.join("tokenizer"));
        set(&mut train, "data.latents", &self.out.join("latents"));
        set(&mut train, "run.out", &folder);
        train.args(["--set", &format!("run.seed={seed}")]);
        let changed = variant.set.iter().copied();
        for key in changed.chain(self.options.set.iter().map(String::as_str)) {
            train.args(["--set", key]);
        }
        succeed(train.args(["--device", &self.options.device]))?;
        ensure!(
            is_trained(&folder),
            "{} was stopped; the same command goes on with it",
            folder.display()
        );
        Ok(())
    }

    fn training(&self, variant: &Variant, seed: u64) -> PathBuf {
        self.out.join(format!("{}-{seed}", variant.name))
    }

    fn evaluate(&self, evaluation: &Evaluation, seed: u64) -> Result<()> {
        let Evaluation {
            variant,
            guidance,
            ar_steps,
        } = evaluation;
        let folder = self.evaluation(variant, *guidance, seed);
        if let Ok(report) = json::read(&folder.join("report.json")) {
            let measured = |ar_step| figures::source(&report, &source(ar_step)).is_some();
            if ar_steps.iter().all(|ar_step| measured(*ar_step)) {
                return Ok(());
            }
        }
        let ar_steps: Vec<String> = ar_steps.iter().map(ToString::to_string).collect();
        let model = self.training(variant, seed).join("model");
        let mut evaluate = self.command("ar-sample");
        evaluate.args(["evaluate", "--data", LATENTS, "--metrics", "world,latents"]);
        evaluate.args(["--samples", SAMPLES, "--batch", BATCH]);
        evaluate.args(["--ar-step", &ar_steps.join(",")]);
        evaluate.args(["--seed", &seed.to_string()]);
        evaluate.args(["--guidance", &guidance.to_string()]);
        evaluate.arg("--model").arg(model);
        evaluate.arg("--out").arg(&folder);
        succeed(evaluate.args(["--device", &self.options.device]))
    }

    fn evaluation(&self, variant: &Variant, guidance: f64, seed: u64) -> PathBuf {
        self.training(variant, seed)
            .join(format!("evaluation-guidance-{guidance}"))
    }

    fn section(&self, experiment: &Experiment, seeds: u64) -> Result<String> {
        let rows: Vec<_> = experiment
            .cases
            .iter()
            .map(|case| {
                let reports: Vec<Value> = (0..seeds)
                    .map(|seed| {
                        let folder = self.evaluation(case.variant, case.guidance, seed);
                        json::read(&folder.join("report.json"))
                    })
                    .collect::<Result<_>>()?;
                let source = source(case.ar_step);
                let found: Vec<&Value> = reports
                    .iter()
                    .filter_map(|report| figures::source(report, &source))
                    .collect();
                Ok(figures::row(case.label.clone(), &found))
            })
            .collect::<Result<_>>()?;
        Ok(format!(
            "### {}\n\n{}",
            experiment.title,
            table(figures::head(), &rows)
        ))
    }
}

/// The configurations, relative to the root of the repository.
const LATENTS: &str = "configs/ablations/latents.toml";
const DIFFUSION: &str = "configs/ablations/diffusion.toml";

/// The name of samples in reports.
fn source(ar_step: usize) -> String {
    format!("samples, s = {ar_step}")
}

/// `model` exists only when training has ended.
fn is_trained(folder: &Path) -> bool {
    folder.join("model/config.toml").is_file()
}

fn set(command: &mut Command, key: &str, path: &Path) {
    command.args(["--set", &format!("{key}={}", path.display())]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_is_evaluated_once() {
        let experiments = experiments();
        let evaluations = evaluations(&experiments);
        for case in experiments.iter().flat_map(|e| &e.cases) {
            let found = evaluations.iter().filter(|e| e.holds(case));
            let steps: Vec<_> = found.map(|e| e.ar_steps.contains(&case.ar_step)).collect();
            assert_eq!(steps, [true], "{}", case.label);
        }
        let names: BTreeSet<_> = evaluations
            .iter()
            .map(|e| (e.variant.name, e.guidance.to_bits()))
            .collect();
        assert_eq!(names.len(), evaluations.len());
    }
}
