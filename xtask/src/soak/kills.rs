//! SIGKILL at random moments.

use std::fs;
use std::process::Stdio;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::bench::Bench;
use super::counts::Counts;

const STEPS: usize = 60;
/// With more kills than this, the run makes no progress.
const MOST_KILLS: usize = 200;

/// Trains in one go and with kills, both stages, and compares the models.
pub(super) fn round(bench: &Bench, random: &mut ChaCha8Rng, counts: &mut Counts) -> Result<()> {
    let (stage, weights): (fn(&Bench, &str, usize) -> String, _) = if random.random_bool(0.5) {
        (Bench::vae, "model/vae.safetensors")
    } else {
        (Bench::diffusion, "model/transformer.safetensors")
    };
    for out in ["whole", "killed"] {
        let path = bench.path(out);
        if path.exists() {
            fs::remove_dir_all(path)?;
        }
    }
    bench.ok(&stage(bench, "whole", STEPS))?;
    let line = format!("{} --resume", stage(bench, "killed", STEPS));
    let mut kills = 0;
    loop {
        let mut child = bench
            .command(&line)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        // From before the run opens its folder to after some steps.
        sleep(Duration::from_millis(random.random_range(0..1000)));
        if let Some(status) = child.try_wait()? {
            if !status.success() {
                let end = bench.run(&line)?;
                counts.fail(format!(
                    "kills: a resumed run ends with {status}: {}",
                    end.stderr
                ));
            }
            break;
        }
        child.kill()?;
        child.wait()?;
        kills += 1;
        counts.add("training killed");
        if kills > MOST_KILLS {
            counts.fail("kills: no progress");
            return Ok(());
        }
    }
    let read = |run: &str| {
        let path = bench.path(run).join(weights);
        fs::read(&path).with_context(|| path.display().to_string())
    };
    if read("whole")? == read("killed")? {
        counts.add("killed runs that ended bit-identical");
    } else {
        counts.fail(format!("kills: {weights} differs after {kills} kills"));
    }
    Ok(())
}
