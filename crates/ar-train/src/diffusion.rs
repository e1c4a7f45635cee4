//! The diffusion stage: latents in, a transformer out.

mod objective;
mod settings;
mod start;
mod validation;

use std::fs;
use std::path::Path;

use ar_data::{LatentDataset, LatentItem};
use ar_diffusion::SamplerConfig;
use ar_dit::PositionEmbedding;
use ar_model::{
    LatentScale, LatentStatistics, ModelConfig, ModelError, Precision, Transformer, VideoModel,
};
use ar_pipeline::{Classes, GenerateOptions, ModelSource, Pipeline};
use ar_vae::Vae;
use burn::module::Module;
use burn_dataset::Dataset;

pub use objective::{Draws, Objective};
use settings::{STATISTICS, model_config, read_statistics};
pub use validation::ValidationLoss;

use crate::checkpoint::Checkpointed;
use crate::config::{CheckSizes, DiffusionRun, not_negative};
use crate::data::TrainingData;
use crate::error::{BoxError, ConfigError, Error, Result, ensure_config};
use crate::forecast::{Begun, Forecast};
use crate::latents::{check_vae, checksum_of_vae, load_vae};
use crate::run::{Ending, Run, StageOptions};
use crate::samples;
use crate::start_from::started;
use crate::trainer::{Position, Trainer};
use crate::workers::Workers;

/// Number of videos that are sampled to show the progress of training, and videos per row.
const SHOWN: usize = 4;
const SHOWN_IN_A_ROW: usize = 2;

