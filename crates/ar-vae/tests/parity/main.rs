//! Compares the AR-VAE with the method's reference implementation.
//!
//! The tolerance is for f32: a relative error `|a - b| / |b|` of 1e-5.

use ar_golden::{Golden, assert_close};
use ar_vae::{ArVae, ArVaeConfig, CHECKPOINT_KEYS, PixelDecoderConfig};
use ar_weights::{KeyMap, WeightsSource, load_weights};
use burn::tensor::{Device, Tensor};

const FORWARD: f64 = 1e-5;

fn load(golden: &Golden, device: &Device) -> ArVae {
    let pixel = &golden.config["pixel_decoder"];
    let size = |key: &str| pixel[key].as_u64().expect("an integer") as usize;
    let config = ArVaeConfig {
        image_size: golden.size("image_size"),
        patch_size: golden.size("patch_size"),
        width: golden.size("width"),
        layers: golden.size("layers"),
        heads: golden.size("heads"),
        latent_tokens: golden.size("num_latent_tokens"),
        latent_channels: golden.size("token_size"),
        codebook_channels: golden.size("codebook_channels"),
        temporal: golden.config["kind"] == "wt",
        pixel_decoder: PixelDecoderConfig {
            hidden_channels: size("hidden_channels"),
            channel_multipliers: pixel["channel_mult"]
                .as_array()
                .expect("a list")
                .iter()
                .map(|multiplier| multiplier.as_u64().expect("an integer") as usize)
                .collect(),
            res_blocks: size("num_res_blocks"),
            z_channels: size("z_channels"),
            norm_groups: 32,
        },
    };
    let mut vae = config.init(device).expect("a network");
    let path = golden.folder.join("vae.safetensors");
    let keys = KeyMap::new(CHECKPOINT_KEYS, &[]);
    load_weights(&mut vae, WeightsSource::File(&path), keys).expect("a fitting checkpoint");
    vae
}

/// `[batch, frames, channels, 1, tokens]` of the reference to our axes.
fn latents(golden: &Golden, name: &str, device: &Device) -> Tensor<4> {
    let [batch, frames, channels, _, tokens] = golden.tensor::<5>(name, device).dims();
    golden
        .tensor::<5>(name, device)
        .reshape([batch, frames, channels, tokens])
        .swap_dims(2, 3)
}

fn check(name: &str) {
    let golden = Golden::open(format!("tests/golden/{name}"));
    let device = Device::flex();
    let vae = load(&golden, &device);
    let pixels = golden.tensor::<5>("pixels", &device);

    let posterior = vae.encode(pixels);
    let moments = golden.tensor::<4>("moments", &device);
    let [images, moment_channels, _, tokens] = moments.dims();
    let [batch, frames, _, channels] = posterior.mean().dims();
    let [mean, logvar] = moments
        .reshape([batch, frames, moment_channels, tokens])
        .swap_dims(2, 3)
        .split(channels, 3)
        .try_into()
        .expect("two halves");
    assert_eq!(images, batch * frames);
    assert_close("mean", posterior.mean(), mean, FORWARD);
    assert_close("logvar", posterior.logvar(), logvar, FORWARD);
    let kl = golden.tensor::<1>("reconstruct.kl", &device);
    assert_close("kl", posterior.kl().reshape([images]), kl, FORWARD);
    let mode = latents(&golden, "encode.mode", &device);
    assert_close("encode", posterior.mean(), mode, FORWARD);

    let decoded = vae.decode(latents(&golden, "decode.z", &device));
    let expected = golden.tensor("decode.pixels", &device);
    assert_close("decode", decoded, expected, FORWARD);
    let reconstructed = vae.decode(posterior.mean());
    let expected = golden.tensor("reconstruct.pixels", &device);
    assert_close("reconstruct", reconstructed, expected, FORWARD);
}

#[test]
fn image_decoder() {
    check("vae_kl");
}

#[test]
fn temporal_decoder() {
    check("vae_kl_temporal");
}
