//! The command, as a user runs it, with the committed configurations shrunk through `--set`.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "tests say what they skip"
)]

mod damage;
mod data;
mod faults;
mod killed;
#[cfg(feature = "mpi")]
mod mpi;
mod parallel;
mod stages;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use tempfile::TempDir;

const SMALL_VAE: &str = "--set vae.image_size=32 --set vae.patch_size=8 --set vae.channels=[8,8] \
    --set vae.latent_channels=4 \
    --set data.shapes.size=32 --set data.clips=20 --set data.validation=2 \
    --set run.batch_size=2 --set run.log_every=1 --set optimizer.schedule=constant \
    --set run.out=vae";
const SMALL_LATENTS: &str = "--set vae=vae/model --set data.clips=6 --set data.shapes.size=32 \
    --set data.shapes.labels=kind \
    --set data.shapes.frames=3 --set out=latents --set clips_per_shard=4";
const SMALL_DIFFUSION: &str = "--set vae=vae/model --set data.latents=latents \
    --set data.validation=2 --set transformer.num_frames=3 --set transformer.tokens_per_frame=4 --set transformer.in_channels=4 \
    --set transformer.hidden_size=16 --set transformer.num_heads=2 --set transformer.depth=1 \
    --set run.batch_size=2 --set run.log_every=1 --set optimizer.schedule=constant";

/// The folder that commands run in.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn run(&self, arguments: &str) -> Output {
        Command::new(env!("CARGO_BIN_EXE_ar-train"))
            .current_dir(self.0.path())
            .args(arguments.split_whitespace())
            .output()
            .expect("the command starts")
    }

    /// Starts a command that runs in parallel with the test.
    fn start(&self, arguments: &str) -> Child {
        Command::new(env!("CARGO_BIN_EXE_ar-train"))
            .current_dir(self.0.path())
            .args(arguments.split_whitespace())
            .stderr(Stdio::null())
            .spawn()
            .expect("the command starts")
    }

    /// Runs a command that has to succeed, and returns its output.
    #[track_caller]
    fn ok(&self, arguments: &str) -> String {
        let output = self.run(arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{arguments}: {said}");
        said
    }

    /// Runs a command that has to end with status 2 and an error, in one line, that names `what`.
    #[track_caller]
    fn fails(&self, arguments: &str, what: &str) {
        let output = self.run(arguments);
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments}: {error}");
        // In one line, the last one, unless the usage follows.
        let last = error.lines().last().unwrap_or_default();
        assert!(
            last.starts_with("error: ") || last.contains("try '--help'"),
            "{arguments}: {error}"
        );
        assert!(error.contains(what), "{arguments}: {error}");
    }

    /// [`fails`](Self::fails), with a message of a single line.
    #[track_caller]
    fn fails_in_one_line(&self, arguments: &str, what: &str) {
        self.fails(arguments, what);
        let error = self.run(arguments).stderr;
        let error = String::from_utf8_lossy(&error);
        assert_eq!(error.lines().count(), 1, "{arguments}: {error}");
    }

    /// Makes a checkpoint one of an older version, which has no checksums.
    fn make_old(&self, checkpoint: &str) {
        let checkpoint = self.path(checkpoint);
        std::fs::remove_file(checkpoint.join("checksums.txt")).expect("they were kept");
        let state = std::fs::read_to_string(checkpoint.join("state.toml")).expect("a state");
        let state = state.replace("checksums = true\n", "");
        std::fs::write(checkpoint.join("state.toml"), state).expect("written");
    }

    fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).expect(name)
    }
}

fn config(stage: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/shapes");
    format!("--config {}", path.join(format!("{stage}.toml")).display())
}
