//! A sign of life on long runs: on a terminal only, on standard error, and gone when the run ends.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

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
