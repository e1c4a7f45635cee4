//! Chores of the repository: `cargo xtask ablate`, `bench`, `gallery`, `gpu`, `package`, `published`, `reference`,
//! `soak` and `tidy`.
#![allow(clippy::print_stderr, clippy::print_stdout, reason = "a program")]

mod ablate;
mod bench;
mod commands;
mod cycles;
mod examples;
mod gallery;
mod gpu;
mod json;
mod links;
mod machine;
mod package;
mod packages;
mod published;
mod reference;
mod rust;
#[cfg(unix)]
mod soak;
mod sources;
mod table;
mod tidy;
mod workspace;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

use workspace::Workspace;

/// Chores of the repository.
#[derive(Parser)]
#[command(name = "cargo xtask")]
enum Cli {
    /// Trains and samples small models that differ in one thing each, and prints tables
    Ablate(ablate::Options),
    /// Runs the benches and prints one table
    Bench(bench::Options),
    /// Makes the pictures of bouncing shapes in README.md and docs
    Gallery(gallery::Options),
    /// Checks and measures on a GPU, or on a software adapter where there is none
    Gpu(gpu::Options),
    /// Packages the crates and builds the contents of the packages
    Package(package::Options),
    /// Imports files with the same tensors as the published checkpoints, and samples from them
    Published(published::Options),
    /// Writes the reference pages of the book from the help of the commands
    Reference(reference::Options),
    /// Causes real-world faults while the commands run, for a given time, and prints counts
    #[cfg(unix)]
    Soak(soak::Options),
    /// Checks the rules of the architecture that a compiler does not check
    Tidy(tidy::Options),
}

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<ExitCode> {
    let cli = Cli::parse();
    let workspace = Workspace::read()?;
    match cli {
        Cli::Ablate(options) => ablate::run(&workspace, &options),
        Cli::Bench(options) => bench::run(&workspace, &options),
        Cli::Gallery(options) => gallery::run(&workspace, &options),
        Cli::Gpu(options) => gpu::run(&workspace, &options),
        Cli::Package(options) => package::run(&workspace, &options),
        Cli::Published(options) => published::run(&workspace, &options),
        Cli::Reference(options) => reference::run(&workspace, &options),
        #[cfg(unix)]
        Cli::Soak(options) => soak::run(&workspace, &options),
        Cli::Tidy(options) => tidy::run(&workspace, &options),
    }
}
