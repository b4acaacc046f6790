//! Rows of CSV files, read by the names of their columns.
//!
//! A reference is one file or a folder of files with the same columns; their order and further columns do not matter. It
//! knows no set: which columns there must be, and what they mean, is each set's.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use csv::{ReaderBuilder, StringRecord, Trim};

use crate::config::input_files;
use crate::validate::ValidateError;

/// One row.
pub(super) struct Row {
    file: PathBuf,
    line: u64,
    header: StringRecord,
    cells: StringRecord,
}

impl Row {
    /// The text in a column that the set asked for.
    pub(super) fn text(&self, column: &str) -> &str {
        let index = self.header.iter().position(|name| name == column).expect("read() saw every column of the set");
        self.cells.get(index).expect("the reader refuses rows that are shorter than the header")
    }

    /// The number in a column.
    pub(super) fn number<T: FromStr>(&self, column: &str) -> Result<T, ValidateError> {
        let text = self.text(column);
        text.parse().map_err(|_| self.error(format!("column `{column}` holds `{text}`, not a number of its kind")))
    }

    /// The entry of `known` that a column names.
    pub(super) fn one_of<T: Copy>(&self, column: &str, known: &[(&str, T)]) -> Result<T, ValidateError> {
        let text = self.text(column);
        known.iter().find(|(name, _)| *name == text).map(|(_, value)| *value).ok_or_else(|| {
            let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
            self.error(format!("column `{column}` holds `{text}`; known are {}", names.join(", ")))
        })
    }

    /// Where the row stands: file and line.
    pub(super) fn place(&self) -> String {
        let name = self.file.file_name().unwrap_or_default().to_string_lossy();
        format!("{name} line {}", self.line)
    }

    /// This row cannot be run.
    pub(super) fn error(&self, problem: impl Into<String>) -> ValidateError {
        ValidateError::Row { file: self.file.clone(), line: self.line, problem: problem.into() }
    }
}