/// Trains a transformer according to `config`, with all of `workers`, and writes a complete model
/// directory, VAE included, into the run's folder.
///
/// # Errors
/// If the configuration is invalid, the data cannot be read, or the run's folder cannot be written.
pub fn train(config: &DiffusionRun, workers: &Workers, options: &StageOptions) -> Result<Ending> {
    config.check_sizes()?;
    let device = workers.main_device();
    let mut model_config = model_config(config);
    model_config.validate().map_err(ConfigError::from)?;
    validate(config)?;
    workers.check(config.precision)?;
    let vae = load_vae(&config.vae, device)?;
    let latents = config.data.open_latents()?;
    check_latents(&latents, config)?;
    check_vae(&latents, &config.vae)?;
    let conditioning = &mut model_config.conditioning;
    if conditioning.classes > 0 && conditioning.class_names.is_empty() {
        conditioning.class_names = latents.class_names().to_vec();
    }
    if config.run.sample_every > 0 {
        model_config
            .sampler(sampler_config(config), config.transformer.num_frames)
            .map_err(ConfigError::from)?;
    }
    Run::check_model_dir(&config.run, "vae", &config.vae)?;
    if let Some(dir) = &config.start_from {
        Run::check_model_dir(&config.run, "start_from", dir)?;
    }
    let vae_checksum = checksum_of_vae(&config.vae)?;
    let known = Some(vae_checksum.clone());
    let mut run = Run::open_on_latents(config, known, workers.group.clone(), options)?;
    let workers = workers.autodiff();
    let device = workers.main_device();
    device.seed(config.run.seed);
    let mut transformer = Transformer::new(&config.transformer, &config.conditioning, device)
        .map_err(ConfigError::from)?;
    let mut known_statistics = None;
    // A checkpoint has all weights, and the model that the run started from may no longer exist.
    if let Some(path) = config.start_from.as_ref().filter(|_| !run.is_resumed()) {
        let start = start::start(path, transformer, config, &model_config.conditioning)?;
        run.line(started(path, &start.taken));
        if let Some(other) = start.vae.filter(|other| *other != vae_checksum) {
            run.line(format!(
                "note: {} knows the latents of another VAE (checksum {other}) than these ({vae_checksum}): it may \
                 have to learn them anew; latents of its own VAE are better",
                path.display()
            ));
        }
        transformer = start.transformer;
        known_statistics = start.statistics;
    }
    let parameters = transformer.num_params() as f64 / 1e6;
    let mut training = Training {
        trainer: Trainer::new(transformer, &config.optimizer, config.run.steps)
            .with_precision(config.precision)
            .with_workers(&workers),
        latent: [
            config.transformer.tokens_per_frame,
            config.transformer.in_channels,
        ],
        statistics: known_statistics,
    };
    run.restore(&mut training)?;
    if training.statistics.is_none() {
        training.statistics = statistics(&latents, config.latent_scale)?;
    }
    model_config.latent_statistics = training.statistics.clone();

    if latents.unverified() > 0 {
        run.line(format!(
            "{} files of latents have no checksums, because an older version wrote them: they are \
             read without being checked",
            latents.unverified()
        ));
    }
    if !latents.is_identified() {
        run.line(
            "the latents do not say which clips they are of, because an older version wrote them: \
             whether their files belong together is not checked",
        );
    }
    if let Some(note) = ModelSource::from(&config.vae).note() {
        run.line(note);
    }
    let skipped = latents.skipped().to_vec();
    let data = TrainingData::new(latents, &config.data)?;
    data.leave_out(&skipped);
    run.note_clips(data.clips())?;
    let clips = data.training().len();
    run.line(format!(
        "{clips} clips to train on; {parameters:.2} M parameters"
    ));
    let objective = Objective::new(config, training.statistics.clone())?;
    let mut batches = data.batches(&config.run, run.positions())?;
    let validation = data.items(run.measured(data.validation()).iter().copied())?;
    let model = |training: &Training| {
        let transformer = training.trainer.ema.clone();
        let vae = vae.vae()?.clone();
        complete_model(&model_config, transformer, vae)
    };
    if training.trainer.is_done() && run.is_leader() {
        model(&training)?.save(run.model_dir(), Precision::Full)?;
    }

    let measure = |run: &mut Run, training: &Training| {
        let loss = objective.validation_loss(&training.trainer.ema, &validation)?;
        run.measure_in_parts("validation_loss", loss.mean(), loss.parts())
    };
    // Of the raw weights and of their average.
    let losses_of = |training: &Training, items: &[LatentItem]| {
        let raw = training.trainer.model().valid();
        let networks = [&raw, &training.trainer.ema];
        let loss = |network| Ok(objective.validation_loss(network, items)?.mean());
        networks.into_iter().map(loss).collect()
    };
    let sample = |run: &Run, training: &Training| {
        let path = run.sample_path(training.trainer.step());
        match show(model(training)?, config, &path) {
            // The model has hardly been trained yet, so training continues.
            Err(Error::Samples(error)) if error.is_not_finite() => {
                run.line(format!("no samples: {error}"));
                Ok(())
            }
            shown => shown,
        }
    };
    if !validation.is_empty() && run.eval_is_missing("validation_loss")? {
        measure(&mut run, &training)?;
    }
    if run.samples_are_missing() {
        sample(&run, &training)?;
    }
    run.restart_clock();

    while !training.trainer.is_done() && !run.is_interrupted() {
        let trainer = &mut training.trainer;
        let items = batches.next_batch()?;
        let clip_frames = items[0].shape[0];
        let draws = objective
            .draws(trainer.step() as u64, [run.clips_per_step(), clip_frames])
            .part(run.first_clip(), items.len());
        let loss = objective.accumulate(trainer, &items, &draws)?;
        let report = trainer.update();
        run.step(&[("loss", loss)], report)?;
        run.prove(false)?;

        // Before anything that may fail or take long.
        if run.checkpoint_is_due(false) {
            run.checkpoint(&training, || losses_of(&training, &items[..1]))?;
            model(&training)?.save(run.model_dir(), Precision::Full)?;
        }
        if run.eval_is_due() && !validation.is_empty() {
            measure(&mut run, &training)?;
        }
        if run.samples_are_due() {
            sample(&run, &training)?;
        }
        if run.late_checkpoint_is_due(false) {
            run.checkpoint(&training, || losses_of(&training, &items[..1]))?;
            model(&training)?.save(run.model_dir(), Precision::Full)?;
        }
        run.restart_clock();
    }
    run.finish()
}

