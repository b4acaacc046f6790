//! `npusim-fuzz TARGET|all [--executions N] [--seed S] [--threads T] [--input FILE]`
//!
//! Makes inputs, runs each on its target, and watches: a panic, a verdict that something does not hold, or an execution of
//! more than a minute is a failure. The input of each is made as short as it still fails in the same way, and kept in
//! `fuzz/failures/`; `--input FILE` runs one again. The inputs of an execution depend on the seed, the target and its number
//! alone, whatever the number of threads.

mod corpus;
mod mutate;
mod targets;
mod tree;
mod whole_run;

use std::collections::BTreeMap;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand_pcg::Pcg64;

use crate::corpus::Corpus;
use crate::targets::{Target, Verdict};

/// An execution that takes longer has no end in sight.
const LONGEST: Duration = Duration::from_secs(60);
/// The most executions that shortening one input may take.
const MOST_ATTEMPTS: u64 = 3000;

struct Arguments {
    target: String,
    executions: u64,
    seed: u64,
    threads: u64,
    input: Option<PathBuf>,
}

fn arguments() -> Result<Arguments, String> {
    let mut given = std::env::args().skip(1);
    let target = given.next().ok_or("a target is missing: a name, or `all`")?;
    let mut read = Arguments { target, executions: 10_000, seed: 1, threads: 1, input: None };
    while let Some(flag) = given.next() {
        let value = given.next().ok_or(format!("{flag}: a value is missing"))?;
        let number = || value.parse::<u64>().map_err(|problem| format!("{flag} {value}: {problem}"));
        match flag.as_str() {
            "--executions" => read.executions = number()?,
            "--seed" => read.seed = number()?,
            "--threads" => read.threads = number()?.max(1),
            "--input" => read.input = Some(PathBuf::from(&value)),
            _ => return Err(format!("{flag}: known are --executions, --seed, --threads, --input")),
        }
    }
    Ok(read)
}

/// Since when an input is run, and the input.
type UnderWay = Option<(Instant, Vec<u8>)>;

/// Counts of verdicts, and the failures by what fails.
#[derive(Default)]
struct Tally {
    accepted: u64,
    refused: u64,
    too_large: u64,
    failures: BTreeMap<String, Vec<u8>>,
}

thread_local! {
    static PANIC: std::cell::RefCell<String> = const { std::cell::RefCell::new(String::new()) };
}

/// What fails, if anything does.
fn execute(target: &dyn Target, input: &[u8], folder: &Path) -> Result<Verdict, String> {
    match catch_unwind(AssertUnwindSafe(|| target.run(input, folder))) {
        Ok(Verdict::Wrong(problem)) => Err(problem),
        Ok(verdict) => Ok(verdict),
        Err(_) => Err(PANIC.with(|panic| panic.borrow().clone())),
    }
}

/// What two failures share if they have one cause: the place of a panic, or the words without their numbers.
fn kind(problem: &str) -> String {
    let line = problem.lines().next().unwrap_or_default();
    match line.strip_prefix("panic at ") {
        Some(rest) => rest.split(' ').next().unwrap_or_default().to_owned(),
        None => line.chars().filter(|letter| !letter.is_ascii_digit()).take(80).collect(),
    }
}

/// A shorter input that fails in the same way: larger parts are left out first.
fn shortened(target: &dyn Target, input: &[u8], problem: &str, folder: &Path) -> Vec<u8> {
    let mut shortest = input.to_vec();
    let mut attempts = 0;
    let mut length = (shortest.len() / 2).max(1);
    while attempts < MOST_ATTEMPTS {
        let mut at = 0;
        let mut is_shorter = false;
        while at < shortest.len() && attempts < MOST_ATTEMPTS {
            let mut candidate = shortest.clone();
            candidate.drain(at..(at + length).min(shortest.len()));
            attempts += 1;
            if execute(target, &candidate, folder).is_err_and(|other| kind(&other) == kind(problem)) {
                shortest = candidate;
                is_shorter = true;
            } else {
                at += length;
            }
        }
        match (length, is_shorter) {
            (1, false) => break,
            (1, true) => {}
            _ => length /= 2,
        }
    }
    shortest
}

