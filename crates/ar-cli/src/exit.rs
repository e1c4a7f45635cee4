use std::error::Error;
use std::process::ExitCode;

use crate::{is_broken_pipe, tell};

/// The exit status of a program that could not do what was requested.
pub(crate) const FAILED: u8 = 2;

/// The exit status for the result of `work`. An error is printed as worded by `message`, such as
/// [`one_line`](crate::one_line). It is no error if the reader of our output has closed it.
pub fn exit_code(
    result: anyhow::Result<ExitCode>,
    message: impl FnOnce(&(dyn Error + 'static)) -> String,
) -> ExitCode {
    match result {
        Ok(code) => code,
        Err(error) if is_broken_pipe(error.as_ref()) => ExitCode::SUCCESS,
        Err(error) => {
            ar_files::wait_if_ending();
            tell(format_args!("error: {}", message(error.as_ref())));
            ExitCode::from(FAILED)
        }
    }
}
