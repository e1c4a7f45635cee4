use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::tell;

/// The exit status of a program that was interrupted, as shells report it after Ctrl-C.
pub const INTERRUPTED: u8 = 130;

/// How long a program that has nothing to keep may take to end by itself.
const PATIENCE: Duration = Duration::from_millis(500);

/// Whether the program has anything to keep.
static HAS_WORK: AtomicBool = AtomicBool::new(false);

/// Declares that the program has something to keep from now on, such as a finished frame, so that
/// an interrupt waits for it. Before this, an interrupt ends the process in less than a second.
pub fn work_begins() {
    HAS_WORK.store(true, Ordering::Relaxed);
}

fn has_work() -> bool {
    HAS_WORK.load(Ordering::Relaxed)
}

/// A flag that an interrupt sets.
#[derive(Clone, Debug, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// [`on_interrupt`] with this flag.
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

    /// The flag, for code that waits.
    pub fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.0)
    }
}

/// Listens for Ctrl-C and termination signals. The first calls `stop`. If the program has
/// [something to keep](work_begins), it continues, and `message` is printed; otherwise it is ended
/// unless it ends by itself at once. The second signal ends the process. In both cases, it leaves
/// no unfinished files, and its status is [`INTERRUPTED`].
///
/// # Errors
/// If the program is listening already, or the system refuses.
pub fn on_interrupt(message: &'static str, stop: impl FnMut() + Send + 'static) -> io::Result<()> {
    listen(message, PATIENCE, stop)
}

/// Listens for Ctrl-C and termination signals, for a program with nothing to keep: the first ends
/// the process with status [`INTERRUPTED`], and leaves nothing unfinished.
///
/// # Errors
/// If the program is listening already, or the system refuses.
pub fn end_on_interrupt() -> io::Result<()> {
    listen("", Duration::ZERO, || {})
}

/// Ends the process as interrupted; it leaves nothing unfinished.
#[expect(clippy::exit, reason = "the process is to end")]
pub fn end_interrupted() -> ! {
    let _none = ar_files::remove_unfinished();
    std::process::exit(INTERRUPTED.into())
}

fn listen(
    message: &'static str,
    patience: Duration,
    mut stop: impl FnMut() + Send + 'static,
) -> io::Result<()> {
    let mut is_stopping = false;
    let handler = move || {
        if is_stopping {
            end_interrupted();
        }
        is_stopping = true;
        // Before the message, which may not be printable any more.
        stop();
        let start = Instant::now();
        while !has_work() {
            if start.elapsed() >= patience {
                tell("interrupted");
                end_interrupted();
            }
            thread::sleep(Duration::from_millis(5));
        }
        tell(message);
    };
    let is_hangup_ignored = is_hangup_ignored();
    let listening = ctrlc::set_handler(handler);
    if is_hangup_ignored {
        ignore_hangup();
    }
    listening.map_err(|error| match error {
        ctrlc::Error::System(error) => io::Error::new(
            error.kind(),
            format!("cannot start the thread that waits for Ctrl-C: {error}"),
        ),
        error => io::Error::other(error),
    })
}

/// Whether the program was started with `nohup`: a terminal that closes is none of its business.
#[cfg(unix)]
fn is_hangup_ignored() -> bool {
    let mut action = std::mem::MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: without a new action, it only writes the present one, and says whether it has.
    unsafe {
        libc::sigaction(libc::SIGHUP, std::ptr::null(), action.as_mut_ptr()) == 0
            && action.assume_init().sa_sigaction == libc::SIG_IGN
    }
}

#[cfg(unix)]
fn ignore_hangup() {
    // SAFETY: it changes what a signal does, and runs no code of ours.
    unsafe {
        libc::signal(libc::SIGHUP, libc::SIG_IGN);
    }
}

#[cfg(not(unix))]
fn is_hangup_ignored() -> bool {
    false
}

#[cfg(not(unix))]
fn ignore_hangup() {}
