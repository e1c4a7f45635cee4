use ar_noise::{FrameNoise, NoiseStream};
use burn::tensor::{Device, Tensor, TensorData};

/// The source of a sampler's noise, frame by frame.
pub trait NoiseSource {
    /// The starting noise of a frame.
    ///
    /// # Shapes
    /// - output: `[batch, 1, tokens, channels]`
    fn start(&self, frame: usize) -> Tensor<4>;

    /// The noise that a stochastic step (`eta > 0`) adds to a frame.
    ///
    /// # Shapes
    /// - output: `[batch, 1, tokens, channels]`
    fn step(&self, frame: usize, step: usize) -> Tensor<4>;
}

/// Noise drawn on the host, the same on every device (see [`FrameNoise`]).
#[derive(Clone, Debug)]
pub struct HostNoise {
    noise: FrameNoise,
    first_sample: u64,
    shape: [usize; 3],
    device: Device,
}

impl HostNoise {
    /// Noise from `seed` for samples `0..batch`; `shape` is `[batch, tokens, channels]`.
    pub fn new(seed: u64, shape: [usize; 3], device: &Device) -> Self {
        Self {
            noise: FrameNoise::new(seed),
            first_sample: 0,
            shape,
            device: device.clone(),
        }
    }

    /// Numbers the samples of the batch from `first_sample`.
    pub fn with_first_sample(mut self, first_sample: u64) -> Self {
        self.first_sample = first_sample;
        self
    }

    fn frame(&self, frame: usize, stream: NoiseStream) -> Tensor<4> {
        let [batch, tokens, channels] = self.shape;
        let values: Vec<f32> = (0..batch as u64)
            .flat_map(|sample| {
                let sample = self.first_sample + sample;
                self.noise
                    .frame(sample, frame as u64, stream, tokens * channels)
            })
            .collect();
        Tensor::from_data(
            TensorData::new(values, [batch, 1, tokens, channels]),
            &self.device,
        )
    }
}

impl NoiseSource for HostNoise {
    fn start(&self, frame: usize) -> Tensor<4> {
        self.frame(frame, NoiseStream::Start)
    }

    fn step(&self, frame: usize, step: usize) -> Tensor<4> {
        self.frame(frame, NoiseStream::Step(step as u32))
    }
}

/// A given starting noise; stochastic steps draw from a [`HostNoise`].
#[derive(Clone, Debug)]
pub struct GivenNoise {
    /// The starting noise `x_T`, `[batch, frames, tokens, channels]`.
    pub start: Tensor<4>,
    /// The noise of stochastic steps.
    pub steps: HostNoise,
}

impl NoiseSource for GivenNoise {
    fn start(&self, frame: usize) -> Tensor<4> {
        self.start.clone().narrow(1, frame, 1)
    }

    fn step(&self, frame: usize, step: usize) -> Tensor<4> {
        self.steps.step(frame, step)
    }
}
