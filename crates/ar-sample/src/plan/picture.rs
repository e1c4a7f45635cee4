//! An inference plan as a picture: a column for each frame, iterations downwards.

use std::path::Path;

use anyhow::{Context, anyhow, bail};
use ar_schedulers::{AdConfig, AdPlan, FrameState};
use ar_video::{Clip, Frame, VideoFormat, write_clip};
use plotters::prelude::*;

use ar_files::write_atomically;

/// The most columns and rows; for larger plans, every n-th frame and iteration is drawn.
const MAX_CELLS: usize = 512;
/// Size of the SVG in its own units, and of the legend in it.
const SVG_SIZE: (u32, u32) = (760, 560);
const LEGEND_WIDTH: u32 = 150;
/// The least size of the PNG's longer side in pixels.
const PNG_SIZE: usize = 512;

const WAITING: RGBColor = RGBColor(225, 225, 225);
const FINISHED: RGBColor = RGBColor(90, 90, 90);
const OUTSIDE: RGBColor = RGBColor(255, 255, 255);
/// From the first step to the last, the colours of viridis.
const STEPS: [RGBColor; 5] = [
    RGBColor(68, 1, 84),
    RGBColor(59, 82, 139),
    RGBColor(33, 145, 140),
    RGBColor(94, 201, 98),
    RGBColor(253, 231, 37),
];

/// Draws the plan as SVG (with axes and legend) or PNG (the bare map), by the extension.
pub(super) fn write(path: &Path, plan: &AdPlan) -> anyhow::Result<()> {
    let extension = path.extension().and_then(|extension| extension.to_str());
    match extension.map(str::to_ascii_lowercase).as_deref() {
        Some("svg") => {
            let picture = svg(plan).map_err(|error| anyhow!("cannot draw the plan: {error}"))?;
            write_atomically(path, picture.as_bytes())
                .with_context(|| format!("{}: cannot write", path.display()))
        }
        // An animation with one frame is an ordinary PNG file.
        Some("png") => Ok(write_clip(
            path,
            &Clip::new(vec![png(plan)]),
            VideoFormat::Apng,
            1.0,
        )?),
        _ => bail!(
            "--picture {}: only .svg and .png can be drawn",
            path.display()
        ),
    }
}

/// The frames and iterations that are drawn.
struct Grid<'a> {
    plan: &'a AdPlan,
    columns: usize,
    rows: usize,
}

impl<'a> Grid<'a> {
    fn new(plan: &'a AdPlan) -> Self {
        Self {
            plan,
            columns: plan.config().frames.min(MAX_CELLS),
            rows: plan.iterations().min(MAX_CELLS),
        }
    }

    fn frame(&self, column: usize) -> usize {
        scale(column, self.columns, self.plan.config().frames)
    }

    fn iteration(&self, row: usize) -> usize {
        scale(row, self.rows, self.plan.iterations())
    }

    fn colour(&self, column: usize, row: usize) -> RGBColor {
        let (frame, iteration) = (self.frame(column), self.iteration(row));
        match self.plan.state(iteration, frame) {
            _ if !self.plan.window(iteration).contains(&frame) => OUTSIDE,
            FrameState::Waiting => WAITING,
            FrameState::Active { step } => step_colour(step, self.plan.config().steps),
            FrameState::Finished => FINISHED,
        }
    }

    /// Rows of equal colour in a column: first row, one past the last, and the colour.
    fn runs(&self, column: usize) -> Vec<(usize, usize, RGBColor)> {
        let mut runs: Vec<(usize, usize, RGBColor)> = Vec::new();
        for row in 0..self.rows {
            let colour = self.colour(column, row);
            match runs.last_mut() {
                Some(last) if last.2 == colour => last.1 = row + 1,
                _ => runs.push((row, row + 1, colour)),
            }
        }
        runs
    }
}

/// Scales `index` of `from` to a range of `to`, in u128 because of the product in large plans.
fn scale(index: usize, from: usize, to: usize) -> usize {
    (index as u128 * to as u128 / from as u128) as usize
}

fn step_colour(step: usize, steps: usize) -> RGBColor {
    let position = step as f64 / (steps - 1).max(1) as f64 * (STEPS.len() - 1) as f64;
    let index = (position as usize).min(STEPS.len() - 2);
    let (from, to, share) = (STEPS[index], STEPS[index + 1], position - index as f64);
    let mix = |a: u8, b: u8| (f64::from(a) + (f64::from(b) - f64::from(a)) * share).round() as u8;
    RGBColor(mix(from.0, to.0), mix(from.1, to.1), mix(from.2, to.2))
}

