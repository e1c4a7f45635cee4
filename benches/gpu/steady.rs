//! Whether memory stays constant in a long training run.

use std::time::Instant;

use ar_benches::seconds;
use ar_model::ComputePrecision;
use ar_train::diffusion::Objective;
use burn::tensor::Device;

use crate::memory::used;
use crate::networks::Network;
use crate::record::Record;
use crate::speed::{trainer, training};

const STEPS: u64 = 2_000;
/// Steps between two measurements of memory.
const INTERVAL: u64 = 200;

/// Trains the small preset with different draws in every step: timesteps, noise and, since active
/// frames differ, the number of frames.
pub(crate) fn measure(name: &str, device: &Device, tell: &mut dyn FnMut(Record)) {
    let config = training(Network::Small, false);
    let device = device.clone().autodiff();
    let (mut trainer, items) = trainer(&config, ComputePrecision::F32, &device);
    let objective = Objective::new(&config, None).expect("an objective");
    let mut memory = Vec::new();
    let start = Instant::now();
    for step in 0..STEPS {
        if step % INTERVAL == 0 {
            memory.extend(used().map(|bytes| (step, bytes)));
        }
        let draws = objective.draws(step, [items.len(), config.transformer.num_frames]);
        let loss = objective.accumulate(&mut trainer, &items, &draws);
        assert!(loss.expect("a loss").is_finite());
        trainer.update();
    }
    let seconds = seconds(start, &device);
    memory.extend(used().map(|bytes| (STEPS, bytes)));
    tell(Record::Growth {
        device: name.to_owned(),
        what: format!("{STEPS} training steps, small, f32"),
        memory,
        seconds,
    });
}
