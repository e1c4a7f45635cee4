//! Checkpoints: folders with everything that resuming needs, complete or absent.
//!
//! ```text
//! checkpoints/step-00000500/state.toml      step, clips seen, skipped steps, seed
//! checkpoints/step-00000500/config.toml     the configuration of the run
//! checkpoints/step-00000500/weights.bpk     the raw weights
//! checkpoints/step-00000500/average.bpk     their moving average
//! checkpoints/step-00000500/optimizer.bpk   the optimizer's moments
//! checkpoints/step-00000500/checksums.txt   checksums of all of these
//! ```
//!
//! and `discriminator/` and `latent_statistics.toml`, if the stage has them.
//!
//! Schedules and random numbers are functions of seed and step, so they have no other state.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::fmt::Display;
use std::fs;
use std::path::{Path, PathBuf};

use ar_files::{
    CHECKSUMS, Integrity, MOST_TEXT, OutputFolder, TEMPORARY_PREFIX, read_text, remove_folder,
    seal_folder, verify_folder,
};
use ar_weights::exploded;
use burn::module::{Module, ModuleVisitor, Param};
use burn::store::ModuleRecord;
use burn::store::burn_pack::{self, Reader};
use burn::tensor::{Tensor, TensorData};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::config::{RunConfig, StageConfig};
use crate::error::{BoxError, Error, Result};
use crate::learner::Learner;
use crate::resume::run_config;
use crate::trainer::{Position, Trainer};

/// State that is saved in checkpoints.
pub trait Checkpointed {
    /// How far training has come.
    fn position(&self) -> Position;

    /// Writes all state except the position into `folder`.
    ///
    /// # Errors
    /// If it cannot be written.
    fn save(&self, folder: &Path) -> Result<(), BoxError>;

    /// What is wrong with a parameter that has [exploded], if there is one.
    fn exploded(&self) -> Option<String>;

    /// Loads the state that [`Checkpointed::save`] wrote, and sets the position.
    ///
    /// # Errors
    /// If it cannot be read, or does not fit the network.
    fn load(&mut self, folder: &Path, position: Position) -> Result<(), BoxError>;
}

/// The state file of a checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CheckpointState {
    /// How far training has come.
    #[serde(flatten)]
    pub position: Position,
    /// Number of clips that training has seen, which is where the data continue. Missing in runs of older versions.
    pub clips: Option<u64>,
    /// Seed of the run.
    pub seed: Option<u64>,
    /// Whether the checkpoint was written with checksums of its files; older versions wrote
    /// none.
    #[serde(default)]
    pub checksums: bool,
    /// The first loss of the run, by which one that has exploded is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_loss: Option<f64>,
    /// Checksum of the VAE whose latents the run trains on, where there are latents. Checkpoints of
    /// older versions lack it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vae: Option<String>,
}

impl CheckpointState {
    /// Reads the state of the checkpoint in `folder`.
    ///
    /// # Errors
    /// If it cannot be read, or its step is not the one in the folder's name.
    pub fn read(folder: impl AsRef<Path>) -> Result<Self> {
        let folder = folder.as_ref();
        let path = folder.join(STATE);
        let read = || {
            let state: Self = read_toml(&path)?;
            state.check(step_of(folder))?;
            Ok::<_, BoxError>(state)
        };
        read().map_err(Error::checkpoint(CANNOT_RESUME, &path))
    }

    /// Fails if the numbers contradict each other, or the step in the folder's name.
    fn check(&self, step: Option<usize>) -> Result<(), BoxError> {
        let Position {
            step: found,
            skipped,
            skipped_in_a_row,
        } = self.position;
        if let Some(step) = step.filter(|&step| step != found) {
            return Err(format!("it is of step {found}, in the folder of step {step}").into());
        }
        if skipped > found || skipped_in_a_row > skipped {
            return Err(format!(
                "it counts {skipped} skipped steps, {skipped_in_a_row} of them in a row, of {found}"
            )
            .into());
        }
        let most = (found as u64).saturating_mul(MOST_CLIPS_PER_STEP);
        match self.clips {
            Some(clips) if clips > most => {
                Err(format!("it counts {clips} clips in {found} steps").into())
            }
            _ => Ok(()),
        }
    }

