//! FoPP timesteps in your own training loop: draw a timestep for every frame of a clip, and corrupt each frame to its
//! own noise level.
//!
//! `cargo run -p ar-schedulers --example fopp_training_loop`
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use ar_schedulers::{NoiseScheduleConfig, ScheduleError, TimestepSampler};
use rand::SeedableRng;
use rand_chacha::ChaCha12Rng;

const FRAMES: usize = 8;
/// Number of values in a frame's latent.
const VALUES: usize = 4;

fn main() -> Result<(), ScheduleError> {
    let schedule = NoiseScheduleConfig::default().init()?;
    let sampler = TimestepSampler::Fopp;
    let mut rng = ChaCha12Rng::seed_from_u64(0);

    for step in 0..3 {
        // Your clip and your standard normal noise go here, `[frames, values]`.
        let clean = vec![vec![1.0_f64; VALUES]; FRAMES];
        let noise = vec![vec![-0.5_f64; VALUES]; FRAMES];

        // Non-decreasing: an earlier frame is never noisier than a later one.
        let timesteps = sampler.sample(FRAMES, schedule.timesteps(), &mut rng);

        // x_f = sqrt(abar[t_f]) clean_f + sqrt(1 - abar[t_f]) noise_f
        let noisy: Vec<Vec<f64>> = timesteps
            .iter()
            .zip(clean.iter().zip(&noise))
            .map(|(&t, (clean, noise))| {
                let alpha = schedule.alpha_cumprod(t);
                let (signal, sigma) = (alpha.sqrt(), (1.0 - alpha).sqrt());
                let values = clean.iter().zip(noise);
                values.map(|(z, eps)| signal * z + sigma * eps).collect()
            })
            .collect();

        // Now predict `clean` from `noisy` and `timesteps`, and step the optimizer.
        let first: Vec<String> = noisy.iter().map(|x| format!("{:+.2}", x[0])).collect();
        println!("step {step}: timesteps {timesteps:?}");
        println!("        first values {}", first.join(" "));
    }
    Ok(())
}
