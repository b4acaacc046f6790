//! Runs a study: points on all cores, each written to the journal as it is done; results from the journal at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use rayon::prelude::{IntoParallelIterator, IntoParallelRefIterator, ParallelIterator};

use crate::config::diagnostics::ConfigError;
use crate::config::document::Document;
use crate::config::files::write_all_whole;
use crate::config::result_form::ResultForm;
use crate::config::study::{self, Sampler, Study};
use crate::config::study_folder::{self, Sharing};
use crate::config::study_mode::Mode;
use crate::explore::distinct::Distinct;
use crate::explore::evaluate::Evaluator;
use crate::explore::journal::{self, Contents, Header, Journal, Record, RecordedOutcome, Shard};
use crate::explore::nsga2::{self, Individual};
use crate::explore::pruning;
use crate::explore::results::{self, Findings, StudySummary, fitness, to_json};
use crate::explore::sampler::Plan;
use crate::explore::space::{Choice, Space};
use crate::report::plots;

/// Name of the table of all points.
pub const TABLE: &str = "results.csv";
/// The same with types.
pub const TYPED_TABLE: &str = "results.parquet";
/// Name of the summary.
pub const SUMMARY: &str = "study.json";

/// Told how a study goes on, from any thread.
pub trait Progress: Sync {
    /// So many points are done, of so many; `failed` of them could not be simulated.
    fn done(&self, points: u64, of: u64, failed: u64);
}

/// How a study is to be run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Go on with a journal that is there.
    pub resume: bool,
    /// Only this part of the points.
    pub shard: Option<Shard>,
    /// Threads; 0 for one a core.
    pub threads: usize,
}

/// Why a study was not run, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum ExploreError {
    /// A file is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// There is a journal already.
    #[error("{}: there is a journal of a study already\n   help: go on with it by --resume, or name another folder with --out", .0.display())]
    Begun(PathBuf),
    /// The journal is that of something else.
    #[error("{}: this is the journal of another study or of other files: {what}\n   help: name another folder with --out", .path.display())]
    OtherStudy {
        /// The journal.
        path: PathBuf,
        /// What differs.
        what: String,
    },
    /// A journal cannot be read or written.
    #[error("{}: {cause}", .path.display())]
    Journal {
        /// The journal.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// A file that points read is another than it was when they began.
    #[error(
        "{}: a calibration, tensor or energy file changed while the study ran, so that its points do not belong together\n   help: run it again in another folder with --out", .0.display()
    )]
    Changed(PathBuf),
    /// Another process writes the journal.
    #[error(
        "{}: another process is at work on this study\n   help: wait until it is done, or name another folder with --out", .0.display()
    )]
    InUse(PathBuf),
    /// An adaptive search cannot be split.
    #[error(
        "the sampler nsga2 picks points by the results of earlier ones, so that its points cannot be shared out\n   help: run it without --shard, or take grid, random, latin_hypercube or sobol"
    )]
    AdaptiveShard,
    /// The journals of a study are not all there, or do not belong together.
    #[error("{0}")]
    Merge(String),
    /// Threads cannot be started.
    #[error("cannot start threads: {0}")]
    Threads(String),
}

impl ExploreError {
    /// Whether the study and its files are right, and something else kept it from being done.
    pub fn is_failure(&self) -> bool {
        let is_foreign = |cause: &io::Error| cause.kind() == io::ErrorKind::InvalidData;
        matches!(self, ExploreError::Journal { cause, .. } if !is_foreign(cause))
            || matches!(self, ExploreError::Changed(_) | ExploreError::InUse(_) | ExploreError::Threads(_))
    }
}

/// What became of a study.
#[derive(Clone, Debug)]
pub struct Finished {
    /// What it found; none for one part of several.
    pub summary: Option<StudySummary>,
    /// Points that were taken over from the journal.
    pub taken_over: u64,
    /// Lines of the journal whose checksum did not hold.
    pub damaged: usize,
    /// Points of this run and of the journal at which the program panicked.
    pub panicked: u64,
    /// The journal.
    pub journal: PathBuf,
}

/// Where the journal of a study in `folder` stands, or of a part of it.
pub fn journal_path(folder: &Path, shard: Option<Shard>) -> PathBuf {
    folder.join(Shard::file_name(shard))
}

