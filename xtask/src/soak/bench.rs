//! A small run of every stage to cause faults in.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::workspace::Workspace;

/// No command here takes longer, unless it hangs.
const PATIENCE: Duration = Duration::from_secs(180);

const VAE: &str = "--set vae.image_size=32 --set vae.patch_size=8 --set vae.channels=[8,8] \
    --set vae.latent_channels=4 --set data.shapes.size=32 --set data.clips=20 \
    --set data.validation=2 --set run.batch_size=2 --set run.log_every=1 \
    --set optimizer.schedule=constant";
const LATENTS: &str = "--set vae=vae/model --set data.clips=6 --set data.shapes.size=32 \
    --set data.shapes.labels=kind --set data.shapes.frames=3 --set clips_per_shard=4";
const DIFFUSION: &str = "--set vae=vae/model --set data.latents=latents --set data.validation=2 \
    --set transformer.num_frames=3 --set transformer.tokens_per_frame=4 \
    --set transformer.in_channels=4 --set transformer.hidden_size=16 \
    --set transformer.num_heads=2 --set transformer.depth=1 --set run.batch_size=2 \
    --set run.log_every=1 --set optimizer.schedule=constant";

/// The commands, and a folder with a run of every stage in which they run.
pub(super) struct Bench {
    commands: PathBuf,
    /// The workspace.
    pub root: PathBuf,
    configs: PathBuf,
    pub folder: PathBuf,
}

/// How a command ended.
pub(super) struct End {
    /// None if it hung and was killed.
    pub status: Option<ExitStatus>,
    pub stderr: String,
}

impl End {
    pub(super) fn code(&self) -> Option<i32> {
        self.status.and_then(|status| status.code())
    }

    /// What must never happen: a panic, a signal, or no end.
    pub(super) fn crash(&self) -> Option<String> {
        match (self.status, self.code()) {
            (None, _) => Some("it hangs".into()),
            (Some(status), None) => Some(format!("{status}")),
            (_, Some(101)) => Some(format!("it panics: {}", self.stderr)),
            _ if self.stderr.contains("panicked at") => Some(self.stderr.clone()),
            _ => None,
        }
    }
}

impl Bench {
    pub(super) fn set_up(workspace: &Workspace, commands: PathBuf) -> Result<Self> {
        let folder = workspace.target.join("soak");
        if folder.exists() {
            fs::remove_dir_all(&folder).with_context(|| folder.display().to_string())?;
        }
        fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        let bench = Self {
            commands,
            root: workspace.root.clone(),
            configs: workspace.root.join("crates/ar-train/configs/shapes"),
            folder,
        };
        for line in [
            bench.vae("vae", 3),
            bench.latents("latents"),
            bench.diffusion("run", 3),
        ] {
            bench.ok(&line)?;
        }
        Ok(bench)
    }

    pub(super) fn tear_down(&self) -> Result<()> {
        fs::remove_dir_all(&self.folder).with_context(|| self.folder.display().to_string())
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// A stage of tokenizer training, with a checkpoint after every step.
    pub(super) fn vae(&self, out: &str, steps: usize) -> String {
        format!(
            "ar-train vae --config {} {VAE} --set run.out={out} --set run.steps={steps} \
             --set run.checkpoint_every=1 --set run.keep_checkpoints=3",
            self.configs.join("vae.toml").display()
        )
    }

    pub(super) fn latents(&self, out: &str) -> String {
        format!(
            "ar-train latents --config {} {LATENTS} --set out={out}",
            self.configs.join("latents.toml").display()
        )
    }

    pub(super) fn diffusion(&self, out: &str, steps: usize) -> String {
        format!(
            "ar-train diffusion --config {} {DIFFUSION} --set run.out={out} \
             --set run.steps={steps} --set run.checkpoint_every=1 --set run.keep_checkpoints=3 \
             --set latent_scale=channel",
            self.configs.join("diffusion.toml").display()
        )
    }

    /// Samples from the model of the run.
    pub(super) fn sample(&self, arguments: &str) -> String {
        format!("ar-sample --model run/model --steps 4 --ar-step 2 --quiet {arguments}")
    }

    pub(super) fn command(&self, line: &str) -> Command {
        let mut words = line.split_whitespace();
        let mut command = Command::new(self.commands.join(words.next().unwrap_or_default()));
        command.args(words).current_dir(&self.folder);
        command
    }

    /// A shell command line, in which `$AR` is the folder of the commands.
    pub(super) fn shell(&self, line: &str) -> Command {
        let mut command = Command::new("bash");
        command
            .args(["-c", line])
            .current_dir(&self.folder)
            .env("AR", &self.commands);
        command
    }

    pub(super) fn run(&self, line: &str) -> Result<End> {
        end(self.command(line))
    }

    pub(super) fn ok(&self, line: &str) -> Result<End> {
        let end = self.run(line)?;
        ensure!(end.code() == Some(0), "{line}: {}", end.stderr);
        Ok(end)
    }

    /// Copies a folder, replacing an older copy.
    pub(super) fn copy(&self, from: &str, to: &str) -> Result<PathBuf> {
        let [from, to] = [from, to].map(|name| self.path(name));
        if to.exists() {
            fs::remove_dir_all(&to).with_context(|| to.display().to_string())?;
        }
        copy(&from, &to).with_context(|| from.display().to_string())?;
        Ok(to)
    }
}

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// Runs a command to its end.
pub(super) fn end(mut command: Command) -> Result<End> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut stderr = child.stderr.take().context("a pipe")?;
    let reader = thread::spawn(move || {
        let mut bytes = Vec::new();
        stderr.read_to_end(&mut bytes).map(|_| bytes)
    });
    let status = wait(&mut child)?;
    let stderr = reader.join().ok().and_then(Result::ok).unwrap_or_default();
    Ok(End {
        status,
        stderr: String::from_utf8_lossy(&stderr).into_owned(),
    })
}

/// Waits for the end of a process; None if it hangs and is killed.
pub(super) fn wait(child: &mut Child) -> Result<Option<ExitStatus>> {
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        sleep(Duration::from_millis(2));
    }
    child.kill()?;
    child.wait()?;
    Ok(None)
}
