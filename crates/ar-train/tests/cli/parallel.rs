//! Steps that several devices share.

use serde_json::Value;

use super::{Folder, SMALL_DIFFUSION, SMALL_LATENTS, SMALL_VAE, config};

/// `names` of each line of losses of the run in `folder`.
pub(crate) fn metrics(folder: &Folder, run: &str, names: &[&str]) -> Vec<Vec<f64>> {
    let text = String::from_utf8(folder.read(&format!("{run}/metrics.jsonl"))).expect("text");
    let lines = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"));
    lines
        .filter(|line: &Value| line.get("loss").is_some())
        .map(|line| {
            let value = |&name: &&str| line[name].as_f64().unwrap_or_else(|| panic!("no {name}"));
            names.iter().map(value).collect()
        })
        .collect()
}

/// Runs have the same losses and gradients up to rounding, which training amplifies.
#[track_caller]
pub(crate) fn assert_same(folder: &Folder, [one, other]: [&str; 2], steps: usize, names: &[&str]) {
    let [ours, theirs] = [one, other].map(|run| metrics(folder, run, names));
    assert_eq!([ours.len(), theirs.len()], [steps; 2]);
    for (a, b) in ours.concat().iter().zip(theirs.concat()) {
        assert!((a / b - 1.0).abs() < 1e-3, "{ours:?} and {theirs:?}");
    }
}

/// A tokenizer and latents from it.
pub(crate) fn latents() -> Folder {
    let folder = Folder::new();
    folder.ok(&format!(
        "vae {} {SMALL_VAE} --set run.steps=2",
        config("vae")
    ));
    folder.ok(&format!("latents {} {SMALL_LATENTS}", config("latents")));
    folder
}

#[test]
fn devices_share_the_clips_of_a_step() {
    let folder = latents();
    let diffusion = format!("diffusion {} {SMALL_DIFFUSION}", config("diffusion"));
    let vae = format!("vae {} {SMALL_VAE}", config("vae"));
    for (stage, settings) in [
        (
            &diffusion,
            "--set conditioning.classes=3 --set context_dropout=0.3",
        ),
        (
            &diffusion,
            "--set activation_checkpointing=true --set precision=bf16",
        ),
        (
            &vae,
            "--set loss.sample_posterior=true --set loss.foreground=0",
        ),
        (
            &vae,
            "--set loss.foreground=0 --set activation_checkpointing=true --set precision=bf16",
        ),
    ] {
        for (run, device) in [("one", "cpu"), ("three", "cpu,cpu,cpu")] {
            folder.ok(&format!(
                "{stage} {settings} --set run.steps=6 --set run.batch_size=4 \
                 --set run.accumulate=2 --set run.out={run} --device {device}"
            ));
        }
        assert_same(&folder, ["one", "three"], 6, &["loss", "gradient_norm"]);
        for run in ["one", "three"] {
            std::fs::remove_dir_all(folder.path(run)).expect("removed");
        }
    }
    folder.fails(
        &format!("{vae} --set run.out=none --set discriminator.start_step=5 --device cpu,cpu"),
        "the discriminator trains on one device",
    );
    folder.fails(
        &format!("latents {} --device cpu,cpu", config("latents")),
        "--part",
    );
}

/// Each of them would consider the folder of the run its own.
#[cfg(not(feature = "mpi"))]
#[test]
fn processes_that_do_not_know_each_other_are_refused() {
    let folder = Folder::new();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_ar-train"))
        .current_dir(folder.path(""))
        .env("OMPI_COMM_WORLD_SIZE", "2")
        .args(format!("vae {} {SMALL_VAE}", config("vae")).split_whitespace())
        .output()
        .expect("the command starts");
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(error.contains("--features mpi"), "{error}");
}
