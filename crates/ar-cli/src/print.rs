use std::error::Error;
use std::fmt::Display;
use std::io::{self, Write};

use crate::message::{chain, without_controls};

/// Writes text to the standard output and flushes it.
///
/// # Errors
/// If its reader has closed it, or it cannot be written.
pub fn print(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

/// Writes a line to the standard error, [without control characters](without_controls). If it
/// cannot be written, it is dropped: a closed terminal or a full disk must not end the work.
pub fn tell(line: impl Display) {
    let line = without_controls(line);
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// Whether an error means that the reader of our output has closed it.
pub fn is_broken_pipe(error: &(dyn Error + 'static)) -> bool {
    chain(error).any(|cause| {
        let cause = cause.downcast_ref::<io::Error>();
        cause.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    })
}
