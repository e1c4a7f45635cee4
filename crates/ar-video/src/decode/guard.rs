//! Protection against decoders of other crates: a panic becomes an error about the file, and a
//! small file cannot cause endless work.

use std::cell::{Cell, RefCell};
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::Once;

use super::frames::Frames;
use crate::limits::{ANIMATION_PIXELS, ANIMATION_PIXELS_A_BYTE};
use crate::{Frame, VideoError};

thread_local! {
    /// Whether a decoder is running, so that a panic is not printed.
    static DECODING: Cell<bool> = const { Cell::new(false) };
    /// Where the last panic of a decoder was.
    static PANICKED: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Runs `decode`; a panic in it becomes an error about the file at `path`.
pub(super) fn guarded<T>(
    path: &Path,
    decode: impl FnOnce() -> Result<T, VideoError>,
) -> Result<T, VideoError> {
    keep_quiet();
    let outer = DECODING.replace(true);
    // After a panic, nothing remains in a broken state, because everything that was read is
    // dropped.
    let result = panic::catch_unwind(AssertUnwindSafe(decode));
    DECODING.set(outer);
    result.unwrap_or_else(|_| {
        let place = PANICKED.take().unwrap_or_default();
        Err(VideoError::decode(
            path,
            format!("the decoder failed on it ({place})"),
        ))
    })
}

/// Records panics of decoders instead of printing them; all other panics are handled as before.
fn keep_quiet() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let previous = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !DECODING.get() {
                return previous(info);
            }
            let place = info.location().map(|place| {
                let file: Vec<_> = Path::new(place.file()).components().collect();
                // Starting at the name of the crate.
                let source = file.iter().rposition(|part| part.as_os_str() == "src");
                let start = source.and_then(|source| source.checked_sub(1));
                let file: PathBuf = file[start.unwrap_or(0)..].iter().collect();
                format!("{}, line {}", file.display(), place.line())
            });
            PANICKED.set(place);
        }));
    });
}

/// The frames of an animation, guarded, up to the limit for a file of `bytes` bytes.
pub(super) fn animation(path: &Path, frames: Frames, bytes: u64) -> Frames {
    Box::new(Guarded {
        path: path.to_owned(),
        frames,
        pixels: 0,
        most: ANIMATION_PIXELS.saturating_add(bytes.saturating_mul(ANIMATION_PIXELS_A_BYTE)),
    })
}

struct Guarded {
    path: PathBuf,
    frames: Frames,
    /// Pixels so far.
    pixels: u64,
    most: u64,
}

impl Iterator for Guarded {
    type Item = Result<Frame, VideoError>;

    fn next(&mut self) -> Option<Self::Item> {
        let Self {
            path,
            frames,
            pixels,
            most,
        } = self;
        let item = guarded(path, || frames.next().transpose()).transpose()?;
        if let Ok(frame) = &item {
            *pixels += frame.width() as u64 * frame.height() as u64;
            if pixels > most {
                let path = path.clone();
                return Some(Err(VideoError::TooLong { path }));
            }
        }
        Some(item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_of_the_file() {
        let path = Path::new("a.webp");
        let nothing: [u8; 0] = [];
        let index = std::hint::black_box(3);
        let error = guarded(path, || Ok(nothing[index]))
            .unwrap_err()
            .to_string()
            .replace('\\', "/");
        // In a package, the folder's name ends in the version.
        assert!(
            error.starts_with("a.webp: cannot decode: the decoder failed on it (ar-video")
                && error.contains("/src/decode/guard.rs, line "),
            "{error}"
        );
        assert_eq!(guarded(path, || Ok(7)).unwrap(), 7);
        assert!(!DECODING.get());
    }

    #[test]
    fn a_small_file_is_no_long_video() {
        let frame = |side: usize| Frame::new(side, side, vec![0; side * side * 3]);
        let frames =
            |side: usize| -> Frames { Box::new(std::iter::repeat_with(move || Ok(frame(side)))) };
        let bytes = 10;
        let most = ANIMATION_PIXELS + bytes * ANIMATION_PIXELS_A_BYTE;
        let mut endless = animation(Path::new("x"), frames(2048), bytes);
        let count = endless.by_ref().take_while(Result::is_ok).count() as u64;
        assert_eq!(count, most >> 22);
    }
}
