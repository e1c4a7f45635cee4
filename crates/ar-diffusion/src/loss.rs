use burn::tensor::{Tensor, TensorData};
use serde::{Deserialize, Serialize};

/// Distance between prediction and target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LossKind {
    /// Squared error (published).
    #[default]
    L2,
    /// Absolute error.
    L1,
}

/// The training loss.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LossConfig {
    /// Distance between prediction and target.
    pub kind: LossKind,
    /// Weight of the last frame divided by the weight of the first; weights change linearly in between, and average to
    /// one. 1 weights all frames equally (published).
    pub last_frame_weight: f64,
    /// Weight of the variational bound, which is added to the loss (published: 0): see
    /// [`Diffusion::vlb_weight`](crate::Diffusion::vlb_weight).
    pub vlb: f64,
}

impl Default for LossConfig {
    fn default() -> Self {
        Self {
            kind: LossKind::L2,
            last_frame_weight: 1.0,
            vlb: 0.0,
        }
    }
}

impl LossConfig {
    /// The weighted mean over tokens and channels, then frames and batch, without the variational bound.
    ///
    /// # Shapes
    /// - `prediction`, `target`: `[batch, frames, tokens, channels]`
    /// - output: `[1]`
    pub fn loss(&self, prediction: Tensor<4>, target: Tensor<4>) -> Tensor<1> {
        let error = self.distance(prediction, target);
        if self.last_frame_weight == 1.0 {
            return error.mean();
        }
        let [_, frames, ..] = error.dims();
        let weights = crate::diffusion::per_frame(
            self.frame_weights(frames).into_iter(),
            [1, frames],
            &error.device(),
        );
        (error * weights).mean()
    }

    /// The mean over tokens and channels, times the weights of the frames, without the variational bound. The frames
    /// are the first ones of clips of `clip_frames` frames.
    ///
    /// # Shapes
    /// - `prediction`, `target`: `[batch, frames, tokens, channels]`
    /// - output: `[batch, frames]`
    pub fn by_frame(
        &self,
        prediction: Tensor<4>,
        target: Tensor<4>,
        clip_frames: usize,
    ) -> Tensor<2> {
        let error = self.distance(prediction, target).mean_dims(&[2, 3]);
        let [batch, frames, ..] = error.dims();
        let error = error.reshape([batch, frames]);
        if self.last_frame_weight == 1.0 {
            return error;
        }
        let weights = self.frame_weights(clip_frames).into_iter().take(frames);
        let weights: Vec<f32> = weights.map(|weight| weight as f32).collect();
        let weights = Tensor::from_data(TensorData::new(weights, [1, frames]), &error.device());
        error * weights
    }

    fn distance(&self, prediction: Tensor<4>, target: Tensor<4>) -> Tensor<4> {
        let difference = prediction - target;
        match self.kind {
            LossKind::L2 => difference.square(),
            LossKind::L1 => difference.abs(),
        }
    }

    /// The weight of every frame, averaging to one.
    fn frame_weights(&self, frames: usize) -> Vec<f64> {
        let last = (frames - 1).max(1) as f64;
        let ramp = (0..frames).map(|f| 1.0 + (self.last_frame_weight - 1.0) * f as f64 / last);
        let mean = ramp.clone().sum::<f64>() / frames as f64;
        ramp.map(|weight| weight / mean).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    #[test]
    fn frame_weights_ramp_and_average_to_one() {
        let config = LossConfig {
            last_frame_weight: 3.0,
            ..LossConfig::default()
        };
        let weights = config.frame_weights(3);
        assert_eq!(weights, [0.5, 1.0, 1.5]);

        // An error only in the last frame counts 1.5 times.
        let device = Device::flex();
        let target = Tensor::<4>::zeros([1, 3, 1, 2], &device);
        let last = Tensor::<1>::from_floats([0.0, 0.0, 2.0], &device)
            .reshape([1, 3, 1, 1])
            .expand([1, 3, 1, 2]);
        let loss: f32 = config.loss(last, target).into_scalar();
        assert!((loss - 1.5 * 4.0 / 3.0).abs() < 1e-6, "{loss}");
    }
}
