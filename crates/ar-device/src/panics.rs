use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::{Arc, Mutex, PoisonError};

/// The text before each cause in CubeCL's messages.
const CAUSE: &str = "Caused by:";

thread_local! {
    /// Whether this thread is running in [`caught`].
    static IS_CAUGHT: Cell<bool> = const { Cell::new(false) };
}

/// Returns the result of `run`, or the first line of the message of its panic. Backends and their drivers panic if they
/// are not installed, refuse a device, or run out of its memory. The message of the first panic is returned, even if
/// another thread panics that `run` waits for; none of them is printed.
///
/// # Errors
/// The message.
pub fn caught<T>(run: impl FnOnce() -> T) -> Result<T, String> {
    // The hook belongs to the whole program.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    if IS_CAUGHT.get() {
        return catch_unwind(AssertUnwindSafe(run)).map_err(|payload| message(&*payload));
    }
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let first = Arc::new(Mutex::new(None));
    let hook = take_hook();
    let messages = Arc::clone(&first);
    set_hook(Box::new(move |panic| {
        let mut first = messages.lock().unwrap_or_else(PoisonError::into_inner);
        first.get_or_insert_with(|| message(panic.payload()));
    }));
    IS_CAUGHT.set(true);
    let result = catch_unwind(AssertUnwindSafe(run));
    IS_CAUGHT.set(false);
    set_hook(hook);
    result.map_err(|payload| {
        let mut first = first.lock().unwrap_or_else(PoisonError::into_inner);
        first.take().unwrap_or_else(|| message(&*payload))
    })
}

fn message(payload: &(dyn Any + Send)) -> String {
    let text = match (
        payload.downcast_ref::<&str>(),
        payload.downcast_ref::<String>(),
    ) {
        (Some(text), _) => text,
        (None, Some(text)) => text.as_str(),
        (None, None) => "it stopped without a message",
    };
    // Some messages continue with a stack trace; the original error is the last of their causes.
    let lines = || text.lines().map(str::trim);
    let causes = lines().zip(lines().skip(1));
    let cause = causes.filter(|(heading, _)| *heading == CAUSE).last();
    let line = cause.map(|(_, cause)| cause).or_else(|| lines().next());
    line.unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_of_a_panic_becomes_the_error() {
        assert_eq!(caught(|| 3), Ok(3));
        let refused = caught(|| -> () { panic!("no driver\nbacktrace") });
        assert_eq!(refused, Err("no driver".into()));
        let chain = "Error while reading\nCaused by:\n  Several failures at once\nCaused by:\n  \
                     can't allocate buffer of size: 7864320000\nNo backtrace available";
        let last = caught(|| -> () { panic!("{chain}") });
        assert_eq!(
            last,
            Err("can't allocate buffer of size: 7864320000".into())
        );
        let thread = caught(|| {
            let thread = std::thread::spawn(|| panic!("lost the device"));
            thread.join().expect("a thread that answers");
        });
        assert_eq!(thread, Err("lost the device".into()));
    }

    #[test]
    fn a_panic_within_is_caught_within() {
        let outer = caught(|| {
            let inner = caught(|| -> () { panic!("no driver") });
            assert_eq!(inner, Err("no driver".into()));
            5
        });
        assert_eq!(outer, Ok(5));
    }
}
