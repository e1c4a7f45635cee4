//! The results of the bench `training_cost`.

use anyhow::{Context, Result};
use serde_json::Value;

use crate::table::{bytes, duration, table};

/// The table with its heading, from `results.json`.
pub(super) fn section(results: &Value) -> Result<String> {
    let rows = results.as_array().context("results.json: not a list")?;
    let rows: Vec<[String; 7]> = rows.iter().map(row).collect::<Result<_>>()?;
    let head = [
        "network",
        "clips x frames",
        "activation_checkpointing",
        "step",
        "peak memory",
        "checkpoint",
        "its size",
    ];
    Ok(format!("## Training\n\n{}", table(head, &rows)))
}

fn row(row: &Value) -> Result<[String; 7]> {
    let missing = |key: &str| format!("results.json: {key} is missing");
    let number = |key: &str| row[key].as_f64().with_context(|| missing(key));
    let network = row["network"].as_str();
    let network = network.with_context(|| missing("network"))?;
    let extrapolated = row["extrapolated"].as_bool();
    let note = if extrapolated.with_context(|| missing("extrapolated"))? {
        ", extrapolated"
    } else {
        ""
    };
    let recompute = row["activation_checkpointing"].as_bool();
    let memory = row["peak_memory_bytes"].as_f64();
    Ok([
        format!("{network}{note}"),
        format!("{} x {}", row["batch"][0], row["batch"][1]),
        recompute
            .with_context(|| missing("activation_checkpointing"))?
            .to_string(),
        duration(number("step_seconds")?),
        memory.map_or_else(|| "unknown".into(), bytes),
        duration(number("checkpoint_seconds")?),
        bytes(number("checkpoint_bytes")?),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn costs_become_a_table() -> Result<()> {
        let results = json!([{
            "network": "published",
            "batch": [1, 16],
            "activation_checkpointing": true,
            "extrapolated": true,
            "step_seconds": 12.5,
            "checkpoint_seconds": 0.25,
            "checkpoint_bytes": 3_221_225_472_u64,
            "peak_memory_bytes": null,
        }]);
        let text = section(&results)?;
        let cells: Vec<&str> = text
            .lines()
            .last()
            .unwrap_or_default()
            .split('|')
            .map(str::trim)
            .collect();
        assert_eq!(
            cells[1..8],
            [
                "published, extrapolated",
                "1 x 16",
                "true",
                "12.5 s",
                "unknown",
                "250 ms",
                "3.00 GiB"
            ]
        );
        let error = section(&json!([{"network": "small"}])).err();
        let message = error.map(|error| error.to_string());
        assert_eq!(
            message.as_deref(),
            Some("results.json: extrapolated is missing")
        );
        Ok(())
    }
}
