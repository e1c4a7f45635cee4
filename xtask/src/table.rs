//! Markdown tables, and numbers for them.

/// A table in Markdown whose columns line up: the first to the left, the others to the right.
pub(crate) fn table<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> String {
    let head = head.map(str::to_owned);
    let length = |text: &str| text.chars().count();
    let widths: [usize; N] = std::array::from_fn(|column| {
        let cells = rows.iter().chain([&head]);
        cells.map(|row| length(&row[column])).max().unwrap_or(0)
    });
    let line = |row: &[String; N]| {
        let cells: [String; N] = std::array::from_fn(|column| match column {
            0 => format!("{:<1$}", row[column], widths[column]),
            _ => format!("{:>1$}", row[column], widths[column]),
        });
        format!("| {} |\n", cells.join(" | "))
    };
    let rule = format!("|---{}|\n", "|---:".repeat(N - 1));
    let rows: String = rows.iter().map(line).collect();
    line(&head) + &rule + &rows
}

/// Seconds in the most readable unit.
pub(crate) fn duration(seconds: f64) -> String {
    let units = [(1.0, "s"), (1e-3, "ms"), (1e-6, "µs")];
    let (scale, unit) = units
        .into_iter()
        .find(|&(scale, _)| seconds >= scale)
        .unwrap_or((1e-9, "ns"));
    format!("{} {unit}", significant(seconds / scale))
}

/// Bytes in mebibytes, or in gibibytes if there are many.
pub(crate) fn bytes(bytes: f64) -> String {
    let mebibytes = bytes / 1024.0 / 1024.0;
    match mebibytes {
        value if value >= 1024.0 => format!("{} GiB", significant(value / 1024.0)),
        value => format!("{} MiB", significant(value)),
    }
}

/// The ratio of `a` to `b`.
pub(crate) fn ratio(a: f64, b: f64) -> String {
    format!("{}x", significant(a / b))
}

/// A number per second, in thousands or millions if it is large.
pub(crate) fn rate(value: f64) -> String {
    match value {
        value if value >= 1e6 => format!("{} M", significant(value / 1e6)),
        value if value >= 1e4 => format!("{} k", significant(value / 1e3)),
        value => significant(value),
    }
}

/// Three significant digits, or all digits before the point.
pub(crate) fn significant(value: f64) -> String {
    let digits = match value {
        value if value >= 99.95 => 0,
        value if value >= 9.995 => 1,
        _ => 2,
    };
    format!("{value:.digits$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_lines_up() {
        let rows = [
            ["fopp/16_frames".into(), duration(8e-7), rate(2e7)],
            ["µ".into(), duration(61.25), rate(12_345.0)],
        ];
        assert_eq!(
            table(["bench", "median", "a second"], &rows),
            "| bench          | median | a second |\n\
             |---|---:|---:|\n\
             | fopp/16_frames | 800 ns |   20.0 M |\n\
             | µ              | 61.2 s |   12.3 k |\n"
        );
    }
}
