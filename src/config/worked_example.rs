//! The layer in use, end to end: a file type, its resolver, an override, and the texts of the errors.

use serde::Deserialize;

use crate::config::checks::{exactly_one, unique_names};
use crate::config::defaults::Defaults;
use crate::config::diagnostics::{ConfigError, Diagnostic, Problems};
use crate::config::document::Document;
use crate::config::field::Field;
use crate::config::placed::{List, Placed};
use crate::config::scalar::Hertz;
use crate::config::source::Place;
use crate::units::{Bytes, Rate};

#[derive(Deserialize)]
struct HardwareFile {
    name: Field<String>,
    clock: Field<Hertz>,
    matrix_units: List<Placed<MatrixUnitFile>>,
}

#[derive(Deserialize)]
struct MatrixUnitFile {
    name: Field<String>,
    buffer: Field<Bytes>,
    systolic_array: Option<Placed<SystolicArrayFile>>,
    dot_product_array: Option<Placed<DotProductArrayFile>>,
}

#[derive(Deserialize)]
struct SystolicArrayFile {
    rows: Field<u64>,
    dataflow: Field<String>,
    weight_rows_per_cycle: Field<Rate>,
    is_double_buffered: Field<bool>,
}

#[derive(Deserialize)]
struct DotProductArrayFile {
    depth: Field<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Dataflow {
    WeightStationary,
    OutputStationary,
}

#[derive(Debug, PartialEq)]
enum Array {
    Systolic { rows: u64, dataflow: Dataflow, rate: Rate, is_double_buffered: bool },
    DotProduct { depth: u64 },
}

#[derive(Debug, PartialEq)]
struct Hardware {
    name: String,
    clock: Hertz,
    units: Vec<(String, Bytes, Array)>,
}

fn resolve(file: &HardwareFile, defaults: &mut Defaults) -> Result<Hardware, ConfigError> {
    unique_names(file.matrix_units.iter().map(|unit| &unit.name))?;
    let mut problems = Problems::default();
    let name = problems.take(file.name.required().text());
    let clock = problems.take(file.clock.required().in_range(Hertz(1)..=Hertz(10_000_000_000)));
    let units: Vec<_> = file
        .matrix_units
        .at_least_one()?
        .iter()
        .filter_map(|unit| problems.take(resolve_unit(unit, defaults)))
        .collect();
    problems.finish()?;
    Ok(Hardware { name: name.expect("no problem"), clock: clock.expect("no problem"), units })
}

fn resolve_unit(unit: &Placed<MatrixUnitFile>, defaults: &mut Defaults) -> Result<(String, Bytes, Array), Diagnostic> {
    let given =
        [("systolic_array", unit.systolic_array.is_some()), ("dot_product_array", unit.dot_product_array.is_some())];
    exactly_one(unit, &given)?;
    let array = match (&unit.systolic_array, &unit.dot_product_array) {
        (Some(array), _) => resolve_systolic(array, defaults)?,
        (None, Some(array)) => Array::DotProduct { depth: array.depth.required().in_range(1..=1024)? },
        (None, None) => unreachable!("exactly one was given"),
    };
    let buffer = unit.buffer.required().must("a power of two", |bytes| bytes.get().is_power_of_two())?;
    Ok((unit.name.required().text()?, buffer, array))
}

fn resolve_systolic(array: &SystolicArrayFile, defaults: &mut Defaults) -> Result<Array, Diagnostic> {
    let rate = Rate::whole(1).expect("one is not zero");
    Ok(Array::Systolic {
        rows: array.rows.required().in_range(1..=65536)?,
        dataflow: array.dataflow.required().one_of(&[
            ("weight_stationary", Dataflow::WeightStationary),
            ("output_stationary", Dataflow::OutputStationary),
        ])?,
        rate: array
            .weight_rows_per_cycle
            .or_default(rate, "one row of weights a cycle, as in the first systolic arrays", defaults)
            .value()?,
        is_double_buffered: array.is_double_buffered.optional().map_or(Ok(true), |reading| reading.boolean())?,
    })
}

const EDGE: &str = "\
name: edge
clock: 800 MHz
matrix_units:
  - name: main
    buffer: 512 KiB
    systolic_array:
      rows: 32
      dataflow: weight_stationary
";

fn document(text: &str) -> Document {
    Document::from_bytes("hw/edge.yaml", text.as_bytes(), "hw").unwrap()
}

fn load(document: &Document) -> Result<(Hardware, Defaults), ConfigError> {
    let mut defaults = Defaults::default();
    let hardware = resolve(&document.read()?, &mut defaults)?;
    Ok((hardware, defaults))
}

fn error(text: &str) -> String {
    load(&document(text)).unwrap_err().to_string()
}

fn error_after(path: &str, value: &str) -> String {
    let mut document = document(EDGE);
    let origin = Place::flag(format!("--set {path}={value}"));
    match document.apply(path, value, &origin) {
        Ok(()) => load(&document).unwrap_err().to_string(),
        Err(diagnostic) => diagnostic.to_string(),
    }
}

#[test]
fn a_file_resolves_and_its_defaults_are_recorded() {
    let (hardware, defaults) = load(&document(EDGE)).unwrap();
    let array = Array::Systolic {
        rows: 32,
        dataflow: Dataflow::WeightStationary,
        rate: Rate::whole(1).unwrap(),
        is_double_buffered: true,
    };
    let units = vec![("main".to_string(), Bytes(512 * 1024), array)];
    assert_eq!(hardware, Hardware { name: "edge".to_string(), clock: Hertz(800_000_000), units });
    let taken: Vec<_> = defaults.taken().iter().map(|taken| (&*taken.path, &*taken.value)).collect();
    assert_eq!(taken, [("matrix_units[0].systolic_array.weight_rows_per_cycle", "1")]);
}

#[test]
fn a_value_out_of_range_is_shown_with_its_line_and_range() {
    assert_eq!(
        error(&EDGE.replace("32", "0")),
        "\
hw/edge.yaml:7:13: matrix_units[0].systolic_array.rows: 0 is out of range
    7 |       rows: 0
      |             ^ allowed: 1 to 65536"
    );
}

#[test]
fn an_unknown_key_names_the_nearest_known_one() {
    assert_eq!(
        error(&EDGE.replace("rows:", "rowz:")),
        "\
hw/edge.yaml:7:7: matrix_units[0].systolic_array: unknown key \"rowz\"
    7 |       rowz: 32
      |       ^^^^ did you mean \"rows\"?
   help: the keys known here are: rows, dataflow, weight_rows_per_cycle, is_double_buffered"
    );
}

#[test]
fn a_missing_key_cites_the_mapping_that_lacks_it() {
    assert_eq!(
        error(&EDGE.replace("      rows: 32\n", "")),
        "\
hw/edge.yaml:7:7: matrix_units[0].systolic_array: the key \"rows\" is missing
    7 |       dataflow: weight_stationary
      |       ^ a whole number is expected in this mapping; allowed: 1 to 65536"
    );
}

#[test]
fn an_overridden_value_cites_the_flag() {
    assert_eq!(
        error_after("matrix_units.0.systolic_array.rows", "abc"),
        "\
--set matrix_units.0.systolic_array.rows=abc: matrix_units[0].systolic_array.rows: \"abc\" is not a whole number
   allowed: 1 to 65536"
    );
}
