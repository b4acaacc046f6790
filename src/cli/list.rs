//! `npusim list`.

use std::process::ExitCode;

use crate::cli::arguments::{ListArguments, ListKind};
use crate::cli::{CliError, print, table};
use crate::config::presets;
use crate::numerics::formats;
use crate::{dataflow, memory, scheme};

pub(super) fn run(arguments: &ListArguments) -> Result<ExitCode, CliError> {
    let kinds = [
        ListKind::Schemes,
        ListKind::Dataflows,
        ListKind::Memories,
        ListKind::Formats,
        ListKind::Hardware,
        ListKind::Workloads,
    ];
    for kind in kinds.into_iter().filter(|kind| arguments.kind.is_none_or(|only| only == *kind)) {
        let (heading, rows) = listing(kind);
        print(&table::table(&[heading, "what it is"], &rows))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The first line of a file, which says what it describes.
fn about(preset: &presets::Preset) -> &'static str {
    preset.text().lines().next().unwrap_or_default().trim_start_matches(['#', ' '])
}

fn listing(kind: ListKind) -> (&'static str, Vec<[String; 2]>) {
    let row = |name: &str, description: &str| [name.to_owned(), description.to_owned()];
    match kind {
        ListKind::Schemes => {
            ("scheme", scheme::ALL.iter().map(|scheme| row(scheme.name(), scheme.description())).collect())
        }
        ListKind::Dataflows => {
            ("dataflow", dataflow::ALL.iter().map(|dataflow| row(dataflow.name(), dataflow.description())).collect())
        }
        ListKind::Memories => {
            ("memory model", memory::ALL.iter().map(|model| row(model.name(), model.description())).collect())
        }
        ListKind::Formats => (
            "format",
            formats::ALL.iter().map(|format| row(format.name(), &format!("{} bits", format.storage_bits()))).collect(),
        ),
        ListKind::Hardware => {
            ("hardware", presets::HARDWARE.iter().map(|preset| row(preset.name, about(preset))).collect())
        }
        ListKind::Workloads => {
            ("workload", presets::WORKLOADS.iter().map(|preset| row(preset.name, about(preset))).collect())
        }
    }
}