/// The generator of one execution.
fn random_of(seed: u64, target: &str, execution: u64) -> Pcg64 {
    let name = target.bytes().fold(seed, |hash, byte| hash.wrapping_mul(0x0100_0000_01b3) ^ u64::from(byte));
    Pcg64::seed_from_u64(name ^ execution.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

fn campaign(target: &dyn Target, executions: u64, arguments: &Arguments, folder: &Path) -> Tally {
    let tally = Mutex::new(Tally::default());
    let (next, begun) = (AtomicU64::new(0), Instant::now());
    // For each thread the input under way, and since when.
    let under_way: Vec<Mutex<UnderWay>> = (0..arguments.threads).map(|_| Mutex::new(None)).collect();
    let unpoisoned = "panics are caught before locks are taken";
    std::thread::scope(|scope| {
        for (number, place) in under_way.iter().enumerate() {
            let (tally, next) = (&tally, &next);
            let folder = folder.join(number.to_string());
            scope.spawn(move || {
                fs::create_dir_all(&folder).expect("the temporary folder can be written");
                loop {
                    let execution = next.fetch_add(1, Ordering::Relaxed);
                    if execution >= executions {
                        break;
                    }
                    let input = target.make(&mut random_of(arguments.seed, target.name(), execution));
                    *place.lock().expect(unpoisoned) = Some((Instant::now(), input.clone()));
                    let outcome = execute(target, &input, &folder);
                    *place.lock().expect(unpoisoned) = None;
                    let is_new = |problem: &str| !tally.lock().expect(unpoisoned).failures.contains_key(&kind(problem));
                    let shortest = match &outcome {
                        Err(problem) if is_new(problem) => Some(shortened(target, &input, problem, &folder)),
                        _ => None,
                    };
                    let mut tally = tally.lock().expect(unpoisoned);
                    match outcome {
                        Ok(Verdict::Accepted) => tally.accepted += 1,
                        Ok(Verdict::TooLarge) => tally.too_large += 1,
                        Ok(_) => tally.refused += 1,
                        Err(problem) => {
                            if let Some(input) = shortest {
                                keep(target.name(), &kind(&problem), &input);
                                eprintln!("{}: execution {execution}: {problem}", target.name());
                                tally.failures.insert(kind(&problem), input);
                            }
                        }
                    }
                }
            });
        }
        scope.spawn(|| {
            let is_over = || next.load(Ordering::Relaxed) >= executions + arguments.threads;
            while !is_over() {
                std::thread::sleep(Duration::from_millis(20));
                for place in &under_way {
                    let stuck = place.lock().expect(unpoisoned).take_if(|(since, _)| since.elapsed() > LONGEST);
                    if let Some((_, input)) = stuck {
                        let path = keep(target.name(), "no-end", &input);
                        eprintln!("{}: no end after {LONGEST:?}: {}", target.name(), path.display());
                        std::process::exit(1);
                    }
                }
            }
        });
    });
    let tally = tally.into_inner().expect(unpoisoned);
    let Tally { accepted, refused, too_large, failures } = &tally;
    println!(
        "{:<12} {executions:>10} executions {accepted:>10} accepted {refused:>10} refused {too_large:>8} too large {:>4} failures {:>8.1} s",
        target.name(),
        failures.len(),
        begun.elapsed().as_secs_f64()
    );
    tally
}

/// Keeps a failing input.
fn keep(target: &str, kind: &str, input: &[u8]) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("failures");
    let name: String = kind.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '-' }).collect();
    let path = folder.join(format!("{target}-{name}"));
    let written = fs::create_dir_all(&folder).and_then(|()| fs::write(&path, input));
    if let Err(problem) = written {
        eprintln!("{}: {problem}", path.display());
    }
    path
}

fn main() -> ExitCode {
    let arguments = match arguments() {
        Ok(arguments) => arguments,
        Err(problem) => {
            eprintln!("error: {problem}");
            return ExitCode::from(2);
        }
    };
    std::panic::set_hook(Box::new(|information| {
        let place = information.location().map(ToString::to_string).unwrap_or_default();
        let words = information.payload_as_str().unwrap_or("a panic without words");
        PANIC.with(|panic| *panic.borrow_mut() = format!("panic at {place} {words}"));
    }));
    let every = targets::all(&Corpus::load());
    let chosen: Vec<&dyn Target> = every
        .iter()
        .map(AsRef::as_ref)
        .filter(|target| arguments.target == "all" || arguments.target == target.name())
        .collect();
    if chosen.is_empty() {
        let names: Vec<&str> = every.iter().map(|target| target.name()).collect();
        eprintln!("error: there is no target {}; there are: all, {}", arguments.target, names.join(", "));
        return ExitCode::from(2);
    }
    let folder = std::env::temp_dir().join(format!("npusim-fuzz-{}", std::process::id()));
    let (mut executions, mut failures) = (0, 0);
    for target in chosen {
        if let Some(file) = &arguments.input {
            let input = fs::read(file).unwrap_or_default();
            fs::create_dir_all(&folder).expect("the temporary folder can be written");
            match execute(target, &input, &folder) {
                Ok(verdict) => println!("{}: {verdict:?}", target.name()),
                Err(problem) => {
                    println!("{}: {problem}", target.name());
                    failures += 1;
                }
            }
            continue;
        }
        // Where all run, each takes about as long.
        let count = match arguments.target.as_str() {
            "all" => (arguments.executions / target.cost()).max(1),
            _ => arguments.executions,
        };
        failures += campaign(target, count, &arguments, &folder).failures.len();
        executions += count;
    }
    println!("{executions} executions, {failures} failures, seed {}", arguments.seed);
    let _ = fs::remove_dir_all(&folder);
    if failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
