//! FVD of black against white videos, for which other implementations compute 151.26: `cargo run
//! --release -p ar-metrics --example published_fvd -- I3D_WEIGHTS`.
#![allow(clippy::print_stdout)]

use std::error::Error;

use ar_metrics::networks::{FeatureExtractor, I3d};
use ar_metrics::{FeatureStatistics, frechet_distance};
use burn::tensor::{Device, Tensor};

const VIDEOS: usize = 8;

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args_os()
        .nth(1)
        .ok_or("give the file of I3D's weights")?;
    let device = Device::flex();
    let network = I3d::load(path, &device)?;
    let gather = |level: f32| {
        let mut statistics = FeatureStatistics::new(network.width());
        for _ in 0..VIDEOS {
            let video = Tensor::full([1, 30, 3, 64, 64], level, &device);
            statistics.add(network.features(video))?;
        }
        Ok::<_, Box<dyn Error>>(statistics)
    };
    let fvd = frechet_distance(&gather(0.0)?, &gather(1.0)?)?;
    println!("{fvd:.2} (others: 151.26)");
    Ok(())
}