    /// Number of clips that training has seen.
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
        let moments = folder.join(OPTIMIZER);
        self.optimizer
            .save(&moments)
            .map_err(|error| unwritten(&moments, error))
    }

    /// Loads what [`Learner::save`] wrote.
    ///
    /// # Errors
    /// If it cannot be read, or does not fit the network.
    pub fn load(&mut self, folder: impl AsRef<Path>) -> Result<(), BoxError> {
        let folder = folder.as_ref();
        self.model = load_module(&self.model, &folder.join("weights.bpk"))?;
        let moments = folder.join(OPTIMIZER);
        let load = || {
            check_moments(&self.model, &moments)?;
            Ok(self.optimizer.clone().load(&moments)?)
        };
        self.optimizer = load().map_err(in_file(&moments))?;
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

    fn exploded(&self) -> Option<String> {
        exploded(&self.learner.model).or_else(|| exploded(&self.ema))
    }

    fn load(&mut self, folder: &Path, position: Position) -> Result<(), BoxError> {
        self.learner.load(folder)?;
        let average = load_average(&self.ema, folder)?;
        // The next step averages parameters by their ids.
        if Shapes::of(&average) != Shapes::of(&self.learner.model) {
            return Err("average.bpk and weights.bpk have other parameters".into());
        }
        self.ema = average;
        self.position = position;
        match Checkpointed::exploded(self) {
            Some(what) => Err(what.into()),
            None => Ok(()),
        }
    }
}

/// Checks the files of the checkpoint in `folder`, and reads its state.
///
/// # Errors
/// If a file is not as it was written, or the checksums are lost.
fn verified(folder: &Path) -> Result<(Integrity, CheckpointState)> {
    let integrity = verify_folder(folder).map_err(Error::checkpoint(CANNOT_RESUME, folder))?;
    let state = CheckpointState::read(folder)?;
    if integrity == Integrity::Unknown && state.checksums {
        let message = format!(
            "{CHECKSUMS} is missing, although the checkpoint was written with it: it is damaged"
        );
        return Err(Error::checkpoint(CANNOT_RESUME, folder)(message));
    }
    Ok((integrity, state))
}

/// Verifies all files of the checkpoint in `folder`, and reads the configuration of the run that wrote it.
///
/// # Errors
/// If a file is damaged, or the run belongs to another stage.
pub(crate) fn read_config<C: StageConfig>(folder: &Path) -> Result<C, BoxError> {
    verified(folder)?;
    let text = read_text(folder.join("config.toml"), MOST_TEXT)?;
    Ok(run_config(&text)?)
}

/// `network` with the averaged weights of the checkpoint in `folder`.
///
/// # Errors
/// If they cannot be read, or belong to another network.
pub(crate) fn load_average<M: Module>(network: &M, folder: &Path) -> Result<M, BoxError> {
    load_module(network, &folder.join("average.bpk"))
}

/// Whether `path` is the folder of a checkpoint.
pub(crate) fn is_checkpoint(path: &Path) -> bool {
    path.join(STATE).is_file()
}

/// The problem with a checkpoint that cannot be read.
pub(crate) const CANNOT_RESUME: &str = "cannot resume from";

/// More than any run has per step; a larger count is damage.
const MOST_CLIPS_PER_STEP: u64 = 1 << 32;

/// The file of an optimizer's state.
const OPTIMIZER: &str = "optimizer.bpk";

/// The file of a checkpoint's [`CheckpointState`].
const STATE: &str = "state.toml";

/// The prefix of the names of checkpoints.
const STEP: &str = "step-";

/// Reads a file of TOML.
pub(crate) fn read_toml<T: DeserializeOwned>(path: &Path) -> Result<T, BoxError> {
    Ok(toml::from_str(&read_text(path, MOST_TEXT)?)?)
}

/// The step in the name of a checkpoint's folder.
fn step_of(folder: &Path) -> Option<usize> {
    name(folder)?.strip_prefix(STEP)?.parse().ok()
}

