//! The validation loss of a diffusion stage, by frame and by noise level.

/// Number of equal ranges of timesteps by which the loss is reported.
const LEVELS: usize = 5;

/// A mean that values are added to.
#[derive(Clone, Copy, Debug, Default)]
struct Mean {
    sum: f64,
    count: usize,
}

impl Mean {
    fn add(&mut self, value: f64) {
        self.sum += value;
        self.count += 1;
    }

    fn get(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum / self.count as f64)
    }
}

/// The loss over validation clips: its mean, and its parts by frame and by noise level. The mean does not show whether
/// a network has learned nothing at the levels where sampling starts.
#[derive(Clone, Debug)]
pub struct ValidationLoss {
    timesteps: usize,
    all: Mean,
    frames: Vec<Mean>,
    levels: [Mean; LEVELS],
}

impl ValidationLoss {
    /// No loss yet, for clips of `frames` frames and a schedule of `timesteps` timesteps.
    pub(super) fn new(frames: usize, timesteps: usize) -> Self {
        Self {
            timesteps,
            all: Mean::default(),
            frames: vec![Mean::default(); frames],
            levels: [Mean::default(); LEVELS],
        }
    }

    /// Adds the loss of one frame at timestep `t`.
    pub(super) fn add(&mut self, frame: usize, t: usize, loss: f32) {
        let loss = f64::from(loss);
        self.all.add(loss);
        self.frames[frame].add(loss);
        self.levels[t * LEVELS / self.timesteps].add(loss);
    }

    /// The mean over all frames in the loss, of all clips.
    ///
    /// # Panics
    /// If there were none.
    pub fn mean(&self) -> f64 {
        self.all.get().expect("a frame")
    }

    /// The means by frame and by noise level, each with its name in logs: `validation_loss/frame_03`,
    /// `validation_loss/t_200-399`.
    pub fn parts(&self) -> Vec<(String, f64)> {
        let width = (self.frames.len().max(2) - 1).to_string().len();
        let frames = self.frames.iter().enumerate().map(|(frame, mean)| {
            let name = format!("validation_loss/frame_{frame:0width$}");
            Some((name, mean.get()?))
        });
        let first = |level: usize| (level * self.timesteps).div_ceil(LEVELS);
        let levels = self.levels.iter().enumerate().map(|(level, mean)| {
            let (first, last) = (first(level), first(level + 1) - 1);
            let name = format!("validation_loss/t_{first}-{last}");
            Some((name, mean.get()?))
        });
        frames.chain(levels).flatten().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_are_told_apart_by_frame_and_level() {
        let mut loss = ValidationLoss::new(2, 1000);
        loss.add(0, 0, 1.0);
        loss.add(0, 199, 2.0);
        loss.add(1, 200, 6.0);
        loss.add(1, 999, 7.0);
        assert_eq!(loss.mean(), 4.0);
        let part = |name: &str, value| (format!("validation_loss/{name}"), value);
        assert_eq!(
            loss.parts(),
            [
                part("frame_0", 1.5),
                part("frame_1", 6.5),
                part("t_0-199", 1.5),
                part("t_200-399", 6.0),
                part("t_800-999", 7.0),
            ]
        );
    }
}