/// The files of a study in its folder, without journals.
fn form() -> ResultForm {
    let files = [SUMMARY, TABLE, TYPED_TABLE].into_iter().chain(plots::file_names());
    ResultForm { files: files.collect(), schema_version: results::SCHEMA_VERSION }
}

/// Runs the study that `document` describes; its journal and results stand in `folder`, which is made if need be.
///
/// # Errors
/// [`ExploreError`]. Points that are done by then are in the journal.
pub fn run(
    document: &Document,
    folder: &Path,
    options: Options,
    progress: &dyn Progress,
) -> Result<Finished, ExploreError> {
    let study = study::resolve(document)?;
    let space = Space::new(&study);
    let sharing = if options.shard.is_some() || options.resume { Sharing::WithParts } else { Sharing::Alone };
    study_folder::check(folder, &form(), sharing)?;
    let plan = Plan::new(&space, study.sampler);
    if plan.is_none() && options.shard.is_some() {
        return Err(ExploreError::AdaptiveShard);
    }
    let mut evaluator = Evaluator::open(&study, &space)?;
    evaluator.share_values()?;
    let evaluator = evaluator;
    let source = document.source();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(options.threads).build();
    let pool = pool.map_err(|error| ExploreError::Threads(error.to_string()))?;
    let kept = match (study.mode, &plan) {
        (Mode::Prune { keep }, Some(plan)) => Some(pool.install(|| pruning::kept(&evaluator, plan, &study, keep))),
        (Mode::Prune { .. } | Mode::Simulate | Mode::Estimate, _) => None,
    };
    let header = Header {
        shard: options.shard,
        kept,
        ..Header::new(
            &study.name,
            source.name(),
            source.text(),
            source.resolve_path("."),
            evaluator.fingerprint(document)?,
        )
    };
    let path = journal_path(folder, options.shard);
    let (journal, contents) = open_journal(folder, &path, &header, options.resume)?;
    let (damaged, known) = match contents {
        None => (0, Vec::new()),
        Some(Contents { records, damaged, .. }) => (damaged, records.into_iter().map(|(record, _)| record).collect()),
    };
    let taken_over = known.len() as u64;
    let total = match (&plan, study.sampler) {
        (Some(plan), _) => match &header.kept {
            None => points_of(plan.points(), options.shard),
            Some(kept) => {
                kept.iter().filter(|index| options.shard.is_none_or(|shard| shard.holds(**index))).count() as u64
            }
        },
        (None, Sampler::Nsga2 { population, generations, .. }) => population * (generations + 1),
        (None, _) => unreachable!("only the genetic algorithm has no plan"),
    };
    let workshop = Workshop {
        evaluator: &evaluator,
        journal: Mutex::new(journal),
        path: &path,
        progress,
        total,
        counts: Mutex::new(Counts::of(&known)),
    };
    pool.install(|| match &plan {
        Some(plan) => workshop.planned(plan, &header, &known),
        None => workshop.adaptive(&study, &space.sizes(), known),
    })?;
    if evaluator.fingerprint(document)? != header.fingerprint {
        return Err(ExploreError::Changed(path));
    }
    let unpoisoned = "no thread panics while it holds this";
    let panicked = workshop.counts.into_inner().expect(unpoisoned).panicked;
    // Held until the results are written: nobody else goes on with a journal that is about to be replaced.
    let mut journal = workshop.journal.into_inner().expect(unpoisoned);
    let summary = match options.shard {
        Some(_) => None,
        None => {
            let contents = journal.contents().map_err(|cause| ExploreError::Journal { path: path.clone(), cause })?;
            Some(finish(folder, &study, &space, &header, contents)?)
        }
    };
    Ok(Finished { summary, taken_over, damaged, panicked, journal: path })
}

/// Checks the study that `document` describes and the files that it names, as [`run()`] does before its first point.
///
/// # Errors
/// Everything that is wrong at every point.
pub fn check(document: &Document) -> Result<(), ConfigError> {
    let study = study::resolve(document)?;
    Evaluator::open(&study, &Space::new(&study))?.shared_values().map(drop)
}

