//! Checkpoints: folders that hold everything that resuming needs, complete or not there at all.
//!
//! ```text
//! checkpoints/step-00000500/state.toml      step, clips seen, skipped steps, seed
//! checkpoints/step-00000500/config.toml     the configuration of the run
//! checkpoints/step-00000500/weights.bpk     the raw weights
//! checkpoints/step-00000500/average.bpk     their moving average
//! checkpoints/step-00000500/optimizer.bpk   the optimizer's moments
//! ```
//!
//! and `discriminator/` and `latent_statistics.toml`, where the stage has them.
//!
//! Schedules and random numbers are functions of seed and step, so those two are their state.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use ar_files::{TEMPORARY_PREFIX, temporary_folder_beside};
use burn::module::Module;
use burn::store::ModuleRecord;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::config::RunConfig;
use crate::error::{BoxError, Error, Result};
use crate::learner::Learner;
use crate::trainer::{Position, Trainer};

/// Something that checkpoints hold.
pub trait Checkpointed {
    /// Where training stands.
    fn position(&self) -> Position;

    /// Writes all state but the position into `folder`.
    ///
    /// # Errors
    /// If it cannot be written.
    fn save(&self, folder: &Path) -> Result<(), BoxError>;

    /// Takes the state that [`Checkpointed::save`] has written, and the position.
    ///
    /// # Errors
    /// If it cannot be read, or does not fit the network.
    fn load(&mut self, folder: &Path, position: Position) -> Result<(), BoxError>;
}

/// What a checkpoint says about itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CheckpointState {
    /// Where training stands.
    #[serde(flatten)]
    pub position: Position,
    /// Clips that training has seen: where the data goes on. Runs of older versions lack it.
    pub clips: Option<u64>,
    /// Seed of the run.
    pub seed: Option<u64>,
}

impl CheckpointState {
    /// Reads the state of the checkpoint in `folder`.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn read(folder: impl AsRef<Path>) -> Result<Self> {
        let path = folder.as_ref().join("state.toml");
        read_toml(&path).map_err(Error::checkpoint(CANNOT_RESUME, path))
    }

    /// Clips that training has seen.
    pub fn clips(&self, config: &RunConfig) -> u64 {
        let one_size = (self.position.step * config.clips_per_step()) as u64;
        self.clips.unwrap_or(one_size)
    }
}

impl<M: Module> Learner<M> {
    /// Writes weights and optimizer into `folder`.
    ///
    /// # Errors
    /// If they cannot be written.
    pub fn save(&self, folder: impl AsRef<Path>) -> Result<(), BoxError> {
        let folder = folder.as_ref();
        save_module(&self.model, &folder.join("weights.bpk"))?;
        Ok(self.optimizer.save(folder.join("optimizer.bpk"))?)
    }

    /// Takes what [`Learner::save`] has written.
    ///
    /// # Errors
    /// If it cannot be read, or does not fit the network.
    pub fn load(&mut self, folder: impl AsRef<Path>) -> Result<(), BoxError> {
        let folder = folder.as_ref();
        self.model = load_module(&self.model, &folder.join("weights.bpk"))?;
        self.optimizer = self.optimizer.clone().load(folder.join("optimizer.bpk"))?;
        Ok(())
    }
}

impl<M: Module> Checkpointed for Trainer<M> {
    fn position(&self) -> Position {
        self.position
    }

    fn save(&self, folder: &Path) -> Result<(), BoxError> {
        self.learner.save(folder)?;
        save_module(&self.ema, &folder.join("average.bpk"))
    }

    fn load(&mut self, folder: &Path, position: Position) -> Result<(), BoxError> {
        self.learner.load(folder)?;
        self.ema = load_module(&self.ema, &folder.join("average.bpk"))?;
        self.position = position;
        Ok(())
    }
}

/// What a checkpoint that cannot be read is for.
pub(crate) const CANNOT_RESUME: &str = "cannot resume from";

