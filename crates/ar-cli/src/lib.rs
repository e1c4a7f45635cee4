//! Shared code of the AR-Diffusion programs: how they run, handle interrupts, print, fail and measure memory.
//!
//! ```no_run
//! use std::process::ExitCode;
//!
//! fn main() -> ExitCode {
//!     ar_cli::run_program(|| ar_cli::exit_code(work(), ar_cli::one_line))
//! }
//!
//! fn work() -> anyhow::Result<ExitCode> {
//!     let interrupt = ar_cli::Interrupt::listen("stopping; press Ctrl-C again to stop at once")?;
//!     while !interrupt.is_set() {
//!         ar_cli::print("working\n")?;
//!         ar_cli::work_begins();
//!     }
//!     Ok(ar_cli::INTERRUPTED.into())
//! }
//! ```
#![warn(missing_docs)]

mod allocator;
mod arguments;
mod exit;
mod interrupt;
pub mod memory;
mod message;
mod print;
mod run;
mod terminal;

pub use allocator::Allocator;
pub use arguments::parse;
pub use exit::exit_code;
pub use interrupt::{
    INTERRUPTED, Interrupt, end_interrupted, end_on_interrupt, on_interrupt, work_begins,
};
pub use message::{one_line, one_line_as, without_controls};
pub use print::{is_broken_pipe, print, tell};
pub use run::run_program;
pub use terminal::terminal_size;
