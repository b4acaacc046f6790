//! Ctrl-C (SIGINT) and SIGTERM: what is unfinished is removed, and the process ends with 128 and the number of the signal,
//! as shells have it. A second signal ends it at once.
//!
//! Elsewhere than on Unix the system ends the process, and what is unfinished is left behind under its own name.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// A study at work, which can be gone on with.
pub(super) struct Resumable {
    pub(super) journal: PathBuf,
    /// The command that goes on with it.
    pub(super) command: String,
}

static RESUMABLE: Mutex<Option<Resumable>> = Mutex::new(None);

/// What is said if the process is told to end from now on.
pub(super) fn can_resume(study: Resumable) {
    *RESUMABLE.lock().unwrap_or_else(PoisonError::into_inner) = Some(study);
}

/// The study needs no going on any more.
pub(super) fn is_done() {
    *RESUMABLE.lock().unwrap_or_else(PoisonError::into_inner) = None;
}

/// What is said of a study that is broken off.
#[cfg_attr(not(unix), allow(dead_code, reason = "only Unix tells the process to end"))]
fn farewell() -> Option<String> {
    let resumable = RESUMABLE.lock().unwrap_or_else(PoisonError::into_inner);
    let Resumable { journal, command } = resumable.as_ref()?;
    let is_begun = |journal: &Path| journal.is_file();
    is_begun(journal).then(|| {
        format!("interrupted: points that are done stand in {}\n   help: go on with: {command}", journal.display())
    })
}

/// Listens from now on.
#[cfg(unix)]
pub(super) fn listen() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use signal_hook::consts::{SIGINT, SIGTERM};
    use signal_hook::flag::register_conditional_shutdown;
    use signal_hook::iterator::Signals;

    use crate::cli::print_message;
    use crate::config::unfinished;

    const SIGNALS: [i32; 2] = [SIGINT, SIGTERM];
    let is_ending = Arc::new(AtomicBool::new(false));
    for signal in SIGNALS {
        // Without it a second signal waits for the first: no reason not to work.
        let _ = register_conditional_shutdown(signal, 128 + signal, Arc::clone(&is_ending));
    }
    // A system without room for a handler or a thread ends the process as it would without us.
    let Ok(mut signals) = Signals::new(SIGNALS) else { return };
    let _ = std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        let Some(signal) = signals.forever().next() else { return };
        is_ending.store(true, Ordering::SeqCst);
        unfinished::remove_all();
        if let Some(text) = farewell() {
            print_message(&text);
        }
        std::process::exit(128 + signal);
    });
}

/// Nothing is listened to.
#[cfg(not(unix))]
pub(super) fn listen() {}
