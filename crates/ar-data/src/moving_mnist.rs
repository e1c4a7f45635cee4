//! Moving MNIST: handwritten digits that move in straight lines and bounce off the walls
//! (Srivastava et al., "Unsupervised Learning of Video Representations using LSTMs", 2015), drawn
//! from the MNIST files.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ar_video::{Clip, Frame};
use burn_dataset::{Dataset, DatasetError};
use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

use crate::batch::VideoItem;
use crate::idx::{IdxError, Pictures};
use crate::order::addressed_rng;
use crate::split::SourceIds;

/// Configuration of [`MovingMnist`]. Defaults are as in the published dataset, but with as many
/// frames as the window of the published transformer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MovingMnistConfig {
    /// File of MNIST's pictures, `train-images-idx3-ubyte` or the same with `.gz`.
    pub images: PathBuf,
    /// Width and height in pixels.
    pub size: usize,
    /// Frames per clip.
    pub frames: usize,
    /// Digits per clip.
    pub digits: usize,
    /// Pixels that a digit moves from frame to frame.
    pub speed: f64,
}

impl Default for MovingMnistConfig {
    fn default() -> Self {
        Self {
            images: PathBuf::new(),
            size: 64,
            frames: 16,
            digits: 2,
            speed: 3.6,
        }
    }
}

/// An invalid configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MovingMnistError {
    /// The file of pictures is missing from the configuration.
    #[error(
        "moving_mnist: images is not given, the file train-images-idx3-ubyte of MNIST (or \
         train-images-idx3-ubyte.gz)"
    )]
    NoImages,
    /// The file of pictures cannot be read.
    #[error(transparent)]
    Images(#[from] IdxError),
    /// A number is too low or not finite.
    #[error("moving_mnist: {field} is {value}, but has to be at least {least}")]
    OutOfRange {
        /// The field of [`MovingMnistConfig`].
        field: &'static str,
        /// Its value.
        value: f64,
        /// The lowest valid value.
        least: f64,
    },
    /// The last seed is beyond 64 bits.
    #[error("moving_mnist: {len} seeds from {first_seed} on are beyond 64 bits")]
    Seeds {
        /// Clips.
        len: usize,
        /// Seed of the first one.
        first_seed: u64,
    },
}

/// Clips of moving digits, drawn on demand.
///
/// Everything in a clip follows from its seed and the pictures. A longer clip of the same seed
/// starts with the frames of the shorter one.
#[derive(Clone)]
pub struct MovingMnist {
    config: MovingMnistConfig,
    pictures: Arc<Pictures>,
    len: usize,
    first_seed: u64,
}

impl MovingMnist {
    /// The file of pictures.
    pub(crate) fn images(&self) -> &Path {
        &self.config.images
    }

    /// The clips of the seeds `first_seed..first_seed + len`.
    ///
    /// # Errors
    /// If the file of pictures cannot be read, or a number is out of range.
    pub fn open(
        config: MovingMnistConfig,
        len: usize,
        first_seed: u64,
    ) -> Result<Self, MovingMnistError> {
        if config.images.as_os_str().is_empty() {
            return Err(MovingMnistError::NoImages);
        }
        if first_seed.checked_add(len as u64).is_none() {
            return Err(MovingMnistError::Seeds { len, first_seed });
        }
        let pictures = Pictures::read(&config.images)?;
        let side = pictures.height.max(pictures.width);
        for (field, value, least) in [
            ("size", config.size as f64, side as f64),
            ("frames", config.frames as f64, 1.0),
            ("digits", config.digits as f64, 1.0),
            ("speed", config.speed, 0.0),
        ] {
            if !value.is_finite() || value < least {
                return Err(MovingMnistError::OutOfRange {
                    field,
                    value,
                    least,
                });
            }
        }
        Ok(Self {
            config,
            pictures: Arc::new(pictures),
            len,
            first_seed,
        })
    }

    /// The clip of a seed.
    pub fn clip(&self, seed: u64) -> Clip {
        let MovingMnistConfig {
            size,
            frames,
            digits,
            speed,
            ..
        } = self.config;
        let mut rng = addressed_rng(seed, b"m. mnist", 0);
        let digits: Vec<Digit> = (0..digits)
            .map(|_| Digit::draw(&self.pictures, size, speed, &mut rng))
            .collect();
        let frames = (0..frames).map(|t| {
            let mut rgb = vec![0; size * size * 3];
            for digit in &digits {
                digit.paint(t, &self.pictures, size, &mut rgb);
            }
            Frame::new(size, size, rgb)
        });
        Clip::new(frames.collect())
    }
}

impl SourceIds for MovingMnist {
    fn source_id(&self, index: usize) -> u64 {
        self.first_seed + index as u64
    }
}

impl Dataset<VideoItem> for MovingMnist {
    fn get(&self, index: usize) -> Result<VideoItem, DatasetError> {
        assert!(index < self.len, "item {index} of {}", self.len);
        Ok(VideoItem {
            clip: self.clip(self.source_id(index)),
            label: None,
            source: self.source_id(index),
        })
    }

    fn len(&self) -> usize {
        self.len
    }
}

/// A picture and its motion; `[vertical, horizontal]` in pixels.
struct Digit {
    picture: usize,
    start: [f64; 2],
    velocity: [f64; 2],
    /// The largest position of the upper left corner.
    limit: [f64; 2],
}

impl Digit {
    fn draw(pictures: &Pictures, size: usize, speed: f64, rng: &mut impl Rng) -> Self {
        let limit = [pictures.height, pictures.width].map(|side| (size - side) as f64);
        Self {
            picture: rng.random_range(0..pictures.len()),
            start: limit.map(|limit| rng.random::<f64>() * limit),
            velocity: direction(rng).map(|x| x * speed),
            limit,
        }
    }

