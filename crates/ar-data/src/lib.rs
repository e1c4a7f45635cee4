//! Datasets of video clips and of latents, batched for training.
//!
//! - [`ShapesDataset`]: clips of a synthetic world of bouncing shapes
//!   ([`shapes`]), drawn on demand, with the ground truth.
//! - [`MovingMnist`]: clips of moving digits, drawn on demand from the MNIST files.
//! - [`VideoFolder`]: clips from the videos below a folder, with or without [`Labels`].
//! - [`LatentDataset`]: latents of clips, encoded in advance, in shards or in the reference's
//!   files.
//! - [`DataConfig`]: the `[data]` section of configuration files, which opens any of them.
//! - [`VideoBatch`], [`LatentBatch`]: items stacked into tensors on a device.
//! - [`to_frames`]: tensors back to frames.
//! - [`EpochShuffle`]: which item comes at which position of a training run.
//! - [`Batches`]: items in that order, prefetched on worker threads.
//! - [`Split`]: which clips are for training and which for validation.
//! - [`Part`]: one process's part of the work on clips.
//! - [`random_flip`]: the augmentation.
//!
//! The datasets implement [`burn_dataset::Dataset`]. Axes are in the order
//! `[batch, frames, ...]` everywhere.
//!
//! ```
//! use ar_data::{BatchOptions, Batches, ShapesConfig, ShapesDataset, ShapesWorld, VideoBatch};
//! use burn::tensor::Device;
//! use burn_dataset::Dataset;
//!
//! let config = ShapesConfig { size: 32, frames: 4, ..Default::default() };
//! let dataset = ShapesDataset::new(ShapesWorld::new(config)?, 1000, 0);
//! let options = BatchOptions { batch_size: 2, ..Default::default() };
//! let mut batches = Batches::start(dataset.len(), move |item| dataset.get(item.index), options);
//! let items = batches.next_batch()?;
//! let batch = VideoBatch::new(&items, &Device::default());
//! assert_eq!(batch.pixels.dims(), [2, 4, 3, 32, 32]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![warn(missing_docs)]

mod batch;
mod batches;
mod config;
mod flip;
mod idx;
mod labels;
mod latents;
mod list;
mod moving_mnist;
mod one_form;
mod one_per_video;
mod order;
mod part;
mod pixels;
mod progress;
pub mod shapes;
mod skipped;
mod split;
mod video_folder;

pub use batch::{LatentBatch, LatentBatcher, VideoBatch, VideoBatcher, VideoItem};
pub use batches::{
    BatchError, BatchOptions, Batches, DataCursor, EpochItem, ReadAhead, Unreadable,
};
pub use config::{ClipDataset, DataConfig, DataError, DataSource};
pub use flip::random_flip;
pub use idx::IdxError;
pub use labels::{Labels, LabelsError};
pub use latents::{LatentDataset, LatentError, LatentIndex, LatentItem, NpyError};
pub use list::{ListError, VideoList};
pub use moving_mnist::{MovingMnist, MovingMnistConfig, MovingMnistError};
pub use one_per_video::OnePerVideo;
pub use order::EpochShuffle;
pub use part::Part;
pub use pixels::{to_frames, to_pixels};
pub use progress::Progress;
pub use shapes::{ShapesConfig, ShapesDataset, ShapesError, ShapesWorld};
pub use skipped::{SkipKind, SkippedFile};
pub use split::{SourceIds, Split};
pub use video_folder::{
    Selection, VideoFolder, VideoFolderConfig, VideoFolderError, is_environment,
};

/// Tests the examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
