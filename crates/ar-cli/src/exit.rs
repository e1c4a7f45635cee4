use std::error::Error;
use std::process::ExitCode;

use crate::{is_broken_pipe, tell};

/// The exit status of a program that could not do what it was asked for.
pub(crate) const FAILED: u8 = 2;

/// The exit status of work that ended; an error is told in the words of `message`, such as
/// [`one_line`](crate::one_line). If whoever reads our output has closed it, they have seen enough.
pub fn exit_code(
    result: anyhow::Result<ExitCode>,
    message: impl FnOnce(&(dyn Error + 'static)) -> String,
) -> ExitCode {
    match result {
        Ok(code) => code,
        Err(error) if is_broken_pipe(error.as_ref()) => ExitCode::SUCCESS,
        Err(error) => {
            tell(format_args!("error: {}", message(error.as_ref())));
            ExitCode::from(FAILED)
        }
    }
}
