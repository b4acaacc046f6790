//! `npusim run`.

use std::process::ExitCode;

use crate::cli::arguments::RunArguments;
use crate::cli::progress::Progress;
use crate::cli::table::{self, Columns};
use crate::cli::{CliError, print, results};
use crate::config::files::OutputPlace;
use crate::inputs::{Inputs, Names};
use crate::report::data::Report;
use crate::report::summary;
use crate::simulation::{Setup, simulate};

pub(super) fn run(arguments: &RunArguments) -> Result<ExitCode, CliError> {
    let names = Names { hardware: &arguments.hw, workload: &arguments.workload, scheme: &arguments.scheme };
    let mut inputs = Inputs::open(names, &arguments.set)?;
    // The place is checked before the work, so that an unusable one is refused at once.
    let out = arguments.out.as_ref().map(|out| OutputPlace::try_new(out, results::form())).transpose()?;
    let bindings = if arguments.no_numerics { None } else { inputs.bindings()? };
    let calibration = inputs.calibration(bindings.as_ref())?;
    let setup = Setup {
        npu: &inputs.npu,
        workload: &inputs.workload,
        scheme: inputs.scheme.as_ref(),
        calibration: calibration.as_ref(),
        bindings: bindings.as_ref(),
        configuration: inputs.configuration(),
        defaults: inputs.defaults(),
    };
    let report = simulate(setup, &mut Progress::default())?.report;
    let written = out.map(|place| results::write(place, &report)).transpose()?;
    show(&report)?;
    if let Some((folder, files)) = written {
        print(&format!("written: {} ({files})", folder.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn show(report: &Report) -> Result<(), CliError> {
    print(&summary::headline(report))?;
    print(&table::table(Columns::Figures, &summary::HEADINGS, &summary::rows(report)))?;
    for fact in summary::facts(report) {
        print(&fact)?;
    }
    if report.layers.iter().all(|layer| layer.numerics.is_none()) {
        print("numbers: not computed (--no-numerics, or the workload's tensors have no values)")?;
    }
    Ok(())
}
