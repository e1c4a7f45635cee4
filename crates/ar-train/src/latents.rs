//! Encoding a dataset of clips into latents.

use std::path::Path;

use anyhow::{Result, bail};
use ar_data::{LatentDataset, VideoBatch};
use ar_model::VideoModel;
use burn::tensor::Device;
use burn_train::Interrupter;

use crate::config::LatentsRun;
use crate::data::open_clips;

/// Frames that are encoded at once.
const FRAMES_AT_ONCE: usize = 64;

/// Encodes all clips of a dataset and writes the file of latents that `config` names.
///
/// # Errors
/// If the model has no VAE, the data cannot be read, or the file cannot be written.
pub fn encode(
    config: &LatentsRun,
    device: &Device,
    interrupter: &Interrupter,
    mut progress: impl FnMut(usize, usize),
) -> Result<()> {
    if config.out.as_os_str().is_empty() {
        bail!("out is not given: the file of latents to write");
    }
    let model = load_vae(&config.vae, device)?;
    let data = open_clips(&config.data)?.split;
    let total = data.held_out().end;
    let (mut latents, mut labels, mut shape) = (Vec::new(), Vec::new(), [0; 4]);
    let mut done = 0;
    while done < total {
        if interrupter.should_stop() {
            bail!("interrupted after {done} of {total} clips; nothing was written");
        }
        let clip_frames = data.items([done])?[0].clip.frames().len();
        let next = total.min(done + (FRAMES_AT_ONCE / clip_frames).max(1));
        let batch = VideoBatch::new(&data.items(done..next)?, device);
        let encoded = model.encode(batch.pixels)?;
        shape = encoded.dims();
        latents.extend(encoded.into_data().iter::<f32>());
        labels.extend(batch.labels.into_iter().flatten());
        done = next;
        progress(done, total);
    }
    shape[0] = total;
    let labels = (!labels.is_empty()).then_some(labels);
    LatentDataset::new(latents, shape, labels)?.save(&config.out)?;
    Ok(())
}

/// Reads the model directory of a VAE.
///
/// # Errors
/// If it is none, or has no VAE.
pub fn load_vae(dir: &Path, device: &Device) -> Result<VideoModel> {
    if dir.as_os_str().is_empty() {
        bail!("vae is not given: the model directory of a trained VAE, such as runs/NAME/model");
    }
    let model = VideoModel::load(dir, device)?;
    model.vae()?;
    Ok(model)
}
