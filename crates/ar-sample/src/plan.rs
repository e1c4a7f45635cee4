//! `ar-sample plan`: an inference plan as text.

use std::collections::BTreeSet;

use ar_schedulers::{AdConfig, AdPlan, FrameState};

use crate::cli::PlanArgs;

/// Columns of text.
const WIDTH: usize = 100;
/// Most rows; the middle of longer plans is left out.
const ROWS: usize = 48;

/// Prints a plan, and draws it if asked.
pub fn run(args: &PlanArgs) -> anyhow::Result<()> {
    let plan = AdPlan::new(AdConfig {
        steps: args.steps,
        ar_step: args.ar_step,
        frames: args.frames,
        window: args.window.unwrap_or(args.frames),
    })?;
    if let Some(path) = &args.picture {
        crate::plan_picture::write(path, &plan)?;
    }
    crate::print(&describe(&plan))
}

/// The plan as text: what it costs, then a row for each iteration.
fn describe(plan: &AdPlan) -> String {
    let AdConfig {
        steps,
        ar_step,
        frames,
        window,
    } = plan.config();
    let slides = frames > window;
    let rows = rows(plan);

    let mut text = format!(
        "{frames} frames, {steps} steps, step difference {ar_step}: {} iterations\n",
        plan.iterations()
    );
    let (all, active) = (plan.frames_evaluated(), plan.frames_active());
    text += &format!(
        "{all} frame evaluations if every iteration runs the whole window{}, {active} if it runs \
         active frames only",
        if slides {
            format!(" of {window} frames")
        } else {
            String::new()
        }
    );
    text += &match all as f64 / active as f64 {
        ratio if ratio < 1.05 => "\n".into(),
        ratio => format!(" ({ratio:.1}x fewer)\n"),
    };
    text += "\na number is the step that a frame takes, . waits, # is finished";
    text += if slides {
        ", blank is outside the window\n"
    } else {
        "\n"
    };
    if rows.len() < plan.iterations() {
        text += "only iterations in which a frame starts or finishes are shown\n";
    }

    let columns = Columns::new(plan);
    text += &format!("\n{:>9}  {}\n", "iteration", columns.header());
    let mut previous = None;
    for row in rows {
        if previous.is_some_and(|previous| is_gap(plan, previous, row)) {
            text += &format!("{:>9}\n", "...");
        }
        text += &format!("{row:>9}  {}", columns.row(plan, row));
        if slides {
            let window = plan.window(row);
            text += &format!("  window {} to {}", window.start, window.end - 1);
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
        previous = Some(row);
    }
    text
}

/// The iterations to show: all, or those in which a frame starts or finishes, or the first and the
/// last of those.
fn rows(plan: &AdPlan) -> Vec<usize> {
    if plan.iterations() <= ROWS {
        return (0..plan.iterations()).collect();
    }
    let AdConfig {
        steps,
        ar_step,
        frames,
        ..
    } = plan.config();
    // Frames further from both ends have no row.
    let near_ends = (0..frames.min(ROWS)).chain(frames.saturating_sub(ROWS)..frames);
    let events: BTreeSet<usize> = near_ends
        .flat_map(|frame| [ar_step * frame, ar_step * frame + steps - 1])
        .collect();
    let mut rows: Vec<usize> = events.into_iter().collect();
    if rows.len() > ROWS {
        rows.drain(ROWS / 2..rows.len() - ROWS / 2);
    }
    rows
}

/// Whether iterations in which a frame starts or finishes lie between two rows.
fn is_gap(plan: &AdPlan, previous: usize, row: usize) -> bool {
    let after_previous = plan.active(previous + 1);
    let before_row = plan.active(row - 1);
    row > previous + 1
        && (after_previous.end != before_row.end || after_previous.start != before_row.start)
}

/// The frames that have a column, and how wide it is.
struct Columns {
    /// The first frames, and the last where the middle does not fit.
    ends: [std::ops::Range<usize>; 2],
    cell: usize,
}

impl Columns {
    fn new(plan: &AdPlan) -> Self {
        let AdConfig {
            steps,
            frames,
            window,
            ..
        } = plan.config();
        let digits = |number: usize| number.to_string().len();
        let cell = 1 + digits(steps).max(digits(frames - 1));
        let mut rest = WIDTH - "iteration  ".len();
        if frames > window {
            rest -= "  window  to ".len() + 2 * digits(frames - 1);
        }
        let ends = if frames <= rest / cell {
            [0..frames, frames..frames]
        } else {
            // One cell for the dots.
            let half = (rest / cell - 1) / 2;
            [0..half, frames - half..frames]
        };
        Self { ends, cell }
    }

    /// The numbers of the frames.
    fn header(&self) -> String {
        self.cells(&|frame| frame.to_string())
    }

    fn row(&self, plan: &AdPlan, iteration: usize) -> String {
        let window = plan.window(iteration);
        self.cells(&|frame| match plan.state(iteration, frame) {
            _ if !window.contains(&frame) => String::new(),
            FrameState::Waiting => ".".into(),
            FrameState::Active { step } => (step + 1).to_string(),
            FrameState::Finished => "#".into(),
        })
    }

    fn cells(&self, text: &dyn Fn(usize) -> String) -> String {
        let cell = self.cell;
        let show = |text: String| format!("{text:>cell$}");
        let [first, last] = self
            .ends
            .clone()
            .map(|frames| frames.map(|frame| show(text(frame))).collect::<String>());
        let dots = if self.ends[1].is_empty() {
            String::new()
        } else {
            show("..".into())
        };
        first + &dots + &last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(frames: usize, steps: usize, ar_step: usize, window: usize) -> String {
        let config = AdConfig {
            steps,
            ar_step,
            frames,
            window,
        };
        describe(&AdPlan::new(config).expect("a plan"))
    }

    #[test]
    fn a_small_plan() {
        let expected = "\
4 frames, 5 steps, step difference 2: 11 iterations
44 frame evaluations if every iteration runs the whole window, 20 if it runs active frames only \
(2.2x fewer)

a number is the step that a frame takes, . waits, # is finished

iteration   0 1 2 3
        0   1 . . .
        1   2 . . .
        2   3 1 . .
        3   4 2 . .
        4   5 3 1 .
        5   # 4 2 .
        6   # 5 3 1
        7   # # 4 2
        8   # # 5 3
        9   # # # 4
       10   # # # 5
";
        assert_eq!(text(4, 5, 2, 4), expected);
    }

    #[test]
    fn a_sliding_window() {
        let text = text(4, 2, 1, 2);
        let expected = "\
iteration   0 1 2 3
        0   1 .      window 0 to 1
        1   2 1      window 0 to 1
        2     2 1    window 1 to 2
        3       2 1  window 2 to 3
        4       # 2  window 2 to 3
";
        assert!(text.ends_with(expected), "{text}");
        assert!(
            text.contains("10 frame evaluations if every iteration runs the whole window of 2")
        );
    }

    #[test]
    fn long_plans_keep_to_the_page() {
        for (frames, steps, ar_step, window) in [
            (16, 50, 5, 16),
            (4096, 50, 5, 16),
            (100_000, 999, 999, 3),
            (300, 1, 0, 300),
            (40, 50, 0, 40),
        ] {
            let text = text(frames, steps, ar_step, window);
            assert!(
                text.lines().skip(2).all(|line| line.len() <= WIDTH),
                "{text}"
            );
            assert!(text.lines().count() <= ROWS + 8, "{text}");
            let last = text.lines().last().expect("a row");
            assert!(last.contains(&format!(" {} ", frames * ar_step + steps - 1 - ar_step)));
        }
    }
}
