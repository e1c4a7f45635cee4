use std::ops::Range;
use std::sync::Arc;

use ar_diffusion::{HostNoise, NoiseSource};
use burn::tensor::{Device, Tensor};

use crate::{ResolvedOptions, StartNoise};

/// The noise of videos that are sampled together.
pub(crate) struct BatchNoise {
    seeded: HostNoise,
    given: Option<Arc<StartNoise>>,
    videos: Range<usize>,
    device: Device,
}

impl BatchNoise {
    pub(crate) fn new(options: &ResolvedOptions, videos: Range<usize>, device: &Device) -> Self {
        let [tokens, channels] = options.latent;
        let shape = [videos.len(), tokens, channels];
        Self {
            seeded: HostNoise::new(options.seed, shape, device)
                .with_first_sample(videos.start as u64),
            given: options.noise.clone(),
            videos,
            device: device.clone(),
        }
    }
}

impl NoiseSource for BatchNoise {
    fn start(&self, frame: usize) -> Tensor<4> {
        match &self.given {
            Some(given) => given.frame(self.videos.clone(), frame, &self.device),
            None => self.seeded.start(frame),
        }
    }

    fn step(&self, frame: usize, step: usize) -> Tensor<4> {
        self.seeded.step(frame, step)
    }
}
