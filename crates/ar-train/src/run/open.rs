//! How a run starts: from the beginning, or from a checkpoint that all of its processes agree on.

use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use ar_files::{FolderLock, MOST_TEXT, read_text, write_atomically};
use ar_model::check_directory;
use crc32c::crc32c;

use super::{Run, StageOptions, model_dir};
use crate::checkpoint::{CANNOT_RESUME, CheckpointState, Checkpoints};
use crate::config::StageConfig;
use crate::error::{BoxError, ConfigError, Error, Result, ensure_config};
use crate::group::Group;
use crate::log::Log;
use crate::resume::changes;
use crate::trainer::Position;

/// The file that says which process is working in the folder.
const LOCK: &str = ".lock";

impl Run {
    /// Opens the folder of a run and writes the resolved configuration. A resumed run starts at its newest checkpoint
    /// that is not damaged. All processes of `group` open it.
    ///
    /// # Errors
    /// If the folder cannot be written, another process is working in it, it contains a run that is not to be resumed
    /// or only damaged checkpoints, a key changed that must not change, or the processes do not have the same
    /// configuration and checkpoint.
    pub fn open<C: StageConfig>(
        stage: &C,
        group: Rc<dyn Group>,
        options: &StageOptions,
    ) -> Result<Self> {
        Self::open_on_latents(stage, None, group, options)
    }

    /// [`Self::open`] for a run on latents of the VAE with the checksum `vae`, which it keeps.
    ///
    /// # Errors
    /// As [`Self::open`], and if the run has trained on latents of another VAE.
    pub fn open_on_latents<C: StageConfig>(
        stage: &C,
        vae: Option<String>,
        group: Rc<dyn Group>,
        options: &StageOptions,
    ) -> Result<Self> {
        let resume = options.resume;
        let config = stage.run();
        for (key, value) in [
            ("steps", config.steps),
            ("batch_size", config.batch_size),
            ("accumulate", config.accumulate),
            ("log_every", config.log_every),
            ("keep_checkpoints", config.keep_checkpoints),
        ] {
            ensure_config!(
                value > 0,
                [format!("run.{key}")],
                "run.{key} is 0; it must be at least 1"
            );
        }
        let out = &config.out;
        let resolved = toml::to_string(stage).expect("a configuration is TOML");
        let checkpoints = Checkpoints::new(out);
        let Opened {
            lock,
            newest,
            notes,
            is_other_loss,
        } = if group.is_leader() {
            open_folder(stage, vae.as_deref(), resume, &checkpoints, &resolved)?
        } else {
            Opened::default()
        };
        let newest = agree(&*group, newest, &checkpoints, &resolved)?;
        let newest = newest
            .map(|folder| Ok::<_, Error>((folder.clone(), CheckpointState::read(&folder)?)))
            .transpose()?;
        let position = newest
            .as_ref()
            .map_or_else(Position::default, |(_, state)| state.position);
        let clips = newest.as_ref().map_or(0, |(_, state)| state.clips(config));
        let first_loss = newest.as_ref().and_then(|(_, state)| state.first_loss);
        let first_loss = first_loss.filter(|_| !is_other_loss);
        let log = if group.is_leader() {
            let clips_per_step = config.clips_per_step() * group.size();
            let observer = options.observer.clone();
            Some(Log::open(config, clips_per_step, position.step, observer)?)
        } else {
            None
        };
        let run = Self {
            config: config.clone(),
            resolved,
            max_skipped: stage.max_skipped(),
            interrupter: options.interrupter.clone(),
            interrupted: false,
            group,
            checkpoints,
            _lock: lock,
            // It is not yet known whether its next steps are finite.
            unproven: newest.is_some(),
            first_loss,
            exploded: 0,
            vae,
            resumed_at: newest.as_ref().map(|(_, state)| state.position.step),
            newest,
            log,
            position,
            clips,
        };
        match &run.newest {
            Some((folder, _)) => run.line(format!("resuming from {}", folder.display())),
            None if resume => run.line(format!(
                "no checkpoint in {}: starting at step 0",
                run.config.out.display()
            )),
            None => {}
        }
        for note in notes {
            run.line(note);
        }
        Ok(run)
    }
}

/// What the leader finds in the folder of a run.
#[derive(Default)]
struct Opened {
    lock: Option<FolderLock>,
    /// The checkpoint to continue from.
    newest: Option<PathBuf>,
    /// Messages for the user.
    notes: Vec<String>,
    /// Whether the loss is made up otherwise than before.
    is_other_loss: bool,
}