fn svg(plan: &AdPlan) -> Result<String, Box<dyn std::error::Error>> {
    let AdConfig {
        steps,
        ar_step,
        frames,
        ..
    } = plan.config();
    let grid = Grid::new(plan);
    let mut picture = String::new();
    {
        let root = SVGBackend::with_string(&mut picture, SVG_SIZE).into_drawing_area();
        root.fill(&WHITE)?;
        let (map, legend) = root.split_horizontally(SVG_SIZE.0 - LEGEND_WIDTH);

        let title = format!("{frames} frames, {steps} steps, step difference {ar_step}");
        let iterations = plan.iterations();
        let mut chart = ChartBuilder::on(&map)
            .caption(title, ("sans-serif", 20))
            .margin(12)
            .x_label_area_size(40)
            .y_label_area_size(56)
            .build_cartesian_2d(0.0..frames as f64, iterations as f64..0.0)?;
        chart
            .configure_mesh()
            .disable_mesh()
            .x_desc("frame")
            .y_desc("iteration")
            .x_label_formatter(&|x| format!("{x:.0}"))
            .y_label_formatter(&|y| format!("{y:.0}"))
            .draw()?;
        // A cell ends where the next one starts.
        let x = |column: usize| scale(column, grid.columns, frames) as f64;
        let y = |row: usize| scale(row, grid.rows, iterations) as f64;
        for column in 0..grid.columns {
            chart.draw_series(grid.runs(column).into_iter().map(|(top, bottom, colour)| {
                let corners = [(x(column), y(top)), (x(column + 1), y(bottom))];
                Rectangle::new(corners, colour.filled())
            }))?;
        }
        draw_legend(&legend, plan)?;
        root.present()?;
    }
    Ok(picture)
}

fn draw_legend(
    area: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>,
    plan: &AdPlan,
) -> Result<(), Box<dyn std::error::Error>> {
    let AdConfig {
        steps,
        frames,
        window,
        ..
    } = plan.config();
    const BAR: (i32, i32) = (60, 240);
    const SWATCH: i32 = 18;
    let label = |text: String, y: i32| Text::new(text, (SWATCH + 8, y), ("sans-serif", 14));
    for y in BAR.0..BAR.1 {
        let step = (y - BAR.0) as usize * steps / (BAR.1 - BAR.0) as usize;
        let corners = [(0, y), (SWATCH, y + 1)];
        area.draw(&Rectangle::new(corners, step_colour(step, steps).filled()))?;
    }
    area.draw(&label("step 1".into(), BAR.0))?;
    if steps > 1 {
        area.draw(&label(format!("step {steps}"), BAR.1 - 14))?;
    }
    let mut entries = vec![("waiting", WAITING), ("finished", FINISHED)];
    if frames > window {
        entries.push(("outside the window", OUTSIDE));
    }
    for (index, (name, colour)) in entries.into_iter().enumerate() {
        let top = BAR.1 + 20 + 28 * index as i32;
        let corners = [(0, top), (SWATCH, top + SWATCH)];
        area.draw(&Rectangle::new(corners, colour.filled()))?;
        area.draw(&Rectangle::new(corners, FINISHED))?;
        area.draw(&label(name.into(), top + 2))?;
    }
    Ok(())
}

fn png(plan: &AdPlan) -> Frame {
    let grid = Grid::new(plan);
    // Cells are stretched to make the picture about square, because a plan is often much longer
    // than wide.
    let [cell_width, cell_height] = [grid.columns, grid.rows].map(|n| PNG_SIZE.div_ceil(n));
    let mut rgb = Vec::new();
    for row in 0..grid.rows {
        let line: Vec<u8> = (0..grid.columns)
            .flat_map(|column| {
                let RGBColor(r, g, b) = grid.colour(column, row);
                [r, g, b].repeat(cell_width)
            })
            .collect();
        rgb.extend(line.repeat(cell_height));
    }
    Frame::new(grid.columns * cell_width, grid.rows * cell_height, rgb)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(frames: usize, steps: usize, ar_step: usize, window: usize) -> AdPlan {
        let config = AdConfig {
            steps,
            ar_step,
            frames,
            window,
        };
        AdPlan::new(config).expect("a plan")
    }

    #[test]
    fn cells_show_states() {
        let plan = plan(4, 2, 1, 2);
        let grid = Grid::new(&plan);
        assert_eq!((grid.columns, grid.rows), (4, 5));
        assert_eq!(grid.colour(0, 0), STEPS[0]);
        assert_eq!(grid.colour(0, 1), STEPS[4]);
        assert_eq!(grid.colour(1, 0), WAITING);
        assert_eq!(grid.colour(2, 0), OUTSIDE);
        assert_eq!(grid.colour(2, 4), FINISHED);
        assert_eq!(
            grid.runs(3),
            [(0, 3, OUTSIDE), (3, 4, STEPS[0]), (4, 5, STEPS[4])]
        );
        let picture = png(&plan);
        assert_eq!(picture.size(), (4 * 128, 5 * 103));
        assert_eq!(picture.rgb()[..3], [68, 1, 84]);
    }

    #[test]
    fn large_plans_stay_small_pictures() {
        let plan = plan(100_000, 50, 50, 8);
        assert!(svg(&plan).expect("a picture").len() < 4_000_000);
        assert_eq!(png(&plan).size(), (MAX_CELLS, MAX_CELLS));
    }
}
