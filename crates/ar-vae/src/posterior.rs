use ar_activation_checkpointing::ActivationCheckpointing;
use ar_ops::norm::l2_normalize;
use burn::tensor::{FloatDType, Tensor};

/// The Gaussian over the latents of a video.
#[derive(Clone, Debug)]
pub struct Posterior {
    mean: Tensor<4>,
    logvar: Tensor<4>,
    space: LatentSpace,
}

/// The space of a tokenizer's latents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LatentSpace {
    /// On the unit sphere, token by token: only a latent's direction counts.
    Sphere,
    /// Anywhere.
    Plane,
}

impl Posterior {
    /// The Gaussian with these `moments`: the mean, then the logarithm of the variance.
    ///
    /// # Shapes
    /// - `moments`: `[batch, frames, tokens, 2 * channels]`
    pub(crate) fn new(moments: Tensor<4>, space: LatentSpace) -> Self {
        let [mean, logvar] = moments
            .chunk(2, 3)
            .try_into()
            .expect("mean and logarithm of the variance");
        Self {
            mean,
            logvar: logvar.clamp(-30.0, 20.0),
            space,
        }
    }

    /// The same in f32.
    pub(crate) fn widened(self) -> Self {
        Self {
            mean: self.mean.cast(FloatDType::F32),
            logvar: self.logvar.cast(FloatDType::F32),
            ..self
        }
    }

    /// The same, to be read more than once: by the decoder and by the KL divergence.
    pub(crate) fn shared(self, checkpointing: &mut ActivationCheckpointing) -> Self {
        let (mean, logvar) = checkpointing.share((self.mean, self.logvar));
        Self {
            mean,
            logvar,
            ..self
        }
    }

    /// The mean.
    ///
    /// # Shapes
    /// - output: `[batch, frames, tokens, channels]`
    pub fn mean(&self) -> Tensor<4> {
        self.mean.clone()
    }

    /// The logarithm of the variance, in `[-30, 20]`.
    ///
    /// # Shapes
    /// - output: `[batch, frames, tokens, channels]`
    pub fn logvar(&self) -> Tensor<4> {
        self.logvar.clone()
    }

    /// The latents that diffusion works on: the mean, on the unit sphere for an
    /// [`ArVae`](crate::ArVae).
    ///
    /// # Shapes
    /// - output: `[batch, frames, tokens, channels]`
    pub fn latents(&self) -> Tensor<4> {
        match self.space {
            LatentSpace::Sphere => l2_normalize(self.mean(), 3),
            LatentSpace::Plane => self.mean(),
        }
    }

    /// A sample, `mean + std * noise`.
    ///
    /// # Shapes
    /// - `noise` and output: `[batch, frames, tokens, channels]`
    pub fn sample(&self, noise: Tensor<4>) -> Tensor<4> {
        self.mean() + (self.logvar() * 0.5).exp() * noise
    }

    /// Kullback-Leibler divergence from the standard normal distribution of the Gaussian around
    /// [`Posterior::latents`], summed over tokens and channels.
    ///
    /// # Shapes
    /// - output: `[batch, frames]`
    pub fn kl(&self) -> Tensor<2> {
        let [batch, frames, ..] = self.mean.dims();
        let terms = self.latents().square() + self.logvar().exp() - self.logvar() - 1.0;
        let sums: Tensor<3> = terms.flatten::<3>(2, 3).sum_dim(2);
        sums.reshape([batch, frames]) * 0.5
    }
}