/// The rows of a file, or of every CSV file of a folder in the order of their names. Each file must have `columns`.
pub(super) fn read(path: &Path, columns: &[&'static str]) -> Result<Vec<Row>, ValidateError> {
    let mut rows = Vec::new();
    for file in files(path)? {
        let broken = |source| ValidateError::Csv { path: file.clone(), source };
        let text = input_files::read_text(&file, input_files::MOST_BYTES);
        let text = text.map_err(|source| ValidateError::Read { path: file.clone(), source })?;
        // The reader counts a line of a CRLF file only when it comes to the next record.
        let text = text.replace("\r\n", "\n");
        let mut reader = ReaderBuilder::new().trim(Trim::All).from_reader(text.as_bytes());
        let header = reader.headers().map_err(broken)?.clone();
        for column in columns {
            match header.iter().filter(|name| name == column).count() {
                1 => {}
                0 => return Err(ValidateError::Column { path: file, column, problem: "is missing" }),
                _ => return Err(ValidateError::Column { path: file, column, problem: "is there twice" }),
            }
        }
        for cells in reader.into_records() {
            let cells = cells.map_err(broken)?;
            let line = cells.position().map_or(0, csv::Position::line);
            rows.push(Row { file: file.clone(), line, header: header.clone(), cells });
        }
    }
    if rows.is_empty() {
        return Err(ValidateError::NoRows { path: path.to_owned() });
    }
    Ok(rows)
}

fn files(path: &Path) -> Result<Vec<PathBuf>, ValidateError> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let unreadable = |source| ValidateError::Read { path: path.to_owned(), source };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).map_err(unreadable)? {
        let file = entry.map_err(unreadable)?.path();
        if file.extension().is_some_and(|extension| extension == "csv") {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
pub(super) mod tests {
    use super::{Row, read};
    use crate::validate::{ValidateError, ValidationReport, ValidationSet};
    use std::fs;
    use std::path::Path;
    use tempfile::TempDir;

    /// Runs a set on the text of one CSV file.
    pub(crate) fn run_text(set: &dyn ValidationSet, text: &str) -> Result<ValidationReport, ValidateError> {
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("rows.csv");
        fs::write(&file, text).unwrap();
        Ok(ValidationReport { sets: set.run(&file)? })
    }

    /// Header and first row of a shipped file, as `(column, cell)`.
    pub(crate) fn first_shipped_row(file: &str) -> Vec<(String, String)> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracles").join(file);
        let row = read(&path, &[]).unwrap().remove(0);
        row.header.iter().map(str::to_owned).zip(row.cells.iter().map(str::to_owned)).collect()
    }

    /// The CSV text of one row.
    pub(crate) fn text_of(row: &[(String, String)]) -> String {
        let columns: Vec<&str> = row.iter().map(|(column, _)| column.as_str()).collect();
        // No shipped cell holds a quotation mark.
        let cells: Vec<String> = row.iter().map(|(_, cell)| format!("\"{cell}\"")).collect();
        format!("{}\n{}\n", columns.join(","), cells.join(","))
    }

    /// One row passes as it is; it fails with `column` one higher, and without that column it is refused by name.
    pub(crate) fn check_that_it_bites(set: &dyn ValidationSet, file: &str, column: &str) {
        let row = first_shipped_row(file);
        let report = run_text(set, &text_of(&row)).unwrap();
        assert!(
            report.passes() && report.sets.iter().all(|row| row.compared == 1 && row.pass == Some(true)),
            "{report}"
        );

        let mut changed = row.clone();
        let (_, cell) = changed.iter_mut().find(|(name, _)| name == column).unwrap();
        *cell = (cell.parse::<u64>().unwrap() + 1).to_string();
        let report = run_text(set, &text_of(&changed)).unwrap();
        assert!(!report.passes() && report.sets[0].differing == 1, "{column}: {report}");
        assert!(report.sets[0].note.contains("rows.csv line 2"), "{report}");

        let lacking: Vec<_> = row.into_iter().filter(|(name, _)| name != column).collect();
        let refused = run_text(set, &text_of(&lacking)).unwrap_err();
        assert!(matches!(&refused, ValidateError::Column { .. }) && refused.to_string().contains(column), "{refused}");
    }

    /// One row with other cells in some columns cannot be run, for a reason that names `word`.
    pub(crate) fn check_refused(set: &dyn ValidationSet, file: &str, cells: &[(&str, &str)], word: &str) {
        let mut row = first_shipped_row(file);
        for (column, cell) in cells {
            row.iter_mut().find(|(name, _)| name == column).unwrap().1 = (*cell).to_owned();
        }
        let refused = run_text(set, &text_of(&row)).unwrap_err();
        assert!(matches!(&refused, ValidateError::Row { line: 2, .. }), "{refused}");
        assert!(refused.to_string().contains(word), "{refused}");
    }

    fn rows_of(files: &[(&str, &str)]) -> Result<Vec<Row>, ValidateError> {
        let folder = TempDir::new().unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        read(folder.path(), &["M", "N"])
    }

    #[test]
    fn a_folder_is_read_in_the_order_of_its_file_names_and_columns_may_stand_in_any_order() {
        let rows = rows_of(&[("b.csv", "N,other,M\n3,x,4\n"), ("a.csv", "M,N\n1,2\n"), ("README.md", "text")]).unwrap();
        let numbers: Vec<(u64, u64)> =
            rows.iter().map(|row| (row.number("M").unwrap(), row.number("N").unwrap())).collect();
        assert_eq!(numbers, [(1, 2), (4, 3)]);
        assert_eq!(rows[1].place(), "b.csv line 2");
    }

    #[test]
    fn a_row_is_cited_by_its_line_also_where_lines_end_in_two_characters() {
        let rows = rows_of(&[("a.csv", "M,N\r\n1,2\r\n3,4\r\n")]).unwrap();
        assert_eq!([rows[0].place(), rows[1].place()], ["a.csv line 2", "a.csv line 3"]);
    }

    #[test]
    fn rows_that_cannot_be_read_are_errors() {
        assert!(matches!(rows_of(&[("a.csv", "M,N\n1\n")]), Err(ValidateError::Csv { .. })));
        assert!(matches!(rows_of(&[("a.csv", "M,M,N\n")]), Err(ValidateError::Column { column: "M", .. })));
        assert!(matches!(rows_of(&[("a.csv", "M,N\n")]), Err(ValidateError::NoRows { .. })));
        assert!(matches!(rows_of(&[]), Err(ValidateError::NoRows { .. })));
        let rows = rows_of(&[("a.csv", "M,N\nmany,2\n")]).unwrap();
        let refused = rows[0].number::<u64>("M").map(|_| ()).unwrap_err().to_string();
        assert!(refused.contains("a.csv:2") && refused.contains("many"), "{refused}");
    }
}