fn save_module<M: Module>(module: &M, path: &Path) -> Result<(), BoxError> {
    let record = module.clone().into_record();
    record.save(path).map_err(|error| unwritten(path, error))
}

fn load_module<M: Module>(module: &M, path: &Path) -> Result<M, BoxError> {
    let load = || {
        float_tensors(Reader::from_file(path)?)?;
        Ok(module.clone().try_load_record(ModuleRecord::load(path)?)?)
    };
    load().map_err(in_file(path))
}

/// The tensors of a file, whose values are not read yet. Burn would panic at those that are not floats.
fn float_tensors(file: Reader) -> Result<Vec<burn_pack::Tensor>, BoxError> {
    let tensors = file.into_tensors()?;
    match tensors.iter().find(|tensor| !tensor.dtype.is_float()) {
        None => Ok(tensors),
        Some(tensor) => Err(format!(
            "{} has elements of the type {:?}, and should have floats",
            tensor.name, tensor.dtype
        )
        .into()),
    }
}

/// An error of a file of a checkpoint that cannot be written. Burn names a temporary file in a temporary
/// folder, of which nobody has heard: only what the system says counts.
fn unwritten(path: &Path, error: impl Display) -> BoxError {
    let text = error.to_string();
    let reason = text.rsplit_once("': ").map(|(_, reason)| reason);
    in_file(path)(reason.unwrap_or(&text).into())
}

/// An error of a file of a checkpoint, by its name there.
fn in_file(path: &Path) -> impl FnOnce(BoxError) -> BoxError + '_ {
    move |error| {
        let name = path.file_name().unwrap_or_default().display();
        format!("{name}: {error}").into()
    }
}

/// Fails unless every tensor of an optimizer's state has the shape of its parameter, since the optimizer would notice
/// only in its next step, and every number of axes that Burn records is its parameter's, since Burn would panic.
fn check_moments<M: Module>(module: &M, path: &Path) -> Result<(), BoxError> {
    /// The end of the names of these numbers.
    const RANK: &str = ".__rank";
    let shapes = Shapes::of(module);
    let file = Reader::from_file(path)?;
    for (name, &rank) in file.scalars() {
        let Some(id) = name.strip_suffix(RANK) else {
            continue;
        };
        let shape = id.parse().ok().and_then(|id| shapes.0.get(&id));
        if shape.is_none_or(|shape| usize::try_from(rank) != Ok(shape.len())) {
            return Err(format!("{name} is not the number of axes of a parameter").into());
        }
    }
    for tensor in float_tensors(file)? {
        let values =
            TensorData::from_bytes(tensor.to_bytes()?, tensor.shape.to_vec(), tensor.dtype);
        if values.iter::<f64>().any(|value| !value.is_finite()) {
            return Err(format!("{} has a value that is not finite", tensor.name).into());
        }
        let parameter = tensor.param_id.and_then(|id| shapes.0.get(&id));
        if parameter != Some(&tensor.shape.to_vec()) {
            return Err(format!(
                "{} has shape {:?}, and {}",
                tensor.name,
                tensor.shape.to_vec(),
                match parameter {
                    Some(shape) => format!("its parameter {shape:?}"),
                    None => "no parameter is its own".into(),
                }
            )
            .into());
        }
    }
    Ok(())
}

/// The shapes of parameters by their ids.
#[derive(Default, PartialEq)]
struct Shapes(BTreeMap<u64, Vec<usize>>);

impl Shapes {
    fn of<M: Module>(module: &M) -> Self {
        let mut shapes = Self::default();
        module.visit(&mut shapes);
        shapes
    }
}

