//! Evaluation with a KV cache, for networks in which nothing flows back in time.

use std::collections::BTreeSet;

use ar_ops::{attention::Mask, linear::apply};
use burn::tensor::{Device, Tensor, TensorData, activation::silu, assert_shape};

use crate::Dit;
use crate::kv_cache::{CacheUpdate, KvCache, Modulations, Pass};
use crate::position_embedding::add_rows;

/// A network in which a frame depends only on itself and earlier frames, so that the keys and values
/// of finished frames can be cached (see [`Dit::causal`]). It computes the same as [`Dit::forward`]
/// over all frames, up to rounding.
///
/// Not for training: on an autodiff device, every pass would keep its graph alive.
#[derive(Clone, Copy, Debug)]
pub struct CausalDit<'a>(&'a Dit);

impl Dit {
    /// The network for evaluation with a KV cache, if it allows one: see
    /// [`DitConfig::is_causal`](crate::DitConfig::is_causal).
    pub fn causal(&self) -> Option<CausalDit<'_>> {
        self.config().is_causal().then_some(CausalDit(self))
    }
}

impl CausalDit<'_> {
    /// Whether the video may have [any number of frames](crate::DitConfig::is_unbounded). Frames that no later frame
    /// sees are then dropped from the cache. Otherwise positions count from the first frame in the cache, and at most
    /// `num_frames` frames fit.
    pub fn is_unbounded(&self) -> bool {
        self.0.config().is_unbounded()
    }

    /// A cache without frames.
    ///
    /// # Shapes
    /// - `context`: `[batch, context_tokens, context_dim]`
    /// - `timesteps`: every timestep that frames will have, in any order
    pub fn cache(&self, context: Tensor<3>, timesteps: &[usize]) -> KvCache {
        let config = self.0.config();
        let modulations = self.modulations(timesteps, &context.device());
        let [batch, ..] = context.dims();
        assert_shape!(context, [batch, config.context_tokens, config.context_dim]);
        // The context's part does not depend on the frames.
        let rotary = self
            .0
            .positions
            .rotary_of_context(config, &context.device());
        let mut hidden = apply(&self.0.c_embedder, context.cast(self.0.dtype()));
        let mut layers = Vec::with_capacity(self.0.blocks.len());
        for block in &self.0.blocks {
            let (next, layer) = block.forward_context(hidden, rotary.as_ref());
            hidden = next;
            layers.push(layer);
        }
        KvCache {
            layers,
            next: 0,
            frames: 0,
            modulations,
            mask: None,
        }
    }

    /// Removes all frames, so that positions count from the next one.
    pub fn clear(&self, cache: &mut KvCache) {
        let context = self.0.config().context_tokens;
        for layer in &mut cache.layers {
            *layer = layer.advance(context, layer.tokens() - context, None);
        }
        (cache.next, cache.frames) = (0, 0);
    }

    /// Predicts the diffusion target of the frames after the cached ones. The first `finished` of
    /// them enter the cache, with the given latents and timesteps.
    ///
    /// # Shapes
    /// - `x` and output: `[batch, frames, tokens, channels]`
    /// - `timesteps`: one per frame, the same in every sample
    ///
    /// # Panics
    /// If the cache was not made for one of the timesteps, or if cached and new frames together are more than
    /// `num_frames`, unless the network [is unbounded](Self::is_unbounded).
    pub fn forward(
        &self,
        x: Tensor<4>,
        timesteps: &[usize],
        finished: usize,
        cache: &mut KvCache,
    ) -> Tensor<4> {
        let dit = self.0;
        let config = dit.config();
        let [batch, frames, tokens, _] = x.dims();
        assert_shape!(
            x,
            [batch, frames, config.tokens_per_frame, config.in_channels]
        );
        assert_eq!(timesteps.len(), frames, "a timestep for every frame");
        let numbers = cache.next..cache.next + frames;
        assert!(
            numbers.end <= config.num_frames || self.is_unbounded(),
            "frames {numbers:?} of a window of {}",
            config.num_frames
        );

        let device = x.device();
        // A later frame sees the `num_frames - 1` frames before it.
        let kept = (cache.frames + finished).min(config.num_frames - 1);
        let new = finished - finished.min(kept)..finished;
        let rotary = |frames| dit.positions.rotary_of_video(config, frames, &device);
        let pass = Pass {
            mask: self.mask(frames, cache, &device),
            rotary: rotary(numbers.clone()),
            update: (finished > 0).then(|| CacheUpdate {
                context: config.context_tokens,
                dropped: (cache.frames + new.len() - kept) * tokens,
                rotary: rotary(cache.next + new.start..cache.next + new.end),
                new,
            }),
        };
        let video = apply(&dit.x_embedder, x.cast(dit.dtype()));
        let mut video = add_rows(video, dit.positions.rows(config, numbers, &device));
        let modulation = match timesteps {
            [timestep] => cache.modulations[timestep].clone(),
            _ => {
                let frames = timesteps.iter().map(|t| cache.modulations[t].clone());
                Tensor::cat(frames.collect(), 1)
            }
        };
        for (index, (block, layer)) in dit.blocks.iter().zip(&mut cache.layers).enumerate() {
            video = block.forward_video(video, modulation.clone(), index, layer, &pass);
        }
        cache.next += finished;
        cache.frames = kept;
        dit.output(video)
    }

    /// Computed together, since otherwise each timestep would read the weights again.
    fn modulations(&self, timesteps: &[usize], device: &Device) -> Modulations {
        let timesteps: BTreeSet<usize> = timesteps.iter().copied().collect();
        let values: Vec<i64> = timesteps.iter().map(|&t| t as i64).collect();
        let values = Tensor::from_data(TensorData::new(values, [1, timesteps.len()]), device);
        let conditioning = silu(self.0.t_embedder.forward(values)); // [1, timesteps, width]
        let blocks = self.0.blocks.iter();
        let chunks = blocks.map(|block| block.modulation(conditioning.clone()));
        let rows = Tensor::cat(chunks.collect(), 2).split(1, 1);
        timesteps.into_iter().zip(rows).collect()
    }

    /// The mask of new frames over `[context, cached frames, new frames]`; `None` if they see everything.
    fn mask(&self, frames: usize, cache: &mut KvCache, device: &Device) -> Option<Mask> {
        if frames == 1 {
            return None; // The next frame sees exactly the cached ones.
        }
        let (config, kept) = (self.0.config(), cache.frames);
        let numbers = [kept, frames];
        if let Some((of, mask)) = &cache.mask
            && *of == numbers
        {
            return Some(mask.clone());
        }
        let visible = |query: usize, key: usize| {
            key.checked_sub(1).is_none_or(|key| {
                let mask = config.causal_mask;
                mask.sees(kept + query, key, config.num_frames)
            })
        };
        let mut keys = vec![config.tokens_per_frame; 1 + kept + frames];
        keys[0] = config.context_tokens;
        let mask = Mask::new(&keys[1 + kept..], &keys, visible, device);
        cache.mask = Some((numbers, mask.clone()));
        Some(mask)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Inputs, frame_rotary, largest_differences, random_network};
    use crate::{DitConfig, MergeMode, PositionEmbedding};

    /// Evaluates the frames of [`Inputs`] in passes of the given lengths, all of them finished.
    fn in_passes(dit: &Dit, inputs: &Inputs, passes: &[usize]) -> (Tensor<4>, KvCache) {
        let causal = dit.causal().expect("a causal network");
        let timesteps: Vec<usize> = (0..passes.iter().sum()).map(|frame| 30 * frame).collect();
        let mut cache = causal.cache(inputs.context.clone(), &timesteps);
        let mut first = 0;
        let outputs = passes.iter().map(|&frames| {
            let x = inputs.x.clone().narrow(1, first, frames);
            let timesteps = &timesteps[first..first + frames];
            first += frames;
            causal.forward(x, timesteps, frames, &mut cache)
        });
        (Tensor::cat(outputs.collect(), 1), cache)
    }

    #[track_caller]
    fn assert_exact(dit: &Dit, passes: &[usize]) -> KvCache {
        let inputs = Inputs::new(dit.config(), passes.iter().sum());
        let (output, cache) = in_passes(dit, &inputs, passes);
        let Inputs {
            x,
            timesteps,
            context,
        } = inputs;
        let expected = dit.forward(x, timesteps, context);
        for (frame, difference) in largest_differences(output, expected).iter().enumerate() {
            assert!(*difference < 1e-5, "frame {frame}: {difference:e}");
        }
        cache
    }

    #[test]
    fn the_kv_cache_is_exact_past_the_window() {
        for merge_mode in [MergeMode::ShareNorm, MergeMode::SeparateNorm] {
            for num_frames in [1, 2, 3, 5] {
                let dit = random_network(&DitConfig {
                    num_frames,
                    merge_mode,
                    ..frame_rotary()
                });
                assert_exact(&dit, &[1; 12]);
                assert_exact(&dit, &[4, 1, 7, 2]);
            }
        }
    }

    #[test]
    fn the_kv_cache_is_exact_in_the_window() {
        for positions in [PositionEmbedding::SinCos, PositionEmbedding::Rotary] {
            let dit = random_network(&DitConfig {
                num_frames: 6,
                positions,
                ..frame_rotary()
            });
            let cache = assert_exact(&dit, &[1, 3, 2]);
            assert_eq!(cache.frames(), 5);
        }
    }

    #[test]
    fn the_kv_cache_does_not_grow() {
        let config = frame_rotary();
        let dit = random_network(&config);
        let inputs = Inputs::new(&config, 40);
        let most = config.num_frames - 1;
        for frames in [1, 2, 3, 17, 40] {
            let (_, cache) = in_passes(&dit, &inputs, &vec![1; frames]);
            assert_eq!(cache.frames(), frames.min(most));
            let tokens = config.context_tokens + cache.frames() * config.tokens_per_frame;
            assert!(cache.layers.iter().all(|layer| layer.tokens() == tokens));
        }
    }

    #[test]
    fn a_cleared_cache_is_as_new() {
        let config = frame_rotary();
        let dit = random_network(&config);
        let inputs = Inputs::new(&config, 2);
        let causal = dit.causal().expect("a causal network");
        let (expected, mut cache) = in_passes(&dit, &inputs, &[2]);
        causal.clear(&mut cache);
        let output = causal.forward(inputs.x, &[0, 30], 0, &mut cache);
        assert_eq!(output.into_data(), expected.into_data());
    }

    #[test]
    fn networks_in_which_information_flows_back_have_no_cache() {
        let published = DitConfig {
            depth: 1,
            hidden_size: 32,
            ..DitConfig::published()
        };
        let first_t = DitConfig {
            merge_mode: MergeMode::ShareNormShiftFirstT,
            ..frame_rotary()
        };
        for config in [published, first_t] {
            assert!(random_network(&config).causal().is_none());
        }
    }
}
