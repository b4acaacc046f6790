//! What stands on the disk under a temporary name, so that a process that is told to end removes it first.
//!
//! Whatever must not be cut in two, such as the exchange of two folders or a line of a journal, is done
//! [`uninterrupted`]: the end waits for it. It knows no signals; who is told to end is the command line.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError, RwLock};

/// Held for reading by work that goes to its end, and for writing by the end of the process.
static END: RwLock<()> = RwLock::new(());
static PATHS: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// Does work that the end of the process waits for. Never one within another: the inner would wait for an end that waits for
/// the outer.
pub fn uninterrupted<T>(work: impl FnOnce() -> T) -> T {
    let _to_its_end = END.read().unwrap_or_else(PoisonError::into_inner);
    work()
}

/// Removes everything that is unfinished. Afterwards whoever starts or finishes a file waits for the end of the process,
/// which must follow.
pub fn remove_all() {
    std::mem::forget(END.write().unwrap_or_else(PoisonError::into_inner));
    for path in PATHS.lock().unwrap_or_else(PoisonError::into_inner).iter() {
        // What is gone already, or cannot be removed, leaves nothing to say to somebody who wants the end.
        let _ = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    }
}

/// A file or folder that is removed at the end of the process, until this is dropped.
#[derive(Debug)]
pub(crate) struct Unfinished(PathBuf);

impl Unfinished {
    /// Notes `path`; within the same uninterrupted work in which it is made.
    pub(crate) fn note(path: &Path) -> Unfinished {
        PATHS.lock().unwrap_or_else(PoisonError::into_inner).insert(path.to_path_buf());
        Unfinished(path.to_path_buf())
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        PATHS.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.0);
    }
}
