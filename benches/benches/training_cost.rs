//! The cost of training: the time and the memory of a step, and of writing a checkpoint.
//!
//! Each case runs in its own process, so that the peak resident memory belongs to the case. The published network does
//! not fit everywhere, so it is measured with two blocks and with six; time and memory are linear in their number.
#![allow(clippy::print_stdout)]

use std::env;
use std::process::{Command, Stdio};
use std::time::Instant;

use ar_benches::{Results, noise, seconds, small_diffusion};
use ar_cli::memory;
use ar_data::LatentItem;
use ar_dit::DitConfig;
use ar_model::{LatentScale, Transformer};
use ar_train::checkpoint::Checkpointed;
use ar_train::config::DiffusionRun;
use ar_train::diffusion::Objective;
use ar_train::trainer::Trainer;
use burn::tensor::Device;
use serde::{Deserialize, Serialize};

/// Steps that are not timed. The process still grows in the second one, which has the optimizer's state from its start,
/// and the system clears every new page: half a second for three blocks of the published size.
const UNTIMED_STEPS: u64 = 2;

/// Steps that are timed. Each has some new pages; the fastest has the fewest of them.
const TIMED_STEPS: u64 = 6;

/// Numbers of blocks that the extrapolation starts from. It multiplies the difference between their steps, and also any
/// disturbance.
const FEW_BLOCKS: [usize; 2] = [2, 6];

/// The variable that tells a process which case to run.
const CASE: &str = "AR_TRAINING_CASE";

/// A network in training.
#[derive(Clone, Copy, Serialize, Deserialize)]
struct Case {
    /// The small preset, or else the published network with that many blocks.
    published_blocks: Option<usize>,
    activation_checkpointing: bool,
}

/// The cost of a case.
#[derive(Clone, Copy, Serialize, Deserialize)]
struct Cost {
    step_seconds: f64,
    checkpoint_seconds: f64,
    checkpoint_bytes: f64,
    /// If known.
    peak_memory_bytes: Option<f64>,
}

/// A line of the table.
#[derive(Serialize)]
struct Row {
    network: &'static str,
    /// Clips and frames of a step.
    batch: [usize; 2],
    activation_checkpointing: bool,
    extrapolated: bool,
    #[serde(flatten)]
    cost: Cost,
}

fn main() {
    ar_cli::run_program(bench);
}

fn bench() {
    if let Ok(case) = env::var(CASE) {
        let case: Case = serde_json::from_str(&case).expect("a case");
        println!(
            "{}",
            serde_json::to_string(&case.measure()).expect("plain data")
        );
        return;
    }
    let mut rows = Vec::new();
    for published in [false, true] {
        for activation_checkpointing in [false, true] {
            let row = row(published, activation_checkpointing);
            println!(
                "training_cost: {}, activation_checkpointing = {activation_checkpointing}: {:.2} s a step",
                row.network, row.cost.step_seconds
            );
            rows.push(row);
        }
    }
    Results::new(env!("CARGO_TARGET_TMPDIR"), "training_cost").write(&rows);
}

fn row(published: bool, activation_checkpointing: bool) -> Row {
    let cost = |published_blocks| {
        let case = Case {
            published_blocks,
            activation_checkpointing,
        };
        case.in_a_process()
    };
    let config = small_diffusion();
    if !published {
        return Row {
            network: "small",
            batch: [config.run.batch_size, config.transformer.num_frames],
            activation_checkpointing,
            extrapolated: false,
            cost: cost(None),
        };
    }
    let network = DitConfig::published();
    Row {
        network: "published",
        batch: [1, network.num_frames],
        activation_checkpointing,
        extrapolated: true,
        cost: extrapolate(FEW_BLOCKS.map(|blocks| cost(Some(blocks))), network.depth),
    }
}

