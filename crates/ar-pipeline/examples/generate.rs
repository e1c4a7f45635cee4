//! Generates a video with the built-in model, or a model directory:
//! `cargo run --release -p ar-pipeline --example generate -- [MODEL]`.
#![allow(clippy::print_stdout)]

use std::error::Error;

use ar_pipeline::{GenerateOptions, ModelSource, Pipeline};
use burn::tensor::Device;

fn main() -> Result<(), Box<dyn Error>> {
    let model = std::env::args_os().nth(1);
    let source = model
        .as_ref()
        .map_or(ModelSource::BuiltIn, ModelSource::from);
    let pipeline = Pipeline::from_source(&source, &Device::default())?;
    let options = GenerateOptions {
        frames: Some(32),
        seed: 7,
        ..GenerateOptions::default()
    };
    let outcome = pipeline.generate(&options)?.write("video.mp4")?;
    println!(
        "video.mp4: {} frames in {:.1} s",
        outcome.frames_sampled(),
        outcome.total.as_secs_f64()
    );
    Ok(())
}
