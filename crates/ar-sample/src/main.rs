//! Generates videos with AR-Diffusion models; `ar-sample --help` says how.
#![allow(
    clippy::exit,
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "a program"
)]

mod cli;
mod denoising;
mod devices;
mod evaluate;
mod fingerprint;
mod generate;
mod generation;
mod model;
mod noise;
mod output;
mod plan;
mod plan_picture;
mod prefix;
mod progress;
mod reconstruct;
mod report;
mod sampled;
mod settings;
mod sink;

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use mimalloc::MiMalloc;

use cli::{Cli, Command};

/// Sampling frame by frame allocates some five hundred times in a quarter of a millisecond: it
/// takes a tenth less time than with glibc's allocator.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match ar_cli::run_program(|| run(&cli)) {
        Ok(code) => code,
        // Whoever reads our output has seen enough.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", one_line(&error));
            ExitCode::from(2)
        }
    }
}

fn run(cli: &Cli) -> anyhow::Result<ExitCode> {
    match &cli.command {
        None => return generate::run(&cli.generate),
        Some(Command::Generate(args)) => return generate::run(args),
        Some(Command::Plan(args)) => plan::run(args)?,
        Some(Command::Reconstruct(args)) => reconstruct::run(args)?,
        Some(Command::Evaluate(args)) => evaluate::run(args)?,
        Some(Command::Devices) => devices::run()?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes `text` to the standard output.
fn print(text: &str) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
        .context("cannot write to the standard output")
}

/// Writes `text` to the standard error, where the standard output is taken by a video.
fn print_aside(text: &str) -> anyhow::Result<()> {
    io::stderr()
        .write_all(text.as_bytes())
        .context("cannot write to the standard error")
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let cause = cause.downcast_ref::<io::Error>();
        cause.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    })
}

/// The error and its causes in one line; what an error repeats of its cause is said once.
fn one_line(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain() {
        let text = without_excerpts(&cause.to_string());
        if line.is_empty() {
            line = text;
        } else if !line.contains(&text) {
            line = format!("{line}: {text}");
        }
    }
    line
}

/// A message of several lines as one, without the excerpts of files (`3 | text`, `  | ^^^`) that
/// parsers draw.
fn without_excerpts(message: &str) -> String {
    let is_excerpt = |line: &str| {
        line.split_once('|')
            .is_some_and(|(number, _)| number.chars().all(|c| c == ' ' || c.is_ascii_digit()))
    };
    let mut joined = String::new();
    for line in message.lines().filter(|line| !is_excerpt(line)) {
        let line = line.trim();
        joined += match joined.as_str() {
            "" => "",
            _ if line.is_empty() => "",
            before if before.ends_with(':') => " ",
            _ => ": ",
        };
        joined += line;
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_said_once() {
        let io = io::Error::other("disk on fire");
        let error = anyhow::Error::new(io).context("a.mp4: disk on fire");
        assert_eq!(
            one_line(&error.context("cannot write")),
            "cannot write: a.mp4: disk on fire"
        );
    }

    #[test]
    fn messages_become_one_line() {
        let message =
            "TOML parse error at line 2, column 1\n  |\n2 | a = 1\n  | ^\nunknown field\n";
        assert_eq!(
            without_excerpts(message),
            "TOML parse error at line 2, column 1: unknown field"
        );
        assert_eq!(
            without_excerpts("no clip:\n  a.gif: damaged\n\n  and 3 more\n"),
            "no clip: a.gif: damaged: and 3 more"
        );
    }
}
