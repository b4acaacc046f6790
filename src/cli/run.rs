//! `npusim run`.

use std::process::ExitCode;

use crate::cli::arguments::RunArguments;
use crate::cli::inputs::{Inputs, Names};
use crate::cli::{CliError, print, table};
use crate::config::files::OutputDirectory;
use crate::report::data::Report;
use crate::report::{csv, json, summary};
use crate::simulation::{Setup, simulate};
use crate::timing::observer::Unobserved;

pub(super) fn run(arguments: &RunArguments) -> Result<ExitCode, CliError> {
    let names = Names { hardware: &arguments.hw, workload: &arguments.workload, scheme: &arguments.scheme };
    let inputs = Inputs::open(names, &arguments.set)?;
    // The folder is claimed before the work, so that an unusable one is refused at once.
    let out = arguments.out.as_ref().map(OutputDirectory::create).transpose()?;
    let bindings = if arguments.no_numerics { None } else { inputs.bindings()? };
    let setup = Setup {
        npu: &inputs.npu,
        workload: &inputs.workload,
        scheme: inputs.scheme.as_ref(),
        bindings: bindings.as_ref(),
        configuration: inputs.configuration(),
        defaults: inputs.defaults(),
    };
    let report = simulate(setup, &mut Unobserved)?.report;
    if let Some(out) = out {
        out.write("report.json", json::to_json(&report))?;
        out.write("layers.csv", csv::to_csv(&report))?;
        out.write("summary.md", summary::to_markdown(&report))?;
        let target = out.commit()?;
        show(&report);
        print(&format!("written: {} (report.json, layers.csv, summary.md)", target.display()));
    } else {
        show(&report);
    }
    Ok(ExitCode::SUCCESS)
}

fn show(report: &Report) {
    print(&summary::headline(report));
    print(&table::table(&summary::HEADINGS, &summary::rows(report)));
    for fact in summary::facts(report) {
        print(&fact);
    }
    if report.layers.iter().all(|layer| layer.numerics.is_none()) {
        print("numbers: not computed (--no-numerics, or the workload's tensors have no values)");
    }
}
