use std::io;
use std::path::Path;

use plotters::prelude::*;

use crate::error::{BoxError, Error, Result};

/// Width of the picture, and height of a chart, in the units of the SVG.
const WIDTH: u32 = 760;
const HEIGHT: u32 = 240;
const COLOUR: RGBColor = RGBColor(59, 82, 139);
const LAST_COLOUR: RGBColor = RGBColor(240, 150, 40);
/// Length of a curve in a legend.
const LEGEND_LINE: i32 = 12;
/// Not worth a curve: they are about the machine, not the network.
const LEFT_OUT: [&str; 2] = ["step", "clips_per_second"];

/// One measured quantity over the steps.
#[derive(Clone, Debug, PartialEq)]
struct Curve {
    name: String,
    points: Vec<(f64, f64)>,
}

/// Draws every quantity in `metrics.jsonl` over the steps, one below the other, as SVG. If there are none, there is no
/// picture.
pub(super) fn draw(metrics: &Path, path: &Path) -> Result<()> {
    let curves = curves(metrics).map_err(Error::io(metrics))?;
    if curves.is_empty() {
        return Ok(());
    }
    let picture = svg(&curves).map_err(io::Error::other);
    picture
        .and_then(|picture| ar_files::write_atomically(path, picture.as_bytes()))
        .map_err(Error::io(path))
}

fn curves(metrics: &Path) -> io::Result<Vec<Curve>> {
    let mut curves: Vec<Curve> = Vec::new();
    for (_, line) in super::metrics::read(metrics, usize::MAX)? {
        let step = line["step"].as_f64();
        let values = line.as_object().into_iter().flatten();
        for (name, value) in values.filter(|(name, _)| !LEFT_OUT.contains(&name.as_str())) {
            let (Some(step), Some(value)) = (step, value.as_f64()) else {
                continue;
            };
            let (name, value) = (current_name(name), drawable(value));
            match curves.iter_mut().find(|curve| curve.name == name) {
                Some(curve) => curve.points.push((step, value)),
                None => curves.push(Curve {
                    name: name.to_owned(),
                    points: vec![(step, value)],
                }),
            }
        }
    }
    Ok(curves)
}

/// The current name of a quantity, since an older version may have started the run.
fn current_name(name: &str) -> &str {
    match name {
        "held_out_loss" => "validation_loss",
        "held_out_psnr_db" => "validation_psnr_db",
        name => name,
    }
}

/// The curves of each chart: `NAME/PART_1` and `NAME/PART_2` share one.
fn charts(curves: &[Curve]) -> Vec<(&str, Vec<&Curve>)> {
    let mut charts: Vec<(&str, Vec<&Curve>)> = Vec::new();
    for curve in curves {
        let title = split(&curve.name).0;
        match charts.iter_mut().find(|(known, _)| *known == title) {
            Some((_, together)) => together.push(curve),
            None => charts.push((title, vec![curve])),
        }
    }
    charts
}

/// The title of a quantity's chart, and its label if the chart has several curves.
fn split(name: &str) -> (&str, Option<&str>) {
    match name.rsplit_once('_') {
        Some((title, part)) if name.contains('/') => (title, Some(part)),
        _ => (name, None),
    }
}

fn svg(curves: &[Curve]) -> Result<String, BoxError> {
    let charts = charts(curves);
    let mut picture = String::new();
    {
        let size = (WIDTH, HEIGHT * charts.len() as u32);
        let root = SVGBackend::with_string(&mut picture, size).into_drawing_area();
        root.fill(&WHITE)?;
        let areas = root.split_evenly((charts.len(), 1));
        for (area, (title, curves)) in areas.iter().zip(&charts) {
            let points = curves.iter().flat_map(|curve| &curve.points);
            let [x, y] = [
                range(points.clone().map(|point| point.0)),
                range(points.map(|point| point.1)),
            ];
            let mut chart = ChartBuilder::on(area)
                .caption(title, ("sans-serif", 16))
                .margin(8)
                .x_label_area_size(24)
                .y_label_area_size(72)
                .build_cartesian_2d(x, y)?;
            chart
                .configure_mesh()
                .light_line_style(WHITE)
                .x_label_formatter(&|step| format!("{step:.0}"))
                .y_label_formatter(&|value| format!("{value:.3e}"))
                .draw()?;
            for (place, curve) in curves.iter().enumerate() {
                let colour = colour(place, curves.len());
                let line = LineSeries::new(curve.points.iter().copied(), &colour);
                let line = chart.draw_series(line)?;
                if let Some(label) = split(&curve.name).1 {
                    line.label(label).legend(move |(x, y)| {
                        PathElement::new([(x, y), (x + LEGEND_LINE, y)], colour)
                    });
                }
            }
            if curves.len() > 1 {
                chart
                    .configure_series_labels()
                    .position(SeriesLabelPosition::UpperRight)
                    .label_font(("sans-serif", 8))
                    .background_style(WHITE.mix(0.8))
                    .draw()?;
            }
        }
        root.present()?;
    }
    Ok(picture)
}