/// Puts the parts of a study in `folder` together; the results are those of one run over all points.
///
/// # Errors
/// [`ExploreError::Merge`] where a part is missing, unfinished or of another study.
pub fn merge(folder: &Path) -> Result<StudySummary, ExploreError> {
    let failure = |cause| ExploreError::Journal { path: folder.to_path_buf(), cause };
    let mut parts: BTreeMap<Shard, PathBuf> = BTreeMap::new();
    let mut first: Option<Header> = None;
    for entry in fs::read_dir(folder).map_err(failure)? {
        let path = entry.map_err(failure)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !(name.starts_with("journal.") && name.contains("-of-")) {
            continue;
        }
        let Some(contents) = read_journal(&path)? else { continue };
        let header = contents.header;
        let Some(shard) = header.shard else { continue };
        if let Some(first) = &first
            && (&first.fingerprint, first.shard.map(|shard| shard.of)) != (&header.fingerprint, Some(shard.of))
        {
            let problem = format!(
                "{}: this part belongs to another study than the others\n   help: keep each study in a folder of its own",
                path.display()
            );
            return Err(ExploreError::Merge(problem));
        }
        first.get_or_insert(header);
        parts.insert(shard, path);
    }
    let Some(header) = first else {
        let problem = format!(
            "{}: no part of a study stands here\n   help: npusim explore STUDY.yaml --shard I/N --out DIR makes them",
            folder.display()
        );
        return Err(ExploreError::Merge(problem));
    };
    let header = Header { shard: None, ..header };
    let document = Document::from_bytes(header.file.clone(), header.text.as_bytes(), header.folder.clone())?;
    let study = study::resolve(&document)?;
    let space = Space::new(&study);
    let of = parts.keys().next().map_or(0, |shard| shard.of);
    if (parts.len() as u64) < of {
        let missing = missing(of, parts.keys().map(|shard| shard.number));
        let problem = format!(
            "{}: of {of} parts {} are missing: {missing}\n   help: npusim explore STUDY.yaml --shard I/{of} --out {}",
            folder.display(),
            of - parts.len() as u64,
            folder.display()
        );
        return Err(ExploreError::Merge(problem));
    }
    let contents = parts.values().map(|path| read_journal(path)).collect::<Result<Vec<_>, _>>()?;
    finish(folder, &study, &space, &header, contents.into_iter().flatten())
}

/// The numbers from 1 to `of` that are not among `there`, which ascend: the first few gaps, however many there are.
fn missing(of: u64, there: impl Iterator<Item = u64>) -> String {
    const SHOWN: usize = 8;
    let mut gaps = Vec::new();
    let mut next = 1;
    for number in there.map(u128::from).chain([u128::from(of) + 1]) {
        if gaps.len() == SHOWN {
            gaps.push("...".to_owned());
            break;
        }
        match number - next {
            0 => {}
            1 => gaps.push(next.to_string()),
            _ => gaps.push(format!("{next} to {}", number - 1)),
        }
        next = number + 1;
    }
    gaps.join(", ")
}

/// How many of `points` belong to a part.
fn points_of(points: u64, shard: Option<Shard>) -> u64 {
    match shard {
        None => points,
        Some(Shard { number, .. }) if number > points => 0,
        Some(Shard { number, of }) => (points - number) / of + 1,
    }
}

fn open_journal(
    folder: &Path,
    path: &Path,
    header: &Header,
    resume: bool,
) -> Result<(Journal, Option<Contents>), ExploreError> {
    let failure = |cause: io::Error| match cause.kind() {
        io::ErrorKind::WouldBlock => ExploreError::InUse(path.to_path_buf()),
        _ => ExploreError::Journal { path: path.to_path_buf(), cause },
    };
    let is_new_folder = !folder.exists();
    fs::create_dir_all(folder).map_err(failure)?;
    let begun = match Journal::create(path) {
        Ok(mut journal) => journal.begin(header).map(|()| journal),
        Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => {
            if !resume {
                return Err(ExploreError::Begun(path.to_path_buf()));
            }
            let mut journal = Journal::open(path).map_err(failure)?;
            let contents = journal.contents().map_err(failure)?;
            match &contents {
                // Killed before its first line was whole: nothing is lost.
                None => journal.begin(header).map_err(failure)?,
                Some(contents) => {
                    check_same(path, &contents.header, header)?;
                    journal.go_on(contents).map_err(failure)?;
                }
            }
            return Ok((journal, contents));
        }
        Err(cause) => return Err(failure(cause)),
    };
    match begun {
        Ok(journal) => Ok((journal, None)),
        Err(cause) => {
            // Its own, and without a line: nothing is left of a study that could not begin.
            let _ = fs::remove_file(path);
            let _ = if is_new_folder { fs::remove_dir(folder) } else { Ok(()) };
            Err(failure(cause))
        }
    }
}

