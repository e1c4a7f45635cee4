//! Datasets of clips and latents: split, shuffled, prefetched.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;

use ar_data::{
    BatchOptions, Batches, DataConfig, DataCursor, EpochItem, OnePerVideo, Progress, ReadAhead,
    SourceIds, Split, VideoItem, is_environment, random_flip,
};
use ar_files::write_atomically;
use burn_dataset::Dataset;

use crate::config::RunConfig;
use crate::error::{ConfigError, Error, Result, ensure_config};
use crate::run::StageOptions;

/// File in the folder of a run that lists what process number `process` left out of the dataset.
fn skipped_file(process: usize) -> String {
    match process {
        0 => "skipped.txt".into(),
        _ => format!("skipped-{process}.txt"),
    }
}

/// A transformation of items between the dataset and a batch, from the item, the seed of the run,
/// and the draw.
type Augmentation<I> = fn(I, u64, EpochItem) -> I;

/// The clips of a dataset, some of them set aside for validation.
pub struct TrainingData<I> {
    dataset: Arc<dyn Dataset<I>>,
    split: Arc<Split>,
    ahead: ReadAhead,
    augmentation: Option<Augmentation<I>>,
    /// Set if an epoch takes one clip of every video.
    by_video: Option<Arc<OnePerVideo>>,
    skipped: SkippedItems,
}

impl<I: Send + Sync + 'static> TrainingData<I> {
    /// Sets aside `data.validation` items, chosen by [`Split`].
    ///
    /// # Errors
    /// If none would be left for training, or prefetching is impossible.
    pub fn new(
        dataset: impl Dataset<I> + SourceIds + 'static,
        data: &DataConfig,
    ) -> Result<Self, ConfigError> {
        let (len, validation) = (dataset.len(), data.validation);
        ensure_config!(
            len > validation,
            ["data.validation"],
            "the dataset has {len} clips and data.validation = {validation}; at least one must be \
             left for training"
        );
        for (key, value) in [("workers", data.workers), ("prefetch", data.prefetch)] {
            ensure_config!(
                value > 0,
                [format!("data.{key}")],
                "data.{key} is 0; it must be at least 1"
            );
        }
        let source_id = |index| dataset.source_id(index);
        let split = Split::new(len, validation, source_id);
        let by_video = data.one_per_video;
        let by_video = by_video.then(|| Arc::new(OnePerVideo::new(&split.training, source_id)));
        Ok(Self {
            by_video,
            split: Arc::new(split),
            dataset: Arc::new(dataset),
            ahead: ReadAhead {
                workers: data.workers,
                batches: data.prefetch,
            },
            augmentation: None,
            skipped: SkippedItems::default(),
        })
    }

    /// Number of all items.
    pub fn clips(&self) -> usize {
        self.dataset.len()
    }

    /// Items to train on.
    pub fn training(&self) -> &[usize] {
        &self.split.training
    }

    /// Items to validate on.
    pub fn validation(&self) -> &[usize] {
        &self.split.validation
    }

    /// The items of `indices` in order, without unreadable ones.
    ///
    /// # Errors
    /// If none of them can be read, or one cannot be read because of the environment.
    pub fn items(&self, indices: impl IntoIterator<Item = usize>) -> Result<Vec<I>> {
        let indices: Vec<usize> = indices.into_iter().collect();
        let items = self.readable(indices.iter().copied())?;
        if items.is_empty() && !indices.is_empty() {
            let message = format!(
                "none of the clips {indices:?} of the dataset can be read: {}",
                self.skipped.first()
            );
            return Err(Error::Data(message.into()));
        }
        Ok(items)
    }

    /// The first item that can be read.
    ///
    /// # Errors
    /// If none can be read, or one cannot be read because of the environment.
    pub fn first(&self) -> Result<I> {
        for index in 0..self.clips() {
            if let Some(first) = self.readable([index])?.pop() {
                return Ok(first);
            }
        }
        let message = format!(
            "no clip of the dataset can be read: {}",
            self.skipped.first()
        );
        Err(Error::Data(message.into()))
    }

    /// The items of `indices` in order, without unreadable ones; read by all workers.
    ///
    /// # Errors
    /// If one cannot be read because of the environment ([`is_environment`]).
    pub fn readable(&self, indices: impl IntoIterator<Item = usize>) -> Result<Vec<I>> {
        let indices: Vec<usize> = indices.into_iter().collect();
        let get = |&index: &usize| match self.dataset.get(index) {
            Ok(item) => Some(Ok(item)),
            Err(error) if is_environment(&error) => Some(Err(Error::Data(error.into()))),
            Err(error) => {
                self.skipped.add(&clip_line(index, &error.to_string()));
                None
            }
        };
        let share = indices.len().div_ceil(self.ahead.workers).max(1);
        let read = |share: &[usize]| share.iter().filter_map(get).collect::<Result<Vec<I>>>();
        let shares: Vec<Result<Vec<I>>> = thread::scope(|scope| {
            let workers: Vec<_> = indices
                .chunks(share)
                .map(|share| {
                    let worker = thread::Builder::new();
                    let worker = worker.spawn_scoped(scope, move || read(share));
                    // If the system has no threads left, this thread reads.
                    worker.map_err(|_| read(share))
                })
                .collect();
            let join = |worker: Result<thread::ScopedJoinHandle<'_, _>, _>| match worker {
                Ok(worker) => worker.join().unwrap_or_else(|panic| resume_unwind(panic)),
                Err(read) => read,
            };
            workers.into_iter().map(join).collect()
        });
        let mut items = Vec::with_capacity(indices.len());
        for share in shares {
            items.extend(share?);
        }
        Ok(items)
    }

    /// Endless batches of training items, each with the clips of a step, at `positions` of their
    /// order, prefetched on other threads. They depend only on the seed of the run. Items that are
    /// left out of the dataset are listed in the folder of the run; a resumed run adds to its list.
    ///
    /// # Errors
    /// If the list cannot be read or written.
    pub fn batches(&self, run: &RunConfig, positions: DataCursor) -> Result<TrainingBatches<I>> {
        let (dataset, augmentation, seed) = (self.dataset.clone(), self.augmentation, run.seed);
        let (split, by_video) = (self.split.clone(), self.by_video.clone());
        let read = move |draw: EpochItem| {
            let index = match &by_video {
                Some(videos) => videos.clip(seed, draw),
                None => split.training[draw.index],
            };
            let item = dataset.get(index)?;
            Ok(match augmentation {
                Some(augment) => augment(item, seed, draw),
                None => item,
            })
        };
        let skipped_file = run.out.join(skipped_file(positions.process));
        if positions.first > 0 {
            self.skipped.keep(&skipped_file)?;
        }
        self.skipped.write(&skipped_file)?;
        Ok(TrainingBatches {
            batches: Batches::start(
                self.drawn(),
                read,
                BatchOptions {
                    seed,
                    batch_size: run.clips_per_step(),
                    cursor: positions,
                    ahead: self.ahead,
                },
            ),
            split: self.split.clone(),
            by_video: self.by_video.clone(),
            skipped: self.skipped.clone(),
            skipped_file,
        })
    }

    /// Number of items in an epoch: clips, or videos.
    fn drawn(&self) -> usize {
        let videos = self.by_video.as_ref();
        videos.map_or(self.split.training.len(), |order| order.videos().len())
    }

    /// Records files that the dataset left out.
    pub fn leave_out(&self, files: &[ar_data::SkippedFile]) {
        for file in files {
            let line = format!("{}: {}", file.path.display(), file.reason);
            self.skipped.add(&line);
        }
    }

    /// What was left out of the dataset so far.
    pub fn skipped(&self) -> &SkippedItems {
        &self.skipped
    }
}