/// How much time and memory [`train`] will need, measured in a few steps with the first latents;
/// nothing is written.
///
/// # Errors
/// If the configuration is invalid, or the latents cannot be read.
pub fn forecast(config: &DiffusionRun, workers: &Workers) -> Result<Forecast> {
    config.check_sizes()?;
    validate(config)?;
    workers.check(config.precision)?;
    let latents = config.data.open_latents()?;
    check_latents(&latents, config)?;
    let statistics = statistics(&latents, config.latent_scale)?;
    let clips = config.run.clips_per_step();
    let items: Vec<_> = (0..clips)
        .map(|clip| latents.get(clip % latents.len()))
        .collect::<Result<_, _>>()
        .map_err(|error| Error::Data(error.into()))?;
    let clip_frames = items[0].shape[0];
    let workers = workers.autodiff();
    let device = workers.main_device();
    if let Some(path) = &config.start_from {
        // What training would refuse, this refuses.
        let fresh = Transformer::new(&config.transformer, &config.conditioning, device)
            .map_err(ConfigError::from)?;
        start::start(path, fresh, config, &config.conditioning)?;
    }
    let configs = [false, true].map(|activation_checkpointing| DiffusionRun {
        activation_checkpointing,
        ..config.clone()
    });
    Forecast::measure(config, device, |activation_checkpointing| {
        let config = &configs[usize::from(activation_checkpointing)];
        let transformer = Transformer::new(&config.transformer, &config.conditioning, device)
            .map_err(ConfigError::from)?;
        let parameters = transformer.num_params();
        let mut trainer = Trainer::new(transformer, &config.optimizer, config.run.steps)
            .with_precision(config.precision)
            .with_workers(&workers);
        let objective = Objective::new(config, statistics.clone())?;
        let items = &items;
        let step = move |number| {
            let draws = objective.draws(number, [clips, clip_frames]);
            objective.accumulate(&mut trainer, items, &draws)?;
            trainer.update();
            Ok(())
        };
        Ok(Begun { parameters, step })
    })
}

/// The state of a diffusion stage between its steps.
struct Training {
    trainer: Trainer<Transformer>,
    /// Tokens and channels of a frame.
    latent: [usize; 2],
    /// Statistics of the latents that the run started with, or of the model that it started from.
    /// The network knows no other scale, so they do not change if it continues with other latents.
    statistics: Option<LatentStatistics>,
}

impl Checkpointed for Training {
    fn position(&self) -> Position {
        self.trainer.position
    }

    fn save(&self, folder: &Path) -> Result<(), BoxError> {
        if let Some(statistics) = &self.statistics {
            fs::write(folder.join(STATISTICS), toml::to_string(statistics)?)?;
        }
        self.trainer.save(folder)
    }

    fn exploded(&self) -> Option<String> {
        self.trainer.exploded()
    }

    fn load(&mut self, folder: &Path, position: Position) -> Result<(), BoxError> {
        if let Some(statistics) = read_statistics(folder)? {
            let [tokens, channels] = self.latent;
            if !statistics.fits([tokens, channels]) {
                return Err(ModelError::Statistics { tokens, channels }.into());
            }
            self.statistics = Some(statistics);
        }
        self.trainer.load(folder, position)
    }
}

fn validate(config: &DiffusionRun) -> Result<(), ConfigError> {
    for (key, value) in [
        ("context_dropout", config.context_dropout),
        ("short_clips", config.short_clips),
    ] {
        ensure_config!(
            (0.0..=1.0).contains(&value),
            [key],
            "{key} = {value} is not a probability; it must be in 0..=1"
        );
    }
    // With zeros, the layer norms would make gradients grow a thousandfold in every block.
    ensure_config!(
        config.context_dropout == 0.0 || config.conditioning.classes > 0,
        ["context_dropout", "conditioning.classes"],
        "context_dropout = {} and conditioning.classes = 0: an unconditional model has no class to \
         drop; set context_dropout to 0, or conditioning.classes to the number of classes of labelled \
         latents",
        config.context_dropout
    );
    config.optimizer.validate("optimizer")?;
    not_negative("loss.last_frame_weight", config.loss.last_frame_weight)?;
    not_negative("loss.vlb", config.loss.vlb)?;
    Ok(())
}

fn complete_model(config: &ModelConfig, transformer: Transformer, vae: Vae) -> Result<VideoModel> {
    let mut model = VideoModel::init(config.clone(), &transformer.devices()[0])?;
    model.set_transformer(transformer);
    model.set_vae(vae);
    Ok(model)
}

fn sampler_config(config: &DiffusionRun) -> SamplerConfig {
    SamplerConfig {
        steps: config.sampling.steps,
        ar_step: config.sampling.ar_step,
        eta: config.sampling.eta,
    }
}

