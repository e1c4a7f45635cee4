use ar_metrics::physics::{ClipMeasures, PhysicsReport, measure};
use serde::Deserialize;
use serde_json::Value;

use crate::{
    ClipMeter, ClipMetric, ClipTraits, Column, EvaluationError, Load, MetricInfo, Plot, Row,
};

/// Physics consistency, in the world of shapes.
pub(super) struct World;

const KEY: &str = "world";

impl MetricInfo for World {
    fn name(&self) -> &'static str {
        KEY
    }

    fn help(&self) -> &'static str {
        "Physics consistency, in the world of shapes"
    }

    fn check(&self, clips: &ClipTraits) -> Result<(), String> {
        if clips.is_world {
            return Ok(());
        }
        Err(format!(
            "measures physics consistency of bouncing shapes and cannot measure {}: leave it out",
            clips.data
        ))
    }

    fn keys(&self) -> &'static [&'static str] {
        &[KEY]
    }

    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }

    fn plots(&self) -> &'static [Plot] {
        PLOTS
    }
}

impl ClipMetric for World {
    fn load(&self, _load: &Load<'_>) -> Result<ClipMeter, EvaluationError> {
        Ok(Box::new(|clip| {
            let measures = measure(clip.world?, clip.frames, clip.truth);
            Some(serde_json::to_value(measures).expect("plain values"))
        }))
    }

    fn summary(&self, measures: &[&Value]) -> Result<Value, serde_json::Error> {
        let clips = measures
            .iter()
            .map(|&value| ClipMeasures::deserialize(value));
        let clips = clips.collect::<Result<Vec<_>, _>>()?;
        serde_json::to_value(PhysicsReport::new(&clips))
    }
}

const COLUMNS: &[Column] = &[
    Column {
        name: "count right",
        figure: |row| share(report(row)?.object_count.mean),
    },
    Column {
        name: "radius drift",
        figure: |row| share(report(row)?.radius_drift.mean),
    },
    Column {
        name: "velocity error",
        figure: |row| share(report(row)?.velocity_error.mean),
    },
    Column {
        name: "energy drift",
        figure: |row| share(report(row)?.energy_drift.mean),
    },
    Column {
        name: "reflection error",
        figure: |row| degrees(report(row)?.reflection_error),
    },
    Column {
        name: "collision error",
        figure: |row| degrees(report(row)?.collision_error),
    },
    Column {
        name: "trajectory error, sides",
        figure: |row| Some(format!("{:.4}", report(row)?.trajectory_error.mean?)),
    },
    Column {
        name: "still",
        figure: |row| share(Some(report(row)?.failures.stillness)),
    },
    Column {
        name: "duplicating",
        figure: |row| share(Some(report(row)?.failures.duplication)),
    },
    Column {
        name: "losing shapes",
        figure: |row| share(Some(report(row)?.failures.disappearance)),
    },
];

const PLOTS: &[Plot] = &[
    Plot {
        title: "ClipTraits with the right number of shapes",
        curve: |row| Some(report(row)?.object_count),
        scale: 100.0,
        unit: "%",
    },
    Plot {
        title: "Radius drift",
        curve: |row| Some(report(row)?.radius_drift),
        scale: 100.0,
        unit: "% of the first radius",
    },
    Plot {
        title: "Velocity error",
        curve: |row| Some(report(row)?.velocity_error),
        scale: 100.0,
        unit: "% of the speed",
    },
    Plot {
        title: "Energy drift",
        curve: |row| Some(report(row)?.energy_drift),
        scale: 100.0,
        unit: "% of the first energy",
    },
    Plot {
        title: "Trajectory error",
        curve: |row| Some(report(row)?.trajectory_error),
        scale: 100.0,
        unit: "% of the side",
    },
];

fn report(row: &Row) -> Option<PhysicsReport> {
    row.get(KEY)
}

fn share(value: Option<f64>) -> Option<String> {
    value.map(|value| format!("{:.1} %", 100.0 * value))
}

fn degrees(value: Option<f64>) -> Option<String> {
    value.map(|value| format!("{value:.1}°"))
}
