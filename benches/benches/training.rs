//! One training step of each network of the small preset: forward pass, backward pass, clipping,
//! AdamW, and the moving average of the weights. Drawing the data is not part of it.
//!
//! For `benches/pytorch`, the transformer before its first steps is written to files, with the training data, losses
//! and gradient norms of these steps.

use ar_benches::{
    Results, noise, perturbed_model, pixels, small_diffusion, small_model, small_vae, wait,
};
use ar_diffusion::Denoiser;
use ar_model::{ComputePrecision, Precision, Transformer, VideoModel};
use ar_train::trainer::Trainer;
use ar_train::vae;
use burn::tensor::{Int, Tensor, TensorData};
use criterion::{Criterion, Throughput, criterion_group};

/// Length of the run of which the first steps are measured.
const STEPS: usize = 1_000_000;

/// How many of the transformer's steps are compared.
const COMPARED_STEPS: usize = 10;

fn transformer(criterion: &mut Criterion) {
    let device = ar_benches::device();
    let results = Results::new(env!("CARGO_TARGET_TMPDIR"), "training");
    let folder = results.path("small");
    perturbed_model(small_model(), &device)
        .save(&folder, Precision::Full)
        .expect("the target folder can be written");
    let device = device.autodiff();
    let model = VideoModel::load(&folder, &device).expect("what was saved");
    let network = model.transformer().expect("a transformer").clone();

    let run = small_diffusion();
    let (batch, frames) = (run.run.batch_size, run.transformer.num_frames);
    let (tokens, channels) = (
        run.transformer.tokens_per_frame,
        run.transformer.in_channels,
    );
    let mut trainer = Trainer::new(network.clone(), &run.optimizer, STEPS);
    let diffusion = model.diffusion();

    let x0 = noise([batch, frames, tokens, channels], &device);
    let eps = noise(x0.dims(), &device);
    // Rising over the frames, like the timesteps of the sampler.
    let total = diffusion.schedule().timesteps();
    let timesteps: Vec<usize> = (0..batch * frames)
        .map(|i| (i % frames) * total / frames)
        .collect();
    let t: Vec<i64> = timesteps.iter().map(|&t| t as i64).collect();
    let t = Tensor::<2, Int>::from_data(TensorData::new(t, [batch, frames]), &device);
    let step = |trainer: &mut Trainer<Transformer>| {
        let noisy = diffusion.corrupt(x0.clone(), eps.clone(), &timesteps);
        let target = diffusion.target(x0.clone(), eps.clone(), &timesteps);
        let mut value = 0.0;
        trainer.learner.accumulate_pieces(|network, collect| {
            let context = network.context().unconditional(batch);
            let prediction = network.predict(noisy, t.clone(), context);
            let loss = run.loss.loss(prediction, target);
            value = f64::from(loss.clone().into_scalar::<f32>());
            collect(loss.backward());
            loss
        });
        let report = trainer.update();
        wait(&device);
        [value, report.gradient_norm]
    };

    let compared: Vec<f64> = (0..COMPARED_STEPS)
        .flat_map(|_| step(&mut trainer))
        .collect();
    let tensors = [
        ("x0", x0.to_data()),
        ("eps", eps.to_data()),
        ("timesteps", t.to_data()),
        // A row with loss and gradient norm for each.
        ("steps", TensorData::new(compared, [COMPARED_STEPS, 2])),
    ];
    results.write_tensors("small/steps.safetensors", &tensors);

    let mut group = criterion.benchmark_group("training_step");
    group.throughput(Throughput::Elements((batch * frames) as u64));
    let name = format!("transformer_small_batch_{batch}_of_{frames}_frames");
    group.bench_function(&name, |bencher| {
        bencher.iter(|| step(&mut trainer));
    });
    let precision = ComputePrecision::Bf16Products;
    if precision.is_supported(&device) {
        let trainer = Trainer::new(network, &run.optimizer, STEPS);
        let mut trainer = trainer.with_precision(precision);
        group.bench_function(format!("{name}_bf16_products"), |bencher| {
            bencher.iter(|| step(&mut trainer));
        });
    }
}

fn vae(criterion: &mut Criterion) {
    let device = ar_benches::device().autodiff();
    let run = small_vae();
    let batch = run.run.batch_size;
    let network = run.vae.init(&device).expect("a VAE");
    let mut trainer = Trainer::new(network, &run.optimizer, STEPS);
    let pixels = pixels([batch, 1], run.vae.image_size(), &device);

    let objective = vae::VaeObjective {
        config: &run.loss,
        perceptual: None,
    };
    let noise = vae::PosteriorNoise {
        seed: 0,
        step: 0,
        first_clip: 0,
    };
    let mut group = criterion.benchmark_group("training_step");
    group.throughput(Throughput::Elements(batch as u64));
    group.bench_function(format!("vae_small_batch_{batch}_of_1_frame"), |bencher| {
        bencher.iter(|| {
            let loss = objective.loss(trainer.model(), pixels.clone(), noise);
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
