use std::collections::{BTreeSet, HashMap};
use std::ops::Range;

use ar_ops::{
    attention::{KeysValues, Mask},
    linear::apply,
    norm::layer_norm,
    position::Rotation,
};
use burn::tensor::{Device, Tensor, TensorData, activation::silu, assert_shape};

use crate::Dit;

/// Keys and values that frames to come will attend to: those of the context and of finished
/// frames, block by block. They belong to one batch of videos under one context.
///
/// Beside them it keeps what each timestep makes of each block, `6 * width` values: 39 MB in 50
/// steps of the published network.
#[derive(Clone, Debug)]
pub struct KeyValueCache {
    blocks: Vec<KeysValues>,
    /// Number of the frame that comes next.
    next: usize,
    /// How many frames before it are kept.
    frames: usize,
    modulations: Modulations,
    /// What the new frames of the last pass did not see, and how many frames were kept and new
    /// then: mostly, the next pass has as many.
    mask: Option<([usize; 2], Mask)>,
}

impl KeyValueCache {
    /// How many frames are kept; with [`Positions::FrameRotary`](crate::Positions::FrameRotary) at
    /// most `num_frames - 1`.
    pub fn frames(&self) -> usize {
        self.frames
    }
}

/// How the blocks modulate a frame, one after the other, by timestep: `[1, 1, blocks * 6 * width]`
/// each. All frames take the same steps, and with few tokens a frame, the weights of the modulation
/// would be a third of what a pass reads from memory.
type Modulations = HashMap<usize, Tensor<3>>;

/// What the blocks share in one pass over new frames.
pub(crate) struct Pass {
    pub mask: Option<Mask>,
    pub rotation: Option<Rotation>,
    pub keep: Option<Keep>,
}

/// Which keys of `[context, kept frames, new frames]` are kept.
#[derive(Clone, Debug)]
pub(crate) struct Keep {
    /// Tokens of the context.
    pub context: usize,
    /// Tokens of kept frames that no frame to come will see.
    pub dropped: usize,
    /// New frames.
    pub new: Range<usize>,
    /// How their tokens turn.
    pub rotation: Option<Rotation>,
}

/// A network in which a frame depends on itself and earlier frames alone, so that keys and values
/// of finished frames can be kept (see [`Dit::causal`]). Its results are those of [`Dit::forward`]
/// over all frames, up to rounding.
///
/// Not for training: on an autodiff device every pass would keep its graph alive.
#[derive(Clone, Copy, Debug)]
pub struct CausalDit<'a>(&'a Dit);

impl<'a> CausalDit<'a> {
    pub(crate) fn new(dit: &'a Dit) -> Self {
        Self(dit)
    }

    /// Whether frames [may follow one another without end](crate::DitConfig::is_unbounded): frames
    /// that no later one sees are then dropped from the cache. Otherwise positions count from the
    /// first frame in the cache, and no more than `num_frames` frames fit.
    pub fn is_unbounded(&self) -> bool {
        self.0.config().is_unbounded()
    }

    /// A cache without frames.
    ///
    /// # Shapes
    /// - `context`: `[batch, context_tokens, context_dim]`
    /// - `timesteps`: all that frames are going to have, in any order
    pub fn cache(&self, context: Tensor<3>, timesteps: &[usize]) -> KeyValueCache {
        let config = self.0.config();
        let modulations = self.modulations(timesteps, &context.device());
        let [batch, ..] = context.dims();
        assert_shape!(context, [batch, config.context_tokens, config.context_dim]);
        // The context's part is the same for all frames.
        let rotation = self.0.positions.of_context(config, &context.device());
        let mut stream = apply(&self.0.c_embedder, context);
        let mut blocks = Vec::with_capacity(self.0.blocks.len());
        for block in &self.0.blocks {
            let (next, keys_values) = block.forward_context(stream, rotation.as_ref());
            stream = next;
            blocks.push(keys_values);
        }
        KeyValueCache {
            blocks,
            next: 0,
            frames: 0,
            modulations,
            mask: None,
        }
    }

