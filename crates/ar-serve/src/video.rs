//! A video and its progress. The worker adds to it, watchers read it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ar_pipeline::{Preview, Step};
use ar_video::Frame;
use serde::Serialize;
use tokio::sync::watch;

use crate::limits;
use crate::options::ChosenOptions;

/// The state of a video.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Phase {
    /// It is waiting for its turn.
    Queued,
    /// Frames are being made.
    Running,
    /// All frames are finished.
    Done,
    /// It was cancelled, or nobody watched it any more; finished frames are kept.
    Cancelled,
    /// It could not be continued; finished frames are kept.
    Failed,
}

impl Phase {
    pub(crate) fn is_ended(self) -> bool {
        !matches!(self, Self::Queued | Self::Running)
    }
}

/// A video as the API shows it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Status {
    pub id: u64,
    pub state: Phase,
    /// Why it failed.
    pub error: Option<String>,
    pub options: ChosenOptions,
    /// Pixels of a frame.
    pub width: usize,
    pub height: usize,
    /// Frames that are finished, including the prefix.
    pub frames_finished: usize,
    /// Sampler iterations that are done, and all of them, which is unknown for an endless video.
    pub iteration: usize,
    pub iterations: Option<usize>,
    /// Seconds since it started, or until it ended.
    pub seconds: f64,
    /// Seconds that it will still take, if known.
    pub seconds_left: Option<f64>,
}

/// Frames in progress.
pub(crate) struct Previews {
    /// How many previews there were before these.
    pub number: usize,
    pub iteration: usize,
    pub frames: Vec<Preview>,
}

pub(crate) struct Video {
    pub id: u64,
    pub options: ChosenOptions,
    size: usize,
    iterations: usize,
    state: Mutex<State>,
    changed: watch::Sender<()>,
}

#[derive(Default)]
struct State {
    phase: Option<Phase>,
    error: Option<String>,
    is_cancelled: bool,
    /// The finished frames from `first` on.
    frames: VecDeque<Arc<Frame>>,
    first: usize,
    iteration: usize,
    previews: Option<Arc<Previews>>,
    started: Option<Instant>,
    ended: Option<Instant>,
    /// The most frames that any watcher has taken.
    delivered: usize,
    watchers: usize,
    preview_watchers: usize,
    /// When a watcher last came, took a frame or left.
    active: Option<Instant>,
}

/// What is new for a watcher.
pub(crate) struct News {
    /// Frames with their positions; at most a few at a time.
    pub frames: Vec<(usize, Arc<Frame>)>,
    pub previews: Option<Arc<Previews>>,
    pub iteration: usize,
    pub is_ended: bool,
}

/// The most frames that a watcher gets at once.
const FEW: usize = 4;

impl Video {
    pub(crate) fn new(id: u64, options: ChosenOptions, size: usize, iterations: usize) -> Self {
        Self {
            id,
            options,
            size,
            iterations,
            state: Mutex::default(),
            changed: watch::Sender::new(()),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change is complete, so panics elsewhere do no harm.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.state());
        self.changed.send_replace(());
        result
    }

