//! What the AR-Diffusion programs share.
#![warn(missing_docs)]

mod run;

pub use run::run_program;
