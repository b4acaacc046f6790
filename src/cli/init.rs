//! `npusim init`: a starter pair of files.

use std::process::ExitCode;

use crate::cli::arguments::InitArguments;
use crate::cli::{CliError, print};
use crate::config::files::write_new;

/// The files, by name.
const STARTER: [(&str, &str); 2] = [
    ("hardware.yaml", include_str!("../../starter/hardware.yaml")),
    ("workload.yaml", include_str!("../../starter/workload.yaml")),
];

pub(super) fn run(arguments: &InitArguments) -> Result<ExitCode, CliError> {
    let paths = write_new(&arguments.folder, &STARTER)?;
    for path in &paths {
        print(&format!("written: {}", path.display()))?;
    }
    let [hardware, workload] = paths.as_slice() else { unreachable!("there are two starter files") };
    print(&format!("try: npusim run --hw {} --workload {}", hardware.display(), workload.display()))?;
    Ok(ExitCode::SUCCESS)
}
