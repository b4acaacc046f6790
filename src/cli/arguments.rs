//! What can be written on the command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::explore::journal::Shard;

/// Simulates integer NPUs: cycles, energy, bandwidth and the exact numbers, from one lowered program.
#[derive(Debug, Parser)]
#[command(name = "npusim", version, about, arg_required_else_help = true)]
pub(super) struct Arguments {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Simulate one workload under one scheme on one accelerator.
    Run(RunArguments),
    /// Simulate one workload under several schemes on one accelerator and hold them against each other.
    Compare(CompareArguments),
    /// Find what a scheme has to know about the activations of a workload, and keep it in a file that `run` reuses.
    Calibrate(CalibrateArguments),
    /// Simulate many points over values of the files: fronts, sensitivities, and a journal that can be gone on with.
    Explore(ExploreArguments),
    /// Put the parts of a study that were simulated with `explore --shard` together.
    Merge(MergeArguments),
    /// Draw saved results again, as SVG and PNG, without simulating anything.
    Plot(PlotArguments),
    /// Read files and report what is wrong in them, part by part, without running anything.
    Check(CheckArguments),
    /// Hold the simulator to results of other tools.
    Validate(ValidateArguments),
    /// Print the JSON Schema of a kind of file, for editors that complete and check YAML.
    Schema(SchemaArguments),
    /// Write a starter pair of files, hardware.yaml and workload.yaml, with a comment on every line that matters.
    Init(InitArguments),
    /// List what can be named: schemes, dataflows, memory models, formats, presets.
    List(ListArguments),
    /// Print a script that completes commands and options in a shell.
    Completions(CompletionsArguments),
}

#[derive(Debug, Args)]
pub(super) struct CompletionsArguments {
    /// The shell.
    #[arg(value_name = "SHELL")]
    pub(super) shell: clap_complete::Shell,
}

#[derive(Debug, Args)]
pub(super) struct RunArguments {
    /// Hardware file, or the name of a built-in one.
    #[arg(long, value_name = "FILE")]
    pub(super) hw: String,
    /// Workload file, or the name of a built-in one.
    #[arg(long, value_name = "FILE")]
    pub(super) workload: String,
    /// Scheme file, or the name of a built-in one.
    #[arg(long, value_name = "FILE", default_value = "w8a8_per_token_per_channel")]
    pub(super) scheme: String,
    /// Replace a value of the hardware, workload or scheme file, such as `matrix_units.0.systolic_array.rows=64`. A path
    /// that several files could have starts with `hardware.`, `workload.` or `scheme.`.
    #[arg(long = "set", value_name = "PATH=VALUE")]
    pub(super) set: Vec<String>,
    /// Folder for report.json, layers.csv, summary.md and pictures. It appears whole or not at all.
    #[arg(long, value_name = "DIR")]
    pub(super) out: Option<PathBuf>,
    /// Write trace.json to the folder too: every command on a timeline, for ui.perfetto.dev or chrome://tracing.
    #[arg(long, requires = "out")]
    pub(super) trace: bool,
    /// Do not compute numbers, only cycles, bytes and energy.
    #[arg(long)]
    pub(super) no_numerics: bool,
}

#[derive(Debug, Args)]
pub(super) struct CompareArguments {
    /// Hardware file, or the name of a built-in one.
    #[arg(long, value_name = "FILE")]
    pub(super) hw: String,
    /// Workload file, or the name of a built-in one.
    #[arg(long, value_name = "FILE")]
    pub(super) workload: String,
    /// Scheme files or names of built-in ones, with commas between them; `all` stands for every built-in one. One that the
    /// hardware cannot run is listed with the reason.
    #[arg(long, value_name = "FILE,FILE..", value_delimiter = ',', required = true)]
    pub(super) schemes: Vec<String>,
    /// Name of the scheme that the others are held against. Where none is named: the first one that the hardware can run.
    #[arg(long, value_name = "NAME")]
    pub(super) baseline: Option<String>,
    /// Give every scheme the tilings of the baseline, so that luck of the search is not compared; a product for which they
    /// are of no use is searched, and the table says so.
    #[arg(long)]
    pub(super) same_tiling: bool,
    /// Replace a value of the hardware or workload file, or (`scheme.PATH=VALUE`) of every scheme file, as in `run`.
    #[arg(long = "set", value_name = "PATH=VALUE")]
    pub(super) set: Vec<String>,
    /// Folder for compare.json, compare.csv, summary.md and pictures. It appears whole or not at all.
    #[arg(long, value_name = "DIR")]
    pub(super) out: Option<PathBuf>,
    /// Do not compute numbers, only cycles, bytes and energy.
    #[arg(long)]
    pub(super) no_numerics: bool,
}

