//! The one place that chains the stages: lower, schedule, time, execute, cost, report.

use std::sync::Arc;

use crate::config::diagnostics::ConfigError;
use crate::energy::transfers::TransferCounter;
use crate::energy::{self, Observed};
use crate::execute::{self, Execution};
use crate::hardware::energy_table::MissingAction;
use crate::hardware::npu::Npu;
use crate::program::Program;
use crate::program::verify::{ProgramError, verify};
use crate::reference::real::{self, RealLayer};
use crate::report::build::{Inputs, build};
use crate::report::data::{Configuration, Report, TakenDefault};
use crate::report::numerics::layer_numerics;
use crate::schedule::{self, Schedule, ScheduleError};
use crate::scheme::lowering::LoweringError;
use crate::scheme::{self, Scheme};
use crate::timing::observer::{Observer, Setting};
use crate::timing::rehearsal::TimedAlone;
use crate::timing::statistics::RunStatistics;
use crate::timing::{self, TimingError};
use crate::workload::bindings::Bindings;
use crate::workload::calibration::Calibration;
use crate::workload::graph::Workload;

/// What to simulate.
#[derive(Clone, Debug)]
pub struct Setup<'a> {
    /// The hardware.
    pub npu: &'a Npu,
    /// The workload.
    pub workload: &'a Workload,
    /// The scheme.
    pub scheme: &'a dyn Scheme,
    /// What the scheme knows about the activations before the run.
    pub calibration: Option<&'a Calibration>,
    /// Values of the workload's tensors; without them there are cycles and energy but no numbers.
    pub bindings: Option<&'a Bindings>,
    /// What the report says was simulated.
    pub configuration: Configuration,
    /// Defaults that were taken while reading the files.
    pub defaults: Vec<TakenDefault>,
}

/// Everything that a simulation produced.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The lowered program.
    pub program: Program,
    /// Its schedule.
    pub schedule: Schedule,
    /// The counters of the timed run.
    pub statistics: RunStatistics,
    /// The numbers, where values were given.
    pub execution: Option<execute::Execution>,
    /// The report.
    pub report: Report,
}

/// Why a simulation has no outcome.
#[derive(Debug, thiserror::Error)]
pub enum SimulationError {
    /// A file is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The scheme and the workload do not fit together.
    #[error(transparent)]
    Lowering(#[from] LoweringError),
    /// A scheme made an inconsistent program.
    #[error("the lowered program is inconsistent (a mistake of npusim, not of its input): {0}")]
    Program(#[from] ProgramError),
    /// The program does not fit the hardware.
    #[error(transparent)]
    Schedule(#[from] ScheduleError),
    /// The schedule could not be timed.
    #[error("the schedule is inconsistent (a mistake of npusim, not of its input): {0}")]
    Timing(#[from] TimingError),
    /// A tensor has no values.
    #[error(transparent)]
    Execute(#[from] execute::MissingValues),
    /// A tensor has no values.
    #[error(transparent)]
    Real(#[from] real::MissingValues),
    /// The energy table lacks an action.
    #[error(transparent)]
    Energy(#[from] MissingAction),
}

/// Simulates one workload under one scheme on one accelerator.
///
/// # Errors
/// [`SimulationError`] where a stage refuses its input; nothing has been written then.
pub fn simulate(setup: Setup<'_>, observer: &mut dyn Observer) -> Result<Outcome, SimulationError> {
    simulate_sharing(setup, &mut RealValues::default(), observer)
}

/// The layers of a workload over its real values: the same for every scheme and accelerator.
#[derive(Clone, Debug, Default)]
pub struct RealValues(Option<Arc<Vec<RealLayer>>>);

impl RealValues {
    /// Those of `workload` with the values of `bindings`.
    ///
    /// # Errors
    /// A tensor has no values.
    pub fn of(workload: &Workload, bindings: &Bindings) -> Result<RealValues, SimulationError> {
        Ok(RealValues(Some(Arc::new(real::evaluate(workload, bindings)?))))
    }
}

/// As [`simulate`], with `real_values` computed by the first of several simulations of one workload with one set of values,
/// and taken up by the others.
///
/// # Errors
/// As [`simulate`].
pub fn simulate_sharing(
    setup: Setup<'_>,
    real_values: &mut RealValues,
    observer: &mut dyn Observer,
) -> Result<Outcome, SimulationError> {
    let Setup { npu, workload, scheme, calibration, bindings, configuration, defaults } = setup;
    let program = scheme::lower(workload, scheme, calibration)?;
    verify(&program)?;
    let schedule =
        schedule::schedule_rehearsed(&program, npu, workload.mapping(), &TimedAlone { program: &program, npu })?;
    let mut counter = TransferCounter::new(npu, observer);
    counter.begin(&Setting { program: &program, schedule: &schedule, npu });
    let statistics = timing::run(&program, &schedule, npu, &mut counter)?;
    let transfers = counter.into_counts();
    let (execution, numerics) = match bindings {
        None => (None, None),
        Some(bindings) => {
            let execution = execute::run(&program, &schedule, bindings, execute::Granularity::Products)?;
            let real = match &mut real_values.0 {
                Some(known) => known,
                unknown => unknown.insert(Arc::new(real::evaluate(workload, bindings)?)),
            };
            let numerics = layer_numerics(&program, &execution, real);
            (Some(execution), Some(numerics))
        }
    };
    let activity = execution.as_ref().map(execute::Execution::activity);
    let energy = energy::cost(&program, &schedule, npu, &statistics, &Observed { transfers, activity })?;
    let report = build(Inputs {
        program: &program,
        schedule: &schedule,
        npu,
        statistics: &statistics,
        energy: &energy,
        numerics,
        observed_counts: execution.as_ref().map(Execution::observed_counts),
        configuration,
        defaults,
    });
    Ok(Outcome { program, schedule, statistics, execution, report })
}
