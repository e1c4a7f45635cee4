//! `ar-sample evaluate`

use ar_cli::without_controls;
use ar_data::SkippedFile;
use ar_eval::{Evaluation, EvaluationOptions};

use crate::cli::{EvaluateArgs, ProtocolName};
use crate::devices::open_device;
use crate::progress::Progress;

/// Measures what has not been measured yet, and writes the report when everything has been
/// measured.
pub(crate) fn run(args: &EvaluateArgs) -> anyhow::Result<()> {
    let options = EvaluationOptions::from(args);
    let evaluation = Evaluation::new(&args.model.source(), &options, tell_skipped)?;
    if !args.quiet {
        evaluation.notes().iter().for_each(ar_cli::tell);
    }
    let (_, device) = open_device(&args.model.device)?;
    let mut shown = None;
    let report = evaluation.run(&device, |progress| {
        let shown = shown.get_or_insert_with(|| {
            Progress::new("clip", progress.clips, String::new(), args.quiet)
        });
        shown.update(progress.measured, progress.source);
    })?;
    drop(shown);
    let text = match report {
        Some(report) => {
            report.write(&args.out)?;
            let page = args.out.join("report.html");
            format!("{}\n{}\n", report.table(), without_controls(page.display()))
        }
        None => format!(
            "{}: {} clips of this part are measured; the report waits for the other parts\n",
            without_controls(args.out.display()),
            evaluation.measured()?
        ),
    };
    Ok(ar_cli::print(&text)?)
}

fn tell_skipped(SkippedFile { path, reason, .. }: &SkippedFile) {
    ar_cli::tell(format_args!("skipped {}: {reason}", path.display()));
}

impl From<&EvaluateArgs> for EvaluationOptions {
    fn from(args: &EvaluateArgs) -> Self {
        let protocol = match args.protocol {
            ProtocolName::Validation => Self::default(),
            ProtocolName::Published => Self::published(),
        };
        Self {
            data: args.data.clone(),
            samples: args.samples.map_or(protocol.samples, usize::from),
            through_mp4: args.through_mp4,
            frames: args.frames.map(usize::from),
            videos: args.videos.clone(),
            metrics: args.metrics.clone(),
            networks: args.weights.clone(),
            ar_steps: args.ar_step.clone(),
            steps: args.steps,
            guidance: args.guidance,
            eta: args.eta,
            class: args.class.clone(),
            seed: args.seed,
            batch: args.batch.get(),
            prefix_frames: args.prefix_frames.map_or(0, usize::from),
            out: args.out.clone(),
            keep: args.keep,
            part: args.part,
            ..protocol
        }
    }
}