/// Samples a few videos of the trained length, always from the same noise; a class-conditional
/// model samples its first classes.
fn show(model: VideoModel, config: &DiffusionRun, path: &Path) -> Result<()> {
    let classes = config.conditioning.classes;
    let options = GenerateOptions {
        count: Some(SHOWN),
        batch: Some(1),
        frames: Some(config.transformer.num_frames),
        classes: if classes > 0 {
            Classes::Each((0..SHOWN).map(|index| index % classes).collect())
        } else {
            Classes::None
        },
        seed: config.run.seed,
        ..GenerateOptions::default()
    };
    let device = model.transformer()?.devices().swap_remove(0);
    let videos = Pipeline::new(model, &device).generate(&options)?.videos()?;
    let videos: Vec<_> = videos.iter().map(Vec::as_slice).collect();
    Ok(samples::write(
        path,
        &videos,
        SHOWN_IN_A_ROW,
        config.sampling.fps,
    )?)
}

fn statistics(latents: &LatentDataset, scale: LatentScale) -> Result<Option<LatentStatistics>> {
    if scale == LatentScale::Off {
        return Ok(None);
    }
    let [clips, _, tokens, channels] = latents.shape();
    let mut values = Vec::new();
    for clip in 0..clips {
        let item = latents
            .get(clip)
            .map_err(|error| Error::Data(error.into()))?;
        values.extend(item.latents);
    }
    Ok(LatentStatistics::estimate(
        scale,
        &values,
        [tokens, channels],
    ))
}

fn check_latents(latents: &LatentDataset, config: &DiffusionRun) -> Result<(), ConfigError> {
    let [_, frames, tokens, channels] = latents.shape();
    let transformer = &config.transformer;
    let window = transformer.num_frames;
    let expected = [transformer.tokens_per_frame, transformer.in_channels];
    ensure_config!(
        [tokens, channels] == expected,
        ["transformer.tokens_per_frame", "transformer.in_channels"],
        "the latents are {tokens} tokens x {channels} channels a frame and the transformer has \
         tokens_per_frame x in_channels = {} x {}; they must be equal",
        expected[0],
        expected[1]
    );
    match transformer.positions {
        PositionEmbedding::FrameRotary => ensure_config!(
            frames >= window,
            ["transformer.num_frames"],
            "the latents are clips of {frames} frames and the transformer has num_frames = \
             {window}; clips must be at least as long"
        ),
        PositionEmbedding::SinCos | PositionEmbedding::Rotary => ensure_config!(
            frames == window,
            ["transformer.num_frames"],
            "the latents are clips of {frames} frames and the transformer has num_frames = \
             {window}; they must be equal (longer clips are for positions = \"frame_rotary\")"
        ),
    }
    let largest = latents.labels().and_then(|labels| labels.iter().max());
    let classes = config.conditioning.classes;
    let (known, given) = (latents.class_names(), &config.conditioning.class_names);
    ensure_config!(
        classes == 0 || known.is_empty() || known.len() == classes,
        ["conditioning.classes"],
        "the latents have {0} classes, but conditioning.classes = {classes}: set it to {0}, or encode videos of \
         all classes",
        known.len()
    );
    ensure_config!(
        given.is_empty() || given.len() == classes,
        ["conditioning.class_names", "conditioning.classes"],
        "conditioning.class_names has {} names, but conditioning.classes = {classes}; there must \
         be as many names as classes",
        given.len()
    );
    ensure_config!(
        known.is_empty() || given.is_empty() || known == given,
        ["conditioning.class_names"],
        "conditioning.class_names = {given:?}, and the classes of the latents are {known:?}; leave \
         the key out"
    );
    match (classes, largest) {
        (0, _) => {}
        (_, Some(&label)) => ensure_config!(
            label < classes,
            ["conditioning.classes"],
            "the latents have label {label} and conditioning.classes = {classes}; labels must be \
             below it"
        ),
        (_, None) => ensure_config!(
            false,
            ["conditioning.classes"],
            "conditioning.classes = {classes}, but the latents have no labels: encode a labelled \
             dataset, or set it to 0"
        ),
    }
    Ok(())
}
