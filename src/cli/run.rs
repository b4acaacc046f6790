//! `npusim run`.

use std::process::ExitCode;

use crate::cli::arguments::RunArguments;
use crate::cli::progress::Progress;
use crate::cli::table::{self, Columns};
use crate::cli::{CliError, print, print_notes, results};
use crate::config::diagnostics::ConfigError;
use crate::config::files::{OutputDirectory, OutputPlace};
use crate::inputs::{Inputs, Names};
use crate::report::data::Report;
use crate::report::summary;
use crate::report::timeline::Recorder;
use crate::report::trace::{self, TraceWriter, Written};
use crate::simulation::{Setup, simulate};
use crate::timing::observer::{All, Observer};

pub(super) fn run(arguments: &RunArguments) -> Result<ExitCode, CliError> {
    let names = Names { hardware: &arguments.hw, workload: &arguments.workload, scheme: &arguments.scheme };
    let mut inputs = Inputs::open(names, &arguments.set)?;
    // The place is checked before the work, so that an unusable one is refused at once.
    let out = arguments.out.as_ref().map(|out| OutputPlace::try_new(out, results::form())).transpose()?;
    let bindings = if arguments.no_numerics { None } else { inputs.bindings()? };
    let calibration = inputs.calibration(bindings.as_ref())?;
    print_notes(inputs.notes());
    let setup = Setup {
        npu: &inputs.npu,
        workload: &inputs.workload,
        scheme: inputs.scheme.as_ref(),
        calibration: calibration.as_ref(),
        bindings: bindings.as_ref(),
        configuration: inputs.configuration(),
        defaults: inputs.defaults(),
    };
    let (mut progress, mut recorder) = (Progress::default(), Recorder::default());
    let Some(place) = out else {
        show(&simulate(setup, &mut progress).map_err(|error| inputs.cited(error))?.report)?;
        return Ok(ExitCode::SUCCESS);
    };
    let mut folder = Folder::Planned(place);
    let mut trace = None;
    if arguments.trace {
        let begun = folder.begun()?;
        trace = Some(TraceWriter::new(begun.create_file(results::TRACE)?, trace::MOST_EVENTS));
        folder = Folder::Begun(begun);
    }
    let mut observers: Vec<&mut dyn Observer> = vec![&mut progress, &mut recorder];
    if let Some(trace) = &mut trace {
        observers.push(trace);
    }
    let outcome = simulate(setup, &mut All(observers)).map_err(|error| inputs.cited(error))?;
    let mut report = outcome.report;
    drop(progress);
    report.timeline = Some(recorder.timeline());
    let traced = trace.map(|trace| trace.finish().map_err(CliError::Trace)).transpose()?;
    let (folder, files) = results::write(folder.begun()?, &report)?;
    show(&report)?;
    print(&format!("written: {} ({files})", folder.display()))?;
    traced.map_or(Ok(()), |written| print(&told(written)))?;
    Ok(ExitCode::SUCCESS)
}

/// The folder of a result. Only a trace, which is written while the run goes on, needs it before the run.
enum Folder {
    Planned(OutputPlace),
    Begun(OutputDirectory),
}

impl Folder {
    fn begun(self) -> Result<OutputDirectory, ConfigError> {
        match self {
            Folder::Planned(place) => place.begin(),
            Folder::Begun(folder) => Ok(folder),
        }
    }
}

/// What became of the trace.
fn told(written: Written) -> String {
    let Written { events, left_out_commands } = written;
    let opened = format!("trace: {} with {events} events opens in ui.perfetto.dev", results::TRACE);
    match left_out_commands {
        0 => opened,
        left_out => format!("{opened}; it was full then, and {left_out} later commands are left out of it"),
    }
}

fn show(report: &Report) -> Result<(), CliError> {
    print(&summary::headline(report))?;
    print(&table::table(Columns::Figures, &summary::headings(report), &summary::rows(report)))?;
    for fact in summary::facts(report) {
        print(&fact)?;
    }
    if report.layers.iter().all(|layer| layer.numerics.is_none()) {
        print("numbers: not computed (--no-numerics, or the workload's tensors have no values)")?;
    }
    Ok(())
}