/// Prefetched batches.
pub struct TrainingBatches<I> {
    batches: Batches<I>,
    split: Arc<Split>,
    by_video: Option<Arc<OnePerVideo>>,
    skipped: SkippedItems,
    skipped_file: PathBuf,
}

impl<I: Send + 'static> TrainingBatches<I> {
    /// The next batch.
    ///
    /// # Errors
    /// If too many items cannot be read, or their list cannot be written.
    pub fn next_batch(&mut self) -> Result<Vec<I>> {
        let batch = self.batches.next_batch()?;
        let unreadable = self.batches.take_skipped();
        if !unreadable.is_empty() {
            for item in unreadable {
                let index = match &self.by_video {
                    // The video's first clip represents the one that was drawn.
                    Some(order) => order.videos()[item.index][0],
                    None => self.split.training[item.index],
                };
                self.skipped.add(&clip_line(index, &item.reason));
            }
            self.skipped.write(&self.skipped_file)?;
        }
        Ok(batch)
    }
}

fn clip_line(index: usize, reason: &str) -> String {
    format!("clip {index}: {reason}")
}

/// What was left out of a dataset, and why, line by line, in order.
#[derive(Clone, Debug, Default)]
pub struct SkippedItems(Arc<Mutex<BTreeSet<String>>>);

impl SkippedItems {
    fn lines(&self) -> MutexGuard<'_, BTreeSet<String>> {
        // A line is in the set or not, so a panic elsewhere leaves the set intact.
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// A line stays one line, whatever file names contain.
    fn add(&self, line: &str) {
        self.lines().insert(ar_cli::without_controls(line));
    }

    /// The first lines, in one.
    fn first(&self) -> String {
        /// Lines that are told.
        const TOLD: usize = 5;
        let lines = self.lines();
        let mut told: Vec<String> = lines.iter().take(TOLD).cloned().collect();
        if lines.len() > TOLD {
            told.push(format!("and {} more", lines.len() - TOLD));
        }
        told.join("; ")
    }

