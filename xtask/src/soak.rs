//! `cargo xtask soak`: causes real-world faults while the commands run, for a given time, and prints counts: kills at
//! random moments, damaged and mutated files, broken pipes, a full disk, a failing ffmpeg, and random files for every
//! parser.

mod bench;
mod counts;
mod damage;
mod decoder;
mod disk;
mod kills;
mod parsers;
mod pipes;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::commands::{build, built};
use crate::table::table;
use crate::workspace::Workspace;
use bench::Bench;
use counts::Counts;

#[derive(Args)]
pub(crate) struct Options {
    /// How long, in minutes
    #[arg(long, value_name = "N", default_value_t = 10.0)]
    minutes: f64,
    /// Kinds of faults to cause, in turn [default: all]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    only: Vec<Fault>,
    /// Seed of everything random
    #[arg(long, value_name = "K", default_value_t = 0)]
    seed: u64,
    /// Folder of built commands [default: build them, in the release profile]
    #[arg(long, value_name = "DIR")]
    commands: Option<PathBuf>,
}

/// The kinds of faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Fault {
    /// SIGKILL at random moments of training; the resumed run must end with the same bits
    Kills,
    /// A flipped bit, a truncated or an empty file; the error must name the file, and a run must resume before it
    Damage,
    /// Random bytes that no checksum covers; the program must end without a panic or a signal
    Mutations,
    /// Readers that go away, signals to the process group; the work must be kept
    Pipes,
    /// A disk that fills up; nothing may be left half done, and the run must continue once there is room
    Disk,
    /// An ffmpeg that fails; there must be an error or a list of what is left out, and the next run must be complete
    Decoder,
    /// The property tests of the parsers, with different files each time; they are built first
    Parsers,
}

pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<ExitCode> {
    let folder = match &options.commands {
        Some(folder) => fs::canonicalize(folder).with_context(|| folder.display().to_string())?,
        None => {
            build(workspace, None)?;
            let command = built(workspace, "ar-train");
            command.parent().context("a folder")?.to_owned()
        }
    };
    let bench = Bench::set_up(workspace, folder)?;
    let faults = match &options.only[..] {
        [] => Fault::value_variants(),
        only => only,
    };
    if faults.contains(&Fault::Parsers) {
        parsers::build(&bench)?;
    }
    let mut random = ChaCha8Rng::seed_from_u64(options.seed);
    let mut counts = Counts::default();
    let start = Instant::now();
    let end = start + Duration::from_secs_f64(60.0 * options.minutes);
    let mut rounds = 0;
    while Instant::now() < end {
        for fault in faults {
            match fault {
                Fault::Kills => kills::round(&bench, &mut random, &mut counts)?,
                Fault::Damage => damage::round(&bench, &mut random, &mut counts)?,
                Fault::Mutations => damage::mutations(&bench, &mut random, &mut counts)?,
                Fault::Pipes => pipes::round(&bench, &mut random, &mut counts)?,
                Fault::Disk => disk::round(&bench, &mut random, &mut counts)?,
                Fault::Decoder => decoder::round(&bench, &mut random, &mut counts)?,
                Fault::Parsers => parsers::round(&bench, &mut counts)?,
            }
            if Instant::now() >= end {
                break;
            }
        }
        rounds += 1;
        eprintln!(
            "{:.0} minutes, {rounds} rounds, {} failures",
            start.elapsed().as_secs_f64() / 60.0,
            counts.failures.len()
        );
    }
    bench.tear_down()?;

    let rows = counts.done.iter();
    let rows: Vec<[String; 2]> = rows
        .map(|(what, count)| [what.clone(), count.to_string()])
        .collect();
    print!("{}", table(["what", "times"], &rows));
    println!(
        "\n{:.0} minutes, seed {}, {} failures",
        start.elapsed().as_secs_f64() / 60.0,
        options.seed,
        counts.failures.len()
    );
    for failure in &counts.failures {
        println!("- {failure}");
    }
    Ok(if counts.failures.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
