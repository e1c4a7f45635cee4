//! The key layout of the published checkpoints, which is that of our own files too.

use ar_weights::KeyMap;

/// The layout of published transformer checkpoints.
pub const TRANSFORMER_KEYS: KeyMap = KeyMap::new(
    &[
        ("context.context_emb", "context_emb"),
        ("context.class_emb", "class_emb"),
        ("dit.", "diffusion_model.model."),
        ("t_embedder.mlp_in.", "t_embedder.mlp.0."),
        ("t_embedder.mlp_out.", "t_embedder.mlp.2."),
        ("ada_ln_modulation.", "adaLN_modulation.1."),
        ("final_layer.", "final_layer.1."),
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
pub const VAE_KEYS: KeyMap = KeyMap::new(
    &[
        ("in_proj.", "in_proj_"),
        ("decoder.ffn_in.", "decoder.ffn.0."),
        ("decoder.ffn_out.", "decoder.ffn.2."),
    ],
    &[],
);
