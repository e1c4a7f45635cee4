//! Runs that are killed at any moment and resumed.

use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use ar_model::{Transformer, VAE_KEYS};
use ar_train::config::{DiffusionRun, VaeRun};
use ar_train::vae::PatchGan;
use ar_weights::{Precision, save_weights};
use burn::module::Module;
use burn::store::ModuleRecord;
use burn::tensor::Device;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::de::DeserializeOwned;

use super::{Folder, SMALL_DIFFUSION, SMALL_LATENTS, SMALL_VAE, config};

const STEPS: usize = 24;
/// Number of steps that both runs then take undisturbed: their weights stay equal only if their
/// optimizers were equal, too.
const MORE: usize = 2;
const SETTINGS: &str = "--set run.steps=24 --set run.checkpoint_every=2 --set run.accumulate=2 \
    --set run.eval_every=6";

/// The step of the newest complete checkpoint.
fn newest(run: &Path) -> Option<usize> {
    let entries = std::fs::read_dir(run.join("checkpoints")).ok()?;
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names
        .filter_map(|name| name.strip_prefix("step-")?.parse().ok())
        .max()
}

/// Runs `stage` once to its end and once with SIGKILL again and again, each time at a random moment
/// after some progress. Both leave their last checkpoint, for comparison.
fn run_killed(folder: &Folder, stage: &str, seed: u64) -> [PathBuf; 2] {
    let stage = format!("{stage} {SETTINGS}");
    folder.ok(&format!("{stage} --set run.out=whole"));

    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let run = folder.path("killed");
    let mut kills = 0;
    while newest(&run) != Some(STEPS) {
        let before = newest(&run);
        let mut child = folder.start(&format!("{stage} --set run.out=killed --resume"));
        while newest(&run) == before && child.try_wait().expect("a child").is_none() {
            sleep(Duration::from_millis(1));
        }
        sleep(Duration::from_micros(random.random_range(0..40_000)));
        if child.try_wait().expect("a child").is_none() {
            child.kill().expect("killed");
            kills += 1;
        }
        child.wait().expect("its status");
        assert!(newest(&run) > before, "no progress after {before:?}");
    }
    assert!(kills > 1, "it was killed {kills} times only");
    // The last one may have been killed before it wrote the model.
    folder.ok(&format!("{stage} --set run.out=killed --resume"));

    let metrics = String::from_utf8(folder.read("killed/metrics.jsonl")).expect("text");
    let steps: Vec<u64> = metrics
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"))
        .filter(|line| line.get("loss").is_some())
        .map(|line| line["step"].as_u64().expect("a step"))
        .collect();
    assert!(steps.iter().copied().eq(1..=STEPS as u64), "{steps:?}");
    ["whole", "killed"].map(|run| {
        let end = STEPS + MORE;
        folder.ok(&format!(
            "{stage} --set run.out={run} --set run.steps={end} --resume"
        ));
        folder.path(&format!("{run}/checkpoints/step-{end:08}"))
    })
}

/// All weights in `path`, without the ids of parameters, which differ between processes.
fn weights<M: Module>(network: M, path: &Path) -> Vec<u8> {
    let record = ModuleRecord::load(path).expect("a record");
    let network = network.try_load_record(record).expect("the network's");
    let file = path.with_extension("safetensors");
    save_weights(&network, &file, VAE_KEYS, Precision::Full).expect("written");
    std::fs::read(file).expect("read")
}

fn check<M: Module>([whole, killed]: &[PathBuf; 2], file: &str, network: impl Fn() -> M) {
    let [whole, killed] = [whole, killed].map(|folder| weights(network(), &folder.join(file)));
    assert!(!whole.is_empty() && whole == killed, "{file} differs");
}

fn read_config<C: DeserializeOwned>(checkpoint: &Path) -> C {
    let text = std::fs::read_to_string(checkpoint.join("config.toml")).expect("text");
    toml::from_str(&text).expect("a configuration")
}

#[test]
fn a_killed_vae_stage_ends_bit_identical() {
    let folder = Folder::new();
    let stage = format!(
        "vae {} {SMALL_VAE} --set discriminator.start_step=5 --set discriminator.filters=4 \
         --set discriminator.layers=2",
        config("vae")
    );
    let ends = run_killed(&folder, &stage, 1);
    let device = Device::flex();
    let config: VaeRun = read_config(&ends[0]);
    for file in ["weights.bpk", "average.bpk"] {
        check(&ends, file, || config.vae.init(&device).expect("a network"));
    }
    let discriminator = config.discriminator.expect("a discriminator");
    check(&ends, "discriminator/weights.bpk", || {
        PatchGan::new(&discriminator, &device)
    });
}

#[test]
fn a_killed_diffusion_stage_ends_bit_identical() {
    let folder = Folder::new();
    folder.ok(&format!(
        "vae {} {SMALL_VAE} --set run.steps=1",
        config("vae")
    ));
    folder.ok(&format!("latents {} {SMALL_LATENTS}", config("latents")));
    let stage = format!(
        "diffusion {} {SMALL_DIFFUSION} --set activation_checkpointing=true",
        config("diffusion")
    );
    let ends = run_killed(&folder, &stage, 2);
    let config: DiffusionRun = read_config(&ends[0]);
    for file in ["weights.bpk", "average.bpk"] {
        check(&ends, file, || {
            Transformer::new(&config.transformer, &config.conditioning, &Device::flex())
                .expect("a network")
        });
    }
}
