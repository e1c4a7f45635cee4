//! Options with their names on the command line.

use std::error::Error;

use ar_eval::EvaluationError;
use ar_pipeline::{NoiseError, PipelineError};
use clap::{Command, CommandFactory};

use crate::cli::Cli;

/// The message of an error. Libraries name options as `frames` and `ar_step`; these are replaced by the flags of the
/// command line, --frames and --ar-step.
pub(crate) fn message(error: &(dyn Error + 'static)) -> String {
    let text = error.to_string();
    // Errors that only pass on a parser's message are about its keys.
    let is_ours =
        error.is::<PipelineError>() || error.is::<NoiseError>() || error.is::<EvaluationError>();
    let is_about_options = error.source().is_none() && is_ours;
    if is_about_options {
        with_flags(&text)
    } else {
        text
    }
}

fn with_flags(message: &str) -> String {
    let mut message = message.to_owned();
    let command = Cli::command();
    for flag in flags(&command) {
        let option = format!("`{}`", flag.replace('-', "_"));
        if message.contains(&option) {
            message = message.replace(&option, &format!("--{flag}"));
        }
    }
    message
}

/// The long flags of a command and its subcommands.
fn flags(command: &Command) -> Vec<&str> {
    let own = command.get_arguments().filter_map(|arg| arg.get_long());
    own.chain(command.get_subcommands().flat_map(flags))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_named_as_flags() {
        assert_eq!(
            with_flags("`frames` is 1: `x_T` has more, and `prefix_frames` is 2"),
            "--frames is 1: `x_T` has more, and --prefix-frames is 2"
        );
    }
}
