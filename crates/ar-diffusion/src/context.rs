use burn::tensor::Tensor;

use crate::NoiseSource;

/// What a sample is conditioned on: context vectors, with or without classifier-free guidance, and the frames that it
/// continues.
#[derive(Clone, Debug)]
pub struct Context {
    condition: Tensor<3>,
    guidance: Option<Guidance>,
    prefix: Option<Tensor<4>>,
}

#[derive(Clone, Debug)]
struct Guidance {
    null: Tensor<3>,
    scale: f64,
}

impl Context {
    /// Conditioning without guidance: one network evaluation per iteration.
    ///
    /// # Shapes
    /// - `condition`: `[batch, context_tokens, context_dim]`
    pub fn unguided(condition: Tensor<3>) -> Self {
        Self {
            condition,
            guidance: None,
            prefix: None,
        }
    }

    /// Classifier-free guidance (Ho and Salimans, 2022) of the network's outputs,
    /// `null + scale (condition - null)`. A `scale` of 1 is no guidance and costs nothing.
    ///
    /// # Shapes
    /// - `condition`, `null`: `[batch, context_tokens, context_dim]`
    pub fn guided(condition: Tensor<3>, null: Tensor<3>, scale: f64) -> Self {
        Self {
            condition,
            guidance: (scale != 1.0).then_some(Guidance { null, scale }),
            prefix: None,
        }
    }

    /// Continues given frames. They are finished from the start, never change and are not returned; sampled frames are
    /// numbered after them.
    ///
    /// # Shapes
    /// - `prefix`: `[batch, frames, tokens, channels]`, at least one frame; tokens and channels as
    ///   in the noise
    ///
    /// # Panics
    /// If the prefix has no frames, or not the batch size of the context vectors.
    pub fn with_prefix(mut self, prefix: Tensor<4>) -> Self {
        let ([batch, frames, ..], condition) = (prefix.dims(), self.condition.dims());
        assert!(
            batch == condition[0] && frames > 0,
            "a prefix {:?} [batch, frames, tokens, channels] for context vectors {condition:?} \
             [batch, context_tokens, context_dim]: batches must be equal, and frames at least 1",
            prefix.dims()
        );
        self.prefix = Some(prefix);
        self
    }

    /// How many times an iteration evaluates each frame: 2 with guidance, otherwise 1.
    pub fn evaluations(&self) -> usize {
        1 + usize::from(self.guidance.is_some())
    }

    /// Asserts that the frames of the prefix have the shape of the noise.
    ///
    /// # Panics
    /// If they do not.
    pub(crate) fn assert_prefix_fits(&self, noise: &(impl NoiseSource + ?Sized)) {
        let Some(prefix) = &self.prefix else { return };
        let [batch, frames, tokens, channels] = prefix.dims();
        let expected = noise.start(frames).dims();
        assert!(
            expected == [batch, 1, tokens, channels],
            "a prefix {:?} and noise {expected:?} [batch, frames, tokens, channels]: all but frames \
             must be equal",
            prefix.dims()
        );
    }

    /// How many frames the prefix has.
    pub(crate) fn prefix_frames(&self) -> usize {
        self.prefix.as_ref().map_or(0, |prefix| prefix.dims()[1])
    }

    /// A frame of the prefix, `[batch, 1, tokens, channels]`.
    pub(crate) fn prefix_frame(&self, frame: usize) -> Option<Tensor<4>> {
        let prefix = self.prefix.as_ref()?;
        (frame < prefix.dims()[1]).then(|| prefix.clone().narrow(1, frame, 1))
    }

    /// The context of the batch that goes through the network; with guidance, twice the batch of the samples, null
    /// first.
    pub(crate) fn rows(&self) -> Tensor<3> {
        let condition = self.condition.clone();
        match &self.guidance {
            Some(Guidance { null, .. }) => Tensor::cat(vec![null.clone(), condition], 0),
            None => condition,
        }
    }

    /// The (guided) prediction of `predict`, which gets the batch of [`Context::rows`].
    pub(crate) fn guide(
        &self,
        x: Tensor<4>,
        predict: impl FnOnce(Tensor<4>) -> Tensor<4>,
    ) -> Tensor<4> {
        let Some(Guidance { scale, .. }) = &self.guidance else {
            return predict(x);
        };
        let output = predict(Tensor::cat(vec![x.clone(), x], 0));
        let [null, condition] = output.chunk(2, 0).try_into().expect("two halves");
        null.clone() + (condition - null) * *scale
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    fn continued(prefix: [usize; 4]) -> Context {
        let device = Device::flex();
        let context = Context::unguided(Tensor::zeros([2, 1, 8], &device));
        context.with_prefix(Tensor::zeros(prefix, &device))
    }

    #[test]
    #[should_panic(
        expected = "a prefix [3, 4, 5, 6] [batch, frames, tokens, channels] for context vectors [2, 1, 8]"
    )]
    fn a_prefix_has_the_batch_of_the_context() {
        continued([3, 4, 5, 6]);
    }

    #[test]
    #[should_panic(expected = "frames at least 1")]
    fn a_prefix_has_frames() {
        continued([2, 0, 5, 6]);
    }

    #[test]
    #[should_panic(expected = "a prefix [2, 4, 5, 6] and noise [2, 1, 5, 7]")]
    fn a_prefix_has_the_shape_of_the_noise() {
        let noise = crate::HostNoise::new(0, [2, 5, 7], &Device::flex());
        continued([2, 4, 5, 6]).assert_prefix_fits(&noise);
    }
}
