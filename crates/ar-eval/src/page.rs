//! The report as a page in a single file.

use std::error::Error;
use std::fmt::Write;

use ar_metrics::physics::Curve;
use plotters::prelude::*;

use crate::{METRICS, Plot, ReferenceSplit, Report};

/// Size of a plot, and of the legend in it.
const SIZE: (u32, u32) = (720, 320);
const LEGEND_WIDTH: u32 = 200;

/// Colours that colour-blind people can distinguish (Okabe and Ito).
const LINES: [RGBColor; 8] = [
    RGBColor(0, 0, 0),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(0, 158, 115),
    RGBColor(213, 94, 0),
    RGBColor(204, 121, 167),
    RGBColor(0, 114, 178),
    RGBColor(240, 228, 66),
];

const STYLE: &str = "\
body { font: 15px/1.5 sans-serif; margin: 2em auto; max-width: 60em; padding: 0 1em; }
table { border-collapse: collapse; margin: 1em 0; }
th, td { border-bottom: 1px solid #ccc; padding: 0.3em 0.7em; text-align: right; }
th:first-child, td:first-child { text-align: left; }
div.wide { overflow-x: auto; }
svg { max-width: 100%; height: auto; }
dt { float: left; clear: left; width: 11em; color: #555; }
";

/// The page.
pub(crate) fn html(report: &Report) -> Result<String, Box<dyn Error>> {
    let protocol = &report.protocol;
    let title = format!("Evaluation of {}", escaped(&protocol.model));
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n<dl>\n"
    );
    for (name, value) in [
        (
            "model",
            &format!("{} ({})", protocol.model, protocol.model_fingerprint),
        ),
        ("data", &protocol.data),
        (
            "clips",
            &format!(
                "{} {} clips of {} frames{}",
                report.samples,
                match protocol.split {
                    ReferenceSplit::Validation => "validation",
                    ReferenceSplit::Training => "training",
                },
                protocol.frames,
                if protocol.through_mp4 {
                    ", all passed through MP4"
                } else {
                    ""
                }
            ),
        ),
        (
            "sampling",
            &format!(
                "{} steps, eta {}, guidance {}, classes: {}, seed {}",
                protocol.steps, protocol.eta, protocol.guidance, protocol.classes, protocol.seed
            ),
        ),
    ] {
        writeln!(page, "<dt>{name}</dt><dd>{}</dd>", escaped(value))?;
    }
    page += "</dl>\n<div class=\"wide\">\n<table>\n<tr><th></th>";
    let (names, rows) = report.cells();
    for name in names {
        write!(page, "<th>{name}</th>")?;
    }
    for (source, row) in report.sources.iter().zip(rows) {
        write!(page, "</tr>\n<tr><td>{}</td>", escaped(&source.source))?;
        for cell in row {
            write!(page, "<td>{cell}</td>")?;
        }
    }
    page += "</tr>\n</table>\n</div>\n";
    for plot in METRICS.iter().flat_map(|metric| metric.plots()) {
        if let Some(picture) = svg(plot, report)? {
            writeln!(page, "<h2>{}</h2>\n{picture}", plot.title)?;
        }
    }
    page += "</body>\n</html>\n";
    Ok(page)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// The curves of all sources that have any.
fn svg(plot: &Plot, report: &Report) -> Result<Option<String>, Box<dyn Error>> {
    let curves: Vec<(&str, RGBColor, Curve)> = report
        .sources
        .iter()
        .zip(LINES.into_iter().cycle())
        .filter_map(|(row, colour)| {
            let curve = (plot.curve)(row)?;
            curve.mean?;
            Some((row.source.as_str(), colour, curve))
        })
        .collect();
    let values = curves
        .iter()
        .flat_map(|(_, _, curve)| curve.by_frame.iter().flatten());
    let Some(largest) = values.copied().reduce(f64::max) else {
        return Ok(None);
    };
    // Some room above, and an axis even if everything is 0.
    let top = if largest > 0.0 {
        1.08 * largest * plot.scale
    } else {
        1.0
    };
    let frames = curves.iter().map(|(_, _, curve)| curve.by_frame.len());
    let frames = frames.max().unwrap_or(1);

    let mut picture = String::new();
    {
        let root = SVGBackend::with_string(&mut picture, SIZE).into_drawing_area();
        root.fill(&WHITE)?;
        let (area, legend) = root.split_horizontally(SIZE.0 - LEGEND_WIDTH);
        let mut chart = ChartBuilder::on(&area)
            .margin(12)
            .x_label_area_size(40)
            .y_label_area_size(60)
            .build_cartesian_2d(0.0..(frames.max(2) - 1) as f64, 0.0..top)?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .x_desc("frame")
            .y_desc(plot.unit)
            .x_label_formatter(&|x| format!("{x:.0}"))
            .draw()?;
        for (index, (name, colour, curve)) in curves.iter().enumerate() {
            let style = colour.stroke_width(2);
            for run in runs(&curve.by_frame) {
                let points = run.map(|(frame, value)| (frame as f64, value * plot.scale));
                chart.draw_series(LineSeries::new(points, style))?;
            }
            let y = 24 + 22 * index as i32;
            legend.draw(&PathElement::new(vec![(0, y), (22, y)], style))?;
            legend.draw(&Text::new(
                name.to_string(),
                (30, y - 7),
                ("sans-serif", 14),
            ))?;
        }
        root.present()?;
    }
    Ok(Some(picture))
}

/// Runs of successive values that exist, with their frames.
fn runs(values: &[Option<f64>]) -> impl Iterator<Item = impl Iterator<Item = (usize, f64)>> {
    let frames: Vec<(usize, Option<f64>)> = values.iter().copied().enumerate().collect();
    let runs: Vec<Vec<(usize, f64)>> = frames
        .split(|(_, value)| value.is_none())
        .map(|run| {
            run.iter()
                .filter_map(|(i, value)| Some((*i, (*value)?)))
                .collect()
        })
        .collect();
    runs.into_iter().map(Vec::into_iter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curves_have_gaps_where_nothing_is_known() {
        let values = [None, Some(1.0), Some(2.0), None, Some(3.0)];
        let runs: Vec<Vec<_>> = runs(&values).map(Iterator::collect).collect();
        let drawn: Vec<_> = runs.into_iter().filter(|run| !run.is_empty()).collect();
        assert_eq!(drawn, [vec![(1, 1.0), (2, 2.0)], vec![(4, 3.0)]]);
    }

    #[test]
    fn names_do_not_become_markup() {
        assert_eq!(escaped("<b> & c"), "&lt;b&gt; &amp; c");
    }
}
