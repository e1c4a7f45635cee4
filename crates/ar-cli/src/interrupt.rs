use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::tell;

/// The exit status of a program that was interrupted, as shells report it after Ctrl-C.
pub const INTERRUPTED: u8 = 130;

/// A flag that an interrupt sets.
#[derive(Clone, Debug, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Listens for Ctrl-C and termination signals: the first sets the flag and prints `message`,
    /// the second ends the process with status [`INTERRUPTED`].
    ///
    /// # Errors
    /// If the program is listening already, or the system refuses.
    pub fn listen(message: &'static str) -> io::Result<Self> {
        let interrupt = Self::default();
        let flag = interrupt.clone();
        on_interrupt(message, move || flag.set())?;
        Ok(interrupt)
    }

    /// Whether there was an interrupt.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Sets the flag, as an interrupt does.
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Calls `stop` at the first Ctrl-C or termination signal, then prints `message`; the second ends
/// the process with status [`INTERRUPTED`].
///
/// # Errors
/// If the program is listening already, or the system refuses.
#[expect(clippy::exit, reason = "the second interrupt ends the process")]
pub fn on_interrupt(
    message: &'static str,
    mut stop: impl FnMut() + Send + 'static,
) -> io::Result<()> {
    let mut is_stopping = false;
    let handler = move || {
        if is_stopping {
            std::process::exit(INTERRUPTED.into());
        }
        is_stopping = true;
        // Before the message, which may not be printable any more.
        stop();
        tell(message);
    };
    ctrlc::set_handler(handler).map_err(io::Error::other)
}
