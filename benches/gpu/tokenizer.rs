//! How long the published tokenizer takes to encode and decode a clip.

use std::time::Instant;

use ar_benches::{noise, pixels, seconds, wait};
use ar_model::ComputePrecision;
use ar_vae::{ArVaeConfig, VaeConfig};
use burn::tensor::Device;

use crate::memory::MemoryWatch;
use crate::record::{Record, Time};
use crate::speed::precision_name;

const FRAMES: usize = 16;
const RUNS: usize = 5;

/// Encodes and decodes with AR-VAE large.
pub(crate) fn measure(name: &str, device: &Device, bf16: bool, tell: &mut dyn FnMut(Record)) {
    let watch = MemoryWatch::start();
    let config = VaeConfig::Transformer(ArVaeConfig::large());
    let [tokens, channels] = config.latents();
    let vae = config.init(device).expect("the published tokenizer");
    let pixels = pixels([1, FRAMES], config.image_size(), device);
    let latents = noise([1, FRAMES, tokens, channels], device);
    let precisions = [ComputePrecision::F32, ComputePrecision::Bf16];
    for precision in precisions.into_iter().take(1 + usize::from(bf16)) {
        let vae = precision.of(vae.clone());
        let mut times = |work: &str, run: &dyn Fn()| {
            let mut times: Vec<f64> = (0..=RUNS)
                .map(|_| {
                    let start = Instant::now();
                    run();
                    seconds(start, device)
                })
                .collect();
            let first_seconds = times.remove(0);
            times.sort_by(f64::total_cmp);
            tell(Record::Time(Time {
                side: format!("here: {name}"),
                work: format!("{work} {FRAMES} frames"),
                network: "AR-VAE large".to_owned(),
                precision: precision_name(precision).to_owned(),
                seconds: times[RUNS / 2],
                first_seconds,
                memory_bytes: watch.as_ref().map(MemoryWatch::peak),
            }));
        };
        times("encode", &|| {
            drop(vae.encode(pixels.clone()).mean());
            wait(device);
        });
        times("decode", &|| {
            drop(vae.decode(latents.clone()));
            wait(device);
        });
    }
}