    /// Where digits overlap, the brighter one is drawn.
    fn paint(&self, t: usize, pictures: &Pictures, size: usize, rgb: &mut [u8]) {
        let [top, left] = [0, 1].map(|axis| {
            let free = self.start[axis] + self.velocity[axis] * t as f64;
            reflected(free, self.limit[axis]).round() as usize
        });
        let rows = pictures.get(self.picture).chunks_exact(pictures.width);
        for (y, row) in rows.enumerate() {
            let first = (top + y) * size + left;
            let pixels = rgb[first * 3..].chunks_exact_mut(3);
            for (pixel, &value) in pixels.zip(row) {
                pixel.fill(pixel[0].max(value));
            }
        }
    }
}

/// A uniformly random unit vector. (Without sine and cosine, which differ between platforms.)
fn direction(rng: &mut impl Rng) -> [f64; 2] {
    loop {
        let [y, x]: [f64; 2] = [0, 1].map(|_| rng.random_range(-1.0..1.0));
        let length = (y * y + x * x).sqrt();
        if (0.1..1.0).contains(&length) {
            return [y / length, x / length];
        }
    }
}

/// The position between walls at 0 and `limit` of a point that would be at `free` without them.
fn reflected(free: f64, limit: f64) -> f64 {
    if limit == 0.0 {
        return 0.0;
    }
    let phase = free.rem_euclid(2.0 * limit);
    phase.min(2.0 * limit - phase)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::idx::tests::idx;

    /// A dataset of digits of 4 x 4 pixels that are all 100 or all 200.
    fn dataset(config: MovingMnistConfig) -> Result<MovingMnist, MovingMnistError> {
        let folder = tempfile::tempdir().unwrap();
        let images = folder.path().join("images");
        std::fs::write(&images, idx(&[[100; 16], [200; 16]].concat(), [4, 4])).unwrap();
        MovingMnist::open(MovingMnistConfig { images, ..config }, 10, 70)
    }

    fn one_digit() -> MovingMnistConfig {
        MovingMnistConfig {
            size: 20,
            digits: 1,
            frames: 40,
            speed: 2.5,
            ..Default::default()
        }
    }

    /// The corner of the only digit of a frame.
    fn corner(frame: &Frame) -> [usize; 2] {
        let lit = |i: &usize| frame.rgb()[i * 3] > 0;
        let pixels: Vec<usize> = (0..400).filter(lit).collect();
        assert_eq!(pixels.len(), 16, "a digit is whole");
        assert_eq!(pixels[15] - pixels[0], 3 * 20 + 3, "and a square");
        [pixels[0] / 20, pixels[0] % 20]
    }

    #[test]
    fn digits_move_at_their_speed_and_turn_at_walls() {
        let dataset = dataset(one_digit()).unwrap();
        let mut turns = 0;
        for index in 0..10 {
            let item = dataset.get(index).unwrap();
            let corners: Vec<_> = item.clip.frames().iter().map(corner).collect();
            let steps: Vec<[f64; 2]> = corners
                .windows(2)
                .map(|c| [0, 1].map(|axis| c[1][axis] as f64 - c[0][axis] as f64))
                .collect();
            for (step, corners) in steps.iter().zip(corners.windows(2)) {
                let near_wall = corners.iter().flatten().any(|&x| !(3..=13).contains(&x));
                let length = step[0].hypot(step[1]);
                // Each corner is rounded by up to 0.5 per axis.
                assert!(length < 2.5 + 1.42, "{step:?}");
                assert!(near_wall || length > 2.5 - 1.42, "{step:?}");
            }
            for axis in [0, 1] {
                let rises = steps.iter().any(|step| step[axis] > 0.0);
                let falls = steps.iter().any(|step| step[axis] < 0.0);
                turns += usize::from(rises && falls);
            }
        }
        assert!(turns >= 10, "{turns}");
    }

    #[test]
    fn reflection_is_a_triangle_wave() {
        for (free, expected) in [
            (0.0, 0.0),
            (3.0, 3.0),
            (10.0, 10.0),
            (12.0, 8.0),
            (20.0, 0.0),
            (23.0, 3.0),
            (-4.0, 4.0),
            (-14.0, 6.0),
        ] {
            assert_eq!(reflected(free, 10.0), expected, "{free}");
        }
        assert_eq!(reflected(5.0, 0.0), 0.0);
    }

    #[test]
    fn clips_follow_from_their_seed() {
        let long = dataset(one_digit()).unwrap();
        let short = dataset(MovingMnistConfig {
            frames: 7,
            ..one_digit()
        })
        .unwrap();
        assert_eq!(long.clip(3).frames()[..7], *short.clip(3).frames());
        assert_ne!(long.clip(3), long.clip(4));
        assert_eq!(long.get(5).unwrap().clip, long.clip(75));
    }

    #[test]
    fn bad_configurations_are_errors() {
        let error = |config| dataset(config).err().unwrap().to_string();
        let narrow = MovingMnistConfig {
            size: 3,
            ..one_digit()
        };
        assert_eq!(
            error(narrow),
            "moving_mnist: size is 3, but has to be at least 4"
        );
        let nan = MovingMnistConfig {
            speed: f64::NAN,
            ..one_digit()
        };
        assert!(error(nan).contains("speed is NaN"));
        let nothing = MovingMnist::open(MovingMnistConfig::default(), 1, 0);
        assert!(
            nothing
                .err()
                .unwrap()
                .to_string()
                .contains("images is not given")
        );
    }
}