impl ModuleVisitor for Shapes {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.0.insert(param.id.val(), param.shape().to_vec());
    }
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

    /// Complete checkpoints with their steps, the oldest first.
    ///
    /// # Errors
    /// If the folder cannot be read.
    pub fn list(&self) -> Result<Vec<(usize, PathBuf)>> {
        let mut found: Vec<(usize, PathBuf)> = self
            .entries()?
            .into_iter()
            .filter_map(|folder| {
                // Unfinished ones have another name until they are complete.
                Some((step_of(&folder)?, folder))
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

    /// The newest checkpoint that is not damaged. Notes for the user, about it and about newer damaged ones, are added
    /// to `notes`.
    ///
    /// # Errors
    /// If the folder cannot be read, or all checkpoints are damaged.
    pub fn newest_whole(&self, notes: &mut Vec<String>) -> Result<Option<PathBuf>> {
        let mut damaged: Vec<Error> = Vec::new();
        for (_, folder) in self.list()?.into_iter().rev() {
            match verified(&folder) {
                Ok((integrity, _)) => {
                    if integrity == Integrity::Unknown {
                        notes.push(format!(
                            "{} has no checksums, because an older version wrote it: it is read \
                             without being checked",
                            folder.display()
                        ));
                    }
                    return Ok(Some(folder));
                }
                Err(error) => {
                    notes.push(with_cause(&error));
                    damaged.push(error);
                }
            }
        }
        if damaged.is_empty() {
            return Ok(None);
        }
        let all: Vec<String> = damaged.iter().map(with_cause).collect();
        let message = format!(
            "{}; no checkpoint is left to continue from: copy one again, or begin again in another \
             folder with `--set run.out=FOLDER`",
            all.join("; ")
        );
        Err(Error::NoCheckpoint(message))
    }

    /// What to do about the checkpoint in `folder`, which cannot be read, in words.
    pub(crate) fn instead_of(&self, folder: &Path) -> Result<String> {
        let newer = step_of(folder).unwrap_or(0);
        let list = self.list()?.into_iter().rev();
        let mut older = list.filter(|&(step, _)| step < newer);
        Ok(match older.find(|(_, folder)| verified(folder).is_ok()) {
            Some((_, older)) => format!(
                "move {} away, and --resume continues from {}, the one before it",
                folder.display(),
                older.display()
            ),
            None => "no other checkpoint is left to continue from: copy it again, or begin again \
                     in another folder with `--set run.out=FOLDER`"
                .into(),
        })
    }

    /// Sets checkpoints that are newer than `step` aside, under names that start with `what`.
    ///
    /// # Errors
    /// If one cannot be renamed.
    pub fn put_aside(&self, step: usize, what: &str) -> Result<()> {
        for (newer, folder) in self.list()? {
            if newer > step {
                let aside = self.root.join(format!("{what}-{STEP}{newer:08}"));
                if aside.exists() {
                    remove_folder(&aside).map_err(Error::io(&aside))?;
                }
                fs::rename(&folder, &aside).map_err(Error::io(&folder))?;
            }
        }
        Ok(())
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
        let complete = self.root.join(format!("{STEP}{:08}", state.position.step));
        let write = || {
            let unfinished = OutputFolder::create(&complete, |_| true)?;
            let path = unfinished.path();
            training.save(path)?;
            fs::write(path.join("config.toml"), config)?;
            let state = CheckpointState {
                checksums: true,
                ..state.clone()
            };
            fs::write(path.join(STATE), toml::to_string(&state)?)?;
            seal_folder(path)?;
            unfinished.persist()?;
            Ok::<_, BoxError>(())
        };
        write().map_err(Error::checkpoint("cannot write", &complete))
    }

    /// Removes all except the newest `keep` and one every `every` steps (0: none), and also removes leftovers of killed
    /// writers.
    ///
    /// # Errors
    /// If one cannot be removed.
    pub fn prune(&self, keep: usize, every: usize) -> Result<()> {
        let mut old = self.list()?;
        old.truncate(old.len().saturating_sub(keep));
        old.retain(|&(step, _)| every == 0 || !step.is_multiple_of(every));
        for (_, folder) in old {
            remove_folder(&folder).map_err(Error::io(&folder))?;
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

/// An error and its cause.
fn with_cause(error: &Error) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

fn name(folder: &Path) -> Option<&str> {
    folder.file_name()?.to_str()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::OptimizerConfig;
    use burn::nn::{Linear, LinearConfig};
    use burn::tensor::Device;

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
            checksums: true,
            first_loss: Some(0.1),
            vae: None,
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
    fn exploded_weights_are_refused_when_they_are_read() {
        for value in [f32::NAN, f32::INFINITY, 8e29] {
            let folder = tempfile::tempdir().unwrap();
            let mut trainer = trainer();
            steps(&mut trainer, 1);
            let good = trainer.ema.clone();
            trainer.ema.weight = trainer.ema.weight.map(|weight| weight * 0.0 + value);
            let checkpoint = folder.path();
            trainer.save(checkpoint).unwrap();
            let error = trainer.load(checkpoint, Position::default()).unwrap_err();
            assert!(error.to_string().contains("weight"), "{error}");
            trainer.ema = good;
            trainer.save(checkpoint).unwrap();
            trainer.load(checkpoint, Position::default()).unwrap();
        }
    }

    /// Burn panics at tensors of integers.
    #[test]
    fn tensors_of_another_type_are_refused() {
        for name in ["weights.bpk", "average.bpk", OPTIMIZER] {
            let folder = tempfile::tempdir().expect("a folder");
            let mut trainer = trainer();
            steps(&mut trainer, 1);
            trainer.save(folder.path()).expect("written");
            let file = folder.path().join(name);
            let whole = fs::read(&file).expect("a file");
            let is_type = |at: &usize| whole[*at..].starts_with(b"F32");
            let places: Vec<usize> = (0..whole.len()).filter(is_type).collect();
            assert!(!places.is_empty(), "{name}");
            for place in places {
                for other in [b"U32", b"I32", b"I64", b"U16", b"F64", b"F16"] {
                    let mut damaged = whole.clone();
                    damaged[place..place + 3].copy_from_slice(other);
                    fs::write(&file, damaged).expect("written");
                    let loaded = trainer.load(folder.path(), Position::default());
                    assert!(loaded.is_err() || other[0] == b'F', "{name} {other:?}");
                }
            }
        }
    }

    /// Burn panics at some of these numbers.
    #[test]
    fn a_damaged_number_of_axes_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut trainer = trainer();
        steps(&mut trainer, 1);
        trainer.save(folder.path()).expect("written");
        let file = folder.path().join(OPTIMIZER);
        let whole = fs::read(&file).expect("a file");
        let name = b".__rank";
        let at = whole.windows(name.len()).position(|bytes| bytes == name);
        let number = at.expect("a number of axes") + name.len();
        let mut refused = 0;
        for place in number..number + 24 {
            for byte in [0, 1, 3, 9, 0x18, 0x20, 0x7f, 0xff] {
                let mut damaged = whole.clone();
                damaged[place] = byte;
                fs::write(&file, damaged).expect("written");
                if let Err(error) = trainer.load(folder.path(), Position::default()) {
                    refused += usize::from(error.to_string().contains("is not the number of axes"));
                }
            }
        }
        assert!(refused > 0);
    }

    #[test]
    fn the_moments_of_another_network_are_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut one = trainer();
        steps(&mut one, 2);
        one.save(folder.path()).expect("written");
        let device = Device::flex().autodiff();
        let mut other = Trainer::new(
            LinearConfig::new(5, 2).init(&device),
            &OptimizerConfig::default(),
            20,
        );
        other
            .load(folder.path(), Position::default())
            .expect_err("other weights");
        // Only the moments belong to another network.
        let path = folder.path().join("other");
        fs::create_dir(&path).expect("a folder");
        let loss = other
            .model()
            .forward(Tensor::<2>::ones([1, 5], &device))
            .sum();
        other.accumulate(loss, 1.0);
        other.update();
        other.save(&path).expect("written");
        fs::copy(
            path.join("optimizer.bpk"),
            folder.path().join("optimizer.bpk"),
        )
        .expect("copied");
        let error = trainer().load(folder.path(), Position::default());
        let error = error.expect_err("other moments").to_string();
        assert!(error.contains("optimizer.bpk"), "{error}");

        // An average with the same shapes, but with other parameter ids.
        let another = trainer();
        one.save(folder.path()).expect("written");
        save_module(&another.ema, &folder.path().join("average.bpk")).expect("written");
        let error = trainer().load(folder.path(), Position::default());
        let error = error.expect_err("another average").to_string();
        assert!(error.contains("average.bpk"), "{error}");
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
    fn a_flipped_bit_in_any_file_is_seen_and_the_checkpoint_before_is_taken() {
        let folder = tempfile::tempdir().expect("a folder");
        let checkpoints = Checkpoints::new(folder.path());
        let mut trainer = trainer();
        for _ in 0..2 {
            steps(&mut trainer, 1);
            save(&checkpoints, &trainer);
        }
        let newest = || {
            let mut notes = Vec::new();
            let newest = checkpoints.newest_whole(&mut notes).expect("one is whole");
            let newest = newest.expect("a checkpoint");
            (step_of(&newest).expect("a step"), notes)
        };
        assert_eq!(newest(), (2, vec![]));
        let path = checkpoints.root.join("step-00000002");
        for entry in fs::read_dir(&path).expect("a list") {
            let file = entry.expect("an entry").path();
            let whole = fs::read(&file).expect("a file");
            for byte in [0, whole.len() / 2, whole.len().saturating_sub(1)] {
                let mut damaged = whole.clone();
                match damaged.get_mut(byte) {
                    Some(byte) => *byte ^= 4,
                    None => damaged.push(0),
                }
                fs::write(&file, damaged).expect("written");
                let (step, notes) = newest();
                assert_eq!(
                    (step, notes.len()),
                    (1, 1),
                    "byte {byte} of {}",
                    file.display()
                );
                assert!(notes[0].contains("step-00000002"), "{notes:?}");
            }
            fs::write(&file, whole).expect("written");
        }
        assert_eq!(newest(), (2, vec![]));
        // Without their checksums, they do not count as checkpoints of an older version.
        fs::remove_file(path.join(CHECKSUMS)).expect("removed");
        let (step, notes) = newest();
        assert!(
            step == 1 && notes[0].contains("checksums.txt is missing"),
            "{notes:?}"
        );
        // An older version wrote none.
        fs::write(path.join(STATE), "step = 2\n").expect("written");
        let (step, notes) = newest();
        assert!(step == 2 && notes[0].contains("no checksums"), "{notes:?}");
        // But its contents must be valid.
        for state in [
            "step = 1000000000000\n",
            "step = 2\nskipped = 3\n",
            "step = 2\nskipped = 1\nskipped_in_a_row = 2\n",
            "step = 2\nclips = 9000000000000000000\n",
        ] {
            fs::write(path.join("state.toml"), state).expect("written");
            assert_eq!(newest().0, 1, "{state}");
        }
        // With no other one, all that is wrong is told, and what to do.
        fs::write(checkpoints.root.join("step-00000001/weights.bpk"), "").expect("written");
        let error = checkpoints.newest_whole(&mut Vec::new());
        let error = error.expect_err("none is whole").to_string();
        for part in [
            "step-00000002/state.toml",
            "step-00000001: weights.bpk",
            "no checkpoint is left",
            "run.out=FOLDER",
        ] {
            assert!(error.contains(part), "{error}");
        }
        let mut trainer = self::trainer();
        steps(&mut trainer, 1);
        save(&checkpoints, &trainer);
        checkpoints.put_aside(1, "damaged").expect("renamed");
        assert!(checkpoints.root.join("damaged-step-00000002").is_dir());
        assert_eq!(newest(), (1, vec![]));
    }

    #[test]
    fn unfinished_checkpoints_are_passed_over_and_removed() {
        let folder = tempfile::tempdir().expect("a folder");
        let checkpoints = Checkpoints::new(folder.path());
        let mut trainer = trainer();
        steps(&mut trainer, 1);
        save(&checkpoints, &trainer);
        // As left by a killed writer.
        let unfinished = checkpoints.root.join(".unfinished-abc123");
        fs::create_dir(&unfinished).expect("a folder");
        trainer.save(&unfinished).expect("state");
        let newest = checkpoints.newest().expect("a list").expect("a checkpoint");
        assert!(newest.ends_with("step-00000001"), "{}", newest.display());
        checkpoints.prune(1, 0).expect("pruned");
        assert!(!unfinished.exists() && newest.exists());
    }
}
