//! Sizes that no machine has room for.

use anyhow::{Result, bail};
use serde::Serialize;
use toml::Value;

use crate::resume::flat;

/// Keys of the stages, and the largest product that their values may have: far above what anyone
/// trains, and far below what memory or 64 bits hold. A key that is listed twice counts squared.
const LARGEST: &[(&[&str], u64)] = &[
    // Clips that are read ahead, and threads that read them.
    (
        &["run.batch_size", "run.accumulate", "data.prefetch"],
        1 << 20,
    ),
    (&["data.workers"], 1 << 10),
    (&["data.clips"], 1 << 28),
    // Pixels of a clip, and what is drawn in it.
    (
        &["data.shapes.size", "data.shapes.size", "data.shapes.frames"],
        1 << 30,
    ),
    (&["data.shapes.max_shapes"], 1 << 10),
    (
        &[
            "data.moving_mnist.size",
            "data.moving_mnist.size",
            "data.moving_mnist.frames",
        ],
        1 << 30,
    ),
    (&["data.moving_mnist.digits"], 1 << 10),
    (
        &["data.videos.size", "data.videos.size", "data.videos.frames"],
        1 << 30,
    ),
    (&["data.videos.max_memory_mib"], 1 << 30),
    // Weights of both kinds of tokenizers.
    (&["vae.image_size", "vae.image_size"], 1 << 28),
    (&["vae.latent_tokens"], 1 << 15),
    (&["vae.layers"], 1 << 12),
    (&["vae.res_blocks"], 1 << 12),
    (&["vae.pixel_decoder.res_blocks"], 1 << 12),
    (&["vae.width", "vae.width", "vae.layers"], 1 << 32),
    (&["vae.width", "vae.patch_size", "vae.patch_size"], 1 << 32),
    (&["vae.width", "vae.latent_tokens"], 1 << 32),
    (&["vae.width", "vae.latent_channels"], 1 << 32),
    (&["vae.width", "vae.codebook_channels"], 1 << 32),
    (
        &["vae.codebook_channels", "vae.pixel_decoder.z_channels"],
        1 << 32,
    ),
    (
        &[
            "vae.pixel_decoder.hidden_channels",
            "vae.pixel_decoder.channel_multipliers",
            "vae.pixel_decoder.z_channels",
        ],
        1 << 32,
    ),
    (
        &[
            "vae.pixel_decoder.hidden_channels",
            "vae.pixel_decoder.hidden_channels",
            "vae.pixel_decoder.channel_multipliers",
            "vae.pixel_decoder.channel_multipliers",
            "vae.pixel_decoder.res_blocks",
        ],
        1 << 32,
    ),
    (&["vae.channels", "vae.channels", "vae.res_blocks"], 1 << 32),
    (
        &["vae.channels", "vae.patch_size", "vae.patch_size"],
        1 << 32,
    ),
    (&["vae.channels", "vae.latent_channels"], 1 << 32),
    (&["discriminator.layers"], 1 << 6),
    (
        &[
            "discriminator.filters",
            "discriminator.filters",
            "discriminator.layers",
        ],
        1 << 24,
    ),
    // Weights of the transformer, and tokens that attend to each other.
    (&["transformer.depth"], 1 << 12),
    (&["transformer.num_heads"], 1 << 16),
    (
        &[
            "transformer.depth",
            "transformer.hidden_size",
            "transformer.hidden_size",
            "transformer.mlp_ratio",
        ],
        1 << 34,
    ),
    (
        &["transformer.hidden_size", "transformer.in_channels"],
        1 << 32,
    ),
    (
        &["transformer.hidden_size", "transformer.context_dim"],
        1 << 32,
    ),
    (
        &["transformer.num_frames", "transformer.tokens_per_frame"],
        1 << 15,
    ),
    (&["transformer.context_tokens"], 1 << 15),
    (
        &[
            "conditioning.classes",
            "transformer.context_tokens",
            "transformer.context_dim",
        ],
        1 << 32,
    ),
    (&["diffusion.schedule.timesteps"], 1 << 20),
    (&["sampling.steps"], 1 << 20),
    (&["sampling.ar_step"], 1 << 20),
];

/// Checks that the configuration of a stage asks for no size by which memory would run out, or a
/// product overflow, before there is a better error. What is smaller may still be too large for a
/// machine.
///
/// # Errors
/// Names the keys whose product is too large.
pub fn check_sizes(config: &impl Serialize) -> Result<()> {
    let values = flat(config)?;
    for (keys, most) in LARGEST {
        let given: Vec<(&str, f64)> = keys
            .iter()
            .filter_map(|&key| Some((key, size(values.get(key)?))))
            .collect();
        let product: f64 = given.iter().map(|(_, size)| size).product();
        if product > *most as f64 {
            let keys: Vec<&str> = given.into_iter().map(|(key, _)| key).collect();
            bail!(
                "{} is {product}; it must be at most {most}",
                keys.join(" * ")
            );
        }
    }
    Ok(())
}

/// A number, or the largest of a list. At least 1, so that a zero, which has an error of its own,
/// hides nothing.
fn size(value: &Value) -> f64 {
    let size = match value {
        Value::Integer(size) => *size as f64,
        Value::Float(size) => *size,
        Value::Array(values) => values.iter().map(size).fold(1.0, f64::max),
        _ => 1.0,
    };
    size.max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{DiffusionRun, LatentsRun, VaeRun, read_config};

    /// Of every key that has a bound alone or in a product, a value that no machine has room for.
    #[test]
    fn no_size_is_too_large_to_be_refused() {
        let huge = i64::MAX;
        let refusal = |key: &str| {
            let value = match key {
                "vae.channels" | "vae.pixel_decoder.channel_multipliers" => format!("[1, {huge}]"),
                "transformer.mlp_ratio" => format!("{huge}.0"),
                _ => huge.to_string(),
            };
            let kind = match key {
                "vae.channels" | "vae.res_blocks" => "conv",
                _ => "transformer",
            };
            let overrides = [format!("{key}={value}")];
            let is_of_diffusion = ["transformer", "conditioning", "diffusion", "sampling"]
                .iter()
                .any(|section| key.starts_with(section));
            match is_of_diffusion {
                true => check_sizes(&read_config::<DiffusionRun>("", &overrides).expect(key)),
                false => {
                    let text = format!("[vae]\nkind = \"{kind}\"\n");
                    check_sizes(&read_config::<VaeRun>(&text, &overrides).expect(key))
                }
            }
        };
        for key in LARGEST.iter().flat_map(|(keys, _)| *keys) {
            let error = refusal(key).expect_err(key).to_string();
            assert!(error.contains(key), "{key}: {error}");
        }
    }

    #[test]
    fn defaults_are_sizes() {
        check_sizes(&VaeRun::default()).expect("a VAE");
        check_sizes(&DiffusionRun::default()).expect("a transformer");
        check_sizes(&LatentsRun::default()).expect("latents");
    }

    #[test]
    fn products_are_refused_too() {
        let overrides = ["run.batch_size=1024", "run.accumulate=257"].map(String::from);
        let config: VaeRun = read_config("", &overrides).expect("a configuration");
        assert_eq!(
            check_sizes(&config)
                .expect_err("too many clips")
                .to_string(),
            "run.batch_size * run.accumulate * data.prefetch is 1052672; it must be at most 1048576"
        );
    }
}
