use std::fs;
use std::ops::Range;
use std::path::Path;

use ar_data::{SkippedFile, to_pixels};
use ar_files::FolderLock;
use ar_metrics::physics::Truth;
use ar_pipeline::{ModelSource, Pipeline};
use ar_video::Frame;
use burn::tensor::Device;

use crate::clips::ClipMaker;
use crate::inputs::check_inputs;
use crate::kept::Kept;
use crate::metric::{Load, MeasuredClip};
use crate::records::{Features, Measures, Recorder, Records};
use crate::reference::Reference;
use crate::settings::Settings;
use crate::source::Source;
use crate::{
    ClipMeter, EvaluationError, EvaluationOptions, FeatureMeter, MOST_SAMPLES, Metric, Report,
    SeenClip,
};

/// The progress of an evaluation.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct EvaluationProgress {
    /// Clips of this part that are measured, over all sources.
    pub measured: usize,
    /// Clips of this part, over all sources.
    pub clips: usize,
    /// The source whose clips are being made.
    pub source: String,
}

/// An evaluation with checked options.
pub struct Evaluation {
    options: EvaluationOptions,
    model: ModelSource,
    settings: Settings,
    reference: Reference,
    kept: Kept,
    /// The clips of every source in this part of the work.
    clips: Range<usize>,
}

/// The loaded metrics.
#[derive(Default)]
struct Meters {
    of_clips: Vec<(&'static str, ClipMeter)>,
    of_sets: Vec<(Features, FeatureMeter)>,
}

impl Evaluation {
    /// Checks the options, without computing or writing anything. `skipped` gets the videos of the data that are left
    /// out.
    ///
    /// # Errors
    /// If options do not fit each other, the model or the data, or the data cannot be read.
    pub fn new(
        model: &ModelSource,
        options: &EvaluationOptions,
        skipped: impl Fn(&SkippedFile),
    ) -> Result<Self, EvaluationError> {
        let counts = [("samples", options.samples), ("batch", options.batch)];
        if let Some((option, _)) = counts.into_iter().find(|(_, count)| *count == 0) {
            return Err(EvaluationError::option(
                option,
                "is 0, and has to be at least 1",
            ));
        }
        if options.samples > MOST_SAMPLES {
            let reason = format!("is {}, and can be at most {MOST_SAMPLES}", options.samples);
            return Err(EvaluationError::option("samples", reason));
        }
        let config = model.config()?;
        let class = options.class.as_deref();
        let class = class.map(|class| config.conditioning.class(class));
        let class = class.transpose()?;
        check_inputs(model, options)?;
        let reference = Reference::open(options, class, &config, &skipped)?;
        let settings = Settings::new(options, class, model, &config, &reference, &skipped)?;
        Ok(Self {
            kept: Kept::new(options, settings.fps),
            clips: options.part.range(settings.samples),
            options: options.clone(),
            model: model.clone(),
            settings,
            reference,
        })
    }

    /// Measures the clips that have not been measured yet. Returns the report if the clips of all parts have been
    /// measured, and None while other parts are in progress.
    ///
    /// # Errors
    /// If the model or weights cannot be loaded, a clip cannot be read or made, the folder contains another evaluation,
    /// another process is working on this part of it, or it cannot be written.
    pub fn run(
        &self,
        device: &Device,
        progress: impl FnMut(EvaluationProgress),
    ) -> Result<Option<Report>, EvaluationError> {
        let mut records = self.records()?;
        if !self.is_complete(&records) {
            // Taken before anything that takes long if the folder exists; otherwise the folder is only created after
            // that.
            let lock = self.folder().is_dir().then(|| self.lock()).transpose()?;
            let pipeline = Pipeline::from_source(&self.model, device)?;
            self.complete(&pipeline, lock, device, progress)?;
            // Includes what other parts have measured meanwhile, so that the last one to finish finds everything.
            records = self.records()?;
        }
        Report::new(&self.settings, &records, device)
    }

    /// Clips of this part that are measured, over all sources.
    ///
    /// # Errors
    /// If the folder contains another evaluation or cannot be read.
    pub fn measured(&self) -> Result<usize, EvaluationError> {
        Ok(self.count(&self.records()?))
    }

    /// Messages for the user before the work starts.
    pub fn notes(&self) -> &[String] {
        &self.settings.notes
    }

    fn folder(&self) -> &Path {
        &self.options.out
    }

    /// Keeps other processes from this part of the work.
    fn lock(&self) -> Result<FolderLock, EvaluationError> {
        let folder = self.folder();
        fs::create_dir_all(folder).map_err(EvaluationError::write(folder))?;
        let name = format!(".lock{}", self.options.part.suffix());
        FolderLock::take(folder, &name).map_err(EvaluationError::write(folder))
    }

    fn records(&self) -> Result<Records, EvaluationError> {
        let Settings {
            protocol, features, ..
        } = &self.settings;
        Records::read(self.folder(), protocol, features)
    }

    fn count(&self, records: &Records) -> usize {
        let of_source = |source: &Source| {
            let name = source.to_string();
            let clips = self.clips.clone();
            clips.filter(|clip| records.has(&name, *clip)).count()
        };
        self.settings.sources.iter().map(of_source).sum()
    }

