//! Encoding a dataset of clips into latents.

use std::path::{Path, PathBuf};

use ar_data::{DataConfig, LatentDataset, LatentIndex, Part, VideoBatch, VideoItem};
use ar_files::{ContentHash, FolderLock};
use ar_model::{ModelFiles, VideoModel};
use ar_pipeline::{ModelSource, PipelineError};
use burn::tensor::Device;

use crate::config::{CheckSizes, LatentsRun};
use crate::data::{Clips, open_clips};
use crate::error::{ConfigError, Error, Result, ensure_config};
use crate::log::Observer;
use crate::run::{Ending, StageOptions};

/// Frames that are encoded at once.
const FRAMES_AT_ONCE: usize = 64;

/// Encodes the clips of a dataset, or only a `part` of them, and writes them to the folder of latents in `config`, file
/// by file. When resuming, and when processes share the work, existing files are kept.
///
/// # Errors
/// If the model has no VAE, the data cannot be read, or the folder contains other latents or cannot be written.
pub fn encode(
    config: &LatentsRun,
    part: Part,
    device: &Device,
    options: &StageOptions,
) -> Result<Ending> {
    config.check_sizes()?;
    let out = &config.out;
    ensure_config!(
        !out.as_os_str().is_empty(),
        ["out"],
        "out is not given: the folder of latents to write"
    );
    ensure_config!(
        config.clips_per_shard > 0,
        ["clips_per_shard"],
        "clips_per_shard is 0; it must be at least 1"
    );
    ensure_config!(
        !config.data.flip,
        ["data.flip"],
        "data.flip mirrors clips in training; here every clip is encoded once, as it is"
    );
    ensure_config!(
        !config.data.one_per_video,
        ["data.one_per_video"],
        "data.one_per_video draws single clips of videos in training; here every clip is encoded"
    );
    // Clips are set aside for validation only in the stage that trains on them.
    let data = DataConfig {
        validation: 0,
        ..config.data.clone()
    };
    let model = load_vae(&config.vae, device)?;
    let Some(Clips {
        split,
        classes,
        report,
        files,
    }) = open_clips(&data, options)?
    else {
        return Ok(Ending::NotStarted);
    };
    report
        .iter()
        .for_each(|line| options.observer.message(line));
    if let Some(note) = ModelSource::from(&config.vae).note() {
        options.observer.message(&note);
    }
    if let Some(vae) = &model.config().vae {
        let (size, first) = (vae.image_size(), split.first()?.clip);
        ensure_config!(
            (first.width(), first.height()) == (size, size),
            ["data"],
            "the clips are {}x{} and the VAE encodes frames of {size}x{size}: set the size of the data to {size}",
            first.width(),
            first.height()
        );
    }
    let index = LatentIndex {
        clips: split.clips(),
        clips_per_shard: config.clips_per_shard,
        classes,
        source: source(config)?,
        checksums: true,
        content: Some(content(&files)?),
    };
    let index = open_folder(out, index, options.resume || part != Part::ALL)?;
    let _lock = FolderLock::take(out, &format!(".lock{}", part.suffix())).map_err(|error| {
        ConfigError::new(["out"], format!("out = {}", out.display())).because(error)
    })?;

    let list = out.join(format!("skipped{}.txt", part.suffix()));
    split.skipped().keep(&list)?;
    split.skipped().write(&list)?;

    let files = part.range(index.shards());
    let total = files.clone().map(|file| index.clips_of(file).len()).sum();
    let mut done = 0;
    for file in files {
        let clips = index.clips_of(file);
        if !is_done(out, &index, file, &*options.observer)? {
            let mut encoded = Encoded::default();
            let mut next = clips.start;
            while next < clips.end {
                if options.interrupter.should_stop() {
                    return Ok(Ending::Interrupted);
                }
                let end = clips.end.min(next + encoded.clips_at_once());
                encoded.push(&model, &split.readable(next..end)?, device)?;
                next = end;
                options.observer.encoding(done + next - clips.start, total);
            }
            // Before the shard, whose clips are not read again when it exists.
            split.skipped().write(&list)?;
            let dataset = encoded.into_dataset();
            let dataset = dataset.ok_or_else(|| {
                let last = clips.end - 1;
                let message = format!("none of the clips {} to {last} can be read", clips.start);
                Error::Data(message.into())
            })?;
            dataset?.save_shard(out, &index, file)?;
        }
        done += clips.len();
        options.observer.encoding(done, total);
    }
    Ok(Ending::Finished)
}

/// Whether a shard exists and is intact.
fn is_done(
    folder: &Path,
    index: &LatentIndex,
    number: usize,
    observer: &dyn Observer,
) -> Result<bool> {
    if !index.shard_path(folder, number).exists() {
        return Ok(false);
    }
    match LatentDataset::load_shard_of(folder, index, number) {
        Ok(_) => Ok(true),
        Err(error) if error.is_environment() => Err(error.into()),
        Err(error) => {
            observer.message(&format!("{error}: its clips are encoded again"));
            Ok(false)
        }
    }
}

