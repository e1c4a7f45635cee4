//! Limits on sizes that no machine has memory for.

use ar_data::{DataConfig, DataSource};
use ar_dit::DitConfig;
use ar_vae::VaeConfig;

use super::{DiffusionRun, DiscriminatorConfig, LatentsRun, VaeRun};
use crate::error::ConfigError;

/// Checks that no size in a stage's configuration would exhaust memory, or overflow in a product, before there is a
/// better error. Smaller sizes may still be too large for a machine.
pub(crate) trait CheckSizes {
    /// # Errors
    /// Names the keys whose product is too large.
    fn check_sizes(&self) -> Result<(), ConfigError>;
}

/// A number of a configuration as a size. It is at least 1, so that a zero, which has its own error, does not hide
/// other factors.
trait Size {
    fn size(&self) -> f64;
}

impl Size for usize {
    fn size(&self) -> f64 {
        (*self).max(1) as f64
    }
}

impl Size for f64 {
    fn size(&self) -> f64 {
        self.max(1.0)
    }
}

/// The largest element of a list.
impl Size for Vec<usize> {
    fn size(&self) -> f64 {
        self.iter().map(Size::size).fold(1.0, f64::max)
    }
}

/// `at_most!(bound; section "name." config; field, field..)`: checks a product of fields against a bound far above what
/// anyone trains, and far below what fits into memory or 64 bits. The key in the error consists of the section's name
/// and the field's name.
macro_rules! at_most {
    ($most:expr; $section:literal $config:expr; $($field:ident $(. $inner:ident)*),+) => {
        product_at_most(
            $most,
            &[$((
                concat!($section, stringify!($field) $(, ".", stringify!($inner))*),
                $config.$field $(.$inner)*.size(),
            )),+],
        )?
    };
}

fn product_at_most(most: u64, sizes: &[(&str, f64)]) -> Result<(), ConfigError> {
    let product: f64 = sizes.iter().map(|(_, size)| size).product();
    if product <= most as f64 {
        return Ok(());
    }
    let keys: Vec<&str> = sizes.iter().map(|&(key, _)| key).collect();
    let message = format!(
        "{} is {product}; it must be at most {most}",
        keys.join(" * ")
    );
    Err(ConfigError::new(keys, message))
}

impl CheckSizes for VaeRun {
    fn check_sizes(&self) -> Result<(), ConfigError> {
        // Clips that are prefetched.
        at_most!(1 << 20; "" self; run.batch_size, run.accumulate, data.prefetch);
        check_data(&self.data)?;
        check_vae(&self.vae)?;
        self.discriminator
            .as_ref()
            .map_or(Ok(()), check_discriminator)
    }
}

impl CheckSizes for LatentsRun {
    fn check_sizes(&self) -> Result<(), ConfigError> {
        at_most!(1 << 20; "" self; data.prefetch);
        check_data(&self.data)
    }
}

impl CheckSizes for DiffusionRun {
    fn check_sizes(&self) -> Result<(), ConfigError> {
        at_most!(1 << 20; "" self; run.batch_size, run.accumulate, data.prefetch);
        check_data(&self.data)?;
        check_transformer(&self.transformer)?;
        at_most!(
            1 << 32;
            "" self;
            conditioning.classes, transformer.context_tokens, transformer.context_dim
        );
        at_most!(1 << 20; "" self; diffusion.schedule.timesteps);
        at_most!(1 << 20; "" self; sampling.steps);
        at_most!(1 << 20; "" self; sampling.ar_step);
        Ok(())
    }
}

/// Reading threads, pixels per clip, and objects drawn in it.
fn check_data(data: &DataConfig) -> Result<(), ConfigError> {
    at_most!(1 << 10; "data." data; workers);
    at_most!(1 << 28; "data." data; clips);
    match &data.source {
        Some(DataSource::Shapes(shapes)) => {
            at_most!(1 << 30; "data.shapes." shapes; size, size, frames);
            at_most!(1 << 10; "data.shapes." shapes; max_shapes);
        }
        Some(DataSource::MovingMnist(digits)) => {
            at_most!(1 << 30; "data.moving_mnist." digits; size, size, frames);
            at_most!(1 << 10; "data.moving_mnist." digits; digits);
        }
        Some(DataSource::Videos { config, .. }) => {
            at_most!(1 << 30; "data.videos." config; size, size, frames);
            at_most!(1 << 30; "data.videos." config; max_memory_mib);
        }
        _ => {}
    }
    Ok(())
}

/// Weights of both kinds of tokenizers.
fn check_vae(vae: &VaeConfig) -> Result<(), ConfigError> {
    match vae {
        VaeConfig::Transformer(vae) => {
            at_most!(1 << 28; "vae." vae; image_size, image_size);
            at_most!(1 << 15; "vae." vae; latent_tokens);
            at_most!(1 << 12; "vae." vae; layers);
            at_most!(1 << 12; "vae." vae; pixel_decoder.res_blocks);
            at_most!(1 << 32; "vae." vae; width, width, layers);
            at_most!(1 << 32; "vae." vae; width, patch_size, patch_size);
            at_most!(1 << 32; "vae." vae; width, latent_tokens);
            at_most!(1 << 32; "vae." vae; width, latent_channels);
            at_most!(1 << 32; "vae." vae; width, codebook_channels);
            at_most!(1 << 32; "vae." vae; codebook_channels, pixel_decoder.z_channels);
            at_most!(
                1 << 32;
                "vae." vae;
                pixel_decoder.hidden_channels,
                    pixel_decoder.channel_multipliers,
                    pixel_decoder.z_channels
            );
            at_most!(
                1 << 32;
                "vae." vae;
                pixel_decoder.hidden_channels,
                    pixel_decoder.hidden_channels,
                    pixel_decoder.channel_multipliers,
                    pixel_decoder.channel_multipliers,
                    pixel_decoder.res_blocks
            );
        }
        VaeConfig::Conv(vae) => {
            at_most!(1 << 28; "vae." vae; image_size, image_size);
            at_most!(1 << 12; "vae." vae; res_blocks);
            at_most!(1 << 32; "vae." vae; channels, channels, res_blocks);
            at_most!(1 << 32; "vae." vae; channels, patch_size, patch_size);
            at_most!(1 << 32; "vae." vae; channels, latent_channels);
        }
    }
    Ok(())
}

