//! `npusim explore` and `npusim merge`.
//!
//! Points that cannot be simulated are results, with their reason (status 0); a point at which the program panics is a
//! mistake of the program (status 1), and all others are done nevertheless.

use std::cmp::Reverse;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::cli::arguments::{ExploreArguments, MergeArguments};
use crate::cli::interrupts::{self, Resumable};
use crate::cli::progress::Points;
use crate::cli::table::{self, Columns};
use crate::cli::{CliError, plot, print};
use crate::config::document::Document;
use crate::config::study;
use crate::explore::journal::Shard;
use crate::explore::results::{FrontPoint, StudySummary};
use crate::explore::run::{self, Finished, Options, SUMMARY, TABLE};
use crate::explore::sensitivity::Sensitivity;

/// The most rows of a printed table; files have them all.
const SHOWN: usize = 20;

pub(super) fn run(arguments: &ExploreArguments) -> Result<ExitCode, CliError> {
    let document = Document::open(&arguments.study)?;
    let folder = match &arguments.out {
        Some(out) => out.clone(),
        None => Path::new("reports").join(study::resolve(&document)?.name.replace('/', "-")),
    };
    let threads = arguments.threads.map_or(0, usize::from);
    let options = Options { resume: arguments.resume, shard: arguments.shard, threads };
    let progress = Points::default();
    interrupts::can_resume(Resumable {
        journal: run::journal_path(&folder, arguments.shard),
        command: resuming(arguments, &folder),
    });
    let Finished { summary, taken_over, damaged, panicked, journal } =
        run::run(&document, &folder, options, &progress)?;
    interrupts::is_done();
    drop(progress);
    if taken_over > 0 {
        print(&format!("{taken_over} points were taken over from {}", journal.display()))?;
    }
    if damaged > 0 {
        print(&format!("{damaged} damaged lines of the journal were left out, and their points simulated again"))?;
    }
    match summary {
        Some(summary) => show(&summary, &folder)?,
        None => {
            let folder = folder.display();
            print(&format!("written: {}; when all parts are there: npusim merge {folder}", journal.display()))?;
        }
    }
    Ok(if panicked > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The command that goes on with this one.
fn resuming(arguments: &ExploreArguments, folder: &Path) -> String {
    let mut command = format!("npusim explore {} --out {} --resume", arguments.study.display(), folder.display());
    if let Some(Shard { number, of }) = arguments.shard {
        command.push_str(&format!(" --shard {number}/{of}"));
    }
    if let Some(threads) = arguments.threads {
        command.push_str(&format!(" --threads {threads}"));
    }
    command
}

pub(super) fn merge(arguments: &MergeArguments) -> Result<ExitCode, CliError> {
    let summary = run::merge(&arguments.folder)?;
    show(&summary, &arguments.folder)?;
    Ok(if summary.panicked > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn show(summary: &StudySummary, folder: &Path) -> Result<(), CliError> {
    let kind = match summary.mode {
        "estimate" => "estimated points (nothing was simulated)".to_owned(),
        "prune" => format!("simulated points ({} more were left out after their estimates)", summary.pruned),
        _ => "points".to_owned(),
    };
    print(&format!(
        "{}: {} {kind}, {} could not be simulated, {} break a constraint",
        summary.study, summary.points, summary.failed, summary.infeasible
    ))?;
    if let Some(asked) = summary.asked_points {
        print(&format!("the space has fewer points than the {asked} that the sampler asks for: each is done once"))?;
    }
    let mut failures: Vec<(&String, &u64)> = summary.failures.iter().collect();
    failures.sort_by_key(|(_, points)| Reverse(**points));
    for (reason, points) in failures.iter().take(SHOWN) {
        print(&format!("  {points} points: {reason}"))?;
    }
    if failures.len() > SHOWN {
        print(&format!("  and {} more reasons, which {SUMMARY} has", failures.len() - SHOWN))?;
    }
    let volume = summary.hypervolume.map(|share| format!("; hypervolume {share:.4} of the box")).unwrap_or_default();
    print(&format!("front of {}: {} points{volume}", summary.objectives.join(", "), summary.front.len()))?;
    if let Some(first) = summary.front.first() {
        let metrics: Vec<&str> =
            summary.objectives.iter().filter_map(|objective| objective.split(' ').nth(1)).collect();
        let parameters: Vec<&str> = first.parameters.keys().map(String::as_str).collect();
        let head: Vec<&str> =
            std::iter::once("point").chain(parameters.iter().copied()).chain(metrics.clone()).collect();
        let row = |point: &FrontPoint| -> Vec<String> {
            let values = parameters.iter().map(|name| point.parameters.get(*name).cloned().unwrap_or_default());
            let measured =
                metrics.iter().map(|name| point.metrics.get(*name).map_or(String::new(), |value| figure(*value)));
            std::iter::once(point.index.to_string()).chain(values).chain(measured).collect()
        };
        let rows: Vec<Vec<String>> = summary.front.iter().take(SHOWN).map(row).collect();
        print(&table::table(Columns::Figures, &head, &rows))?;
    }
    let of_objectives = |sensitivity: &&Sensitivity| {
        summary.objectives.iter().any(|objective| objective.split(' ').nth(1) == Some(sensitivity.metric.as_str()))
    };
    let rows: Vec<Vec<String>> =
        summary.sensitivities.iter().filter(of_objectives).take(SHOWN).map(sensitivity_row).collect();
    if !rows.is_empty() {
        print("rank correlation with the objectives")?;
        print(&table::table(Columns::Figures, &["parameter", "metric", "correlation", "p", "points"], &rows))?;
    }
    let files: Vec<PathBuf> = [TABLE, SUMMARY].map(|name| folder.join(name)).to_vec();
    let pictures = plot::of_study(folder)?;
    let names = files.iter().map(|file| file.display().to_string());
    let names: Vec<String> = names.chain(pictures.into_iter().map(str::to_owned)).collect();
    print(&format!("written: {}", names.join(", ")))
}

fn sensitivity_row(of: &Sensitivity) -> Vec<String> {
    vec![
        of.parameter.clone(),
        of.metric.clone(),
        format!("{:+.3}", of.rank_correlation),
        format!("{:.2e}", of.p_value),
        of.points.to_string(),
    ]
}

/// Whole numbers whole, others with four digits.
fn figure(value: f64) -> String {
    if value.fract() == 0.0 && value.abs() < 1e15 { format!("{value:.0}") } else { format!("{value:.4}") }
}
