//! One forward pass of the transformer over a clip.

use ar_benches::{noise, small_diffusion, wait};
use ar_dit::DitConfig;
use burn::tensor::Tensor;
use criterion::{Criterion, Throughput, criterion_group};

fn forward(criterion: &mut Criterion) {
    let device = ar_benches::device();
    let published_block = DitConfig {
        depth: 1,
        ..DitConfig::published()
    };
    let networks = [
        ("small", small_diffusion().transformer),
        ("published_one_block", published_block),
        ("published", DitConfig::published()),
    ];
    let mut group = criterion.benchmark_group("transformer_forward");
    for (name, config) in networks {
        let frames = config.num_frames;
        let dit = config.init(&device).expect("a transformer");
        let x = noise(
            [1, frames, config.tokens_per_frame, config.in_channels],
            &device,
        );
        let timesteps = Tensor::full([1, frames], 500, &device);
        let context = noise([1, config.context_tokens, config.context_dim], &device);
        group.throughput(Throughput::Elements(frames as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let output = dit.forward(x.clone(), timesteps.clone(), context.clone());
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