    /// Forgets all frames, so that positions count from the next one.
    pub fn clear(&self, cache: &mut KeyValueCache) {
        let context = self.0.config().context_tokens;
        for block in &mut cache.blocks {
            *block = block.advance(context, block.tokens() - context, None);
        }
        (cache.next, cache.frames) = (0, 0);
    }

    /// Predicts the diffusion target of frames that follow those of the cache. The first
    /// `finished` of them enter the cache, with the latents and timesteps given.
    ///
    /// # Shapes
    /// - `x` and output: `[batch, frames, tokens, channels]`
    /// - `timesteps`: one a frame, the same in every sample
    ///
    /// # Panics
    /// If the cache was not made for one of the timesteps, or if it and the new frames are more than
    /// `num_frames`, unless it [is unbounded](Self::is_unbounded).
    pub fn forward(
        &self,
        x: Tensor<4>,
        timesteps: &[usize],
        finished: usize,
        cache: &mut KeyValueCache,
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
        // A later frame sees the `num_frames - 1` before it.
        let kept = (cache.frames + finished).min(config.num_frames - 1);
        let new = finished - finished.min(kept)..finished;
        let rotation = |frames| dit.positions.of_video(config, frames, &device);
        let pass = Pass {
            mask: self.mask(frames, cache, &device),
            rotation: rotation(numbers.clone()),
            keep: (finished > 0).then(|| Keep {
                context: config.context_tokens,
                dropped: (cache.frames + new.len() - kept) * tokens,
                rotation: rotation(cache.next + new.start..cache.next + new.end),
                new,
            }),
        };
        let mut video = dit.positions.add(apply(&dit.x_embedder, x), numbers);
        let modulation = match timesteps {
            [timestep] => cache.modulations[timestep].clone(),
            _ => {
                let frames = timesteps.iter().map(|t| cache.modulations[t].clone());
                Tensor::cat(frames.collect(), 1)
            }
        };
        for (index, (block, past)) in dit.blocks.iter().zip(&mut cache.blocks).enumerate() {
            video = block.forward_video(video, modulation.clone(), index, past, &pass);
        }
        cache.next += finished;
        cache.frames = kept;
        apply(&dit.final_layer, layer_norm(video, 1e-6))
    }

    /// Computed together: apart, each timestep would read the weights again.
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

    /// What the new frames do not see of `[context, kept frames, new frames]`; `None` where they
    /// see everything.
    fn mask(&self, frames: usize, cache: &mut KeyValueCache, device: &Device) -> Option<Mask> {
        if frames == 1 {
            return None; // The frames kept are those that the next one sees.
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
    use crate::{DitConfig, MergeMode, Positions};

    /// The frames of [`Inputs`] in passes of the given lengths, all of them finished.
    fn in_passes(dit: &Dit, inputs: &Inputs, passes: &[usize]) -> (Tensor<4>, KeyValueCache) {
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
    fn assert_exact(dit: &Dit, passes: &[usize]) -> KeyValueCache {
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
    fn kept_keys_and_values_are_exact_past_the_window() {
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
    fn kept_keys_and_values_are_exact_in_the_window() {
        for positions in [Positions::SinCos, Positions::Rotary] {
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
    fn what_is_kept_does_not_grow() {
        let config = frame_rotary();
        let dit = random_network(&config);
        let inputs = Inputs::new(&config, 40);
        let most = config.num_frames - 1;
        for frames in [1, 2, 3, 17, 40] {
            let (_, cache) = in_passes(&dit, &inputs, &vec![1; frames]);
            assert_eq!(cache.frames(), frames.min(most));
            let tokens = config.context_tokens + cache.frames() * config.tokens_per_frame;
            assert!(cache.blocks.iter().all(|block| block.tokens() == tokens));
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
    fn networks_in_which_information_flows_back_keep_nothing() {
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
