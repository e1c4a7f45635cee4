//! The arithmetic around the networks, which must stay far below the time of a network's step.

use ar_benches::FoppTables;
use ar_schedulers::{AdConfig, AdPlan, FrameState, TimestepSampler};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use std::hint::black_box;

/// The published number of training timesteps.
const TIMESTEPS: usize = 1000;

/// The timesteps of one training clip: in closed form, and by the paper's tables, which are made in
/// advance.
fn fopp(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("fopp");
    let clip = |frames| format!("{frames}_frames");
    for frames in [16, 128, 4096] {
        group.throughput(Throughput::Elements(frames as u64));
        let id = BenchmarkId::new("closed_form", clip(frames));
        group.bench_function(id, |bencher| {
            let mut rng = ChaCha8Rng::seed_from_u64(0);
            bencher.iter(|| TimestepSampler::Fopp.sample(frames, TIMESTEPS, &mut rng));
        });
    }
    for frames in [16, 128] {
        group.throughput(Throughput::Elements(frames as u64));
        let id = BenchmarkId::new("dynamic_programme", clip(frames));
        group.bench_function(id, |bencher| {
            let tables = FoppTables::new(frames, TIMESTEPS);
            let mut rng = ChaCha8Rng::seed_from_u64(0);
            bencher.iter(|| tables.sample(&mut rng));
        });
        let id = BenchmarkId::new("dynamic_programme_tables", clip(frames));
        group.bench_function(id, |bencher| {
            bencher.iter(|| FoppTables::new(black_box(frames), TIMESTEPS));
        });
    }
}

/// Builds a plan of 50 steps, with a step difference of five, and queries it like the sampler: for
/// every frame of every window.
fn ad_plan(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("ad_plan");
    for frames in [16, 128] {
        let config = AdConfig {
            steps: 50,
            ar_step: 5,
            frames,
            window: 16,
        };
        group.throughput(Throughput::Elements(frames as u64));
        let id = BenchmarkId::from_parameter(format!("{frames}_frames"));
        group.bench_function(id, |bencher| {
            bencher.iter(|| {
                let plan = AdPlan::new(black_box(config)).expect("a plan");
                plan.iter()
                    .flat_map(|row| row.window.map(move |frame| (row.iteration, frame)))
                    .filter(|&(iteration, frame)| {
                        plan.state(iteration, frame) == FrameState::Waiting
                    })
                    .count()
            });
        });
    }
}

criterion_group! {
    name = benches;
    config = ar_benches::criterion();
    targets = fopp, ad_plan
}

fn main() {
    ar_benches::run(benches);
}