/// Opens the folder of `stage`, which gets its resolved configuration.
fn open_folder<C: StageConfig>(
    stage: &C,
    vae: Option<&str>,
    resume: bool,
    checkpoints: &Checkpoints,
    resolved: &str,
) -> Result<Opened> {
    let out = &stage.run().out;
    let cannot_use = |error: BoxError| {
        ConfigError::new(["run.out"], format!("run.out = {}", out.display())).because(error)
    };
    let newest = checkpoints
        .newest()
        .map_err(|error| cannot_use(error.into()))?;
    ensure_config!(
        newest.is_none() || resume,
        ["run.out"],
        "{} holds a run already: continue with --resume, or choose another folder with \
         `--set run.out=FOLDER`",
        out.display()
    );
    fs::create_dir_all(out).map_err(|error| cannot_use(error.into()))?;
    let lock = FolderLock::take(out, LOCK).map_err(|error| cannot_use(error.into()))?;
    check_directory(model_dir(stage.run())).map_err(|error| cannot_use(error.into()))?;
    // Another process may have written one by now.
    let mut notes = Vec::new();
    let mut is_other_loss = false;
    let newest = checkpoints.newest_whole(&mut notes)?;
    if let Some(checkpoint) = &newest {
        // Not the configuration in the run's folder, which a start that reached no checkpoint has overwritten.
        let path = checkpoint.join("config.toml");
        let before =
            read_text(&path, MOST_TEXT).map_err(Error::checkpoint(CANNOT_RESUME, &path))?;
        let changed = changes(&before, stage).map_err(|error| {
            let message = format!("cannot resume the run in {}", out.display());
            ConfigError::new(error.keys(), message).because(error)
        })?;
        is_other_loss = changed.iter().any(|change| change.key.contains("loss"));
        notes.extend(
            changed
                .iter()
                .map(|change| format!("changed since then: {change}")),
        );
        let state = CheckpointState::read(checkpoint)?;
        check_vae(out, state.vae.as_deref(), vae)?;
        checkpoints.put_aside(state.position.step, "damaged")?;
    }
    let path = out.join("config.toml");
    write_atomically(&path, resolved.as_bytes()).map_err(Error::io(&path))?;
    Ok(Opened {
        lock: Some(lock),
        newest,
        notes,
        is_other_loss,
    })
}

/// Fails unless a run in `out` goes on with the VAE that it was left with, by their checksums.
fn check_vae(out: &Path, before: Option<&str>, now: Option<&str>) -> Result<(), ConfigError> {
    let (Some(before), Some(now)) = (before, now) else {
        return Ok(());
    };
    ensure_config!(
        before == now,
        ["vae", "data.latents"],
        "cannot resume the run in {}: its latents are of another VAE (checksum {before} there, {now} \
         here), and so is all that it has learnt: name that VAE and its latents, or start a new run \
         with `--set run.out=FOLDER`",
        out.display()
    );
    Ok(())
}

/// The leader's checkpoint `newest`, in all processes.
fn agree(
    group: &dyn Group,
    newest: Option<PathBuf>,
    checkpoints: &Checkpoints,
    resolved: &str,
) -> Result<Option<PathBuf>> {
    let own = crc32c(resolved.as_bytes()).into();
    if group.of_leader(own) != own {
        let message = "the configuration of this process differs from the first process's: all of \
                       them need the same file and the same options";
        return Err(Error::Group(message.into()));
    }
    let step = match &newest {
        Some(folder) => CheckpointState::read(folder)?.position.step,
        None => 0,
    };
    let step = group.of_leader(step as u64) as usize;
    if group.is_leader() || step == 0 {
        return Ok(newest);
    }
    let found = checkpoints.list()?.into_iter().find(|&(s, _)| s == step);
    let (_, folder) = found.ok_or_else(|| {
        Error::Group(format!(
            "the first process continues from the checkpoint of step {step}, which this one does \
             not find: all of them need the folder of the run"
        ))
    })?;
    Ok(Some(folder))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{config, open, step, trainer};
    use super::*;
    use crate::group::testing::together;

    #[test]
    fn changes_are_those_since_the_checkpoint() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut config = config(folder.path());
        let mut run = open(&config, false).expect("a run");
        step(&mut run, &mut trainer(&config), 1.0).expect("a step");
        drop(run);
        config.optimizer.learning_rate = 0.5;
        // The first of these starts ends before it writes a checkpoint.
        for _ in 0..2 {
            let resolved = toml::to_string(&config).expect("TOML");
            let checkpoints = Checkpoints::new(folder.path());
            let opened = open_folder(&config, None, true, &checkpoints, &resolved).expect("open");
            assert_eq!(
                opened.notes,
                ["changed since then: optimizer.learning_rate was 0.0002 and is 0.5"]
            );
        }
    }

    #[test]
    fn two_runs_do_not_share_a_folder() {
        let folder = tempfile::tempdir().expect("a folder");
        let config = config(folder.path());
        let run = open(&config, false).expect("a run");
        let error = open(&config, true).err().expect("a folder in use");
        let error = std::error::Error::source(&error)
            .expect("a cause")
            .to_string();
        let process = format!("process {} on ", std::process::id());
        assert!(error.contains(&process), "{error}");
        drop(run);
        open(&config, true).expect("a free folder");
    }

    #[test]
    fn processes_need_the_same_configuration() {
        let folder = tempfile::tempdir().expect("a folder");
        let outcomes = together(2, |group| {
            let mut config = config(folder.path());
            config.run.accumulate += group.rank();
            // The leader waits for the next message of the other process.
            let is_leader = group.is_leader();
            let error = Run::open(&config, group.clone(), &StageOptions::default()).err();
            if !is_leader {
                group.of_leader(0);
            }
            error.map(|error| error.to_string())
        });
        assert!(outcomes[0].is_none());
        let error = outcomes[1].as_deref().expect("an error");
        assert!(
            error.starts_with("the configuration of this process differs"),
            "{error}"
        );
    }
}
