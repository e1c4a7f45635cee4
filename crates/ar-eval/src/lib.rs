//! Evaluation of AR-Diffusion models: ground truth, its reconstruction and samples, measured in the same way and put
//! side by side.
//!
//! [`Evaluation`] checks the options, makes the clips of every source, measures each clip, and returns a [`Report`]
//! when all clips have been measured. The metrics are in the table [`METRICS`]: a metric is a file in `src/metrics` and
//! a line in the table.
//!
//! The measures of a clip are stored at once. So a run that was stopped can continue, and runs that share a folder can
//! share the work.
//!
//! ```no_run
//! use ar_eval::{Evaluation, EvaluationOptions};
//! use ar_pipeline::ModelSource;
//! # use burn::tensor::Device;
//! # let device = Device::flex();
//!
//! let options = EvaluationOptions { samples: 32, ..EvaluationOptions::default() };
//! let evaluation = Evaluation::new(&ModelSource::BuiltIn, &options, |_skipped| ())?;
//! if let Some(report) = evaluation.run(&device, |_progress| ())? {
//!     println!("{}", report.table());
//!     report.write(&options.out)?;
//! }
//! # Ok::<(), ar_eval::EvaluationError>(())
//! ```
#![warn(missing_docs)]

mod clips;
mod error;
mod evaluation;
mod feature_set;
mod fid_frames;
mod files;
mod inputs;
mod kept;
mod metric;
mod metrics;
mod network;
mod network_file;
mod options;
mod page;
mod protocol;
mod records;
mod reference;
mod reference_split;
mod report;
mod row;
mod settings;
mod source;
mod write;

pub use error::EvaluationError;
pub use evaluation::{Evaluation, EvaluationProgress};
pub use feature_set::FeatureSet;
pub use fid_frames::FidFrames;
pub use metric::{
    ClipMeter, ClipMetric, ClipTraits, Column, FeatureMeter, Load, MeasuredClip, Metric,
    MetricInfo, Plot, SeenClip, SetMetric,
};
pub use metrics::METRICS;
pub use network::{Network, NetworkFiles};
pub use network_file::NetworkFile;
pub use options::{EvaluationOptions, MOST_SAMPLES, PUBLISHED_SAMPLES};
pub use protocol::{Protocol, SampledClasses};
pub use reference_split::ReferenceSplit;
pub use report::Report;
pub use row::Row;

/// Tests the examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
