//! Runs of several processes, if there is an `mpirun`.

use std::process::{Command, Output};

use super::parallel::{assert_same, latents};
use super::{Folder, SMALL_DIFFUSION, SMALL_VAE, config};

/// Whether processes can be started together; prints a note if not.
fn is_there() -> bool {
    let found = Command::new("mpirun").arg("--version").output().is_ok();
    if !found {
        eprintln!("no mpirun: runs of several processes are not tested");
    }
    found
}

/// Starts processes together, one for each of the arguments.
fn mpirun(folder: &Folder, processes: &[&str]) -> Output {
    let mut command = Command::new("mpirun");
    command
        .current_dir(folder.0.path())
        // Containers have one user and few cores.
        .env("OMPI_ALLOW_RUN_AS_ROOT", "1")
        .env("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1")
        .arg("--oversubscribe");
    for (number, arguments) in processes.iter().enumerate() {
        if number > 0 {
            command.arg(":");
        }
        command
            .args(["-n", "1", env!("CARGO_BIN_EXE_ar-train")])
            .args(arguments.split_whitespace());
    }
    command.output().expect("mpirun starts")
}

#[track_caller]
fn ok(folder: &Folder, processes: &[&str]) {
    let output = mpirun(folder, processes);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{processes:?}: {errors}");
}

#[test]
fn two_processes_train_like_one_with_twice_the_batch() {
    if !is_there() {
        return;
    }
    let folder = latents();
    let stage = format!(
        "diffusion {} {SMALL_DIFFUSION} --set conditioning.classes=3 --set context_dropout=0.3 --set short_clips=0.3 \
         --set run.accumulate=2 --set run.eval_every=3 --set run.checkpoint_every=2",
        config("diffusion")
    );
    let names = ["loss", "gradient_norm"];
    folder.ok(&format!(
        "{stage} --set run.out=one --set run.steps=8 --set run.batch_size=4"
    ));
    let two = format!("{stage} --set run.out=two --set run.steps=8 --set run.batch_size=2");
    ok(&folder, &[&two, &two]);
    assert_same(&folder, ["one", "two"], 8, &names);

    let first = format!("{stage} --set run.out=resumed --set run.steps=3 --set run.batch_size=2");
    ok(&folder, &[&first, &first]);
    let rest =
        format!("{stage} --set run.out=resumed --set run.steps=8 --set run.batch_size=2 --resume");
    ok(&folder, &[&rest, &rest]);
    let file = "model/transformer.safetensors";
    let [two, resumed] = ["two", "resumed"].map(|run| folder.read(&format!("{run}/{file}")));
    assert!(two == resumed, "{file} differs after resuming");
}

#[test]
fn two_processes_train_a_tokenizer_and_its_discriminator() {
    if !is_there() {
        return;
    }
    let folder = Folder::new();
    // Batches of two each way: batch norm and the adaptive weight look at a batch as a whole.
    let stage = format!(
        "vae {} {SMALL_VAE} --set run.steps=6 --set discriminator.start_step=2 \
         --set discriminator.filters=4 --set discriminator.layers=2 \
         --set loss.sample_posterior=true",
        config("vae")
    );
    folder.ok(&format!("{stage} --set run.out=one --set run.accumulate=2"));
    let two = format!("{stage} --set run.out=two");
    ok(&folder, &[&two, &two]);
    assert_same(&folder, ["one", "two"], 6, &["loss", "gradient_norm"]);
}

#[test]
fn a_process_that_fails_ends_the_others() {
    if !is_there() {
        return;
    }
    let folder = Folder::new();
    let stage = format!("vae {} {SMALL_VAE} --set run.steps=4", config("vae"));
    for (other, what) in [
        (
            "--set optimizer.epsilon=1e-7",
            "configuration of this process differs",
        ),
        ("--set vae.image_size=64", "vae.image_size = 64"),
    ] {
        let output = mpirun(&folder, &[&stage, &format!("{stage} {other}")]);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{errors}");
        assert!(
            errors.contains("process 2 of 2") && errors.contains(what),
            "{errors}"
        );
        assert!(!folder.path("vae/model").exists());
    }
}
