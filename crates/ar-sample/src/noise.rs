//! Starting noise and sampled latents in safetensors files.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use ar_diffusion::{GivenNoise, HostNoise, NoiseSource};
use burn::tensor::{Device, Tensor, TensorData};
use safetensors::{Dtype, SafeTensors, serialize, tensor::TensorView};

use ar_files::write_atomically;

/// Name of the starting noise in a file.
const START: &str = "x_T";

/// Starting noise that the user gives.
#[derive(Clone, Debug)]
pub struct NoiseFile {
    path: PathBuf,
    values: Vec<f32>,
    /// `[batch, frames, tokens, channels]`
    shape: [usize; 4],
}

impl NoiseFile {
    /// Reads `x_T` from a safetensors file; other tensors in it are not looked at.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        Self::read_inner(path).with_context(|| path.display().to_string())
    }

    fn read_inner(path: &Path) -> anyhow::Result<Self> {
        let bytes = std::fs::read(path)?;
        let file = SafeTensors::deserialize(&bytes).context("not a readable safetensors file")?;
        let Ok(tensor) = file.tensor(START) else {
            let mut names = file.names();
            names.sort_unstable();
            bail!(
                "no tensor `{START}`; the file has {}",
                match names.as_slice() {
                    [] => "none at all".into(),
                    names => names.join(", "),
                }
            );
        };
        if tensor.dtype() != Dtype::F32 {
            bail!(
                "`{START}` has the type {:?} and should have F32",
                tensor.dtype()
            );
        }
        let Ok(shape) = <[usize; 4]>::try_from(tensor.shape()) else {
            bail!(
                "`{START}` has shape {:?} and should have [batch, frames, tokens, channels]",
                tensor.shape()
            );
        };
        if shape.contains(&0) {
            bail!("`{START}` has shape {shape:?}, which holds no noise");
        }
        let values: Vec<f32> = tensor
            .data()
            .chunks_exact(4)
            .map(|bytes| f32::from_le_bytes(bytes.try_into().expect("four bytes")))
            .collect();
        if let Some(index) = values.iter().position(|value| !value.is_finite()) {
            let frame = index / (shape[2] * shape[3]);
            bail!(
                "`{START}` holds {} in frame {} of video {}",
                values[index],
                frame % shape[1],
                frame / shape[1]
            );
        }
        Ok(Self {
            path: path.to_owned(),
            values,
            shape,
        })
    }

    pub fn count(&self) -> usize {
        self.shape[0]
    }

    pub fn frames(&self) -> usize {
        self.shape[1]
    }

    /// Fails if the noise is not of latents of `[tokens, channels]` a frame.
    pub fn check_latents(&self, latents: [usize; 2]) -> anyhow::Result<()> {
        if self.shape[2..] != latents {
            bail!(
                "{}: `{START}` has {} tokens of {} channels a frame and this model needs {} of {}",
                self.path.display(),
                self.shape[2],
                self.shape[3],
                latents[0],
                latents[1]
            );
        }
        Ok(())
    }

    /// Fails if `option` asks for another number than the file has.
    pub fn check_number(
        &self,
        option: &str,
        given: Option<usize>,
        number: usize,
    ) -> anyhow::Result<()> {
        match given {
            Some(given) if given != number => bail!(
                "{option} {given} contradicts {}, whose `{START}` has shape {:?} (videos, frames, \
                 tokens, channels)",
                self.path.display(),
                self.shape
            ),
            _ => Ok(()),
        }
    }

    /// The noise of videos `first..first + batch`.
    fn videos(&self, first: usize, batch: usize, device: &Device) -> Tensor<4> {
        let [_, frames, tokens, channels] = self.shape;
        let video = frames * tokens * channels;
        let values = self.values[first * video..(first + batch) * video].to_vec();
        Tensor::from_data(
            TensorData::new(values, [batch, frames, tokens, channels]),
            device,
        )
    }
}

/// The noise of videos `first..first + batch`, each frame `[tokens, channels]`: that of the file
/// where there is one, else that of `seed`.
pub fn noise_source(
    file: Option<&NoiseFile>,
    seed: u64,
    (first, batch): (usize, usize),
    [tokens, channels]: [usize; 2],
    device: &Device,
) -> Box<dyn NoiseSource> {
    let seeded =
        HostNoise::new(seed, [batch, tokens, channels], device).with_first_sample(first as u64);
    match file {
        Some(file) => Box::new(GivenNoise {
            start: file.videos(first, batch, device),
            steps: seeded,
        }),
        None => Box::new(seeded),
    }
}

/// Writes sampled latents as the tensor `latents`.
///
/// # Shapes
/// - `videos`: of each video `[frames, tokens, channels]`, flat
pub fn save_latents(
    path: &Path,
    videos: &[Vec<f32>],
    [frames, tokens, channels]: [usize; 3],
) -> anyhow::Result<()> {
    let values = videos.iter().flatten();
    let bytes: Vec<u8> = values.flat_map(|value| value.to_le_bytes()).collect();
    let shape = vec![videos.len(), frames, tokens, channels];
    let view = TensorView::new(Dtype::F32, shape, &bytes).expect("one value for each place");
    let file = serialize([("latents", view)], None)?;
    write_atomically(path, &file).with_context(|| format!("{}: cannot write", path.display()))
}
