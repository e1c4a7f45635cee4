//! A whole sampling run of the small preset, from noise to the latents of a clip, by whole windows
//! and by active frames; `vae` measures their decoding.

use ar_benches::{small_diffusion, wait};
use ar_diffusion::{HostNoise, Iteration, SamplerConfig};
use ar_model::Transformer;
use criterion::{
    BenchmarkId, Criterion, SamplingMode, Throughput, criterion_group, criterion_main,
};

/// A fifth of the steps and step differences that one samples with (50; 0, 5 and 50), which is a
/// fifth of the iterations: 10, 25 and 160 for 16 frames.
const STEPS: usize = 10;
const AR_STEPS: [usize; 3] = [0, 1, STEPS];

fn latents(criterion: &mut Criterion) {
    let device = ar_benches::device();
    let run = small_diffusion();
    let dit = &run.transformer;
    let frames = dit.num_frames;
    let transformer = Transformer::new(dit, &run.conditioning, &device).expect("a transformer");
    let context = transformer
        .sampling_context(None, 1, 1.0)
        .expect("a context");
    let noise = HostNoise::new(0, [1, dit.tokens_per_frame, dit.in_channels], &device);
    let diffusion = run.diffusion.init().expect("a diffusion process");

    let group = format!("sampling_small_{frames}_frames_{STEPS}_steps");
    let mut group = criterion.benchmark_group(group);
    group.throughput(Throughput::Elements(frames as u64));
    group.sampling_mode(SamplingMode::Flat);
    for ar_step in AR_STEPS {
        let config = SamplerConfig {
            steps: STEPS,
            ar_step,
            eta: 0.0,
        };
        let sampler = diffusion
            .sampler(config, frames, frames)
            .expect("a sampler");
        let mut measure = |method: &str, run: &dyn Fn() -> Vec<Iteration>| {
            let id = BenchmarkId::new(method, format!("ar_step_{ar_step}"));
            group.bench_function(id, |bencher| {
                bencher.iter(|| {
                    let iterations = run();
                    wait(&device);
                    iterations
                });
            });
        };
        measure("full_window", &|| {
            sampler.run(&transformer, &noise, context.clone()).collect()
        });
        let causal = transformer.causal().expect("a causal preset");
        measure("active_frames", &|| {
            sampler
                .run_active_frames(causal, &noise, context.clone())
                .collect()
        });
    }
}

criterion_group! {
    name = benches;
    config = ar_benches::criterion();
    targets = latents
}
criterion_main!(benches);
