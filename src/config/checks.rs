//! Checks that concern several fields at once.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::diagnostics::{Cited, Diagnostic, listed, quoted};
use crate::config::field::Field;
use crate::config::source::Place;
use crate::units::Cycles;

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
/// Each of `siblings` is a key and where its value was written, if it was ([`place_of`]).
///
/// # Errors
/// None or several were given: cites `parent`, or the second of those given, which may be a flag.
pub fn exactly_one(parent: &impl Cited, siblings: &[(&str, Option<&Place>)]) -> Result<usize, Diagnostic> {
    let given: Vec<(usize, &Place)> =
        siblings.iter().enumerate().filter_map(|(index, (_, place))| place.map(|place| (index, place))).collect();
    let all = || listed(siblings.iter().map(|(key, _)| *key));
    match given.as_slice() {
        [(one, _)] => Ok(*one),
        [] => Err(parent.problem(format!("one of these keys is missing: {}", all())).note("give exactly one")),
        several => {
            let keys = listed(several.iter().map(|(index, _)| siblings[*index].0));
            let message = format!("these keys exclude one another: {keys}");
            Err(Diagnostic::new(several[1].1, parent.path(), message).note(format!("give exactly one of: {}", all())))
        }
    }
}

/// Where an optional value was written, if it was given.
pub fn place_of<C: Cited>(value: &Option<C>) -> Option<&Place> {
    value.as_ref().map(Cited::place)
}

/// What to cite for a mistake that several `parts` of `whole` make together: the first part that was written elsewhere,
/// because then a flag has overridden it and so made the mistake; else the whole.
pub fn culprit<'c>(whole: &'c dyn Cited, parts: &[&'c dyn Cited]) -> &'c dyn Cited {
    let is_elsewhere = |part: &&&dyn Cited| !Arc::ptr_eq(part.place().source(), whole.place().source());
    parts.iter().find(is_elsewhere).map_or(whole, |part| *part)
}

/// The longest name of a part, tensor or layer.
const LONGEST_NAME: usize = 100;

/// The name in `field`, which must be there and show as it is in reports and tables.
///
/// # Errors
/// It is missing, longer than 100 characters, or holds other characters than letters, digits and `. _ - / :`.
pub fn plain_name(field: &Field<String>) -> Result<String, Diagnostic> {
    let is_plain = |name: &String| {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/:".contains(&byte);
        name.len() <= LONGEST_NAME && name.bytes().all(is_allowed)
    };
    field.required().must("a name of at most 100 letters, digits, or . _ - / :", is_plain)
}

/// The longest latency or setup time.
pub(crate) const MOST_CYCLES: u64 = 1_000_000;

/// The cycles in `field`, at most a million.
///
/// # Errors
/// They are missing or more.
pub(crate) fn cycles(field: &Field<u64>) -> Result<Cycles, Diagnostic> {
    field.required().in_range(0..=MOST_CYCLES).map(Cycles)
}
