//! Frames to latents and back, with the small preset.

use ar_benches::{noise, pixels, small_vae, wait};
use criterion::{Criterion, Throughput, criterion_group};

const FRAMES: usize = 16;

fn encode_and_decode(criterion: &mut Criterion) {
    let device = ar_benches::device();
    let config = small_vae().vae;
    let vae = config.init(&device).expect("a VAE");
    let pixels = pixels([1, FRAMES], config.image_size(), &device);
    let [tokens, channels] = config.latents();
    let latents = noise([1, FRAMES, tokens, channels], &device);
    let mut group = criterion.benchmark_group("vae_small");
    group.throughput(Throughput::Elements(FRAMES as u64));
    group.bench_function("encode_16_frames", |bencher| {
        bencher.iter(|| {
            let latents = vae.encode(pixels.clone()).mean();
            wait(&device);
            latents
        });
    });
    group.bench_function("decode_16_frames", |bencher| {
        bencher.iter(|| {
            let pixels = vae.decode(latents.clone());
            wait(&device);
            pixels
        });
    });
}

criterion_group! {
    name = benches;
    config = ar_benches::criterion();
    targets = encode_and_decode
}

fn main() {
    ar_benches::run(benches);
}
