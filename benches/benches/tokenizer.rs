//! Frames to latents and back at 256 x 256: the AR-VAE at published size, without and with temporal
//! blocks, and the convolutional VAE.
//!
//! For `benches/pytorch`, the convolutional network, and networks of the same widths with only one layer, are written
//! to files with an input and its output; all layers would be 2.6 GB.

use ar_benches::{Results, noise, perturbed_vae, pixels, wait};
use ar_model::Precision;
use ar_vae::{ArVaeConfig, ConvVaeConfig, VaeConfig};
use criterion::{Criterion, Throughput, criterion_group};

fn encode_and_decode(criterion: &mut Criterion) {
    let device = ar_benches::device();
    let results = Results::new(env!("CARGO_TARGET_TMPDIR"), "tokenizer");
    let ar_vae = |layers, temporal| {
        VaeConfig::Transformer(ArVaeConfig {
            layers,
            temporal,
            ..ArVaeConfig::large()
        })
    };
    let conv = VaeConfig::Conv(ConvVaeConfig {
        image_size: 256,
        ..ConvVaeConfig::default()
    });
    let layers = ArVaeConfig::large().layers;
    let networks = [
        ("ar_vae_one_layer", ar_vae(1, false), 1, true),
        ("ar_vae_temporal_one_layer", ar_vae(1, true), 2, true),
        ("conv_vae", conv, 4, true),
        ("ar_vae", ar_vae(layers, false), 1, false),
        ("ar_vae_temporal", ar_vae(layers, true), 2, false),
    ];
    let mut group = criterion.benchmark_group("tokenizer");
    for (name, config, frames, written) in networks {
        let model = perturbed_vae(config.clone(), &device);
        let vae = model.vae().expect("a VAE");
        let pixels = pixels([1, frames], config.image_size(), &device);
        let [tokens, channels] = config.latents();
        let latents = noise([1, frames, tokens, channels], &device);
        if written {
            let saved = model.save(results.path(name), Precision::Full);
            saved.expect("the target folder can be written");
            let tensors = [
                ("pixels", pixels.to_data()),
                ("mean", vae.encode(pixels.clone()).mean().into_data()),
                ("latents", latents.to_data()),
                ("decoded", vae.decode(latents.clone()).into_data()),
            ];
            results.write_tensors(&format!("{name}/frames.safetensors"), &tensors);
        }
        group.throughput(Throughput::Elements(frames as u64));
        if !config.is_temporal() {
            group.bench_function(format!("{name}/encode_{frames}_frames"), |bencher| {
                bencher.iter(|| {
                    let mean = vae.encode(pixels.clone()).mean();
                    wait(&device);
                    mean
                });
            });
        }
        group.bench_function(format!("{name}/decode_{frames}_frames"), |bencher| {
            bencher.iter(|| {
                let decoded = vae.decode(latents.clone());
                wait(&device);
                decoded
            });
        });
    }
}

criterion_group! {
    name = benches;
    config = ar_benches::criterion();
    targets = encode_and_decode
}

fn main() {
    ar_benches::run(benches);
}