fn read_journal(path: &Path) -> Result<Option<Contents>, ExploreError> {
    journal::read(path).map_err(|cause| ExploreError::Journal { path: path.to_path_buf(), cause })
}

fn check_same(path: &Path, found: &Header, wanted: &Header) -> Result<(), ExploreError> {
    let differing = [
        ("the version of npusim", found.npusim_version != wanted.npusim_version),
        ("the version of its lines", found.journal_version != wanted.journal_version),
        ("the study", found.text != wanted.text),
        (
            "a file that it names or that its points read (hardware, workload, scheme, energy, calibration, tensors)",
            found.fingerprint != wanted.fingerprint,
        ),
        ("the part of the study", found.shard != wanted.shard),
    ];
    match differing.iter().find(|(_, differs)| *differs) {
        None => Ok(()),
        Some((what, _)) => Err(ExploreError::OtherStudy { path: path.to_path_buf(), what: format!("{what} differs") }),
    }
}

/// What all threads share.
struct Workshop<'w, 's> {
    evaluator: &'w Evaluator<'s>,
    journal: Mutex<Journal>,
    path: &'w Path,
    progress: &'w dyn Progress,
    total: u64,
    counts: Mutex<Counts>,
}

#[derive(Default)]
struct Counts {
    done: u64,
    failed: u64,
    panicked: u64,
}

impl Counts {
    fn of(records: &[Record]) -> Counts {
        let mut counts = Counts::default();
        records.iter().for_each(|record| counts.add(&record.outcome));
        counts
    }

    fn add(&mut self, outcome: &RecordedOutcome) {
        self.done += 1;
        self.failed += u64::from(!matches!(outcome, RecordedOutcome::Metrics(_)));
        self.panicked += u64::from(matches!(outcome, RecordedOutcome::Panic(_)));
    }
}

impl Workshop<'_, '_> {
    fn planned(&self, plan: &Plan<'_>, header: &Header, known: &[Record]) -> Result<(), ExploreError> {
        let known: BTreeSet<u64> = known.iter().map(|record| record.index).collect();
        let wanted = |index: &u64| header.shard.is_none_or(|shard| shard.holds(*index)) && !known.contains(index);
        let simulate = |index: u64| self.simulate(index, plan.choice(index)).map(drop);
        match &header.kept {
            None => (0..plan.points()).into_par_iter().filter(wanted).try_for_each(simulate),
            Some(kept) => kept.par_iter().copied().filter(wanted).try_for_each(simulate),
        }
    }

    /// Every generation after the results of the one before. Points that the journal has are not simulated again.
    fn adaptive(&self, study: &Study, sizes: &[u32], known: Vec<Record>) -> Result<(), ExploreError> {
        let Sampler::Nsga2 { population, generations, seed } = study.sampler else {
            unreachable!("only the genetic algorithm has no plan")
        };
        let mut met: BTreeMap<Choice, Record> = BTreeMap::new();
        let mut simulated: BTreeMap<Choice, Record> =
            known.into_iter().map(|record| (record.choice.clone(), record)).collect();
        let mut measured = |choices: Vec<Choice>| -> Result<Vec<Individual>, ExploreError> {
            let mut new: Vec<(u64, Choice)> = Vec::new();
            for choice in &choices {
                if !met.contains_key(choice) && !new.iter().any(|(_, other)| other == choice) {
                    new.push(((met.len() + new.len()) as u64, choice.clone()));
                }
            }
            let missing: Vec<(u64, Choice)> =
                new.iter().filter(|(_, choice)| !simulated.contains_key(choice)).cloned().collect();
            let records: Result<Vec<Record>, ExploreError> =
                missing.into_par_iter().map(|(index, choice)| self.simulate(index, choice)).collect();
            simulated.extend(records?.into_iter().map(|record| (record.choice.clone(), record)));
            met.extend(new.into_iter().map(|(_, choice)| (choice.clone(), simulated[&choice].clone())));
            let individual = |choice: Choice| Individual { fitness: fitness(study, &met[&choice].outcome), choice };
            Ok(choices.into_iter().map(individual).collect())
        };
        let mut picked = Distinct::new(sizes);
        let mut parents = measured(nsga2::first_generation(population, seed, &mut picked))?;
        for number in 1..=generations {
            let mut all = measured(nsga2::children(&parents, sizes, seed, number, &mut picked))?;
            all.splice(0..0, parents);
            parents = nsga2::survivors(all, usize::try_from(population).expect("populations are limited"));
        }
        Ok(())
    }

