//! The layer in use, end to end: a file type, its resolver, an override, and the texts of the errors.

use serde::Deserialize;

use crate::config::checks::{exactly_one, place_of, unique_names};
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
        [("systolic_array", place_of(&unit.systolic_array)), ("dot_product_array", place_of(&unit.dot_product_array))];
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

#[test]
fn an_overridden_key_that_nobody_knows_cites_the_flag_and_the_nearest_key() {
    assert_eq!(
        error_after("matrix_unit.0.systolic_array.rows", "4"),
        "\
--set matrix_unit.0.systolic_array.rows=4: unknown key \"matrix_unit\"
   did you mean \"matrix_units\"?
   help: the keys known here are: name, clock, matrix_units"
    );
}

#[test]
fn a_key_that_the_type_knows_and_the_file_lacks_can_be_overridden() {
    let mut document = document(EDGE);
    let path = "matrix_units.main.systolic_array.weight_rows_per_cycle";
    document.apply(path, "1/2", &Place::flag("--set")).unwrap();
    let (hardware, defaults) = load(&document).unwrap();
    assert!(matches!(hardware.units[0].2, Array::Systolic { rate, .. } if rate == Rate::try_new(1, 2).unwrap()));
    assert_eq!(defaults.taken(), []);
}

#[test]
fn a_list_set_where_a_mapping_is_wanted_cites_the_flag() {
    assert_eq!(
        error_after("matrix_units.0.systolic_array", "[1]"),
        "\
--set matrix_units.0.systolic_array=[1]: matrix_units[0].systolic_array: this is a list of 1 item; a mapping is expected here
   help: its keys are: rows, dataflow, weight_rows_per_cycle, is_double_buffered"
    );
}

#[test]
fn a_value_that_is_not_among_the_names_shows_them_and_the_nearest() {
    assert_eq!(
        error(&EDGE.replace("weight_stationary", "weight-stationry")),
        "\
hw/edge.yaml:8:17: matrix_units[0].systolic_array.dataflow: \"weight-stationry\" is not known here
    8 |       dataflow: weight-stationry
      |                 ^^^^^^^^^^^^^^^^ allowed: weight_stationary, output_stationary
   help: did you mean \"weight_stationary\"?"
    );
}

#[test]
fn a_value_that_breaks_a_condition_is_told_the_condition() {
    assert_eq!(
        error(&EDGE.replace("512 KiB", "500 KiB")),
        "\
hw/edge.yaml:5:13: matrix_units[0].buffer: \"500 KiB\" is not a power of two
    5 |     buffer: 500 KiB
      |             ^^^^^^^ must be a power of two"
    );
}

#[test]
fn a_key_without_a_value_is_cited_at_the_key() {
    assert_eq!(
        error(&EDGE.replace("rows: 32", "rows:")),
        "\
hw/edge.yaml:7:7: matrix_units[0].systolic_array.rows: the key \"rows\" has no value; a whole number is expected
    7 |       rows:
      |       ^^^^ allowed: 1 to 65536"
    );
}

#[test]
fn a_list_where_a_single_value_is_wanted_is_told_so() {
    assert_eq!(
        error(&EDGE.replace("rows: 32", "rows: [32, 32]")),
        "\
hw/edge.yaml:7:13: matrix_units[0].systolic_array.rows: this is a list of 2 items; a whole number is expected
    7 |       rows: [32, 32]
      |             ^ allowed: 1 to 65536"
    );
}

#[test]
fn a_remedy_for_odd_notation_stands_below_the_line() {
    assert_eq!(
        error(&EDGE.replace("32", "1_024")),
        "\
hw/edge.yaml:7:13: matrix_units[0].systolic_array.rows: 1_024 is a number with grouped digits; a whole number is expected
    7 |       rows: 1_024
      |             ^^^^^ allowed: 1 to 65536
   help: write 1024"
    );
}

#[test]
fn a_single_value_where_a_list_is_wanted_is_told_so() {
    assert_eq!(
        error("name: a\nclock: 1\nmatrix_units: 3\n"),
        "\
hw/edge.yaml:3:15: matrix_units: 3; a list is expected here
    3 | matrix_units: 3
      |               ^"
    );
}

