//! The results of `ar-sample evaluate`, over seeds.

use serde_json::Value;

use crate::table::significant;

/// A column: its head, the path of its value in a row of report.json, and a factor.
struct Column {
    head: &'static str,
    pointer: &'static str,
    scale: f64,
}

const COLUMNS: [Column; 5] = [
    column("latents", "/latents", 1.0),
    column("latent motion", "/latent_motion", 1.0),
    column("count right, %", "/world/object_count/mean", 100.0),
    column("radius drift, %", "/world/radius_drift/mean", 100.0),
    column("velocity error, %", "/world/velocity_error/mean", 100.0),
];

const fn column(head: &'static str, pointer: &'static str, scale: f64) -> Column {
    Column {
        head,
        pointer,
        scale,
    }
}

/// Number of columns, including the names.
pub(super) const WIDTH: usize = COLUMNS.len() + 1;

/// The head of a table.
pub(super) fn head() -> [&'static str; WIDTH] {
    let mut head = [""; WIDTH];
    for (cell, column) in head[1..].iter_mut().zip(&COLUMNS) {
        *cell = column.head;
    }
    head
}

/// The row of a report about a source, `None` if there is none.
pub(super) fn source<'a>(report: &'a Value, name: &str) -> Option<&'a Value> {
    let sources = report["sources"].as_array()?;
    sources.iter().find(|row| row["source"] == name)
}

/// A row of a table: mean and standard deviation over the seeds' rows of reports.
pub(super) fn row(label: String, seeds: &[&Value]) -> [String; WIDTH] {
    let mut row: [String; WIDTH] = std::array::from_fn(|_| String::new());
    row[0] = label;
    for (cell, column) in row[1..].iter_mut().zip(&COLUMNS) {
        let values = seeds.iter().filter_map(|row| {
            let value = row.pointer(column.pointer)?.as_f64()?;
            Some(value * column.scale)
        });
        *cell = mean_and_deviation(&values.collect::<Vec<f64>>());
    }
    row
}

/// `mean ± deviation`, with the standard deviation over seeds (divided by their number minus one).
fn mean_and_deviation(values: &[f64]) -> String {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    match values {
        [] => "–".into(),
        [value] => significant(*value),
        _ => {
            let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
            let deviation = (squares / (count - 1.0)).sqrt();
            format!("{} ± {}", significant(mean), significant(deviation))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn seeds_have_a_mean_and_a_deviation() {
        let seeds = [1.0, 2.0, 6.0].map(|distance| {
            json!({
                "latents": distance,
                "latent_motion": null,
                "world": { "object_count": { "mean": 0.5 } },
            })
        });
        let row = row("a".into(), &seeds.iter().collect::<Vec<_>>());
        // Deviations of -2, -1 and 3: the root of 14 / 2.
        assert_eq!(row[1], "3.00 ± 2.65");
        assert_eq!(row[2], "–");
        assert_eq!(row[3], "50.0 ± 0.00");
    }

    #[test]
    fn sources_are_found_by_name() {
        let report = json!({ "sources": [{ "source": "a", "psnr": 1 }, { "source": "b" }] });
        assert_eq!(
            source(&report, "a").map(|row| &row["psnr"]),
            Some(&json!(1))
        );
        assert!(source(&report, "c").is_none());
    }
}