    fn simulate(&self, index: u64, choice: Choice) -> Result<Record, ExploreError> {
        let outcome = match self.evaluator.evaluate(&choice) {
            Ok(measured) => RecordedOutcome::Metrics(
                measured.into_iter().map(|(metric, value)| (metric.name().to_owned(), value)).collect(),
            ),
            Err((reason, false)) => RecordedOutcome::Error(reason),
            Err((reason, true)) => RecordedOutcome::Panic(reason),
        };
        let record = Record { index, choice, outcome };
        let unpoisoned = "no thread panics while it holds this";
        let written = self.journal.lock().expect(unpoisoned).add(&record);
        written.map_err(|cause| ExploreError::Journal { path: self.path.to_path_buf(), cause })?;
        let mut counts = self.counts.lock().expect(unpoisoned);
        counts.add(&record.outcome);
        self.progress.done(counts.done, self.total, counts.failed);
        Ok(record)
    }
}

/// Writes the results from the journals: one line a point, in the order of their numbers, and what follows from them.
fn finish(
    folder: &Path,
    study: &Study,
    space: &Space<'_>,
    header: &Header,
    journals: impl IntoIterator<Item = Contents>,
) -> Result<StudySummary, ExploreError> {
    let mut by_index: BTreeMap<u64, (Record, String)> = BTreeMap::new();
    for contents in journals {
        for (record, line) in contents.records {
            by_index.entry(record.index).or_insert((record, line));
        }
    }
    let expected = match &header.kept {
        Some(kept) => kept.len() as u64,
        None => Plan::new(space, study.sampler).map_or(by_index.len() as u64, |plan| plan.points()),
    };
    if by_index.len() as u64 != expected {
        let is_missing = |index: &u64| !by_index.contains_key(index);
        let missing = match &header.kept {
            Some(kept) => kept.iter().copied().find(is_missing),
            None => (0..expected).find(is_missing),
        };
        let missing = missing.unwrap_or_default();
        let problem = format!(
            "{}: {} of {expected} points are done; the first that is missing is {missing}\n   help: go on with --resume, for the part that has it",
            folder.display(),
            by_index.len()
        );
        return Err(ExploreError::Merge(problem));
    }
    let mut whole = journal::to_line("header", header);
    whole.extend(by_index.values().map(|(_, line)| line.as_str()));
    let records: Vec<Record> = by_index.into_values().map(|(record, _)| record).collect();
    let findings = Findings { study, space, header, records: &records };
    let summary = findings.summary();
    let table = findings.to_csv();
    let mut files = vec![(TABLE, table.clone().into_bytes()), (SUMMARY, to_json(&summary).into_bytes())];
    #[cfg(feature = "parquet")]
    files.push((TYPED_TABLE, crate::explore::parquet_table::to_parquet(&table).expect("a table of a study has types")));
    let journal = Shard::file_name(None);
    files.push((&journal, whole.into_bytes()));
    write_all_whole(folder, files)?;
    Ok(summary)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_points_of_a_part_are_counted_without_listing_them() {
        // Counted one by one where that can be done.
        for of in 1..8 {
            for points in 0..20 {
                for number in 1..=of {
                    let shard = Shard { number, of };
                    let counted = (0..points).filter(|index| shard.holds(*index)).count() as u64;
                    assert_eq!(points_of(points, Some(shard)), counted, "{number}/{of} of {points}");
                }
            }
        }
        assert_eq!(points_of(5, Some(Shard { number: 1, of: u64::MAX })), 1);
        assert_eq!(points_of(5, Some(Shard { number: u64::MAX, of: u64::MAX })), 0);
    }

    #[test]
    fn missing_parts_are_named_by_their_gaps() {
        assert_eq!(missing(6, [1, 4].into_iter()), "2 to 3, 5 to 6");
        assert_eq!(missing(3, [2, 3].into_iter()), "1");
        assert_eq!(missing(u64::MAX, [1].into_iter()), format!("2 to {}", u64::MAX));
        let every_second = (1..=10).map(|half| 2 * half);
        assert_eq!(missing(u64::MAX, every_second), "1, 3, 5, 7, 9, 11, 13, 15, ...");
    }
}
