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
mod networks;
mod page;
mod records;
mod report;
mod settings;
mod shard;
mod sources;
mod weights;

use std::ops::Range;

use anyhow::{Context, anyhow};
use ar_files::write_atomically;
use ar_metrics::world::Truth;

use crate::cli::EvaluateArgs;
use crate::model::{ModelSource, open_device};
use crate::progress::Progress;
use data::Data;
use kept::Kept;
use measures::{Measured, Measures};
use networks::Networks;
use records::Records;
use report::Report;
use settings::{Settings, check_class};
use sources::{Source, Sources};

pub use metrics::Metric;
pub use shard::Shard;
pub use weights::WeightsFile;

/// Measures what is not measured yet and writes the report when all is.
pub fn run(args: &EvaluateArgs) -> anyhow::Result<()> {
    let source = ModelSource::new(args.model.model.as_deref());
    let config = source.config()?;
    check_class(args.class, &config)?;
    let data = Data::open(args, &config)?;
    let settings = Settings::new(args, &source, &config, &data)?;
    let (_, device) = open_device(&args.model.device)?;
    let mut records = Records::open(
        &args.out,
        &settings.protocol,
        &settings.features,
        args.shard,
    )?;

    let all = args.shard.part(settings.samples);
    let total = all.len() * settings.sources.len();
    let measured = |records: &Records| -> usize {
        let done = |name: &str| all.clone().filter(|clip| records.has(name, *clip)).count();
        let sources = settings.sources.iter();
        sources.map(|source| done(&source.to_string())).sum()
    };
    let mut done = measured(&records);
    let kept = Kept::new(args, settings.fps);
    let missing = |records: &Records, source: &Source| -> Vec<usize> {
        let name = source.to_string();
        let lacks = |clip: &usize| !records.has(&name, *clip) || kept.lacks(source, *clip);
        all.clone().filter(lacks).collect()
    };
    let mut sources = settings.sources.iter();
    if sources.any(|source| !missing(&records, source).is_empty()) {
        let model = source.load(&device)?;
        let metrics = &settings.protocol.metrics;
        let networks = Networks::load(
            metrics,
            &settings.features,
            &settings.weights,
            &model,
            data.frames,
            &device,
        )?;
        let videos = settings.videos.as_ref();
        let sources = Sources::new(&model, &device, &settings, &data, videos);
        let mut progress = Progress::new("clip", total, String::new(), args.quiet);
        for source in &settings.sources {
            let name = source.to_string();
            for clips in consecutive(&missing(&records, source), args.batch.get()) {
                progress.update(done, name.clone());
                let videos = sources.videos(source, clips.clone())?;
                for (clip, video) in clips.zip(videos) {
                    kept.write(source, clip, &video)?;
                    if records.has(&name, clip) {
                        continue;
                    }
                    let truth = data.clip(clip)?;
                    let world = data.world(settings.class(clip, &data)?);
                    let measured = Measured {
                        frames: &video,
                        truth: source.has_truth().then_some(Truth {
                            frames: &truth,
                            given: settings.protocol.prefix_frames,
                        }),
                        world: world.as_ref(),
                    };
                    let measures = Measures::of(measured, metrics, &networks);
                    let features = networks.features(&video)?;
                    records.add(&name, clip, measures, &features)?;
                    done += 1;
                }
            }
        }
    }

    match Report::new(&settings, &records, &device)? {
        Some(report) => write(args, &report),
        None => crate::print(&format!(
            "{}: {done} clips of this part are measured; the report waits for the other parts\n",
            args.out.display()
        )),
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
    crate::print(&format!(
        "{}\n{}\n",
        report.table(),
        args.out.join("report.html").display()
    ))
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