/// A single curve has [`COLOUR`]; several range from it to [`LAST_COLOUR`].
fn colour(place: usize, count: usize) -> RGBColor {
    let share = place as f64 / (count - 1).max(1) as f64;
    let mix =
        |from: u8, to: u8| (f64::from(from) + share * (f64::from(to) - f64::from(from))) as u8;
    let (from, to) = (COLOUR, LAST_COLOUR);
    RGBColor(mix(from.0, to.0), mix(from.1, to.1), mix(from.2, to.2))
}

/// A value for drawing, with an exponent that axes have room for.
fn drawable(value: f64) -> f64 {
    const LARGEST: f64 = 1e30;
    if value.abs() < LARGEST.recip() {
        0.0
    } else {
        value.clamp(-LARGEST, LARGEST)
    }
}

/// From the smallest to the largest value, and wide enough for steps on an axis: plotters searches for them forever if
/// a step is lost in rounding.
fn range(values: impl Iterator<Item = f64> + Clone) -> std::ops::Range<f64> {
    const LEAST_SPREAD: f64 = 1e-6;
    let least = values.clone().fold(f64::INFINITY, f64::min);
    let greatest = values.fold(f64::NEG_INFINITY, f64::max);
    let spread = LEAST_SPREAD * least.abs().max(greatest.abs());
    if greatest - least > spread {
        least..greatest
    } else {
        least - spread.max(0.5)..greatest + spread.max(0.5)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extreme_values_are_drawn() {
        let folder = tempfile::tempdir().expect("a folder");
        let metrics = folder.path().join("metrics.jsonl");
        for [first, last] in [
            [-1e308, 1e308],
            [1e308, 1e308],
            [1e17, 1e17],
            [0.0, 1e-320],
            [1.0, 1.0 + f64::EPSILON],
            [0.001, 0.001],
        ] {
            let line = |step: u64, loss: f64| serde_json::json!({ "step": step, "loss": loss });
            let lines = format!("{}\n{}\n", line(0, first), line(u64::MAX, last));
            std::fs::write(&metrics, lines).expect("written");
            draw(&metrics, &folder.path().join("curves.svg")).expect("a picture");
        }
    }

    #[test]
    fn every_quantity_has_its_curve() {
        let folder = tempfile::tempdir().expect("a folder");
        let metrics = folder.path().join("metrics.jsonl");
        let lines = [
            r#"{"step":1,"loss":2.5,"clips_per_second":9.0}"#,
            r#"{"step":2,"validation_loss":3.0}"#,
            r#"{"step":2,"validation_loss/frame_0":1.0,"validation_loss/frame_1":5.0}"#,
            r#"{"step":3,"loss":0.5,"gradient_norm":null}"#,
            // As written by an older version.
            r#"{"step":3,"held_out_loss":2.0}"#,
        ];
        std::fs::write(&metrics, lines.join("\n")).expect("written");
        let curve = |name: &str, points: &[(f64, f64)]| Curve {
            name: name.into(),
            points: points.to_vec(),
        };
        assert_eq!(
            curves(&metrics).expect("curves"),
            [
                curve("loss", &[(1.0, 2.5), (3.0, 0.5)]),
                curve("validation_loss", &[(2.0, 3.0), (3.0, 2.0)]),
                curve("validation_loss/frame_0", &[(2.0, 1.0)]),
                curve("validation_loss/frame_1", &[(2.0, 5.0)]),
            ]
        );

        let picture = folder.path().join("curves.svg");
        draw(&metrics, &picture).expect("a picture");
        let picture = std::fs::read_to_string(picture).expect("text");
        assert!(picture.contains("<svg") && picture.contains("validation_loss"));
        assert!(picture.matches("<polyline").count() >= 2);
        // The frames are in one chart.
        assert_eq!(picture.matches("validation_loss/frame").count(), 1);
        assert!(!picture.contains("validation_loss/frame_"), "{picture}");
    }
}
