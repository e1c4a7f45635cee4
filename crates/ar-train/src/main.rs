//! `ar-train`: trains, encodes, imports and exports AR-Diffusion models.
#![allow(
    clippy::exit,
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "a program"
)]

mod cli;

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// That of `ar-sample`: runs sample, too.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    match ar_cli::run_program(cli::run) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {}", cli::message(&error));
            ExitCode::from(2)
        }
    }
}
