//! The adaptive-difference (AD) inference plan: which frame takes which step at which
//! iteration.

use std::ops::Range;

use crate::PlanError;

/// Configuration of an [`AdPlan`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdConfig {
    /// The number of sampling steps S that every frame takes.
    pub steps: usize,
    /// The number of steps s between neighbouring frames, in `0..=steps`: 0 denoises all frames
    /// together (synchronous), `steps` one frame after another (auto-regressive).
    pub ar_step: usize,
    /// The number of frames F of the video.
    pub frames: usize,
    /// The number of frames W that the network sees at once. If the video is longer, the window
    /// slides by one frame each time the frame behind it starts.
    pub window: usize,
}

/// What happens to a frame in an iteration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameState {
    /// It is still pure noise.
    Waiting,
    /// It takes a step.
    Active {
        /// The DDIM step that this iteration performs, 0 the noisiest.
        step: usize,
    },
    /// It took its last step in an earlier iteration and no longer changes.
    Finished,
}

/// One iteration of an [`AdPlan`]: one call of the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdIteration {
    /// The iteration's number, from 0.
    pub iteration: usize,
    /// The frames that the network sees.
    pub window: Range<usize>,
    /// The frames that take a step; never empty, and inside the window.
    pub active: Range<usize>,
}

/// The plan that takes all frames of a video from noise to sample (paper section 3.4).
///
/// Frame i has step index `clamp(j + 1 - s i, 0, S)` at iteration j: it waits, takes one step in each of S iterations
/// starting with `s i`, and is then finished. Every answer is computed from that formula in constant time; a plan for a
/// video of any length is just four numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdPlan {
    config: AdConfig,
}

impl AdPlan {
    /// Checks the configuration.
    ///
    /// # Errors
    ///
    /// If `steps`, `frames` or `window` is 0, if `ar_step` is larger than `steps`, if the window
    /// would slide past unfinished frames (more frames than the window and `s W < S`), or if the
    /// plan is too long to count.
    pub fn new(config: AdConfig) -> Result<Self, PlanError> {
        let AdConfig {
            steps,
            ar_step,
            frames,
            window,
        } = config;
        for (name, value) in [("steps", steps), ("frames", frames), ("window", window)] {
            if value == 0 {
                return Err(PlanError::Zero { name });
            }
        }
        if ar_step > steps {
            return Err(PlanError::ArStepTooLarge { ar_step, steps });
        }
        let smallest_ar_step = steps.div_ceil(window);
        if frames > window && ar_step < smallest_ar_step {
            return Err(PlanError::Unfinished {
                ar_step,
                steps,
                frames,
                window,
                smallest_ar_step,
            });
        }
        // The largest number that any method computes; see `frames_evaluated`.
        let evaluated = ar_step
            .checked_mul(frames - 1)
            .and_then(|last_start| last_start.checked_add(steps))
            .and_then(|iterations| iterations.checked_mul(frames.min(window)));
        if evaluated.is_none() {
            return Err(PlanError::TooLong {
                frames,
                steps,
                ar_step,
            });
        }
        Ok(Self { config })
    }

    /// The configuration.
    pub fn config(&self) -> AdConfig {
        self.config
    }

    /// The number of iterations, `S + s (F - 1)`.
    pub fn iterations(&self) -> usize {
        self.config.steps + self.config.ar_step * (self.config.frames - 1)
    }

    /// The step index of a frame: how many steps it has taken when `iteration` is done, 0 to S.
    ///
    /// # Panics
    ///
    /// If the iteration or the frame is not part of this plan.
    pub fn step_index(&self, iteration: usize, frame: usize) -> usize {
        self.age(iteration, frame).min(self.config.steps)
    }

    /// What `iteration` does to a frame.
    ///
    /// # Panics
    ///
    /// If the iteration or the frame is not part of this plan.
    pub fn state(&self, iteration: usize, frame: usize) -> FrameState {
        match self.age(iteration, frame) {
            0 => FrameState::Waiting,
            age if age <= self.config.steps => FrameState::Active { step: age - 1 },
            _ => FrameState::Finished,
        }
    }

    /// Whether `iteration` changes a frame.
    ///
    /// # Panics
    ///
    /// If the iteration or the frame is not part of this plan.
    pub fn is_updated(&self, iteration: usize, frame: usize) -> bool {
        matches!(self.state(iteration, frame), FrameState::Active { .. })
    }

    /// The iteration in which a frame takes its last step, `s i + S - 1`.
    ///
    /// # Panics
    ///
    /// If the frame is not part of this plan.
    pub fn finish_iteration(&self, frame: usize) -> usize {
        self.assert_frame(frame);
        self.config.ar_step * frame + self.config.steps - 1
    }

    /// The frames that the network sees: the last `W` that have started, or the first `W` while fewer have started; all
    /// frames if the video is no longer than the window.
    ///
    /// # Panics
    ///
    /// If the iteration is not part of this plan.
    pub fn window(&self, iteration: usize) -> Range<usize> {
        let AdConfig { frames, window, .. } = self.config;
        let window = window.min(frames);
        let end = self.started(iteration).max(window);
        end - window..end
    }

    /// The frames that take a step, which are consecutive. Never empty, since `s <= S`.
    ///
    /// # Panics
    ///
    /// If the iteration is not part of this plan.
    pub fn active(&self, iteration: usize) -> Range<usize> {
        let AdConfig { steps, ar_step, .. } = self.config;
        let end = self.started(iteration);
        // Finished before this iteration: s i + S <= j. With s = 0 there are only S iterations,
        // so the division is by a positive number.
        let finished = match iteration.checked_sub(steps) {
            Some(since) => since / ar_step + 1,
            None => 0,
        };
        finished..end
    }

    /// All iterations in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = AdIteration> + use<> {
        let plan = *self;
        (0..plan.iterations()).map(move |iteration| AdIteration {
            iteration,
            window: plan.window(iteration),
            active: plan.active(iteration),
        })
    }

    /// The number of frames the network computes if it recomputes the whole window each time: the
    /// sum of the windows' lengths.
    pub fn frames_evaluated(&self) -> usize {
        // `new` checks that this fits.
        self.iterations() * self.config.frames.min(self.config.window)
    }

    /// The number of frames the network computes if it evaluates only active frames: the sum of the active ranges'
    /// lengths, S for every frame.
    pub fn frames_active(&self) -> usize {
        // Active frames are in the window, so this is at most `frames_evaluated`.
        self.config.frames * self.config.steps
    }

    /// The number of iterations since a frame started, this one included; 0 while it waits.
    fn age(&self, iteration: usize, frame: usize) -> usize {
        self.assert_iteration(iteration);
        self.assert_frame(frame);
        (iteration + 1).saturating_sub(self.config.ar_step * frame)
    }

    /// The number of frames that have started by `iteration`, this one included.
    fn started(&self, iteration: usize) -> usize {
        self.assert_iteration(iteration);
        let AdConfig {
            ar_step, frames, ..
        } = self.config;
        match iteration.checked_div(ar_step) {
            Some(last) => frames.min(last + 1),
            // s = 0: all frames start together.
            None => frames,
        }
    }

    fn assert_iteration(&self, iteration: usize) {
        assert!(
            iteration < self.iterations(),
            "iteration {iteration} of a plan with {} iterations",
            self.iterations()
        );
    }

    fn assert_frame(&self, frame: usize) {
        assert!(
            frame < self.config.frames,
            "frame {frame} of a plan with {} frames",
            self.config.frames
        );
    }
}
