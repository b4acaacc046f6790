//! `npusim list`.

use std::process::ExitCode;

use crate::cli::arguments::{ListArguments, ListKind};
use crate::cli::table::{self, Columns};
use crate::cli::{CliError, print};
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
        print(&table::table(Columns::Words, &[heading, "what it is"], &rows))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The first sentence of the comment that opens a file, which says what it describes.
fn about(text: &str) -> String {
    let comment = text.lines().map_while(|line| line.strip_prefix('#')).map(str::trim);
    let comment = comment.take_while(|line| !line.is_empty()).collect::<Vec<_>>().join(" ");
    // A stop within a sentence, as in "et al., 2021" or "2.1", is not followed by a blank and a capital letter.
    let is_end =
        |(position, _): &(usize, &str)| comment[position + 2..].chars().next().is_some_and(|next| !next.is_lowercase());
    let end = comment.match_indices(". ").find(is_end).map_or(comment.len(), |(position, _)| position);
    comment[..end].trim_end_matches('.').to_owned()
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
            ("hardware", presets::HARDWARE.iter().map(|preset| row(preset.name, &about(preset.text()))).collect())
        }
        ListKind::Workloads => {
            ("workload", presets::WORKLOADS.iter().map(|preset| row(preset.name, &about(preset.text()))).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::about;

    #[test]
    fn a_description_that_goes_on_in_the_next_line_is_shown_to_the_end_of_its_sentence() {
        assert_eq!(
            about("# One layer of 2.1 kinds,\n# by X et al., on 3 chips. More: data.\n#\n# Else\n"),
            "One layer of 2.1 kinds, by X et al., on 3 chips"
        );
        assert_eq!(about("# No stop\n\n# Another comment\nname: x\n"), "No stop");
        assert_eq!(about("# A stop.\nname: x # not this\n"), "A stop");
        assert_eq!(about("name: x\n"), "");
    }
}