#[derive(Debug, Args)]
pub(super) struct PlotArguments {
    /// Result folders, or the report.json, compare.json or results.csv in them. Several are runs that differ in values set by `--set`:
    /// points of a study, which are drawn together.
    #[arg(required = true, value_name = "DIR|FILE")]
    pub(super) results: Vec<PathBuf>,
    /// Folder for the pictures: a new or empty one, one with earlier pictures alone, or that of a result. Where none is named:
    /// that of the result, if there is only one.
    #[arg(long, value_name = "DIR")]
    pub(super) out: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct CalibrateArguments {
    /// Workload file, whose tensors need values.
    #[arg(long, value_name = "FILE")]
    pub(super) workload: String,
    /// Scheme file, or the name of a built-in one: it decides what is looked for, and with which thresholds.
    #[arg(long, value_name = "FILE")]
    pub(super) scheme: String,
    /// File for the calibration. It appears whole or not at all, and replaces an earlier calibration only. A scheme file reuses it by `calibration: FILE`, a run by
    /// `--set scheme.calibration=FILE`.
    #[arg(long, value_name = "FILE")]
    pub(super) out: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct ExploreArguments {
    /// Study file: parameters, sampler, objectives, constraints.
    #[arg(value_name = "STUDY")]
    pub(super) study: PathBuf,
    /// Folder for the journal, results.csv and study.json. Without it: reports/NAME, after the study.
    #[arg(long, value_name = "DIR")]
    pub(super) out: Option<PathBuf>,
    /// Go on with the journal that is there: points that are done are not simulated again.
    #[arg(long)]
    pub(super) resume: bool,
    /// Simulate only every N-th point, from the I-th on, such as 3/16; `npusim merge` puts the parts together.
    #[arg(long, value_name = "I/N", value_parser = shard)]
    pub(super) shard: Option<Shard>,
    /// Threads; without it one for each core. The results are the same.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(super) threads: Option<u16>,
}

/// A part of a study, as I/N.
fn shard(text: &str) -> Result<Shard, String> {
    let numbers = text.split_once('/').and_then(|(number, of)| Some((number.parse().ok()?, of.parse().ok()?)));
    match numbers {
        Some((number, of)) if (1..=of).contains(&number) => Ok(Shard { number, of }),
        Some((number, of)) => Err(format!("there is no part {number} of {of}; parts are 1/{of} to {of}/{of}")),
        None => Err("a part is written I/N, such as 3/16".to_owned()),
    }
}

#[derive(Debug, Args)]
pub(super) struct MergeArguments {
    /// Folder with the journals of all parts.
    #[arg(value_name = "DIR")]
    pub(super) folder: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct CheckArguments {
    /// Hardware, workload and scheme files, energy tables, studies, or names of built-in ones; which kind each is shows from its
    /// keys.
    #[arg(required = true, value_name = "FILE")]
    pub(super) files: Vec<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct ValidateArguments {
    /// Reference set. Where none is named: with --rows the one that the rows are for, else all.
    #[arg(long, value_name = "NAME")]
    pub(super) set: Vec<String>,
    /// Other rows of the same form, instead of those that ship with the project: a folder, or the manifest.json in it.
    #[arg(long, value_name = "DIR|FILE")]
    pub(super) rows: Option<PathBuf>,
    /// Print JSON instead of a table.
    #[arg(long)]
    pub(super) json: bool,
    /// Write the table to this file as a page of Markdown as well; its folder must exist.
    #[arg(long, value_name = "FILE")]
    pub(super) markdown: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct SchemaArguments {
    /// hardware, workload, scheme or energy.
    #[arg(value_name = "KIND")]
    pub(super) kind: String,
}

#[derive(Debug, Args)]
pub(super) struct InitArguments {
    /// Folder for the files; it is made if it is not there. Nothing in it is replaced.
    #[arg(value_name = "DIR", default_value = ".")]
    pub(super) folder: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct ListArguments {
    /// What to list; everything where nothing is named.
    pub(super) kind: Option<ListKind>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum ListKind {
    /// Quantization schemes.
    Schemes,
    /// Dataflows of arrays.
    Dataflows,
    /// Timing models of off-chip memory.
    Memories,
    /// Number formats of elements.
    Formats,
    /// Built-in hardware files.
    Hardware,
    /// Built-in workload files.
    Workloads,
}
