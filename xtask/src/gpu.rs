//! `cargo xtask gpu`: all checks and measurements on a GPU, by `ar-gpu`; or, with `--software`, the checks that need no
//! GPU.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use serde_json::Value;

use crate::commands::{executable, succeed};
use crate::workspace::{Workspace, cargo};

/// Features that add devices to look for.
const BACKENDS: [&str; 4] = ["cuda", "vulkan", "wgpu", "metal"];

/// How far a software adapter's results may be from the CPU's; it does not round products.
const SOFTWARE_TOLERANCE: &str = "1e-4";

#[derive(Args)]
pub(crate) struct Options {
    /// Devices, as `ar-sample devices` lists them; only the first one gets all measurements
    #[arg(
        long,
        value_name = "NAME[,NAME..]",
        value_delimiter = ',',
        default_value = "cuda"
    )]
    device: Vec<String>,
    /// Checks a software Vulkan adapter (such as Mesa's lavapipe) through the feature `wgpu` instead: parity with the
    /// CPU, and both programs end to end
    #[arg(long, conflicts_with = "device")]
    software: bool,
    /// Folder to write [default: gpu in cargo's target directory]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Time limit for everything except the build
    #[arg(long, default_value_t = 480)]
    seconds: u64,
    /// Tunes kernels on their first use: takes minutes, but makes long runs faster
    #[arg(long)]
    autotune: bool,
    /// Only builds the program and says where it is, to copy it to a machine without cargo
    #[arg(long)]
    build: bool,
}

pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<ExitCode> {
    let out = options.out.clone();
    let out = out.unwrap_or_else(|| workspace.target.join("gpu"));
    if options.software {
        return software(workspace, &out);
    }
    let backends = options.device.iter().map(|device| {
        let backend = device.split(':').next().unwrap_or_default();
        ensure!(
            BACKENDS.contains(&backend),
            "'{device}' is no GPU: one of {}, with :index where there are several",
            BACKENDS.join(", ")
        );
        Ok(backend)
    });
    let backends = backends.collect::<Result<Vec<_>>>()?.join(",");
    let autotune = if options.autotune { ",autotune" } else { "" };
    let features = format!("flex,{backends}{autotune}");
    let mut build = cargo();
    build
        .current_dir(&workspace.root)
        .env("AR_COMMIT", workspace.commit()?);
    build.args([
        "build",
        "--release",
        "--package",
        "ar-benches",
        "--bin",
        "ar-gpu",
    ]);
    succeed(build.args(["--no-default-features", "--features", &features]))?;
    let program = workspace.target.join("release").join(executable("ar-gpu"));
    if options.build {
        println!("{}", program.display());
        return Ok(ExitCode::SUCCESS);
    }
    let mut command = Command::new(program);
    command
        .args(["--device", &options.device.join(",")])
        .args(["--seconds", &options.seconds.to_string()])
        .arg("--out")
        .arg(&out)
        .arg("--pytorch")
        .arg(workspace.root.join("benches/pytorch/gpu.py"));
    let status = command.status().context("ar-gpu")?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Parity by `ar-gpu`, then training and sampling by the commands.
fn software(workspace: &Workspace, out: &Path) -> Result<ExitCode> {
    let mut build = cargo();
    build.current_dir(&workspace.root);
    build.args(["build", "--package", "ar-benches", "--bin", "ar-gpu"]);
    for package in crate::commands::COMMANDS {
        build.args(["--package", package, "--bin", package]);
    }
    // Without autotuning, which takes minutes per operation on a software adapter.
    build.args(["--no-default-features", "--features", "flex,wgpu"]);
    succeed(&mut build)?;
    let program = |name: &str| Command::new(workspace.target.join("debug").join(executable(name)));

    let devices = program("ar-sample").arg("devices").output()?;
    let devices = String::from_utf8_lossy(&devices.stdout).into_owned();
    print!("{devices}");
    if !devices.lines().any(|line| line.starts_with("wgpu")) {
        println!(
            "skipped: this machine has no Vulkan adapter; on Debian, mesa-vulkan-drivers brings a \
             software one"
        );
        return Ok(ExitCode::SUCCESS);
    }
    if out.exists() {
        std::fs::remove_dir_all(out)?;
    }
    std::fs::create_dir_all(out)?;
    let mut parity = program("ar-gpu");
    parity.args(["--device", "wgpu", "--parts", "device,parity"]);
    parity.args(["--tolerance", SOFTWARE_TOLERANCE, "--seconds", "3600"]);
    let parity = parity.arg("--out").arg(out).status()?.success();

    let commands = end_to_end(workspace, out);
    if let Err(error) = &commands {
        println!("{error:#}");
    }
    Ok(if parity && commands.is_ok() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Trains a tokenizer and a transformer on both devices from the same weights, with the users' commands, and samples
/// from them. (Freshly initialised weights are drawn on the device, and differ.)
fn end_to_end(workspace: &Workspace, out: &Path) -> Result<()> {
    let program = |name: &str| Command::new(workspace.target.join("debug").join(executable(name)));
    let run = |command: &mut Command| -> Result<()> {
        let status = command.stdout(Stdio::null()).status()?;
        ensure!(status.success(), "{command:?} ended with {status}");
        Ok(())
    };
    let first = out.join("first");
    let stages = |folder: &Path, device: &str, settings: &[&str]| -> Result<()> {
        std::fs::create_dir_all(folder)?;
        for (stage, config) in [("vae", VAE), ("latents", LATENTS), ("diffusion", DIFFUSION)] {
            let file = folder.join(format!("{stage}.toml"));
            let config = config
                .replace("FOLDER", &folder.display().to_string())
                .replace("FIRST", &first.display().to_string());
            std::fs::write(&file, config)?;
            let mut train = program("ar-train");
            train
                .args([stage, "--device", device, "--config"])
                .arg(&file);
            if stage != "latents" {
                for setting in settings {
                    train.args(["--set", setting]);
                }
                if folder != first {
                    let start = first.join(stage).join("model");
                    train.args(["--set", &format!("start_from={}", start.display())]);
                }
            }
            run(&mut train)?;
        }
        Ok(())
    };
    stages(&first, "cpu", &["run.steps=1"])?;
    let mut losses = Vec::new();
    for device in ["cpu", "wgpu"] {
        let folder = out.join(device);
        stages(&folder, device, &[])?;
        run(program("ar-sample")
            .args([
                "generate", "--device", device, "--frames", "6", "--steps", "3",
            ])
            .args(["--ar-step", "1", "--model"])
            .arg(folder.join("diffusion/model"))
            .arg("--out")
            .arg(folder.join("video.mp4")))?;
        let mut of_device = Vec::new();
        for stage in ["vae", "diffusion"] {
            let metrics = std::fs::read_to_string(folder.join(stage).join("metrics.jsonl"))?;
            of_device.extend(values(&metrics, "loss"));
        }
        println!("{device}: trained and sampled; losses {of_device:?}");
        losses.push(of_device);
    }
    ensure!(
        losses[0].len() == losses[1].len() && losses[0].len() == 4 + 10,
        "some losses were not logged"
    );
    for (cpu, gpu) in losses[0].iter().zip(&losses[1]) {
        if (cpu - gpu).abs() > 1e-4 * cpu.abs() {
            bail!("losses differ: {cpu} on the CPU, {gpu} on the software adapter");
        }
    }
    Ok(())
}

/// The values of one key in lines of JSON.
fn values(lines: &str, key: &str) -> Vec<f64> {
    let value = |line| serde_json::from_str::<Value>(line).ok()?[key].as_f64();
    lines.lines().filter_map(value).collect()
}

const VAE: &str = r#"
[vae]
kind = "conv"
image_size = 32
patch_size = 4
channels = [8, 16]
latent_channels = 4
[data]
clips = 8
validation = 2
[data.shapes]
size = 32
frames = 1
[run]
out = "FOLDER/vae"
steps = 4
batch_size = 2
log_every = 1
"#;

const LATENTS: &str = r#"
vae = "FIRST/vae/model"
out = "FOLDER/latents"
[data]
clips = 8
[data.shapes]
size = 32
frames = 4
"#;

const DIFFUSION: &str = r#"
vae = "FIRST/vae/model"
[data]
latents = "FOLDER/latents"
validation = 2
[run]
out = "FOLDER/diffusion"
steps = 10
batch_size = 2
log_every = 1
[transformer]
num_frames = 4
tokens_per_frame = 16
in_channels = 4
hidden_size = 32
depth = 2
num_heads = 2
causal_mask = "temporal_causal"
context_tokens = 2
context_dim = 8
"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_by_their_key() {
        let lines = "{\"step\":1,\"loss\":0.5}\n{\"step\":1,\"lr\":1}\n{\"loss\":0.25}\n";
        assert_eq!(values(lines, "loss"), [0.5, 0.25]);
    }
}
