//! `npusim calibrate`: what a scheme has to know about the activations, from the values of a workload, as a file.

use std::process::ExitCode;

use crate::calibrate::{calibrate_and_observe, lowered_from_shapes};
use crate::cli::arguments::CalibrateArguments;
use crate::cli::table::{self, Columns};
use crate::cli::{CliError, print};
use crate::config::kinds::FileKind;
use crate::config::output_file::OutputFile;
use crate::config::tensors::{Coverage, Generated};
use crate::config::{calibration, presets, scheme, tensors, workload};
use crate::report::deviations;
use crate::workload::calibration::{Calibration, LayerCalibration};

const HEADINGS: [&str; 9] =
    ["layer", "channels", "tokens", "mean |x|", "max |x|", "outliers", "persistence", "protected", "density"];

pub(super) fn run(arguments: &CalibrateArguments) -> Result<ExitCode, CliError> {
    let document = presets::open_workload(&arguments.workload)?;
    FileKind::Workload.expect(&document)?;
    let (workload, places) = workload::resolve(&document)?;
    let scheme_document = presets::open_scheme(&arguments.scheme)?;
    FileKind::Scheme.expect(&scheme_document)?;
    let scheme = scheme::resolve(&scheme_document)?;
    let request = scheme.calibration();
    if request.is_empty() {
        let name = scheme.name();
        let problem = format!("scheme `{name}` asks nothing of a calibration: it finds what it needs during the run");
        return Err(CliError::NothingToCalibrate(problem));
    }
    if tensors::coverage(&workload, &places) == Coverage::ShapesOnly {
        let problem = format!("the tensors of `{}` have shapes but no values to calibrate on", workload.name());
        return Err(CliError::NothingToCalibrate(problem));
    }
    // The place is checked before the work, so that an unusable one is refused at once.
    let place = arguments.out.as_ref().map(|out| OutputFile::try_new(out, calibration::FILE)).transpose()?;
    // What a run would refuse is told by the run; what was seen of the activations is worth having all the same.
    let program = lowered_from_shapes(&workload, scheme.as_ref()).ok();
    let deviations = program.map(|program| deviations::of_program(&program)).unwrap_or_default();
    let deviations: Vec<String> = deviations.iter().map(|group| group.line(scheme.name())).collect();
    let bindings = tensors::load(&workload, &places, Generated::Wanted)?;
    let calibration = calibrate_and_observe(&workload, &bindings, request)?;
    if calibration.layers.is_empty() {
        let (name, workload, reasons) = (scheme.name(), workload.name(), deviations.join("\n   "));
        let problem =
            format!("there is no layer of `{workload}` that scheme `{name}` has to know anything of\n   {reasons}");
        return Err(CliError::NothingToCalibrate(problem));
    }
    if let Some(place) = place {
        calibration::write(place, &calibration)?;
    }
    print(&format!("{} under {}", workload.name(), scheme.name()))?;
    print(&table::table(Columns::Figures, &HEADINGS, &rows(&calibration)))?;
    print(
        "persistence: the share of tokens in which an outlier channel is one, mean of the channels; density: the share of a \
         group's outliers that fall on its most frequent channel, mean of the groups",
    )?;
    deviations.iter().try_for_each(|line| print(line))?;
    if let Some(out) = &arguments.out {
        print(&format!("written: {0} (in a scheme file: `calibration: {0}`)", out.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn rows(calibration: &Calibration) -> Vec<[String; HEADINGS.len()]> {
    let row = |(name, known): (&String, &LayerCalibration)| {
        let mut cells = [const { String::new() }; HEADINGS.len()];
        cells[0].clone_from(name);
        cells[1] = known.channels.to_string();
        if let Some(observed) = &known.observed {
            let mean = observed.means.iter().sum::<f64>() / observed.means.len().max(1) as f64;
            cells[2] = observed.tokens.to_string();
            cells[3] = format!("{mean:.4}");
            cells[4] = format!("{:.4}", observed.maxima.iter().copied().fold(0.0f32, f32::max));
            let shares = &observed.outlier_persistence;
            if !shares.is_empty() {
                cells[6] = percent(shares.iter().sum::<f64>() / shares.len() as f64);
            }
            cells[8] = observed.clustering_density.map(percent).unwrap_or_default();
        }
        cells[5] = known.outliers.as_ref().map(|channels| channels.len().to_string()).unwrap_or_default();
        cells[7] =
            known.protected.as_ref().map(|channels| channels.iter().flatten().count().to_string()).unwrap_or_default();
        cells
    };
    calibration.layers.iter().map(row).collect()
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}
