use ar_ops::attention::Mask;
use burn::module::Module;
use burn::nn::{LayerNorm, LayerNormConfig};
use burn::tensor::{Device, Tensor};

use crate::{ArVaeConfig, MultiheadAttention};

/// Every patch position attends over time, causally. Checkpoint keys
/// `decoder.fine_temporal_blocks.*`.
#[derive(Module, Debug)]
pub struct FineTemporalBlock {
    ln_1: LayerNorm,
    attn: MultiheadAttention,
}

impl FineTemporalBlock {
    /// A freshly initialised block: the identity, so that the temporal stage starts from the
    /// reconstructions of the image stage.
    pub fn new(config: &ArVaeConfig, device: &Device) -> Self {
        Self {
            ln_1: LayerNormConfig::new(config.width).init(device),
            attn: MultiheadAttention::zero_init(config, device),
        }
    }

    /// # Shapes
    /// - `patches` and output: `[batch, frames, patches, width]`
    pub fn forward(&self, patches: Tensor<4>) -> Tensor<4> {
        let [batch, frames, count, width] = patches.dims();
        let each = vec![1; frames];
        let causal = Mask::new(&each, &each, |query, key| key <= query, &patches.device());
        let over_time = self.ln_1.forward(patches.clone()).swap_dims(1, 2).reshape([
            batch * count,
            frames,
            width,
        ]);
        let update = self
            .attn
            .forward(over_time, Some(&causal))
            .reshape([batch, count, frames, width])
            .swap_dims(1, 2);
        patches + update
    }
}

/// Patch and latent tokens of a frame attend to the latent tokens of the frames up to it.
/// Checkpoint keys `decoder.coarse_temporal_blocks.*`.
#[derive(Module, Debug)]
pub struct CoarseTemporalBlock {
    ln_q: LayerNorm,
    ln_k: LayerNorm,
    ln_v: LayerNorm,
    attn: MultiheadAttention,
}

impl CoarseTemporalBlock {
    /// A freshly initialised block: the identity, so that the temporal stage starts from the
    /// reconstructions of the image stage.
    pub fn new(config: &ArVaeConfig, device: &Device) -> Self {
        let norm = || LayerNormConfig::new(config.width).init(device);
        Self {
            ln_q: norm(),
            ln_k: norm(),
            ln_v: norm(),
            attn: MultiheadAttention::zero_init(config, device),
        }
    }

    /// # Shapes
    /// - `tokens` and output: `[batch, frames, patches + latents, width]`, the last `latents`
    ///   of every frame being its latent tokens
    pub fn forward(&self, tokens: Tensor<4>, latents: usize) -> Tensor<4> {
        let [batch, frames, count, width] = tokens.dims();
        let (queries, keys) = (vec![count; frames], vec![latents; frames]);
        let mask = Mask::new(&queries, &keys, |query, key| key <= query, &tokens.device());
        let memory = tokens.clone().narrow(2, count - latents, latents).reshape([
            batch,
            frames * latents,
            width,
        ]);
        let query = tokens.clone().reshape([batch, frames * count, width]);
        let update = self.attn.cross(
            self.ln_q.forward(query),
            self.ln_k.forward(memory.clone()),
            self.ln_v.forward(memory),
            Some(&mask),
        );
        tokens + update.reshape([batch, frames, count, width])
    }
}