/// Creates the folder, or checks that the existing one contains the same latents; returns its index.
fn open_folder(out: &Path, index: LatentIndex, go_on: bool) -> Result<LatentIndex> {
    ensure_config!(
        !out.is_file(),
        ["out"],
        "{} is a file; latents are written to a folder: choose one with `--set out=FOLDER`",
        out.display()
    );
    let Some(there) = LatentIndex::load(out)? else {
        let mut shards = (0..index.shards()).map(|shard| index.shard_path(out, shard));
        if let Some(shard) = shards.find(|shard| shard.exists()) {
            let message = format!(
                "{} is there, but not the index.json that says what it was made of: choose another folder with \
                 `--set out=FOLDER`, or remove {}",
                shard.display(),
                out.display()
            );
            return Err(ConfigError::new(["out"], message).into());
        }
        index.save(out).map_err(|error| {
            let message = format!("out = {}", out.display());
            ConfigError::new(["out"], message).because(error)
        })?;
        return Ok(index);
    };
    if let Some(difference) = index.difference(&there) {
        let message = format!(
            "{} holds other latents ({difference}): choose another folder with \
             `--set out=FOLDER`, or remove it",
            out.display()
        );
        return Err(ConfigError::new(["out"], message).into());
    }
    ensure_config!(
        go_on,
        ["out"],
        "{} holds latents already: continue with --resume, or choose another folder with \
         `--set out=FOLDER`",
        out.display()
    );
    Ok(there)
}

/// What the latents depend on: the clips and the weights of the VAE.
fn source(config: &LatentsRun) -> Result<Vec<String>> {
    let data = DataConfig {
        // All clips are encoded.
        validation: DataConfig::default().validation,
        ..config.data.without_reading()
    };
    let mut lines = vec![line_of_vae(&config.vae)?];
    let data = toml::to_string(&data).expect("a configuration is TOML");
    lines.extend(data.lines().map(str::to_owned));
    lines.retain(|line| !line.is_empty());
    Ok(lines)
}

/// A hash of the files that clips come from.
fn content(files: &[PathBuf]) -> Result<String> {
    let hash = files.iter().try_fold(ContentHash::EMPTY, |hash, file| {
        hash.and_checksum(file).map_err(Error::io(file))
    });
    Ok(hash?.to_string())
}

/// The start of the line in an index that identifies the VAE of the latents.
const VAE_CHECKSUM: &str = "checksum of the VAE = ";

/// What the VAE of the model directory `dir` is known by.
pub(crate) fn checksum_of_vae(dir: &Path) -> Result<String> {
    Ok(match ModelSource::from(dir) {
        ModelSource::Directory(dir) => {
            let weights = ModelFiles::new(dir).vae;
            let (sum, _) = ar_files::checksum(&weights).map_err(Error::io(&weights))?;
            format!("{sum:08x}")
        }
        source => source.to_string(),
    })
}

/// The line of an index, for the VAE of the model directory `dir`.
fn line_of_vae(dir: &Path) -> Result<String> {
    Ok(format!("{VAE_CHECKSUM}{}", checksum_of_vae(dir)?))
}

/// Fails unless latents were made with the VAE of the model directory `dir`, as far as this is recorded.
///
/// # Errors
/// If they were made with another one, or it cannot be read.
pub(crate) fn check_vae(latents: &LatentDataset, dir: &Path) -> Result<()> {
    let mut lines = latents.made_of().iter();
    let Some(theirs) = lines.find(|line| line.starts_with(VAE_CHECKSUM)) else {
        return Ok(());
    };
    let ours = line_of_vae(dir)?;
    ensure_config!(
        ours == *theirs,
        ["vae", "data.latents"],
        "vae = {} is not the VAE that the latents were made with ({ours} here, {theirs} there): \
         name that one, or encode the clips again",
        dir.display()
    );
    Ok(())
}

/// The latents of a shard that is being made.
#[derive(Default)]
struct Encoded {
    latents: Vec<f32>,
    labels: Vec<usize>,
    sources: Vec<u64>,
    /// `[clips, frames, tokens, channels]`
    shape: [usize; 4],
}

impl Encoded {
    fn clips_at_once(&self) -> usize {
        match self.shape[1] {
            // The length of a clip is not known yet.
            0 => 1,
            frames => (FRAMES_AT_ONCE / frames).max(1),
        }
    }

    fn push(&mut self, model: &VideoModel, items: &[VideoItem], device: &Device) -> Result<()> {
        if items.is_empty() {
            return Ok(());
        }
        let batch = VideoBatch::new(items, device);
        let encoded = model.encode(batch.pixels)?;
        let clips = self.shape[0] + items.len();
        self.shape = encoded.dims();
        self.shape[0] = clips;
        self.latents.extend(encoded.into_data().iter::<f32>());
        self.labels.extend(batch.labels.into_iter().flatten());
        self.sources.extend(items.iter().map(|item| item.source));
        Ok(())
    }

    /// None if there are no clips.
    fn into_dataset(self) -> Option<Result<LatentDataset, ar_data::LatentError>> {
        let labels = (!self.labels.is_empty()).then_some(self.labels);
        (self.shape[0] > 0).then(|| {
            LatentDataset::new(self.latents, self.shape, labels)?.with_sources(self.sources)
        })
    }
}

/// Reads the model directory of a VAE, or the built-in model.
///
/// # Errors
/// If it is not a model directory, or has no VAE.
pub fn load_vae(path: impl AsRef<Path>, device: &Device) -> Result<VideoModel, ConfigError> {
    let path = path.as_ref();
    ensure_config!(
        !path.as_os_str().is_empty(),
        ["vae"],
        "vae is not given: the model directory of a trained VAE, such as runs/NAME/model"
    );
    let load = || {
        let model = ModelSource::from(path).load(device)?;
        model.vae()?;
        Ok::<_, PipelineError>(model)
    };
    load().map_err(|error| {
        ConfigError::new(["vae"], format!("vae = {}", path.display())).because(error)
    })
}