    /// Adds the lines of a file that an earlier process wrote, if there is one.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn keep(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        if path.exists() {
            let text = fs::read_to_string(path).map_err(Error::io(path))?;
            self.lines().extend(text.lines().map(str::to_owned));
        }
        Ok(())
    }

    /// Writes the list to a file, if there is anything in it.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let text = self.to_string();
        if text.is_empty() {
            return Ok(());
        }
        write_atomically(path, text.as_bytes()).map_err(Error::io(path))
    }
}

impl fmt::Display for SkippedItems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines()
            .iter()
            .try_for_each(|line| writeln!(f, "{line}"))
    }
}

/// Clips, and the names of their classes.
pub struct Clips {
    /// The clips.
    pub split: TrainingData<VideoItem>,
    /// Names in the order of the labels; empty without labels.
    pub classes: Vec<String>,
    /// Lines about what was left out.
    pub report: Vec<String>,
    /// The files and folders of frames that they come from.
    pub files: Vec<PathBuf>,
}

/// Opens a dataset of clips, and reports progress to the observer of `options`. None if it is
/// interrupted.
///
/// # Errors
/// If the configuration has no clips, or they cannot be read.
pub fn open_clips(data: &DataConfig, options: &StageOptions) -> Result<Option<Clips>> {
    let dataset = match data.open_clips(Scan(options)) {
        Err(error) if error.is_interrupt() => return Ok(None),
        dataset => dataset?,
    };
    let classes = dataset.class_names();
    let skipped = dataset.skipped().to_vec();
    let report = dataset.report();
    let files = dataset.files();
    let mut split = TrainingData::new(dataset, data)?;
    split.leave_out(&skipped);
    if data.flip {
        split.augmentation = Some(random_flip);
    }
    Ok(Some(Clips {
        split,
        classes,
        report,
        files,
    }))
}

/// Reports progress while a dataset is opened.
struct Scan<'a>(&'a StageOptions);

impl Progress for Scan<'_> {
    fn scanned(&mut self, done: usize, all: usize) {
        self.0.observer.reading(done, all);
    }

    fn should_stop(&self) -> bool {
        self.0.interrupter.should_stop()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn_dataset::DatasetError;

    /// Numbers, of which the first cannot be read.
    struct Numbers;

    impl Dataset<usize> for Numbers {
        fn get(&self, index: usize) -> Result<usize, DatasetError> {
            match index {
                0 => Err(DatasetError::new(std::io::Error::other("broken"))),
                _ => Ok(index),
            }
        }

        fn len(&self) -> usize {
            3
        }
    }

    impl SourceIds for Numbers {
        fn source_id(&self, index: usize) -> u64 {
            index as u64
        }
    }

    #[test]
    fn a_run_that_goes_on_adds_to_what_was_left_out() {
        let folder = tempfile::tempdir().expect("a folder");
        let run = RunConfig {
            out: folder.path().to_owned(),
            ..RunConfig::default()
        };
        let list = folder.path().join("skipped.txt");
        fs::write(&list, "clip 2: gone for a while\n").expect("a list");
        let data = DataConfig {
            validation: 0,
            ..DataConfig::default()
        };
        for (first, lines) in [
            (8, "clip 0: broken\nclip 2: gone for a while\n"),
            // A run from the start has a new list.
            (0, "clip 0: broken\n"),
        ] {
            let split = TrainingData::new(Numbers, &data).expect("a dataset");
            assert_eq!(split.first().expect("a clip"), 1);
            let batches = split.batches(&run, DataCursor::from(first));
            batches.expect("a list that can be written");
            assert_eq!(fs::read_to_string(&list).expect("the list"), lines);
        }
    }

    #[test]
    fn a_file_name_with_line_breaks_and_escapes_is_one_line() {
        let skipped = SkippedItems::default();
        skipped.add("a\n\u{1b}[31mb.mp4: broken");
        assert_eq!(skipped.to_string(), "a\\n\\u{1b}[31mb.mp4: broken\n");
    }

    /// Intact clips that cannot be read now.
    struct Away;

    impl Dataset<usize> for Away {
        fn get(&self, _: usize) -> Result<usize, DatasetError> {
            let path = "a.mp4".into();
            Err(DatasetError::new(ar_video::VideoError::Interrupted {
                path,
            }))
        }

        fn len(&self) -> usize {
            3
        }
    }

    impl SourceIds for Away {
        fn source_id(&self, index: usize) -> u64 {
            index as u64
        }
    }

    #[test]
    fn what_cannot_be_read_now_is_not_left_out() {
        let data = DataConfig {
            validation: 0,
            ..DataConfig::default()
        };
        let split = TrainingData::new(Away, &data).expect("a dataset");
        for error in [
            split.readable(0..3).err(),
            split.items(0..3).err(),
            split.first().err(),
        ] {
            let error = error.expect("no clip").to_string();
            assert_eq!(error, "a.mp4: interrupted");
        }
        assert_eq!(split.skipped().to_string(), "");
    }
}
