//! `ar-sample evaluate`: ground truth, its reconstruction and samples, measured in one way and put side
//! by side.
//!
//! Every clip is measured by itself and its measures are written down at once ([`records`]), so that a
//! run that was stopped goes on where it was, and runs that share a folder share the work.

mod data;
mod distances;
mod kept;
mod measures;
mod metrics;
mod network;
mod networks;
mod page;
mod records;
mod report;
mod settings;
mod source;
mod sources;
mod weights;

use std::ops::Range;

use anyhow::{Context, anyhow};
use ar_files::write_atomically;
use ar_metrics::physics::Truth;
use ar_pipeline::Pipeline;
use ar_video::Frame;
use burn::tensor::Device;

use crate::cli::EvaluateArgs;
use crate::devices::open_device;
use crate::progress::Progress;
use data::Data;
use kept::Kept;
use measures::{Measured, Measures};
use networks::Networks;
use records::{Recorder, Records};
use report::Report;
use settings::Settings;
use source::Source;
use sources::Sources;

pub(crate) use metrics::Metric;
pub(crate) use weights::WeightsFile;

/// Measures what is not measured yet and writes the report when all is.
pub(crate) fn run(args: &EvaluateArgs) -> anyhow::Result<()> {
    let model = args.model.source();
    let config = model.config()?;
    let class = args.class.as_deref();
    let class = class.map(|class| config.conditioning.class(class));
    let class = class.transpose()?;
    let data = Data::open(args, class, &config)?;
    let settings = Settings::new(args, class, &model, &config, &data)?;
    let (_, device) = open_device(&args.model.device)?;
    let read = || Records::read(&args.out, &settings.protocol, &settings.features);
    let mut records = read()?;

    let part = Part {
        args,
        clips: args.part.range(settings.samples),
        kept: Kept::new(args, settings.fps),
        settings: &settings,
        data: &data,
        device: &device,
    };
    if !part.is_complete(&records) {
        part.complete(&Pipeline::from_source(&model, &device)?, &records)?;
        // With what other parts have measured meanwhile: the last one to end finds everything.
        records = read()?;
    }
    match Report::new(&settings, &records, &device)? {
        Some(report) => write(args, &report),
        None => Ok(ar_cli::print(&format!(
            "{}: {} clips of this part are measured; the report waits for the other parts\n",
            args.out.display(),
            part.measured(&records)
        ))?),
    }
}

/// The part of the work that is done here.
struct Part<'a> {
    args: &'a EvaluateArgs,
    settings: &'a Settings,
    data: &'a Data,
    device: &'a Device,
    /// The clips of every source.
    clips: Range<usize>,
    kept: Kept,
}

impl Part<'_> {
    /// Clips that are measured, over all sources.
    fn measured(&self, records: &Records) -> usize {
        let of_source = |source: &Source| {
            let name = source.to_string();
            let clips = self.clips.clone();
            clips.filter(|clip| records.has(&name, *clip)).count()
        };
        self.settings.sources.iter().map(of_source).sum()
    }

    /// The clips of a source that are to be made.
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

    /// Makes, keeps and measures what is missing. Nothing is written before all that it takes is
    /// there.
    fn complete(&self, pipeline: &Pipeline, records: &Records) -> anyhow::Result<()> {
        let Self {
            args,
            settings,
            data,
            device,
            ..
        } = *self;
        let networks = Networks::load(settings, pipeline.model(), device)?;
        let sources = Sources::new(pipeline, settings, data, settings.videos.as_ref());
        let Settings {
            protocol, features, ..
        } = settings;
        let mut recorder = Recorder::new(&args.out, protocol, features, args.part, records)?;
        let total = self.clips.len() * settings.sources.len();
        let mut measured = self.measured(records);
        let mut progress = Progress::new("clip", total, String::new(), args.quiet);
        for source in &settings.sources {
            let name = source.to_string();
            for clips in consecutive(&self.missing(source, records), args.batch.get()) {
                progress.update(measured, name.clone());
                for (clip, video) in clips.clone().zip(sources.videos(source, clips)?) {
                    self.kept.write(source, clip, &video)?;
                    if !records.has(&name, clip) {
                        let measures = self.measure(source, clip, &video, &networks)?;
                        recorder.add(&name, clip, measures, &networks.features(&video)?)?;
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
        networks: &Networks,
    ) -> anyhow::Result<Measures> {
        let protocol = &self.settings.protocol;
        let truth = self.data.clip(clip)?;
        let world = self.data.world(self.settings.class(clip, self.data)?);
        let measured = Measured {
            frames,
            truth: source.has_truth().then_some(Truth {
                frames: &truth,
                given: protocol.prefix_frames,
            }),
            world: world.as_ref(),
        };
        Ok(Measures::of(measured, &protocol.metrics, networks))
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

fn write(args: &EvaluateArgs, report: &Report) -> anyhow::Result<()> {
    let json = serde_json::to_string_pretty(report).expect("a report is plain values") + "\n";
    let page = page::html(report).map_err(|error| anyhow!("cannot draw: {error}"))?;
    for (name, text) in [("report.json", json), ("report.html", page)] {
        let path = args.out.join(name);
        write_atomically(&path, text.as_bytes())
            .with_context(|| format!("{}: cannot write", path.display()))?;
    }
    ar_cli::print(&format!(
        "{}\n{}\n",
        report.table(),
        args.out.join("report.html").display()
    ))?;
    Ok(())
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
