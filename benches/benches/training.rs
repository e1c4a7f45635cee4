//! One training step of each network of the small preset: forward pass, backward pass, clipping,
//! AdamW, and the moving average of the weights. Drawing the data is not part of it.

use ar_benches::{noise, pixels, small_diffusion, small_vae, wait};
use ar_diffusion::Denoiser;
use ar_model::Transformer;
use ar_train::trainer::Trainer;
use ar_train::vae;
use burn::tensor::{Int, Tensor, TensorData};
use criterion::{Criterion, Throughput, criterion_group};

/// Steps of the run that the measured ones are the first of.
const STEPS: usize = 1_000_000;

fn transformer(criterion: &mut Criterion) {
    let device = ar_benches::device().autodiff();
    let run = small_diffusion();
    let (batch, frames) = (run.run.batch_size, run.transformer.num_frames);
    let (tokens, channels) = (
        run.transformer.tokens_per_frame,
        run.transformer.in_channels,
    );
    let network = Transformer::new(&run.transformer, &run.conditioning, &device);
    let mut trainer = Trainer::new(network.expect("a transformer"), &run.optimizer, STEPS);
    let diffusion = run.diffusion.init().expect("a diffusion process");

    let x0 = noise([batch, frames, tokens, channels], &device);
    let eps = noise(x0.dims(), &device);
    // Rising over the frames, as the sampler of timesteps draws them.
    let total = diffusion.schedule().timesteps();
    let timesteps: Vec<usize> = (0..batch * frames)
        .map(|i| (i % frames) * total / frames)
        .collect();
    let t: Vec<i64> = timesteps.iter().map(|&t| t as i64).collect();
    let t = Tensor::<2, Int>::from_data(TensorData::new(t, [batch, frames]), &device);

    let mut group = criterion.benchmark_group("training_step");
    group.throughput(Throughput::Elements((batch * frames) as u64));
    let name = format!("transformer_small_batch_{batch}_of_{frames}_frames");
    group.bench_function(name, |bencher| {
        bencher.iter(|| {
            let noisy = diffusion.corrupt(x0.clone(), eps.clone(), &timesteps);
            let target = diffusion.target(x0.clone(), eps.clone(), &timesteps);
            let context = trainer.model().context().unconditional(batch);
            let prediction = trainer.model().predict(noisy, t.clone(), context);
            trainer.accumulate(run.loss.loss(prediction, target), 1.0);
            let report = trainer.update();
            wait(&device);
            report
        });
    });
}

fn vae(criterion: &mut Criterion) {
    let device = ar_benches::device().autodiff();
    let run = small_vae();
    let batch = run.run.batch_size;
    let network = run.vae.init(&device).expect("a VAE");
    let mut trainer = Trainer::new(network, &run.optimizer, STEPS);
    let pixels = pixels([batch, 1], run.vae.image_size(), &device);

    let draw = vae::Draw {
        seed: 0,
        step: 0,
        first_clip: 0,
    };
    let mut group = criterion.benchmark_group("training_step");
    group.throughput(Throughput::Elements(batch as u64));
    group.bench_function(format!("vae_small_batch_{batch}_of_1_frame"), |bencher| {
        bencher.iter(|| {
            let loss = vae::loss(trainer.model(), pixels.clone(), &run.loss, draw, None);
            trainer.accumulate(loss, 1.0);
            let report = trainer.update();
            wait(&device);
            report
        });
    });
}

criterion_group! {
    name = benches;
    config = ar_benches::criterion();
    targets = transformer, vae
}

fn main() {
    ar_benches::run(benches);
}
