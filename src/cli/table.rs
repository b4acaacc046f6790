//! Tables for the terminal, in the form that Markdown understands too.

use comfy_table::presets::ASCII_MARKDOWN;
use comfy_table::{Cell, CellAlignment, ContentArrangement, Table};

/// What the columns after the first one hold; that one holds names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Columns {
    /// Figures, which stand right.
    Figures,
    /// Words, which stand left.
    Words,
}

/// A table with its names on the left.
pub(super) fn table<H: AsRef<str>, R: AsRef<[String]>>(columns: Columns, headings: &[H], rows: &[R]) -> String {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(headings.iter().map(AsRef::as_ref));
    for row in rows {
        let cells = row.as_ref().iter().enumerate().map(|(column, text)| {
            let alignment = match columns {
                Columns::Figures if column > 0 => CellAlignment::Right,
                Columns::Figures | Columns::Words => CellAlignment::Left,
            };
            Cell::new(text).set_alignment(alignment)
        });
        table.add_row(cells);
    }
    table.to_string()
}
