//! Datasets of clips, split, ordered and read ahead.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};

use anyhow::{Context, Result, bail, ensure};
use ar_data::{EpochShuffle, LatentDataset, ShapesDataset, ShapesWorld, VideoFolder, VideoItem};
use burn_dataset::Dataset;

use crate::config::DataConfig;

/// Batches that are read ahead of training.
const READ_AHEAD: usize = 4;

/// The clips of a dataset, the last of them held out for measuring.
#[derive(Clone)]
pub struct Split<I> {
    dataset: Arc<dyn Dataset<I>>,
    training: usize,
}

impl<I: Send + Sync + 'static> Split<I> {
    /// Holds out the last `held_out` items.
    ///
    /// # Errors
    /// If none would be left for training.
    pub fn new(dataset: impl Dataset<I> + 'static, held_out: usize) -> Result<Self> {
        let len = dataset.len();
        ensure!(
            len > held_out,
            "the dataset has {len} clips and data.held_out = {held_out}; at least one must be \
             left for training"
        );
        Ok(Self {
            training: len - held_out,
            dataset: Arc::new(dataset),
        })
    }

    /// Items to train on.
    pub fn training(&self) -> Range<usize> {
        0..self.training
    }

    /// Items held out.
    pub fn held_out(&self) -> Range<usize> {
        self.training..self.dataset.len()
    }

    /// The items of `indices`.
    ///
    /// # Errors
    /// If one cannot be read.
    pub fn items(&self, indices: impl IntoIterator<Item = usize>) -> Result<Vec<I>> {
        let item = |index| {
            self.dataset
                .get(index)
                .with_context(|| format!("clip {index} of the dataset"))
        };
        indices.into_iter().map(item).collect()
    }

    /// Endless batches of training items from position `first` on, in an order that depends on
    /// `seed` alone, read ahead on a thread of their own.
    pub fn batches(&self, batch_size: usize, seed: u64, first: u64) -> Batches<I> {
        let (sender, receiver) = sync_channel(READ_AHEAD);
        let split = Self {
            dataset: self.dataset.clone(),
            training: self.training,
        };
        std::thread::spawn(move || {
            let order = EpochShuffle::new(split.training, seed);
            let mut position = first;
            loop {
                let next = position + batch_size as u64;
                let batch = split.items((position..next).map(|position| order.index(position)));
                position = next;
                // The receiver is gone when training has stopped.
                if sender.send(batch).is_err() {
                    break;
                }
            }
        });
        Batches { receiver }
    }
}

/// Batches that are read ahead.
pub struct Batches<I> {
    receiver: Receiver<Result<Vec<I>>>,
}

impl<I> Batches<I> {
    /// The next batch.
    ///
    /// # Errors
    /// If an item cannot be read.
    pub fn next_batch(&self) -> Result<Vec<I>> {
        self.receiver
            .recv()
            .context("the thread that reads the data has died")?
    }
}

/// Opens a dataset of clips, telling of every video that is read or skipped.
///
/// # Errors
/// If the configuration names no clips, or they cannot be read.
pub fn open_clips(config: &DataConfig) -> Result<Split<VideoItem>> {
    match (&config.shapes, &config.videos, &config.latents) {
        (Some(shapes), None, None) => {
            ensure!(config.path.is_none(), "data.path goes with [data.videos]");
            let world = ShapesWorld::new(shapes.clone())?;
            let dataset = ShapesDataset::new(world, config.clips, config.first_seed);
            Split::new(dataset, config.held_out)
        }
        (None, Some(videos), None) => {
            let path = config.path.as_deref().context(
                "[data.videos] needs data.path, a folder of videos: `--set data.path=FOLDER`",
            )?;
            let folder = VideoFolder::open(path, videos.clone(), |done, total, video| {
                eprintln!("reading {} ({}/{total})", video.display(), done + 1);
            })?;
            for skipped in folder.skipped() {
                eprintln!("skipped {}: {}", skipped.path.display(), skipped.reason);
            }
            Split::new(folder, config.held_out)
        }
        (None, None, Some(_)) => bail!("data.latents holds no pictures: this stage needs clips"),
        _ => bail!("[data] must have exactly one of [data.shapes], [data.videos] and latents"),
    }
}

/// Opens a file of latents.
///
/// # Errors
/// If it cannot be read.
pub fn open_latents(path: &Path) -> Result<LatentDataset> {
    Ok(LatentDataset::load(path)?)
}
