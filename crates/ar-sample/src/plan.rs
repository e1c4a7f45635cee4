//! `ar-sample plan`: an inference plan as text.

mod picture;

use std::collections::BTreeSet;
use std::ops::Range;

use ar_files::is_stdout;
use ar_schedulers::{AdConfig, AdPlan, FrameState};

use crate::cli::PlanArgs;
use crate::output::{check_is_file, finish};

/// Width of the text in characters.
const WIDTH: usize = 100;
/// The most rows; the middle of longer plans is left out.
const ROWS: usize = 48;

/// Prints a plan, and draws it if requested.
pub(crate) fn run(args: &PlanArgs) -> anyhow::Result<()> {
    let plan = AdPlan::new(AdConfig {
        steps: args.steps,
        ar_step: args.ar_step,
        frames: args.frames,
        window: args.window.unwrap_or(args.frames),
    })?;
    check_is_file("--picture", args.picture.as_deref())?;
    let text = describe(&plan);
    let mut stdout_is_used = false;
    if let Some(path) = &args.picture {
        stdout_is_used = is_stdout(path);
        picture::write(path, &plan)?;
    }
    finish(stdout_is_used, &text, false)?;
    Ok(())
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
    let columns = Columns::new(plan);

    let mut text = format!(
        "{frames} frames, {steps} steps, step difference {ar_step}: {} iterations\n",
        plan.iterations()
    );
    let (all, active) = (plan.frames_evaluated(), plan.frames_active());
    text += &format!("frame evaluations: {all} over whole windows");
    if slides {
        text += &format!(" of {window} frames");
    }
    let width = "frame evaluations: ".len() + all.to_string().len();
    text += &format!("\n{active:>width$} over active frames only");
    text += &match all as f64 / active as f64 {
        ratio if ratio < 1.05 => "\n".into(),
        ratio => format!(" ({ratio:.1}x fewer)\n"),
    };
    text += "\na number is the step that a frame takes, . waits, # is finished";
    if slides && !matches!(columns.frames, Frames::OfWindow(_)) {
        text += ", blank is outside the window";
    }
    text.push('\n');
    if plan.iterations() > ROWS {
        text += "only iterations in which a frame starts or finishes are shown\n";
    }

    text += &format!("\n{:>9}  {}\n", "iteration", columns.header());
    for (index, part) in rows.iter().enumerate() {
        if index > 0 {
            text += &format!("{:>9}\n", "...");
        }
        for &row in part {
            let line = format!("{row:>9}  {}", columns.row(plan, row));
            text += line.trim_end();
            text.push('\n');
        }
    }
    text
}

/// The iterations to show: all, or those in which a frame starts or finishes, or the first and the
/// last of those in two parts.
fn rows(plan: &AdPlan) -> Vec<Vec<usize>> {
    if plan.iterations() <= ROWS {
        return vec![(0..plan.iterations()).collect()];
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
    if rows.len() <= ROWS {
        return vec![rows];
    }
    let last = rows.split_off(rows.len() - ROWS / 2);
    rows.truncate(ROWS / 2);
    vec![rows, last]
}

/// The columns of the chart.
struct Columns {
    /// The frames that have one.
    frames: Frames,
    cell: usize,
}

enum Frames {
    /// One for every frame of the video.
    All(usize),
    /// The frames of the window, which moves.
    OfWindow(usize),
    /// Some of the first and of the last frames.
    Ends { shown: usize, frames: usize },
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
        let mut rest = WIDTH - "iteration  ".len();
        if frames > window {
            rest -= "  window  to ".len() + 2 * digits(frames - 1);
        }
        let narrow = 1 + digits(steps);
        let wide = narrow.max(1 + digits(frames - 1));
        if frames <= rest / wide {
            let frames = Frames::All(frames);
            Self { frames, cell: wide }
        } else if frames > window && window <= rest / narrow {
            let frames = Frames::OfWindow(window);
            Self {
                frames,
                cell: narrow,
            }
        } else {
            // One cell for the dots.
            let shown = (rest / wide - 1) / 2;
            let frames = Frames::Ends { shown, frames };
            Self { frames, cell: wide }
        }
    }

    /// The numbers of the frames.
    fn header(&self) -> String {
        match self.frames {
            Frames::OfWindow(_) => " frames of the window".into(),
            _ => self.cells(0, |frame| frame.to_string()),
        }
    }

    fn row(&self, plan: &AdPlan, iteration: usize) -> String {
        let window = plan.window(iteration);
        let cells = self.cells(window.start, |frame| match plan.state(iteration, frame) {
            _ if !window.contains(&frame) => String::new(),
            FrameState::Waiting => ".".into(),
            FrameState::Active { step } => (step + 1).to_string(),
            FrameState::Finished => "#".into(),
        });
        if window.len() == plan.config().frames {
            return cells;
        }
        format!("{cells}  window {} to {}", window.start, window.end - 1)
    }

    /// A cell for each column, where the window starts at `window`.
    fn cells(&self, window: usize, text: impl Fn(usize) -> String) -> String {
        let show = |text: String| format!("{text:>0$}", self.cell);
        let cells = |frames: Range<usize>| frames.map(|frame| show(text(frame)));
        match self.frames {
            Frames::All(frames) => cells(0..frames).collect(),
            Frames::OfWindow(length) => cells(window..window + length).collect(),
            Frames::Ends { shown, frames } => cells(0..shown)
                .chain([show("..".into())])
                .chain(cells(frames - shown..frames))
                .collect(),
        }
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
frame evaluations: 44 over whole windows
                   20 over active frames only (2.2x fewer)

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
        assert!(text.contains("frame evaluations: 10 over whole windows of 2 frames\n"));
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
            assert!(text.lines().all(|line| line.len() <= WIDTH), "{text}");
            assert!(text.lines().count() <= ROWS + 9, "{text}");
            let last = text.lines().last().expect("a row");
            assert!(last.contains(&format!(" {} ", frames * ar_step + steps - 1 - ar_step)));
        }
    }
}