/// Reads a file of TOML.
pub(crate) fn read_toml<T: DeserializeOwned>(path: &Path) -> Result<T, BoxError> {
    Ok(toml::from_str(&fs::read_to_string(path)?)?)
}

fn save_module<M: Module>(module: &M, path: &Path) -> Result<(), BoxError> {
    Ok(module.clone().into_record().save(path)?)
}

fn load_module<M: Module>(module: &M, path: &Path) -> Result<M, BoxError> {
    Ok(module.clone().try_load_record(ModuleRecord::load(path)?)?)
}

/// The checkpoints of a run.
#[derive(Clone, Debug)]
pub struct Checkpoints {
    root: PathBuf,
}

impl Checkpoints {
    /// The checkpoints of the run in `out`.
    pub fn new(out: impl AsRef<Path>) -> Self {
        Self {
            root: out.as_ref().join("checkpoints"),
        }
    }

    /// Complete checkpoints with their steps, oldest first.
    ///
    /// # Errors
    /// If the folder cannot be read.
    pub fn list(&self) -> Result<Vec<(usize, PathBuf)>> {
        let mut found: Vec<(usize, PathBuf)> = self
            .entries()?
            .into_iter()
            .filter_map(|folder| {
                // Unfinished ones have another name until they are complete.
                let step = name(&folder)?.strip_prefix("step-")?.parse().ok()?;
                Some((step, folder))
            })
            .collect();
        found.sort();
        Ok(found)
    }

    /// The newest complete checkpoint.
    ///
    /// # Errors
    /// If the folder cannot be read.
    pub fn newest(&self) -> Result<Option<PathBuf>> {
        Ok(self.list()?.pop().map(|(_, folder)| folder))
    }

    /// Writes a checkpoint, complete or not at all.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn save(
        &self,
        training: &dyn Checkpointed,
        state: &CheckpointState,
        config: &str,
    ) -> Result<()> {
        let complete = self.root.join(format!("step-{:08}", state.position.step));
        let write = || {
            let unfinished = temporary_folder_beside(&complete)?;
            let path = unfinished.path();
            training.save(path)?;
            fs::write(path.join("config.toml"), config)?;
            fs::write(path.join("state.toml"), toml::to_string(state)?)?;
            sync_all(path)?;
            if complete.exists() {
                remove(&complete)?;
            }
            fs::rename(unfinished.keep(), &complete)?;
            File::open(&self.root)?.sync_all()?;
            Ok::<_, BoxError>(())
        };
        write().map_err(Error::checkpoint("cannot write", &complete))
    }

    /// Removes all but the newest `keep` and those of every `every` steps (0: none), and what
    /// writers that were killed have left.
    ///
    /// # Errors
    /// If one cannot be removed.
    pub fn prune(&self, keep: usize, every: usize) -> Result<()> {
        let mut old = self.list()?;
        old.truncate(old.len().saturating_sub(keep));
        old.retain(|&(step, _)| every == 0 || !step.is_multiple_of(every));
        for (_, folder) in old {
            remove(&folder).map_err(Error::io(&folder))?;
        }
        let unfinished = self
            .entries()?
            .into_iter()
            .filter(|folder| name(folder).is_some_and(|name| name.starts_with(TEMPORARY_PREFIX)));
        for folder in unfinished {
            fs::remove_dir_all(&folder).map_err(Error::io(&folder))?;
        }
        Ok(())
    }

    fn entries(&self) -> Result<Vec<PathBuf>> {
        if !self.root.is_dir() {
            return Ok(Vec::new());
        }
        fs::read_dir(&self.root)
            .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect())
            .map_err(Error::io(&self.root))
    }
}

/// Removes a checkpoint under another name, since half of it would be taken for a complete one.
fn remove(complete: &Path) -> io::Result<()> {
    let unfinished = temporary_folder_beside(complete)?;
    fs::rename(complete, unfinished.path().join("removed"))?;
    unfinished.close()
}

