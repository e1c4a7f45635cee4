//! Datasets of video clips and of latents, batched for training.
//!
//! - [`ShapesDataset`]: clips of a synthetic world of bouncing shapes
//!   ([`shapes`]), drawn on demand, with the ground truth.
//! - [`VideoFolder`]: clips of the videos below a folder.
//! - [`LatentDataset`]: latents of clips, encoded beforehand.
//! - [`VideoBatch`], [`LatentBatch`]: items stacked into tensors on a device.
//! - [`to_frames`]: tensors back to frames.
//! - [`EpochShuffle`]: which item comes at which position of a training run.
//!
//! The datasets implement [`burn_dataset::Dataset`]. Axes are in the order
//! `[batch, frames, ...]` everywhere.
//!
//! ```
//! use ar_data::{EpochShuffle, ShapesConfig, ShapesDataset, ShapesWorld, VideoBatch};
//! use burn::tensor::Device;
//! use burn_dataset::Dataset;
//!
//! let config = ShapesConfig { size: 32, frames: 4, ..Default::default() };
//! let dataset = ShapesDataset::new(ShapesWorld::new(config)?, 1000, 0);
//! let order = EpochShuffle::new(dataset.len(), 42);
//!
//! let (step, batch_size) = (7, 2);
//! let items = (step * batch_size..(step + 1) * batch_size)
//!     .map(|position| dataset.get(order.index(position)))
//!     .collect::<Result<Vec<_>, _>>()?;
//! let batch = VideoBatch::new(&items, &Device::default());
//! assert_eq!(batch.pixels.dims(), [2, 4, 3, 32, 32]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![warn(missing_docs)]

mod batch;
mod latents;
mod order;
mod pixels;
pub mod shapes;
mod video_folder;

pub use batch::{LatentBatch, LatentBatcher, VideoBatch, VideoBatcher, VideoItem};
pub use latents::{LatentDataset, LatentError, LatentItem};
pub use order::EpochShuffle;
pub use pixels::to_frames;
pub use shapes::{ShapesConfig, ShapesDataset, ShapesError, ShapesWorld};
pub use video_folder::{Skipped, VideoFolder, VideoFolderConfig, VideoFolderError};
