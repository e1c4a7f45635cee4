//! `cargo xtask bench`: runs the benches and prints the results in Markdown.

mod criterion;
mod history;
mod pytorch;
mod streams;
mod training;

use std::fs;
use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use serde_json::Value;

use crate::json;
use crate::machine;
use crate::workspace::{Workspace, cargo};
use history::History;
use pytorch::Measured;
use streams::Sampling;

#[derive(Args)]
pub(crate) struct Options {
    /// Benches to run, such as schedulers or sampling [default: all]
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Device to measure on: a name that `ar-sample devices` lists
    #[arg(long, value_name = "NAME", default_value = "auto")]
    device: String,
    /// Backends to build in besides the CPU's, such as cuda or vulkan
    #[arg(long, value_name = "FEATURES")]
    features: Option<String>,
    /// Runs the same networks in PyTorch on the CPU, if it is installed, and checks that results agree
    ///
    /// Records how much faster they were here in benches/history.jsonl.
    #[arg(long)]
    pytorch: bool,
    /// Like --pytorch, but records nothing: fails if a bench, compared with PyTorch in the same run, is a tenth slower
    /// than it last was on this kind of machine
    #[arg(long)]
    check: bool,
}

pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<ExitCode> {
    let mut compared = pytorch::BENCHES.to_vec();
    compared.retain(|bench| options.names.is_empty() || options.names.iter().any(|n| n == bench));
    ensure!(
        !compared.is_empty() || !(options.pytorch || options.check),
        "--pytorch compares what {} have computed: name one of them, or name none",
        pytorch::BENCHES.join(", ")
    );
    let (start, commit) = (SystemTime::now(), workspace.commit()?);
    run_benches(workspace, options)?;

    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let mut sections = vec![format!(
        "{}, {cores} cores; device {}; {}; commit {commit}\n",
        machine::processor(),
        options.device,
        machine::utc(start),
    )];
    let mut measured = Vec::new();

    let rows = criterion::read(&workspace.target.join("criterion"), start)?;
    if !rows.is_empty() {
        sections.push(criterion::section(&rows));
    }
    measured.extend(rows.into_iter().map(|row| Measured {
        counterpart: row.name.clone(),
        name: row.name,
        seconds: row.median,
    }));

    // Where cargo lets benches write files.
    let results = workspace.target.join("tmp");
    if let Some(results) = left(&results.join("training_cost"), start)? {
        sections.push(training::section(&results)?);
    }
    if let Some(results) = left(&results.join("sampling"), start)? {
        let rows = Sampling::read(&results)?;
        sections.push(Sampling::section(&rows));
        for row in &rows {
            measured.extend(row.seconds().map(|(method, seconds)| Measured {
                name: format!("{}/{method}", row.name()),
                counterpart: row.name(),
                seconds,
            }));
        }
    }
    if let Some(results) = left(&results.join("long_stream"), start)? {
        sections.push(streams::long_stream(&results)?);
    }
    print!("{}", sections.join("\n"));
    if !(options.pytorch || options.check) {
        return Ok(ExitCode::SUCCESS);
    }
    let comparison = pytorch::comparison(&workspace.root, &results, &compared, &measured)?;
    let Some(comparison) = comparison else {
        print!("\n{}", pytorch::MISSING);
        return Ok(if options.check {
            ExitCode::FAILURE
        } else {
            ExitCode::SUCCESS
        });
    };
    print!("\n{}", comparison.text);
    let history = History::new(&workspace.root);
    if !options.check {
        history.add(&machine::utc(start), &commit, cores, &comparison)?;
        return Ok(ExitCode::SUCCESS);
    }
    Ok(match history.regressions(cores, &comparison)? {
        None => ExitCode::SUCCESS,
        Some(worse) => {
            print!("\n## Slower than before\n\n{worse}");
            ExitCode::FAILURE
        }
    })
}

fn run_benches(workspace: &Workspace, options: &Options) -> Result<()> {
    let mut command = cargo();
    command
        .current_dir(&workspace.root)
        .env("AR_DEVICE", &options.device)
        .args(["bench", "--package", "ar-benches"])
        // Standard output is for the tables.
        .stdout(io::stderr());
    for name in &options.names {
        command.args(["--bench", name]);
    }
    if let Some(features) = &options.features {
        command.args(["--features", features]);
    }
    if !command.status().context("cargo")?.success() {
        bail!("the benches did not finish");
    }
    Ok(())
}

/// The results that a bench wrote into `folder` since `start`.
fn left(folder: &Path, start: SystemTime) -> Result<Option<Value>> {
    let path = folder.join("results.json");
    let measured = fs::metadata(&path).and_then(|file| file.modified());
    match measured {
        Ok(measured) if measured >= start => json::read(&path).map(Some),
        _ => Ok(None),
    }
}
