//! One forward pass of the transformer over a clip.
//!
//! For `benches/pytorch`, the models are written to files with an input and its output, except all
//! blocks of the published size, which would be 2.7 GB.

use ar_benches::{Results, noise, perturbed_model, small_model, wait};
use ar_diffusion::Denoiser;
use ar_dit::DitConfig;
use ar_model::{ModelConfig, Precision, VideoModel};
use burn::tensor::{Int, Tensor};
use criterion::{Criterion, Throughput, criterion_group};

fn forward(criterion: &mut Criterion) {
    let device = ar_benches::device();
    let results = Results::new(env!("CARGO_TARGET_TMPDIR"), "transformer");
    let published = |depth| ModelConfig {
        transformer: Some(DitConfig {
            depth,
            ..DitConfig::published()
        }),
        ..ModelConfig::default()
    };
    let networks = [
        ("small", small_model(), true),
        ("published_one_block", published(1), true),
        ("published", published(DitConfig::published().depth), false),
    ];
    let mut group = criterion.benchmark_group("transformer_forward");
    for (name, config, written) in networks {
        let model = if written {
            perturbed_model(config, &device)
        } else {
            VideoModel::init(config, &device).expect("a model")
        };
        let transformer = model.transformer().expect("a transformer");
        let dit = transformer.dit().config();
        let frames = dit.num_frames;
        let x = noise([1, frames, dit.tokens_per_frame, dit.in_channels], &device);
        let total = model.diffusion().schedule().timesteps();
        let timesteps = Tensor::<1, Int>::arange(0..frames as i64, &device);
        let timesteps = (timesteps * total as i64 / frames as i64).unsqueeze::<2>();
        let context = transformer.context().unconditional(1);
        let forward = || transformer.predict(x.clone(), timesteps.clone(), context.clone());

        if written {
            let folder = results.path(name);
            let saved = model.save(&folder, Precision::Full);
            saved.expect("the target folder can be written");
            let tensors = [
                ("x", x.to_data()),
                ("timesteps", timesteps.to_data()),
                ("output", forward().into_data()),
            ];
            results.write_tensors(&format!("{name}/forward.safetensors"), &tensors);
        }
        group.throughput(Throughput::Elements(frames as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let output = forward();
                wait(&device);
                output
            });
        });
    }
}

criterion_group! {
    name = benches;
    config = ar_benches::criterion();
    targets = forward
}

fn main() {
    ar_benches::run(benches);
}
