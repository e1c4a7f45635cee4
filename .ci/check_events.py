#!/usr/bin/env python3
"""Checks that TensorBoard reads the same values from a run's event files as metrics.jsonl contains.

    check_events.py RUN

Needs the package `tensorboard`. If they differ, prints the differences and exits with code 1.
"""

import json
import math
import pathlib
import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

# Events hold 32-bit floats.
TOLERANCE = 1e-6


def logged(run):
    """(step, value) of every quantity of metrics.jsonl, by name, in order.

    JSON has null for values that are not finite; here they are all nan.
    """
    series = {}
    for line in (run / "metrics.jsonl").read_text().splitlines():
        scalars = json.loads(line)
        step = scalars.pop("step")
        for name, value in scalars.items():
            series.setdefault(name, []).append((step, math.nan if value is None else value))
    return series


def read(run):
    """The same, as TensorBoard reads it from the event files."""
    events = EventAccumulator(str(run), size_guidance={"scalars": 0})
    events.Reload()
    tags = events.Tags()["scalars"]
    return {tag: [(event.step, finite_or_nan(event.value)) for event in events.Scalars(tag)]
            for tag in tags}


def finite_or_nan(value):
    return value if math.isfinite(value) else math.nan


def same(value, other):
    return math.isclose(value, other, rel_tol=TOLERANCE) or math.isnan(value) and math.isnan(other)


def agree(ours, theirs):
    return len(ours) == len(theirs) and all(
        step == other_step and same(value, other)
        for (step, value), (other_step, other) in zip(ours, theirs)
    )


def main():
    run = pathlib.Path(sys.argv[1])
    ours, theirs = logged(run), read(run)
    if not ours:
        sys.exit(f"{run}: metrics.jsonl has no line")
    wrong = [name for name in sorted(ours.keys() | theirs.keys())
             if not agree(ours.get(name, []), theirs.get(name, []))]
    for name in wrong:
        print(f"{name}: {ours.get(name)} in metrics.jsonl, {theirs.get(name)} in TensorBoard")
    if wrong:
        sys.exit(1)
    for name, series in ours.items():
        print(f"{name}: {len(series)} values, the last {series[-1][1]} at step {series[-1][0]}")


if __name__ == "__main__":
    main()
