//! Tables for the terminal, in the form that Markdown understands too.

use comfy_table::presets::ASCII_MARKDOWN;
use comfy_table::{Cell, CellAlignment, ContentArrangement, Table};

/// A table with right-aligned figures; the first column holds names.
pub(super) fn table<H: AsRef<str>, R: AsRef<[String]>>(headings: &[H], rows: &[R]) -> String {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(headings.iter().map(AsRef::as_ref));
    for row in rows {
        let cells = row.as_ref().iter().enumerate().map(|(column, text)| {
            let alignment = if column == 0 { CellAlignment::Left } else { CellAlignment::Right };
            Cell::new(text).set_alignment(alignment)
        });
        table.add_row(cells);
    }
    table.to_string()
}
