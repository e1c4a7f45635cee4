//! Frames on the terminal as they are finished, above the progress bar.

mod cells;
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

use cells::Cells;
use protocol::Protocol;

/// Frames that may wait; more are dropped.
const QUEUE: usize = 64;
/// Time between two pictures; remote terminals can keep up with it.
const INTERVAL: Duration = Duration::from_millis(66);
/// White pixels between two videos.
const GAP: usize = 2;

/// A thread that shows frames.
pub(crate) struct Preview {
    frames: SyncSender<GeneratedFrame>,
    thread: JoinHandle<()>,
}

impl Preview {
    /// Shows the newest frames of up to `videos` videos side by side, above `bar`; None if the
    /// standard error is not a terminal.
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

    /// The sender for frames.
    pub(crate) fn sender(&self) -> SyncSender<GeneratedFrame> {
        self.frames.clone()
    }

    /// Shows the remaining frames. All senders must have been dropped.
    pub(crate) fn finish(self) {
        drop(self.frames);
        // A preview that failed is not a reason for a run to fail.
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
                // The first videos of a batch that has ended are removed.
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
    /// Lines of the last picture.
    rows: usize,
}

impl Screen {
    /// Replaces the last picture.
    fn draw(&mut self, picture: &Frame) {
        let Some((width, height)) = ar_cli::terminal_size() else {
            return;
        };
        let cells = Cells::fit(picture, width, height);
        let mut text = match self.rows {
            0 => String::new(),
            // Moves up to the last picture and erases it, in case the new one is smaller.
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
