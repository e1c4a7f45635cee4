//! Starting noise in safetensors files.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use ar_weights::Fault;
use burn::tensor::{Device, Tensor, TensorData};
use safetensors::{Dtype, SafeTensorError, SafeTensors};

/// Name of the starting noise in a file.
const START: &str = "x_T";
/// The largest noise file that is read.
const MOST_BYTES: u64 = 16 << 30;

/// Starting noise that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NoiseError {
    /// The file cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The error from the system.
        source: io::Error,
    },
    /// The file is damaged, or not a safetensors file.
    #[error("{}: not a readable safetensors file: {source}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: SafeTensorError,
    },
    /// The tensor `x_T` is missing, or is not noise.
    #[error("{}: {reason}", path.display())]
    NotNoise {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The noise is for another model.
    #[error(
        "{}: `x_T` has {} tokens of {} channels a frame and this model needs {} of {}",
        path.display(), found[0], found[1], expected[0], expected[1]
    )]
    Latents {
        /// The file.
        path: PathBuf,
        /// Tokens and channels of the noise.
        found: [usize; 2],
        /// Tokens and channels of the model.
        expected: [usize; 2],
    },
    /// An option contradicts a number in the file.
    #[error(
        "`{option}` {asked} contradicts {}, whose `x_T` has shape {shape:?} (videos, frames, tokens, \
         channels)",
        path.display()
    )]
    Contradiction {
        /// The option.
        option: &'static str,
        /// Its value.
        asked: usize,
        /// The file.
        path: PathBuf,
        /// The shape of the noise.
        shape: [usize; 4],
    },
}

/// The starting noise `x_T` of some videos.
#[derive(Clone, Debug)]
pub struct StartNoise {
    path: PathBuf,
    values: Vec<f32>,
    /// `[videos, frames, tokens, channels]`
    shape: [usize; 4],
}

impl StartNoise {
    /// Reads the tensor `x_T` `[videos, frames, tokens, channels]` of a safetensors file; other
    /// tensors in it are ignored.
    ///
    /// # Errors
    /// If the file cannot be read, or has no such tensor of finite 32-bit floats.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, NoiseError> {
        let path = path.as_ref();
        let bytes = ar_files::read(path, MOST_BYTES).map_err(|source| NoiseError::Read {
            path: path.to_owned(),
            source,
        })?;
        let file = SafeTensors::deserialize(&bytes).map_err(|source| NoiseError::Damaged {
            path: path.to_owned(),
            source,
        })?;
        let (values, shape) = tensor(&file).map_err(|reason| NoiseError::NotNoise {
            path: path.to_owned(),
            reason,
        })?;
        Ok(Self {
            path: path.to_owned(),
            values,
            shape,
        })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Number of videos.
    pub fn count(&self) -> usize {
        self.shape[0]
    }

    /// Frames per video.
    pub fn frames(&self) -> usize {
        self.shape[1]
    }

    /// Fails if the noise is not for latents of `[tokens, channels]` per frame.
    pub(crate) fn check_latents(&self, expected: [usize; 2]) -> Result<(), NoiseError> {
        let found = [self.shape[2], self.shape[3]];
        if found == expected {
            return Ok(());
        }
        Err(NoiseError::Latents {
            path: self.path.clone(),
            found,
            expected,
        })
    }

    /// Fails if an option contradicts a number in the file.
    pub(crate) fn check_number(
        &self,
        option: &'static str,
        asked: Option<usize>,
        number: usize,
    ) -> Result<(), NoiseError> {
        match asked {
            Some(asked) if asked != number => Err(NoiseError::Contradiction {
                option,
                asked,
                path: self.path.clone(),
                shape: self.shape,
            }),
            _ => Ok(()),
        }
    }

    /// The noise for a frame of some videos, `[videos, 1, tokens, channels]`.
    pub(crate) fn frame(&self, videos: Range<usize>, frame: usize, device: &Device) -> Tensor<4> {
        let [_, frames, tokens, channels] = self.shape;
        let width = tokens * channels;
        let values = videos.clone().flat_map(|video| {
            let start = (video * frames + frame) * width;
            &self.values[start..start + width]
        });
        let shape = [videos.len(), 1, tokens, channels];
        Tensor::from_data(TensorData::new(values.copied().collect(), shape), device)
    }
}

/// The values and the shape of the noise in a file, or what is wrong with it.
fn tensor(file: &SafeTensors<'_>) -> Result<(Vec<f32>, [usize; 4]), String> {
    let Ok(tensor) = file.tensor(START) else {
        let mut names = file.names();
        names.sort_unstable();
        let names = match names.as_slice() {
            [] => "none at all".into(),
            names => names.join(", "),
        };
        return Err(format!("no tensor `{START}`; the file has {names}"));
    };
    if tensor.dtype() != Dtype::F32 {
        return Err(format!(
            "`{START}` has the type {:?} and should have F32",
            tensor.dtype()
        ));
    }
    let Ok(shape) = <[usize; 4]>::try_from(tensor.shape()) else {
        return Err(format!(
            "`{START}` has shape {:?} and should have [batch, frames, tokens, channels]",
            tensor.shape()
        ));
    };
    if shape.contains(&0) {
        return Err(format!(
            "`{START}` has shape {shape:?}, which holds no noise"
        ));
    }
    let (values, _) = tensor.data().as_chunks();
    let values: Vec<f32> = values.iter().map(|&v| f32::from_le_bytes(v)).collect();
    let mut faults = values.iter().map(|&value| Fault::of_value(value));
    if let Some((index, fault)) = faults.by_ref().enumerate().find_map(|(i, f)| Some((i, f?))) {
        let frame = index / (shape[2] * shape[3]);
        return Err(format!(
            "`{START}` holds {fault}, in frame {} of video {}",
            frame % shape[1],
            frame / shape[1]
        ));
    }
    Ok((values, shape))
}