    /// Notifies of every change.
    pub(crate) fn subscribe(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    pub(crate) fn phase(&self) -> Phase {
        self.state().phase()
    }

    pub(crate) fn status(&self) -> Status {
        let state = self.state();
        let seconds = state.seconds();
        let iterations = (!self.options.endless).then_some(self.iterations);
        let left = iterations.map(|all| all - state.iteration);
        let is_running = state.phase() == Phase::Running && state.iteration > 0;
        Status {
            id: self.id,
            state: state.phase(),
            error: state.error.clone(),
            options: self.options.clone(),
            width: self.size,
            height: self.size,
            frames_finished: state.finished(),
            iteration: state.iteration,
            iterations,
            seconds,
            seconds_left: left
                .filter(|_| is_running)
                .map(|left| seconds / state.iteration as f64 * left as f64),
        }
    }

    /// Bytes of the frames.
    pub(crate) fn bytes(&self) -> usize {
        self.state().frames.len() * self.size * self.size * 3
    }

    /// The frames that are kept.
    pub(crate) fn frames(&self) -> Vec<Arc<Frame>> {
        self.state().frames.iter().cloned().collect()
    }

    /// Requests its end. A video that is waiting ends at once.
    pub(crate) fn cancel(&self) {
        self.change(|state| {
            state.is_cancelled = true;
            if state.phase() == Phase::Queued {
                state.end(Phase::Cancelled);
            }
        });
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.state().is_cancelled
    }

    /// Starts the video; false if it was cancelled before.
    pub(crate) fn begin(&self) -> bool {
        self.change(|state| {
            if state.is_cancelled {
                return false;
            }
            state.phase = Some(Phase::Running);
            state.started = Some(Instant::now());
            state.active = state.started;
            true
        })
    }

    /// Adds the frames that an iteration finished.
    pub(crate) fn add(&self, step: Step) {
        let kept = (limits::ENDLESS_BYTES / (self.size * self.size * 3).max(1))
            .clamp(2 * limits::AHEAD, limits::ENDLESS_KEPT);
        self.change(|state| {
            state.iteration = step.iterations;
            let frames = step.finished.into_iter();
            state
                .frames
                .extend(frames.map(|frame| Arc::new(frame.frame)));
            while self.options.endless && state.frames.len() > kept {
                state.frames.pop_front();
                state.first += 1;
            }
        });
    }

    /// Replaces the previews.
    pub(crate) fn show(&self, frames: Vec<Preview>) {
        self.change(|state| {
            let number = state.previews.as_ref().map_or(1, |last| last.number + 1);
            state.previews = Some(Arc::new(Previews {
                number,
                iteration: state.iteration,
                frames,
            }));
        });
    }

    pub(crate) fn end(&self, phase: Phase, error: Option<String>) {
        self.change(|state| {
            state.error = error;
            state.end(phase);
        });
    }

    /// Whether a watcher wants previews.
    pub(crate) fn is_previewed(&self) -> bool {
        self.state().preview_watchers > 0
    }

    /// Whether the video may continue: a live one may only be so far ahead of its watchers.
    pub(crate) fn has_room(&self) -> bool {
        let state = self.state();
        !self.options.is_live() || state.finished() < state.delivered + limits::AHEAD
    }

    /// Whether all watchers of a live video have left, or stopped reading for good.
    pub(crate) fn is_abandoned(&self) -> bool {
        let state = self.state();
        let patience = if state.watchers == 0 {
            limits::UNWATCHED_TIME
        } else {
            limits::STALLED_TIME
        };
        let idle = state
            .active
            .map_or(Duration::ZERO, |active| active.elapsed());
        self.options.is_live() && idle > patience
    }

    /// What is new after frame `next` and the previews `previews`, counted from 1.
    pub(crate) fn news(&self, next: usize, previews: usize) -> News {
        let state = self.state();
        let from = next.max(state.first);
        let frames = state
            .frames
            .range(from.saturating_sub(state.first).min(state.frames.len())..);
        News {
            frames: (from..).zip(frames.take(FEW).cloned()).collect(),
            previews: state
                .previews
                .clone()
                .filter(|newest| newest.number > previews && !state.phase().is_ended()),
            iteration: state.iteration,
            is_ended: state.phase().is_ended(),
        }
    }

    /// Records that a watcher has received the frames before `next`.
    pub(crate) fn deliver(&self, next: usize) {
        self.change(|state| {
            state.delivered = state.delivered.max(next);
            state.active = Some(Instant::now());
        });
    }

    /// Counts a watcher for as long as the result exists.
    pub(crate) fn watch(self: &Arc<Self>, with_previews: bool) -> Watcher {
        self.change(|state| state.watchers(1, with_previews));
        Watcher {
            video: self.clone(),
            with_previews,
        }
    }
}

/// Somebody who watches a video.
pub(crate) struct Watcher {
    pub video: Arc<Video>,
    pub with_previews: bool,
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.video
            .change(|state| state.watchers(-1, self.with_previews));
    }
}

impl State {
    fn phase(&self) -> Phase {
        self.phase.unwrap_or(Phase::Queued)
    }

    fn finished(&self) -> usize {
        self.first + self.frames.len()
    }

    fn seconds(&self) -> f64 {
        let Some(started) = self.started else {
            return 0.0;
        };
        let end = self.ended.unwrap_or_else(Instant::now);
        (end - started).as_secs_f64()
    }

    fn end(&mut self, phase: Phase) {
        self.phase = Some(phase);
        self.ended = Some(Instant::now());
        self.previews = None;
    }

    fn watchers(&mut self, change: isize, with_previews: bool) {
        self.watchers = self.watchers.saturating_add_signed(change);
        if with_previews {
            self.preview_watchers = self.preview_watchers.saturating_add_signed(change);
        }
        self.active = Some(Instant::now());
    }
}
