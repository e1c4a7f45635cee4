//! Compares the page's scripts with the library.

use std::process::Command;

use ar_schedulers::{AdConfig, AdPlan};
use serde_json::Value;

/// The plans from the script, as JSON.
const SCRIPT: &str = r"
import { finishedAfter, iterations, stepsTaken, windowAt } from 'PLAN';
const plans = JSON.parse(process.argv[1]);
console.log(JSON.stringify(plans.map((plan) => {
  const all = iterations(plan);
  return Array.from({ length: all }, (_, done) => [
    windowAt(plan, done),
    Array.from({ length: plan.frames }, (_, i) => stepsTaken(plan, done + 1, i)),
    Array.from({ length: plan.frames }, (_, i) => finishedAfter(plan, i) - 1),
  ]);
})));
";

#[test]
fn the_plan_of_the_page_is_the_plan_of_the_sampler() {
    if Command::new("node").arg("--version").output().is_err() {
        eprintln!("skipped: there is no node to run the page's scripts");
        return;
    }
    let configs = [
        (16, 50, 10, 16),
        (5, 4, 0, 8),
        (9, 6, 6, 3),
        (12, 8, 3, 4),
        (1, 3, 2, 16),
    ];
    let plans: Vec<Value> = configs
        .map(|(frames, steps, s, window)| {
            serde_json::json!({
                "frames": frames, "steps": steps, "arStep": s, "window": window, "prefix": 0,
            })
        })
        .into();
    let script = SCRIPT.replace("PLAN", concat!(env!("CARGO_MANIFEST_DIR"), "/page/plan.js"));
    let mut node = Command::new("node");
    node.args(["--input-type=module", "--eval", &script]);
    let output = node
        .arg(Value::from(plans).to_string())
        .output()
        .expect("node runs");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    let said: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    for (place, (frames, steps, ar_step, window)) in configs.into_iter().enumerate() {
        let config = AdConfig {
            steps,
            ar_step,
            frames,
            window,
        };
        let plan = AdPlan::new(config).expect("a plan");
        let expected: Vec<Value> = plan
            .iter()
            .map(|row| {
                let of_frames =
                    |of: &dyn Fn(usize) -> usize| -> Vec<usize> { (0..frames).map(of).collect() };
                serde_json::json!([
                    [row.window.start, row.window.end],
                    of_frames(&|frame| plan.step_index(row.iteration, frame)),
                    of_frames(&|frame| plan.finish_iteration(frame)),
                ])
            })
            .collect();
        assert_eq!(said[place], Value::from(expected), "{config:?}");
    }
}
