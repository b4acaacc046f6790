//! A sign of life on long runs: on a terminal only, on standard error, and gone when the run ends.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::explore::run;
use crate::timing::observer::{CommandRecord, Observer};

/// How long a run stays silent.
const SILENCE: Duration = Duration::from_secs(1);
/// Commands between two looks at the clock.
const STRIDE: u64 = 1 << 12;

/// Counts the commands of a run for the user to see.
pub(super) struct Progress {
    start: Instant,
    bar: Option<ProgressBar>,
    commands: u64,
}

impl Default for Progress {
    fn default() -> Progress {
        Progress { start: Instant::now(), bar: None, commands: 0 }
    }
}

impl Progress {
    /// A bar that draws nothing unless standard error is a terminal, nor on a build machine that pretends to be one.
    fn open() -> ProgressBar {
        if std::env::var_os("CI").is_some() {
            return ProgressBar::hidden();
        }
        let bar = ProgressBar::new_spinner();
        let style = ProgressStyle::with_template("{spinner} {elapsed_precise} {msg}");
        bar.set_style(style.expect("the template is right"));
        bar.enable_steady_tick(Duration::from_millis(200));
        bar
    }
}

impl Observer for Progress {
    fn command(&mut self, record: &CommandRecord<'_>) {
        self.commands += 1;
        if !self.commands.is_multiple_of(STRIDE) || self.start.elapsed() < SILENCE {
            return;
        }
        let bar = self.bar.get_or_insert_with(Progress::open);
        bar.set_message(format!("{} commands timed, up to cycle {}", self.commands, record.completed.get()));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Counts the points of a study for the user to see, with their rate and the time left.
#[derive(Default)]
pub(super) struct Points {
    bar: OnceLock<ProgressBar>,
}

impl Points {
    fn open(of: u64) -> ProgressBar {
        if std::env::var_os("CI").is_some() {
            return ProgressBar::hidden();
        }
        let bar = ProgressBar::new(of);
        let template = "{elapsed_precise} [{bar:40}] {pos}/{len} points, {per_sec}, {eta} left {msg}";
        bar.set_style(ProgressStyle::with_template(template).expect("the template is right"));
        bar
    }
}

impl run::Progress for Points {
    fn done(&self, points: u64, of: u64, failed: u64) {
        let bar = self.bar.get_or_init(|| {
            let bar = Points::open(of);
            // Points of an earlier run say nothing of the rate.
            bar.with_position(points.saturating_sub(1))
        });
        bar.set_position(points);
        if failed > 0 {
            bar.set_message(format!("({failed} could not be simulated)"));
        }
    }
}

impl Drop for Points {
    fn drop(&mut self) {
        if let Some(bar) = self.bar.get() {
            bar.finish_and_clear();
        }
    }
}
