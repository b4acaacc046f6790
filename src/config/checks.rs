//! Checks that concern several fields at once.

use std::collections::BTreeMap;

use crate::config::diagnostics::{Cited, Diagnostic, listed, quoted};
use crate::config::field::Field;

/// Checks that no two of `names` are equal; every later one is an error that cites the first.
///
/// Names that cannot be read are left to their own reader to report.
///
/// # Errors
/// The second use of a name.
pub fn unique_names<'f>(names: impl IntoIterator<Item = &'f Field<String>>) -> Result<(), Diagnostic> {
    let mut seen = BTreeMap::new();
    for field in names {
        let Ok(name) = field.required().text() else { continue };
        if let Some(first) = seen.insert(name.clone(), field.place()) {
            return Err(field
                .problem(format!("the name {} is used twice", quoted(&name)))
                .note("names must differ")
                .help(format!("it was first used at {first}")));
        }
    }
    Ok(())
}

/// The index of the one sibling that was given, for variants written as sibling optional mappings.
///
/// # Errors
/// None or several of `siblings` (key and whether it was given) were; cites `parent`.
pub fn exactly_one(parent: &impl Cited, siblings: &[(&str, bool)]) -> Result<usize, Diagnostic> {
    let given: Vec<usize> = (0..siblings.len()).filter(|&index| siblings[index].1).collect();
    let names = |indices: &[usize]| listed(indices.iter().map(|&index| siblings[index].0));
    let all: Vec<usize> = (0..siblings.len()).collect();
    match given.as_slice() {
        [one] => Ok(*one),
        [] => Err(parent.problem(format!("one of these keys is missing: {}", names(&all))).note("give exactly one")),
        several => Err(parent
            .problem(format!("these keys exclude one another: {}", names(several)))
            .note(format!("give exactly one of: {}", names(&all)))),
    }
}
