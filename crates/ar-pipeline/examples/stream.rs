//! Receives the frames of a long video one by one, each as soon as it is finished, and stops when it has seen enough:
//! `cargo run --release -p ar-pipeline --example stream`.
#![allow(clippy::print_stdout)]

use std::error::Error;

use ar_pipeline::{GenerateOptions, Pipeline};
use burn::tensor::Device;

fn main() -> Result<(), Box<dyn Error>> {
    let pipeline = Pipeline::built_in(&Device::default())?;
    let options = GenerateOptions {
        frames: Some(1_000_000),
        ..GenerateOptions::default()
    };
    for frame in pipeline.generate(&options)?.frames().take(100) {
        let frame = frame?;
        let rgb = frame.frame.rgb();
        let brightness = rgb.iter().map(|&value| f64::from(value)).sum::<f64>() / rgb.len() as f64;
        println!("frame {}: mean level {brightness:.1}", frame.index);
    }
    Ok(())
}
