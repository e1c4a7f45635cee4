use burn::tensor::{Int, Tensor};

/// A network that predicts the diffusion target of every frame. A closure will do.
pub trait Denoiser {
    /// The prediction for noisy latents.
    ///
    /// # Shapes
    /// - `x` and output: `[batch, frames, tokens, channels]`
    /// - `timesteps`: `[batch, frames]`
    /// - `context`: `[batch, context_tokens, context_dim]`
    fn predict(&self, x: Tensor<4>, timesteps: Tensor<2, Int>, context: Tensor<3>) -> Tensor<4>;

    /// Whether a GPU may record an evaluation and replay it with other values. This requires that the network does the
    /// same operations for all values of one shape, that it reads nothing back, and that its own tensors, once it has
    /// been evaluated with a shape, live as long as it does.
    fn is_replayable(&self) -> bool {
        false
    }
}

impl<F: Fn(Tensor<4>, Tensor<2, Int>, Tensor<3>) -> Tensor<4>> Denoiser for F {
    fn predict(&self, x: Tensor<4>, timesteps: Tensor<2, Int>, context: Tensor<3>) -> Tensor<4> {
        self(x, timesteps, context)
    }
}

/// A network in which a frame depends only on itself and earlier frames, so that everything later frames need from
/// finished ones can be computed once and cached.
///
/// It predicts the same as a [`Denoiser`] that gets the earlier frames as well.
pub trait CausalDenoiser {
    /// What is cached: keys and values, in a transformer.
    type Cache;

    /// Whether the video may have any number of frames. Otherwise positions count from the first frame in the cache,
    /// which must be cleared when the window moves.
    fn is_unbounded(&self) -> bool;

    /// A cache without frames.
    ///
    /// # Shapes
    /// - `context`: `[batch, context_tokens, context_dim]`
    /// - `timesteps`: every timestep that frames will have, in any order
    fn cache(&self, context: Tensor<3>, timesteps: &[usize]) -> Self::Cache;

    /// Removes the frames of a cache, but keeps its context.
    fn clear(&self, cache: &mut Self::Cache);

    /// Predicts the frames after the cached ones; the first `finished` of them enter the cache.
    ///
    /// # Shapes
    /// - `x` and output: `[batch, frames, tokens, channels]`
    /// - `timesteps`: one per frame, the same in every sample
    fn predict(
        &self,
        x: Tensor<4>,
        timesteps: &[usize],
        finished: usize,
        cache: &mut Self::Cache,
    ) -> Tensor<4>;
}
