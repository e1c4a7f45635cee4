//! `ar-train`: trains, encodes, imports and exports AR-Diffusion models.
#![allow(clippy::exit, reason = "a program")]

mod cli;

use std::process::ExitCode;

use ar_cli::Allocator;
use mimalloc::MiMalloc;

/// The same allocator as in `ar-sample`, because runs sample, too.
#[global_allocator]
static ALLOCATOR: Allocator<MiMalloc> = Allocator(MiMalloc);

fn main() -> ExitCode {
    ar_cli::run_program(|| ar_cli::exit_code(cli::run(), ar_cli::one_line))
}
