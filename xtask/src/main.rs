//! Chores of the repository: `cargo xtask bench`, `cargo xtask tidy`.

mod bench;
mod links;
mod sources;
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
    /// Runs the benches and prints one table
    Bench(bench::Options),
    /// Checks what the architecture promises and a compiler does not see
    Tidy,
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
        Cli::Bench(options) => bench::run(&workspace, &options),
        Cli::Tidy => tidy::run(&workspace),
    }
}
