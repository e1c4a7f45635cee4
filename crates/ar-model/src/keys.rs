//! The key layout of the published checkpoints, which our own files have too.

use ar_weights::KeyMap;

/// The layout of published transformer checkpoints.
pub const TRANSFORMER_KEYS: KeyMap = KeyMap::new(
    &[
        ("context.context_emb", "context_emb"),
        ("context.class_emb", "class_emb"),
        ("dit.", "diffusion_model.model."),
        ar_dit::CHECKPOINT_KEYS[0],
        ar_dit::CHECKPOINT_KEYS[1],
        ar_dit::CHECKPOINT_KEYS[2],
        ar_dit::CHECKPOINT_KEYS[3],
    ],
    &[
        "diffusion_model.betas",
        "diffusion_model.alphas_cumprod",
        "diffusion_model.sqrt_",
        "diffusion_model.log_one_minus_alphas_cumprod",
        "diffusion_model.posterior_",
        "diffusion_model.lvlb_weights",
        "diffusion_model.logvar",
        "diffusion_model.model.pos_embed",
        "rotary_emb.freqs",
    ],
);

/// The layout of published VAE checkpoints.
pub const VAE_KEYS: KeyMap = KeyMap::new(ar_vae::CHECKPOINT_KEYS, &[]);
