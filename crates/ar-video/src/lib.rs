//! Reads and writes video clips.
//!
//! - [`Frame`] and [`Clip`] hold 8-bit RGB pictures; there is no tensor library here.
//! - [`VideoReader`] streams the frames of a file in constant memory; [`read_clip`] collects them.
//!   Animated GIF, PNG and WebP, single images and folders of images are decoded by this crate, and
//!   everything else by the system's `ffmpeg` ([`Ffmpeg`]).
//! - [`square_crop`] is the published preprocessing, [`mirrored`] an augmentation; [`Tiles`] puts
//!   pictures and clips side by side.
//! - [`VideoWriter`] and [`write_clip`] write MP4, GIF, APNG, a folder of PNG files or raw bytes. A
//!   file appears under its name only when it is complete; MP4 and raw bytes can also be written to
//!   a pipe, frame by frame.
//!
//! ```
//! use ar_video::{Clip, Frame, VideoFormat, read_clip, square_crop, write_clip};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! let shade = |i: u8| Frame::new(48, 32, vec![i * 10; 48 * 32 * 3]);
//! let clip = Clip::new((0..8).map(shade).collect());
//!
//! let path = folder.path().join("fade.gif");
//! write_clip(&path, &clip, VideoFormat::Gif, 25.0)?;
//! assert_eq!(read_clip(&path)?, clip);
//!
//! let small = square_crop(&clip.frames()[0], 16);
//! assert_eq!((small.width(), small.height()), (16, 16));
//! # Ok(())
//! # }
//! ```

#![warn(missing_docs)]

mod clip;
mod decode;
mod encode;
mod error;
mod limits;
mod tiles;
mod transform;

pub use clip::{Clip, Frame};
pub use decode::{Ffmpeg, FileKind, VideoReader, read_clip};
pub use encode::{VideoFormat, VideoWriter, encode_png, png_base64, write_clip};
pub use error::VideoError;
pub use tiles::Tiles;
pub use transform::{Enlargement, Interpolation, mirrored, square_crop};

/// Tests the examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
