//! Properties that must hold for any input: the bodies of property tests here, and of the fuzz targets in `fuzz`.

use std::fs;
use std::path::Path;
use std::rc::Rc;
use std::sync::OnceLock;

use ar_train::checkpoint::{CheckpointState, Checkpointed, Checkpoints};
use ar_train::config::{OptimizerConfig, RunConfig};
use ar_train::log::{Log, Silent};
use ar_train::trainer::Trainer;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::{Device, Tensor};

/// The files of a checkpoint, except its checksums.
pub(crate) const FILES: [&str; 5] = [
    "state.toml",
    "config.toml",
    "weights.bpk",
    "average.bpk",
    "optimizer.bpk",
];

/// The step of the checkpoint, and of the log.
const STEP: usize = 2;

/// The contents of the [`FILES`] of a small checkpoint.
pub(crate) fn whole() -> &'static [Vec<u8>; 5] {
    static WHOLE: OnceLock<[Vec<u8>; 5]> = OnceLock::new();
    WHOLE.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let mut trainer = trainer();
        for _ in 0..STEP {
            take_step(&mut trainer);
        }
        let state = CheckpointState {
            position: trainer.position,
            clips: Some(6),
            seed: Some(7),
            ..CheckpointState::default()
        };
        let checkpoints = Checkpoints::new(folder.path());
        let saved = checkpoints.save(&trainer, &state, "[run]\nsteps = 9\n");
        saved.expect("a checkpoint");
        let path = checkpoints.newest().expect("a list").expect("a checkpoint");
        // As an older version has written it, whose checkpoints have no checksums.
        let state = fs::read_to_string(path.join("state.toml")).expect("text");
        let state = state.replace("checksums = true\n", "");
        fs::write(path.join("state.toml"), state).expect("written");
        FILES.map(|name| fs::read(path.join(name)).expect(name))
    })
}

fn trainer() -> Trainer<Linear> {
    let device = Device::flex().autodiff();
    let network = LinearConfig::new(3, 2).init(&device);
    Trainer::new(network, &OptimizerConfig::default(), 9)
}

fn take_step(trainer: &mut Trainer<Linear>) {
    let input = Tensor::<2>::ones([1, 3], &Device::flex().autodiff());
    let loss = trainer.model().forward(input).square().mean();
    trainer.accumulate(loss, 1.0);
    trainer.update();
}

/// A checkpoint without checksums, in which one of the [`FILES`] has any contents, can be resumed or is an error.
pub(crate) fn checkpoint(file: usize, bytes: &[u8]) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join(format!("checkpoints/step-{STEP:08}"));
    fs::create_dir_all(&path).expect("a folder");
    for (number, (name, contents)) in FILES.iter().zip(whole()).enumerate() {
        let contents = if number == file { bytes } else { contents };
        fs::write(path.join(name), contents).expect("a file");
    }
    let newest = Checkpoints::new(folder.path()).newest_whole(&mut Vec::new());
    let Ok(Some(newest)) = newest else {
        return;
    };
    let state = CheckpointState::read(&newest).expect("it was read before");
    let mut trainer = trainer();
    if trainer.load(&newest, state.position).is_ok() {
        assert_eq!(trainer.step(), STEP);
        take_step(&mut trainer);
    }
}

/// A log with any contents is continued and drawn, or is an error; its earlier steps are kept.
pub(crate) fn log(bytes: &[u8]) {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("metrics.jsonl"), bytes).expect("a file");
    let open = |folder: &Path| {
        let config = RunConfig {
            out: folder.to_owned(),
            ..RunConfig::default()
        };
        Log::open(&config, 1, STEP, Rc::new(Silent))
    };
    let Ok(log) = open(folder.path()) else {
        return;
    };
    let kept = || fs::read(folder.path().join("metrics.jsonl")).expect("the log");
    let before = kept();
    log.has(STEP, "loss").expect("what was read before");
    // An error if its contents cannot be drawn.
    let _ = log.draw_curves();
    drop(log);
    open(folder.path()).expect("what was written");
    assert_eq!(kept(), before);
}