fn name(folder: &Path) -> Option<&str> {
    folder.file_name()?.to_str()
}

/// Waits until the files below `folder` are on the disk.
fn sync_all(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            sync_all(&path)?;
        }
        File::open(path)?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::OptimizerConfig;
    use burn::nn::{Linear, LinearConfig};
    use burn::tensor::{Device, Tensor};

    fn trainer() -> Trainer<Linear> {
        let device = Device::flex().autodiff();
        device.seed(7);
        let config = OptimizerConfig {
            learning_rate: 0.05,
            ..OptimizerConfig::default()
        };
        Trainer::new(LinearConfig::new(3, 2).init(&device), &config, 20)
    }

    fn steps(trainer: &mut Trainer<Linear>, count: usize) {
        for _ in 0..count {
            let input = Tensor::<2>::from_floats(
                [[trainer.step() as f32, 1.0, -0.5]],
                &Device::flex().autodiff(),
            );
            let loss = trainer.model().forward(input).square().mean();
            trainer.accumulate(loss, 1.0);
            trainer.update();
        }
    }

    fn save(checkpoints: &Checkpoints, trainer: &Trainer<Linear>) -> CheckpointState {
        let state = CheckpointState {
            position: trainer.position,
            clips: Some(3 * trainer.step() as u64),
            seed: Some(u64::MAX >> 1),
        };
        checkpoints.save(trainer, &state, "").expect("a checkpoint");
        state
    }

    fn weights(trainer: &Trainer<Linear>) -> [Vec<f32>; 2] {
        [trainer.model(), &trainer.ema]
            .map(|model| model.weight.val().into_data().iter::<f32>().collect())
    }

    #[test]
    fn a_resumed_training_is_bit_identical() {
        let folder = tempfile::tempdir().expect("a folder");
        let checkpoints = Checkpoints::new(folder.path());
        let mut whole = trainer();
        steps(&mut whole, 4);
        let state = save(&checkpoints, &whole);
        steps(&mut whole, 6);

        let mut resumed = trainer();
        let newest = checkpoints.newest().expect("a list").expect("a checkpoint");
        let read = CheckpointState::read(&newest).expect("a state");
        assert_eq!(read, state);
        resumed.load(&newest, read.position).expect("a fitting one");
        assert_eq!(resumed.step(), 4);
        steps(&mut resumed, 6);
        assert_eq!(weights(&whole), weights(&resumed));
    }

    #[test]
    fn the_newest_and_every_nth_are_kept() {
        let folder = tempfile::tempdir().expect("a folder");
        let checkpoints = Checkpoints::new(folder.path());
        let mut trainer = trainer();
        for _ in 0..9 {
            steps(&mut trainer, 1);
            save(&checkpoints, &trainer);
            checkpoints.prune(2, 3).expect("pruned");
        }
        let kept = checkpoints.list().expect("a list").into_iter();
        let kept: Vec<usize> = kept.map(|(step, _)| step).collect();
        assert_eq!(kept, [3, 6, 8, 9]);
    }

    #[test]
    fn unfinished_checkpoints_are_passed_over_and_removed() {
        let folder = tempfile::tempdir().expect("a folder");
        let checkpoints = Checkpoints::new(folder.path());
        let mut trainer = trainer();
        steps(&mut trainer, 1);
        save(&checkpoints, &trainer);
        // As a killed writer leaves it.
        let unfinished = temporary_folder_beside(checkpoints.root.join("step-00000002"))
            .expect("a folder")
            .keep();
        trainer.save(&unfinished).expect("state");
        let newest = checkpoints.newest().expect("a list").expect("a checkpoint");
        assert!(newest.ends_with("step-00000001"), "{}", newest.display());
        checkpoints.prune(1, 0).expect("pruned");
        assert!(!unfinished.exists() && newest.exists());
    }
}
