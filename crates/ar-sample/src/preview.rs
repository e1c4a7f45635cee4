//! Frames on the terminal as they are finished, above the progress bar.

mod half_blocks;
mod kitty;
mod protocol;
mod sixel;

use std::collections::BTreeMap;
use std::io::{self, Write, stderr};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use ar_pipeline::GeneratedFrame;
use ar_video::{Frame, Tiles};
use indicatif::ProgressBar;

use protocol::Protocol;

/// Frames that may wait; more are left out.
const QUEUE: usize = 64;
/// Time between two pictures, which terminals far away keep up with.
const INTERVAL: Duration = Duration::from_millis(66);
/// Lines below the picture: the bar, and one to spare.
const BELOW: usize = 3;
/// White pixels between two videos.
const GAP: usize = 2;

/// A thread that shows frames.
pub(crate) struct Preview {
    frames: SyncSender<GeneratedFrame>,
    thread: JoinHandle<()>,
}

impl Preview {
    /// Shows the newest frames of up to `videos` videos side by side, above `bar`; none where the
    /// standard error is no terminal.
    ///
    /// # Errors
    /// If the system has no thread left.
    pub(crate) fn start(bar: Option<ProgressBar>, videos: usize) -> io::Result<Option<Self>> {
        if ar_cli::terminal_size().is_none() {
            return Ok(None);
        }
        let (frames, receiver) = sync_channel(QUEUE);
        let screen = Screen {
            protocol: Protocol::of_terminal(),
            bar,
            rows: 0,
        };
        let thread = thread::Builder::new().spawn(move || show(receiver, screen, videos))?;
        Ok(Some(Self { frames, thread }))
    }

    /// Where frames go.
    pub(crate) fn sender(&self) -> SyncSender<GeneratedFrame> {
        self.frames.clone()
    }

    /// Shows what is left. All senders have to be gone.
    pub(crate) fn finish(self) {
        drop(self.frames);
        // A preview that has failed is no reason for a run to fail.
        let _ = self.thread.join();
    }
}

fn show(frames: Receiver<GeneratedFrame>, mut screen: Screen, videos: usize) {
    let mut newest: BTreeMap<usize, Frame> = BTreeMap::new();
    let mut is_stale = false;
    let mut drawn: Option<Instant> = None;
    loop {
        let wait = drawn.map_or(Duration::ZERO, |drawn| {
            INTERVAL.saturating_sub(drawn.elapsed())
        });
        let is_end = match frames.recv_timeout(wait.max(Duration::from_millis(1))) {
            Ok(frame) => {
                // Of a batch that has ended, the first videos go.
                while newest.len() >= videos && !newest.contains_key(&frame.video) {
                    newest.pop_first();
                }
                newest.insert(frame.video, frame.frame);
                is_stale = true;
                false
            }
            Err(RecvTimeoutError::Timeout) => false,
            Err(RecvTimeoutError::Disconnected) => true,
        };
        let is_due = drawn.is_none_or(|drawn| drawn.elapsed() >= INTERVAL);
        if is_stale && (is_due || is_end) {
            let pictures: Vec<&Frame> = newest.values().collect();
            let tiles = Tiles::in_columns(pictures.len()).with_white_gap(GAP);
            screen.draw(&tiles.picture(&pictures));
            is_stale = false;
            drawn = Some(Instant::now());
        }
        if is_end {
            return;
        }
    }
}

/// The part of the terminal above the bar.
struct Screen {
    protocol: Protocol,
    bar: Option<ProgressBar>,
    /// Lines that the last picture takes.
    rows: usize,
}

impl Screen {
    /// Puts a picture in the place of the last one.
    fn draw(&mut self, picture: &Frame) {
        let Some((width, height)) = ar_cli::terminal_size() else {
            return;
        };
        let cells = Cells::fit(picture, width, height);
        let mut text = match self.rows {
            0 => String::new(),
            // Up to the last picture, which goes if the new one is smaller.
            rows => format!("\x1b[{rows}A\r\x1b[J"),
        };
        text += &self.protocol.encode(picture, cells);
        self.rows = cells.rows;
        let write = || {
            let mut terminal = stderr().lock();
            let _ = terminal
                .write_all(text.as_bytes())
                .and_then(|()| terminal.flush());
        };
        match &self.bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }
}

/// Characters that a picture takes; a character is twice as high as wide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cells {
    columns: usize,
    rows: usize,
}

impl Cells {
    /// The most that a terminal of `width` x `height` characters has room for, and no more than a
    /// character for each two pixels.
    fn fit(picture: &Frame, width: usize, height: usize) -> Self {
        let (wide, high) = picture.size();
        let most_rows = height.saturating_sub(BELOW).clamp(1, high.div_ceil(2));
        let most_columns = width.saturating_sub(1).clamp(1, wide);
        // Of the two limits the one that is reached first.
        let columns = most_columns.min((2 * most_rows * wide / high).max(1));
        let rows = (columns * high).div_ceil(2 * wide).clamp(1, most_rows);
        Self { columns, rows }
    }
}

/// The picture in another size: every pixel is the mean of those that it covers.
fn resized(picture: &Frame, width: usize, height: usize) -> Frame {
    let (wide, high) = picture.size();
    let span = |at: usize, of: usize, pixels: usize| {
        let start = at * pixels / of;
        start..((at + 1) * pixels / of).max(start + 1)
    };
    let mut rgb = Vec::with_capacity(width * height * 3);
    for y in 0..height {
        for x in 0..width {
            let mut sum = [0; 3];
            let mut count = 0;
            for row in span(y, height, high) {
                for column in span(x, width, wide) {
                    let at = 3 * (row * wide + column);
                    for (sum, &value) in sum.iter_mut().zip(&picture.rgb()[at..at + 3]) {
                        *sum += usize::from(value);
                    }
                    count += 1;
                }
            }
            rgb.extend(sum.map(|sum| ((sum + count / 2) / count) as u8));
        }
    }
    Frame::new(width, height, rgb)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_fit_the_terminal() {
        let picture = |width, height| Frame::new(width, height, vec![0; width * height * 3]);
        let fit = |picture: &Frame, width, height| {
            let Cells { columns, rows } = Cells::fit(picture, width, height);
            (columns, rows)
        };
        assert_eq!(fit(&picture(64, 64), 200, 60), (64, 32));
        assert_eq!(fit(&picture(64, 64), 80, 24), (42, 21));
        assert_eq!(fit(&picture(256, 256), 41, 60), (40, 20));
        assert_eq!(fit(&picture(262, 64), 80, 24), (79, 10));
        assert_eq!(fit(&picture(1, 1), 80, 24), (1, 1));
        assert_eq!(fit(&picture(64, 64), 0, 0), (2, 1));
    }

    #[test]
    fn smaller_pictures_are_means() {
        let rgb = vec![0, 10, 20, 100, 110, 120, 50, 60, 70, 250, 0, 30];
        let picture = Frame::new(2, 2, rgb);
        assert_eq!(resized(&picture, 1, 1).rgb(), [100, 45, 60]);
        assert_eq!(resized(&picture, 2, 2), picture);
        let wide = resized(&picture, 4, 2);
        assert_eq!(
            wide.rgb()[..12],
            [0, 10, 20, 0, 10, 20, 100, 110, 120, 100, 110, 120]
        );
    }
}
