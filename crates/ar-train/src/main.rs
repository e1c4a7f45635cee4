//! `ar-train`: trains, encodes, imports and exports AR-Diffusion models.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    match ar_device::run_program(cli::run) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {}", cli::message(&error));
            ExitCode::from(2)
        }
    }
}