fn check_discriminator(discriminator: &DiscriminatorConfig) -> Result<(), ConfigError> {
    at_most!(1 << 6; "discriminator." discriminator; layers);
    at_most!(1 << 24; "discriminator." discriminator; filters, filters, layers);
    Ok(())
}

/// Weights of the transformer, and tokens that attend to each other.
fn check_transformer(transformer: &DitConfig) -> Result<(), ConfigError> {
    at_most!(1 << 12; "transformer." transformer; depth);
    at_most!(1 << 16; "transformer." transformer; num_heads);
    at_most!(1 << 34; "transformer." transformer; depth, hidden_size, hidden_size, mlp_ratio);
    at_most!(1 << 32; "transformer." transformer; hidden_size, in_channels);
    at_most!(1 << 32; "transformer." transformer; hidden_size, context_dim);
    at_most!(1 << 15; "transformer." transformer; num_frames, tokens_per_frame);
    at_most!(1 << 15; "transformer." transformer; context_tokens);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::read_config;

    /// Every key that has a bound, by itself or in a product, and where.
    const BOUNDED: [&str; 51] = [
        "run.batch_size",
        "run.accumulate",
        "data.prefetch",
        "data.workers",
        "data.clips",
        "data.shapes.size",
        "data.shapes.frames",
        "data.shapes.max_shapes",
        "data.moving_mnist.size",
        "data.moving_mnist.frames",
        "data.moving_mnist.digits",
        "data.videos.size",
        "data.videos.frames",
        "data.videos.max_memory_mib",
        "vae.image_size",
        "vae.patch_size",
        "vae.latent_tokens",
        "vae.latent_channels",
        "vae.codebook_channels",
        "vae.layers",
        "vae.width",
        "vae.pixel_decoder.res_blocks",
        "vae.pixel_decoder.z_channels",
        "vae.pixel_decoder.hidden_channels",
        "vae.pixel_decoder.channel_multipliers",
        "conv vae.image_size",
        "conv vae.patch_size",
        "conv vae.latent_channels",
        "conv vae.channels",
        "conv vae.res_blocks",
        "discriminator.layers",
        "discriminator.filters",
        "transformer.depth",
        "transformer.num_heads",
        "transformer.hidden_size",
        "transformer.mlp_ratio",
        "transformer.in_channels",
        "transformer.context_dim",
        "transformer.context_tokens",
        "transformer.num_frames",
        "transformer.tokens_per_frame",
        "conditioning.classes",
        "diffusion.schedule.timesteps",
        "sampling.steps",
        "sampling.ar_step",
        "latents data.prefetch",
        "latents data.workers",
        "latents data.clips",
        "latents data.shapes.size",
        "latents data.moving_mnist.size",
        "latents data.videos.size",
    ];

    /// For every key, a value that no machine has memory for.
    #[test]
    fn no_size_is_too_large_to_be_refused() {
        let huge = i64::MAX;
        for key in BOUNDED {
            let (of, key) = key.split_once(' ').unwrap_or(("", key));
            let value = match key {
                "vae.channels" | "vae.pixel_decoder.channel_multipliers" => format!("[1, {huge}]"),
                "transformer.mlp_ratio" => format!("{huge}.0"),
                _ => huge.to_string(),
            };
            let overrides = [format!("{key}={value}")];
            let is_of_diffusion = ["transformer", "conditioning", "diffusion", "sampling"]
                .iter()
                .any(|section| key.starts_with(section));
            let refusal = if is_of_diffusion {
                let config: DiffusionRun = read_config("", &overrides).expect(key);
                config.check_sizes()
            } else if of == "latents" {
                let config: LatentsRun = read_config("", &overrides).expect(key);
                config.check_sizes()
            } else {
                let kind = if of == "conv" { "conv" } else { "transformer" };
                let text = format!("[vae]\nkind = \"{kind}\"\n");
                let config: VaeRun = read_config(&text, &overrides).expect(key);
                config.check_sizes()
            };
            let error = refusal.expect_err(key);
            assert!(error.to_string().contains(key), "{key}: {error}");
            assert!(
                error.keys().iter().any(|found| found == key),
                "{key}: {error}"
            );
        }
    }

    #[test]
    fn defaults_are_sizes() {
        VaeRun::default().check_sizes().expect("a VAE");
        DiffusionRun::default()
            .check_sizes()
            .expect("a transformer");
        LatentsRun::default().check_sizes().expect("latents");
    }

    #[test]
    fn products_are_refused_too() {
        let overrides = ["run.batch_size=1024", "run.accumulate=257"].map(String::from);
        let config: VaeRun = read_config("", &overrides).expect("a configuration");
        assert_eq!(
            config
                .check_sizes()
                .expect_err("too many clips")
                .to_string(),
            "run.batch_size * run.accumulate * data.prefetch is 1052672; it must be at most 1048576"
        );
    }
}