#[test]
fn a_missing_list_cites_the_mapping_that_lacks_it() {
    assert_eq!(
        error("name: a\nclock: 1\n"),
        "\
hw/edge.yaml:1:1: the key \"matrix_units\" is missing
    1 | name: a
      | ^ in this mapping"
    );
}

#[test]
fn an_empty_list_is_cited() {
    assert_eq!(
        error("name: a\nclock: 1\nmatrix_units: []\n"),
        "\
hw/edge.yaml:3:15: matrix_units: the list is empty; at least one item is expected
    3 | matrix_units: []
      |               ^"
    );
}

#[test]
fn variants_are_given_exactly_once() {
    assert_eq!(
        error("name: a\nclock: 1\nmatrix_units:\n  - name: x\n    buffer: 1\n"),
        "\
hw/edge.yaml:4:5: matrix_units[0]: one of these keys is missing: systolic_array, dot_product_array
    4 |   - name: x
      |     ^ give exactly one"
    );
    assert_eq!(
        error_after("matrix_units.0.dot_product_array.depth", "4"),
        "\
--set matrix_units.0.dot_product_array.depth=4: matrix_units[0]: these keys exclude one another: systolic_array, dot_product_array
   give exactly one of: systolic_array, dot_product_array"
    );
}

#[test]
fn a_name_used_twice_cites_both_uses() {
    assert_eq!(
        error(&(EDGE.to_string() + "  - {name: main}\n")),
        "\
hw/edge.yaml:9:12: matrix_units[1].name: the name \"main\" is used twice
    9 |   - {name: main}
      |            ^^^^ names must differ
   help: it was first used at hw/edge.yaml:4:11"
    );
}

#[test]
fn independent_mistakes_are_shown_together_in_the_order_of_the_text() {
    let text = "\
name: a
clok: 1
matrix_units:
  - nam: x
  - 7
  - name: y
    systolic_array: {rowz: 1}
";
    let error = document(text).read::<HardwareFile>().err().unwrap();
    let first_lines: Vec<_> = error
        .diagnostics()
        .iter()
        .map(|diagnostic| format!("{}: {}: {}", diagnostic.place(), diagnostic.path(), diagnostic.message()))
        .collect();
    assert_eq!(
        first_lines,
        [
            "hw/edge.yaml:2:1: : unknown key \"clok\"",
            "hw/edge.yaml:4:5: matrix_units[0]: unknown key \"nam\"",
            "hw/edge.yaml:5:5: matrix_units[1]: 7; a mapping is expected here",
            "hw/edge.yaml:7:22: matrix_units[2].systolic_array: unknown key \"rowz\"",
        ]
    );
}

#[test]
fn a_flood_of_mistakes_is_cut_after_a_hundred() {
    let keys: String = (0..200_000).map(|key| format!("k{key}: 1\n")).collect();
    let error = document(&keys).read::<HardwareFile>().err().unwrap();
    assert!(error.diagnostics().len() <= 101, "{}", error.diagnostics().len());
    let items = format!("name: a\nclock: 1\nmatrix_units:\n{}", "  - 1\n".repeat(100_000));
    assert_eq!(document(&items).read::<HardwareFile>().err().unwrap().diagnostics().len(), 100);
}

#[test]
fn mistakes_of_several_items_are_gathered_by_the_resolver() {
    let second = "  - {name: aux, buffer: 3, dot_product_array: {depth: 0}}\n";
    let text = EDGE.replace("32", "0").replace("800 MHz", "0") + second;
    let error = load(&document(&text)).unwrap_err();
    let paths: Vec<_> = error.diagnostics().iter().map(|diagnostic| diagnostic.path().to_string()).collect();
    assert_eq!(paths, ["clock", "matrix_units[0].systolic_array.rows", "matrix_units[1].dot_product_array.depth"]);
}

#[test]
fn leaves_are_read_from_documents_only() {
    assert!(serde_json::from_str::<Field<u64>>("3").is_err());
}