/// The line through the costs of [`FEW_BLOCKS`], at `blocks`.
fn extrapolate([few, more]: [Cost; 2], blocks: usize) -> Cost {
    let share = (blocks - FEW_BLOCKS[0]) as f64 / (FEW_BLOCKS[1] - FEW_BLOCKS[0]) as f64;
    let line = |a: f64, b: f64| a + (b - a) * share;
    Cost {
        step_seconds: line(few.step_seconds, more.step_seconds),
        checkpoint_seconds: line(few.checkpoint_seconds, more.checkpoint_seconds),
        checkpoint_bytes: line(few.checkpoint_bytes, more.checkpoint_bytes),
        peak_memory_bytes: few
            .peak_memory_bytes
            .zip(more.peak_memory_bytes)
            .map(|(few, more)| line(few, more)),
    }
}

impl Case {
    fn in_a_process(self) -> Cost {
        let output = Command::new(env::current_exe().expect("this program"))
            .env(CASE, serde_json::to_string(&self).expect("plain data"))
            .stderr(Stdio::inherit())
            .output()
            .expect("this program starts again");
        assert!(output.status.success(), "a case failed");
        serde_json::from_slice(&output.stdout).expect("what a case says")
    }

    fn config(self) -> DiffusionRun {
        let mut config = small_diffusion();
        config.activation_checkpointing = self.activation_checkpointing;
        config.short_clips = 0.0;
        config.latent_scale = LatentScale::Off;
        if let Some(depth) = self.published_blocks {
            config.transformer = DitConfig {
                depth,
                ..DitConfig::published()
            };
            config.run.batch_size = 1;
        }
        config
    }

    fn measure(self) -> Cost {
        let config = self.config();
        let device = ar_benches::device().autodiff();
        let transformer = Transformer::new(&config.transformer, &config.conditioning, &device);
        let transformer = transformer.expect("a transformer");
        let mut trainer = Trainer::new(transformer, &config.optimizer, 1_000_000);
        let objective = Objective::new(&config, None).expect("an objective");
        let items = clips(&config, &device);
        let frames = config.transformer.num_frames;

        let times = (0..UNTIMED_STEPS + TIMED_STEPS)
            .map(|step| {
                let start = Instant::now();
                let draws = objective.draws(step, [items.len(), frames]);
                objective
                    .accumulate(&mut trainer, &items, &draws)
                    .expect("a loss");
                assert!(trainer.update().gradient_norm.is_finite());
                seconds(start, &device)
            })
            .skip(UNTIMED_STEPS as usize);
        let step_seconds = times.fold(f64::INFINITY, f64::min);
        // Before the checkpoint, which copies the weights.
        let peak_memory_bytes = peak_memory();
        let (checkpoint_seconds, checkpoint_bytes) = checkpoint(&trainer);
        Cost {
            step_seconds,
            checkpoint_seconds,
            checkpoint_bytes,
            peak_memory_bytes,
        }
    }
}

/// A batch of latents.
fn clips(config: &DiffusionRun, device: &Device) -> Vec<LatentItem> {
    let dit = &config.transformer;
    let shape = [dit.num_frames, dit.tokens_per_frame, dit.in_channels];
    (0..config.run.batch_size)
        .map(|_| LatentItem {
            latents: noise(shape, device).into_data().iter::<f32>().collect(),
            shape,
            label: None,
        })
        .collect()
}

/// Seconds for writing a checkpoint's state to the disk, and its size.
fn checkpoint(trainer: &Trainer<Transformer>) -> (f64, f64) {
    let folder = tempfile::tempdir().expect("a folder");
    let start = Instant::now();
    trainer.save(folder.path()).expect("a checkpoint");
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder.path()).expect("a folder") {
        let file = std::fs::File::open(entry.expect("a file").path()).expect("a file");
        file.sync_all().expect("written");
        bytes += file.metadata().expect("a size").len();
    }
    (start.elapsed().as_secs_f64(), bytes as f64)
}

/// The peak resident memory of this process, from Linux.
fn peak_memory() -> Option<f64> {
    memory::peak().map(|bytes| bytes as f64)
}
