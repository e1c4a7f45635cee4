//! The picture of the training timestep samplers.

use std::fmt::Write;

use ar_schedulers::TimestepSampler;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

const FRAMES: usize = 16;
const TIMESTEPS: usize = 1000;
/// Number of ranges of timesteps.
const BINS: usize = 20;
/// Clips that are counted.
const CLIPS: usize = 100_000;
/// Clips that are drawn as lines.
const LINES: usize = 3;
/// Width and height of a cell in pixels.
const CELL: [usize; 2] = [10, 9];
/// Distance between the left edges of panels.
const STRIDE: usize = FRAMES * CELL[0] + 16;
/// From the edges to the panels.
const MARGIN: [usize; 2] = [44, 34];

const PANELS: [(&str, TimestepSampler); 5] = [
    ("full_sequence", TimestepSampler::FullSequence),
    ("diffusion_forcing", TimestepSampler::DiffusionForcing),
    ("forward_only", TimestepSampler::ForwardOnly),
    ("fopp", TimestepSampler::Fopp),
    ("planned", TimestepSampler::Planned),
];

/// A panel for each sampler, as SVG: frames from left to right, timesteps from bottom to top, the
/// darker the more often a frame gets the timestep; lines are the timesteps of single clips.
pub(super) fn picture() -> String {
    let size = [FRAMES * CELL[0], BINS * CELL[1]];
    let width = MARGIN[0] + PANELS.len() * STRIDE;
    let height = MARGIN[1] + size[1] + 30;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>\n"
    );
    for (text, y) in [("t = 999", MARGIN[1] + 10), ("t = 0", MARGIN[1] + size[1])] {
        let x = MARGIN[0] - 4;
        svg += &format!(
            "<text x=\"{x}\" y=\"{y}\" font-size=\"10\" text-anchor=\"end\">{text}</text>\n"
        );
    }
    for (index, (name, sampler)) in PANELS.into_iter().enumerate() {
        let left = MARGIN[0] + index * STRIDE;
        svg += &format!("<g transform=\"translate({left} {})\">\n", MARGIN[1]);
        let centre = size[0] / 2;
        let below = size[1] + 16;
        svg += &format!("<text x=\"{centre}\" y=\"-10\" text-anchor=\"middle\">{name}</text>\n");
        svg += &format!(
            "<text x=\"{centre}\" y=\"{below}\" font-size=\"10\" text-anchor=\"middle\">\
             frames 0 to {}</text>\n",
            FRAMES - 1
        );
        svg += &panel(sampler);
        svg += &format!(
            "<rect width=\"{}\" height=\"{}\" fill=\"none\" stroke=\"#999\"/>\n</g>\n",
            size[0], size[1]
        );
    }
    svg + "</svg>\n"
}

/// The cells and the lines of a sampler.
fn panel(sampler: TimestepSampler) -> String {
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let mut counts = [[0; BINS]; FRAMES];
    let mut lines = Vec::new();
    for clip in 0..CLIPS {
        let timesteps = sampler.sample(FRAMES, TIMESTEPS, &mut rng);
        for (frame, &timestep) in timesteps.iter().enumerate() {
            counts[frame][timestep * BINS / TIMESTEPS] += 1;
        }
        if clip < LINES {
            lines.push(timesteps);
        }
    }
    let mut svg = String::new();
    for (frame, counts) in counts.iter().enumerate() {
        for (bin, &count) in counts.iter().enumerate() {
            // A uniform distribution has a third of the ink; shares above three times that look the same.
            let ink = (f64::from(count) * BINS as f64 / CLIPS as f64 / 3.0).min(1.0);
            let (x, y) = (frame * CELL[0], (BINS - 1 - bin) * CELL[1]);
            // Writing to a string does not fail.
            let _ = writeln!(
                svg,
                "<rect x=\"{x}\" y=\"{y}\" width=\"{}\" height=\"{}\" fill=\"#31688e\" \
                 fill-opacity=\"{ink:.2}\"/>",
                CELL[0], CELL[1]
            );
        }
    }
    for timesteps in lines {
        let points: Vec<String> = timesteps
            .iter()
            .enumerate()
            .map(|(frame, &timestep)| {
                let x = frame * CELL[0] + CELL[0] / 2;
                let y = (TIMESTEPS - 1 - timestep) * BINS * CELL[1] / (TIMESTEPS - 1);
                format!("{x},{y}")
            })
            .collect();
        let _ = writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"#d1495b\" stroke-width=\"1.5\"/>",
            points.join(" ")
        );
    }
    svg
}
