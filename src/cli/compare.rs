//! `npusim compare`.
//!
//! A scheme that the hardware cannot run is a row with its reason. The command is done (status 0) if its baseline ran; if
//! that one cannot run, or none can, there is nothing to compare and the input was wrong (status 2).

use std::process::ExitCode;

use crate::cli::arguments::CompareArguments;
use crate::cli::table::{self, Columns};
use crate::cli::{CliError, print, print_notes, results};
use crate::config::diagnostics::{ConfigError, Diagnostic, nearest};
use crate::config::files::OutputPlace;
use crate::config::presets;
use crate::config::result_form::ResultForm;
use crate::inputs::{Inputs, Names};
use crate::report::compare::{self, Attempt, Comparison, Tilings};
use crate::report::compare_text as text;
use crate::report::plots;
use crate::schedule::mapping_of;
use crate::simulation::{RealValues, Setup, SimulationError, simulate_sharing};
use crate::timing::observer::Unobserved;

/// Makes the text of one file.
type Writer = fn(&Comparison) -> String;

/// Every file that a comparison writes; by the first an earlier one is known.
static FILES: &[(&str, Writer)] =
    &[("compare.json", text::to_json), ("compare.csv", text::to_csv), ("summary.md", text::to_markdown)];

pub(super) fn run(arguments: &CompareArguments) -> Result<ExitCode, CliError> {
    let mut runs = open(arguments)?;
    let names: Vec<&str> = runs.iter().map(|inputs| inputs.scheme.name()).collect();
    if let Some(baseline) = arguments.baseline.as_deref().filter(|baseline| !names.contains(baseline)) {
        return Err(CliError::unknown(
            "scheme in this comparison",
            baseline,
            nearest(baseline, names.iter().copied()),
            &names,
        ));
    }
    let files = FILES.iter().map(|(name, _)| *name).chain(plots::file_names()).collect();
    let form = ResultForm { files, schema_version: compare::SCHEMA_VERSION };
    // The place is checked before the work, so that an unusable one is refused at once.
    let out = arguments.out.as_ref().map(|out| OutputPlace::try_new(out, form)).transpose()?;
    let attempts = attempt_each(&mut runs, arguments)?;
    let tilings = if arguments.same_tiling { Tilings::Same } else { Tilings::Searched };
    let comparison = compared(attempts, arguments.baseline.as_deref(), tilings)?;
    let written = out.map(|place| write(place, &comparison)).transpose()?;
    show(&comparison)?;
    if let Some(line) = written {
        print(&line)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The inputs under each scheme: the same hardware and workload with another scheme.
fn open(arguments: &CompareArguments) -> Result<Vec<Inputs>, CliError> {
    let built_in = || presets::SCHEMES.iter().map(|preset| preset.name);
    let named =
        |given: &'_ str| if given == "all" { built_in().map(str::to_owned).collect() } else { vec![given.to_owned()] };
    let mut runs: Vec<Inputs> = Vec::new();
    for scheme in arguments.schemes.iter().flat_map(|given| named(given.trim())) {
        let names = Names { hardware: &arguments.hw, workload: &arguments.workload, scheme: &scheme };
        let inputs = Inputs::open(names, &arguments.set)?;
        let name = inputs.scheme.name();
        if runs.iter().any(|earlier| earlier.scheme.name() == name) {
            let problem = format!(
                "--schemes names two schemes called \"{name}\"\n   help: give each file its own `name`, and name each once"
            );
            return Err(CliError::NothingToCompare(problem));
        }
        runs.push(inputs);
    }
    Ok(runs)
}

/// Runs each scheme. Values are read once, and what they give in real arithmetic is computed once. With `same_tiling` the
/// baseline runs first, and the others take over its tilings.
fn attempt_each(runs: &mut [Inputs], arguments: &CompareArguments) -> Result<Vec<(String, Attempt)>, CliError> {
    let Some(shared) = runs.first() else { return Ok(Vec::new()) };
    let (npu, mut workload) = (shared.npu.clone(), shared.workload.clone());
    let bindings = if arguments.no_numerics { None } else { shared.bindings()? };
    let mut real_values = RealValues::default();
    let mut order: Vec<usize> = (0..runs.len()).collect();
    // The sort is stable: all but the baseline stay in the order of the command line.
    order.sort_by_key(|index| arguments.baseline.as_deref() != Some(runs[*index].scheme.name()));
    let mut is_taken_over = !arguments.same_tiling;
    let mut attempts: Vec<(usize, (String, Attempt))> = Vec::new();
    for index in order {
        let inputs = &mut runs[index];
        let name = inputs.scheme.name().to_owned();
        let calibration = match inputs.calibration(bindings.as_ref()).map_err(CliError::from) {
            Ok(calibration) => calibration,
            Err(CliError::Calibration(reason)) => {
                attempts.push((index, (name, Attempt::CannotRun(reason.to_string()))));
                continue;
            }
            Err(other) => return Err(other),
        };
        let setup = Setup {
            npu: &npu,
            workload: &workload,
            calibration: calibration.as_ref(),
            scheme: inputs.scheme.as_ref(),
            bindings: bindings.as_ref(),
            configuration: inputs.configuration(),
            defaults: inputs.defaults(),
        };
        print_notes(inputs.notes());
        let outcome = simulate_sharing(setup, &mut real_values, &mut Unobserved);
        let attempt = match outcome.map_err(|error| inputs.cited(error)) {
            Ok(outcome) => {
                if !is_taken_over {
                    workload = workload.with_mapping(mapping_of(&outcome.schedule, &outcome.program));
                    is_taken_over = true;
                }
                Attempt::Ran(Box::new(outcome.report))
            }
            Err(SimulationError::Schedule(reason)) => Attempt::CannotRun(reason.to_string()),
            Err(SimulationError::Lowering(reason)) => Attempt::CannotRun(reason.to_string()),
            Err(SimulationError::Config(reason)) => Attempt::CannotRun(in_a_line(&reason)),
            Err(other) => return Err(other.into()),
        };
        attempts.push((index, (name, attempt)));
    }
    attempts.sort_by_key(|(index, _)| *index);
    Ok(attempts.into_iter().map(|(_, attempt)| attempt).collect())
}

/// An error of a file in one line of a table: where, and what is wrong.
fn in_a_line(error: &ConfigError) -> String {
    let told = |problem: &Diagnostic| format!("{}: {}: {}", problem.place(), problem.path(), problem.message());
    error.diagnostics().first().map_or_else(|| error.to_string(), told)
}

fn compared(
    attempts: Vec<(String, Attempt)>,
    baseline: Option<&str>,
    tilings: Tilings,
) -> Result<Comparison, CliError> {
    let ran = |attempt: &Attempt| matches!(attempt, Attempt::Ran(_));
    let baseline = baseline
        .or_else(|| attempts.iter().find(|(_, attempt)| ran(attempt)).map(|(name, _)| name.as_str()))
        .map(str::to_owned);
    let reason = attempts.iter().find_map(|(name, attempt)| match attempt {
        Attempt::CannotRun(reason) if baseline.as_ref().is_none_or(|baseline| baseline == name) => {
            Some(format!("{name} cannot run: {reason}"))
        }
        _ => None,
    });
    baseline.and_then(|baseline| compare::compare(attempts, &baseline, tilings)).ok_or_else(|| {
        let reason = reason.unwrap_or_default();
        let problem = format!(
            "there is nothing to compare with: {reason}\n   help: choose another baseline, or schemes that the hardware can run"
        );
        CliError::NothingToCompare(problem)
    })
}

fn write(place: OutputPlace, comparison: &Comparison) -> Result<String, ConfigError> {
    let folder = place.begin()?;
    let mut names: Vec<&str> = Vec::new();
    for (name, writer) in FILES {
        folder.write(name, writer(comparison))?;
        names.push(name);
    }
    for picture in results::pictures(&text::to_json(comparison)) {
        folder.write(picture.name, picture.contents)?;
        names.push(picture.name);
    }
    Ok(format!("written: {} ({})", folder.commit()?.display(), names.join(", ")))
}

fn show(comparison: &Comparison) -> Result<(), CliError> {
    print(&text::headline(comparison))?;
    print(&table::table(Columns::Figures, &text::TOTAL_HEADINGS, &text::total_rows(comparison)))?;
    print(&table::table(Columns::Figures, &text::PART_HEADINGS, &text::layer_rows(comparison)))?;
    print(&table::table(Columns::Figures, &text::PART_HEADINGS, &text::path_rows(comparison)))?;
    text::facts(comparison).iter().try_for_each(|fact| print(fact))
}