    /// The clips of a source that still have to be made.
    fn missing(&self, source: &Source, records: &Records) -> Vec<usize> {
        let name = source.to_string();
        let is_missing =
            |clip: &usize| !records.has(&name, *clip) || self.kept.lacks(source, *clip);
        self.clips.clone().filter(is_missing).collect()
    }

    fn is_complete(&self, records: &Records) -> bool {
        let mut sources = self.settings.sources.iter();
        sources.all(|source| self.missing(source, records).is_empty())
    }

    /// Makes, keeps and measures the missing clips. Nothing is written before everything is loaded; then the lock is
    /// taken, unless it already has been.
    fn complete(
        &self,
        pipeline: &Pipeline,
        lock: Option<FolderLock>,
        device: &Device,
        mut progress: impl FnMut(EvaluationProgress),
    ) -> Result<(), EvaluationError> {
        let settings = &self.settings;
        let meters = Meters::load(
            settings,
            &Load {
                networks: &settings.networks,
                model: pipeline.model(),
                clips: &settings.clips,
                device,
            },
        )?;
        let maker = ClipMaker {
            pipeline,
            settings,
            reference: &self.reference,
        };
        let Settings {
            protocol, features, ..
        } = settings;
        let _lock = lock.map_or_else(|| self.lock(), Ok)?;
        // Includes what an earlier holder of the lock measured.
        let records = self.records()?;
        let part = self.options.part;
        let mut recorder = Recorder::new(self.folder(), protocol, features, part, &records)?;
        let mut measured = self.count(&records);
        for source in &settings.sources {
            let name = source.to_string();
            for clips in consecutive(&self.missing(source, &records), self.options.batch) {
                progress(EvaluationProgress {
                    measured,
                    clips: self.clips.len() * settings.sources.len(),
                    source: name.clone(),
                });
                for (clip, frames) in clips.clone().zip(maker.clips(source, clips)?) {
                    self.kept.write(source, clip, &frames)?;
                    if !records.has(&name, clip) {
                        let measures = self.measure(source, clip, &frames, &meters, device)?;
                        let features = meters.features(clip, &frames, device)?;
                        recorder.add(&name, clip, measures, &features)?;
                        measured += 1;
                    }
                }
            }
        }
        Ok(())
    }

    fn measure(
        &self,
        source: &Source,
        clip: usize,
        frames: &[Frame],
        meters: &Meters,
        device: &Device,
    ) -> Result<Measures, EvaluationError> {
        let truth = self.reference.clip(clip)?;
        let class = self.settings.class(clip, &self.reference);
        let world = self.reference.world(class);
        Ok(meters.measures(&MeasuredClip {
            frames,
            truth: source.has_truth().then_some(Truth {
                frames: &truth,
                given: self.settings.protocol.prefix_frames,
            }),
            world: world.as_ref(),
            device,
        }))
    }
}

impl Meters {
    fn load(settings: &Settings, load: &Load<'_>) -> Result<Self, EvaluationError> {
        let mut meters = Self::default();
        let mut features = settings.features.iter().copied();
        for metric in &settings.metrics {
            match metric {
                Metric::Clip(clip) => meters.of_clips.push((clip.name(), clip.load(load)?)),
                Metric::Set(set) => {
                    let features = features.next().expect("features of every metric of sets");
                    meters.of_sets.push((features, set.load(load)?));
                }
            }
        }
        Ok(meters)
    }

    /// The measures of all metrics that apply to the clip.
    fn measures(&self, clip: &MeasuredClip<'_>) -> Measures {
        self.of_clips
            .iter()
            .filter_map(|(metric, measure)| Some((metric.to_string(), measure(clip)?)))
            .collect()
    }

    /// The features of a clip for the metrics of sets, each `[samples, width]`, flattened.
    fn features(
        &self,
        number: usize,
        frames: &[Frame],
        device: &Device,
    ) -> Result<Vec<Vec<f32>>, EvaluationError> {
        if self.of_sets.is_empty() {
            return Ok(Vec::new());
        }
        let pixels = to_pixels(&[frames], device);
        let extract = |(features, extract): &(Features, FeatureMeter)| {
            let metric = features.metric;
            let pixels = pixels.clone();
            let values = extract(SeenClip { number, pixels })?;
            assert_eq!(values.len(), features.len(), "{metric}");
            if !values.iter().all(|value| value.is_finite()) {
                return Err(EvaluationError::NotFinite { metric });
            }
            Ok(values)
        };
        self.of_sets.iter().map(extract).collect()
    }
}

/// Runs of consecutive numbers of at most `most`.
fn consecutive(numbers: &[usize], most: usize) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    for &number in numbers {
        match runs.last_mut() {
            Some(run) if run.end == number && run.len() < most => run.end += 1,
            _ => runs.push(number..number + 1),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_consecutive_and_short() {
        assert_eq!(
            consecutive(&[0, 1, 2, 3, 5, 6, 9], 3),
            [0..3, 3..4, 5..7, 9..10]
        );
        assert!(consecutive(&[], 3).is_empty());
    }
}
