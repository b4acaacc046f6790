//! `npusim explore` and `npusim merge` as a stranger runs them: what is found, and that a kill, parts, and threads change
//! nothing of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use assert_cmd::Command;
use serde_json::Value;

/// A small grid: 2 x 3 x 2 points, of which those with mxfp4 have no unit.
const GRID: &str = "\
name: grid
hardware: edge-int8
workload: minilm-layer
scheme: w8a8_per_tensor
parameters:
  - { name: rows, path: matrix_units.0.systolic_array.rows, values: [16, 32] }
  - { name: columns, path: matrix_units.0.systolic_array.columns, expression: 2 * rows }
  - { name: bandwidth, path: memories.dram.dram.bytes_per_cycle, log_range: { from: 8, to: 32 } }
  - { name: scheme, path: scheme, values: [w8a8_per_tensor, mxfp4] }
objectives:
  - { metric: cycles }
  - { metric: energy_pj }
";

const ALL_FILES: [&str; 3] = ["journal.jsonl", "results.csv", "study.json"];

fn npusim() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_npusim"));
    command.current_dir(env!("CARGO_MANIFEST_DIR"));
    command
}

fn study(folder: &Path, text: &str) -> PathBuf {
    let path = folder.join("study.yaml");
    fs::write(&path, text).unwrap();
    path
}

fn explored(study: &Path, out: &Path, more: &[&str]) {
    npusim().arg("explore").arg(study).arg("--out").arg(out).args(more).assert().success();
}

fn files(out: &Path) -> Vec<Vec<u8>> {
    ALL_FILES.iter().map(|name| fs::read(out.join(name)).unwrap()).collect()
}

fn summary(out: &Path) -> Value {
    serde_json::from_slice(&fs::read(out.join("study.json")).unwrap()).unwrap()
}

/// Rows of `out`'s table by their numbers.
fn table(out: &Path) -> std::collections::BTreeMap<u64, std::collections::BTreeMap<String, String>> {
    let mut reader = csv::Reader::from_path(out.join("results.csv")).unwrap();
    let rows = reader.deserialize::<std::collections::BTreeMap<String, String>>();
    rows.map(|row| row.unwrap()).map(|row| (row["index"].parse().unwrap(), row)).collect()
}

#[test]
fn estimated_points_are_called_so_and_lie_near_those_that_are_simulated() {
    let folder = tempfile::tempdir().unwrap();
    let (simulated, estimated) = (folder.path().join("simulated"), folder.path().join("estimated"));
    explored(&study(folder.path(), GRID), &simulated, &[]);
    explored(&study(folder.path(), &format!("{GRID}mode: estimate\n")), &estimated, &[]);
    assert_eq!(summary(&estimated)["mode"], "estimate");
    let (simulated, estimated) = (table(&simulated), table(&estimated));
    assert_eq!(simulated.len(), estimated.len());
    let mut alike = 0;
    for (index, row) in &estimated {
        assert!(!row.contains_key("cycles") && !row.contains_key("energy_pj"), "an estimate goes by its own name");
        let other = &simulated[index];
        assert_eq!(row["error"].is_empty(), other["error"].is_empty(), "what cannot be scheduled has no estimate");
        if !row["error"].is_empty() {
            continue;
        }
        let ratio = |metric: &str| {
            let number = |text: &str| text.parse::<f64>().unwrap();
            number(&row[&format!("estimated_{metric}")]) / number(&other[metric])
        };
        // A closed form of each layer alone is no measurement: the band is what ranking bears.
        let cycles = ratio("cycles");
        assert!((0.8..1.25).contains(&cycles), "point {index}: {cycles} times the simulated cycles");
        // Equal bytes say that the simulation took the same tilings; then counts agree, and energy is nearly all counts.
        if ratio("dram_bytes") == 1.0 {
            alike += 1;
            let energy = ratio("energy_pj");
            assert!((0.95..1.05).contains(&energy), "point {index}: {energy} times the simulated energy");
        }
    }
    assert!(alike > 0, "no point has the tilings of its estimate");
}

#[test]
fn a_pruned_study_reports_the_share_it_kept_as_simulated_in_parts_as_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, pruned, parts) =
        (folder.path().join("whole"), folder.path().join("pruned"), folder.path().join("parts"));
    let text =
        GRID.replace("values: [w8a8_per_tensor, mxfp4]", "values: [w8a8_per_tensor, w8a8_per_token_per_channel]");
    explored(&study(folder.path(), &text), &whole, &[]);
    let file = study(folder.path(), &format!("{text}mode: prune\nkeep: 0.3\n"));
    explored(&file, &pruned, &[]);
    // 0.3 of 12, rounded up.
    assert_eq!((&summary(&pruned)["points"], &summary(&pruned)["pruned"]), (&4.into(), &8.into()));
    let all = table(&whole);
    for (index, row) in table(&pruned) {
        for column in ["cycles", "energy_pj", "dram_bytes", "scheme", "bandwidth"] {
            assert_eq!(row[column], all[&index][column], "{column} of point {index}");
        }
    }
    for part in ["1/3", "2/3", "3/3"] {
        explored(&file, &parts, &["--shard", part]);
    }
    npusim().arg("merge").arg(&parts).assert().success();
    assert_eq!(files(&parts), files(&pruned));
    // What was done is not done again.
    let bytes = files(&pruned);
    explored(&file, &pruned, &["--resume"]);
    assert_eq!(files(&pruned), bytes);
}

#[test]
fn a_point_of_a_study_has_the_figures_of_a_run_with_the_same_values() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    explored(&study(folder.path(), GRID), &out, &[]);
    let mut table = csv::Reader::from_path(out.join("results.csv")).unwrap();
    let names = table.headers().unwrap().clone();
    let rows: Vec<csv::StringRecord> = table.records().map(Result::unwrap).collect();
    assert_eq!(rows.len(), 12);
    let cell =
        |row: &csv::StringRecord, name: &str| row[names.iter().position(|known| known == name).unwrap()].to_owned();
    // Point 8 is 32 x 64 at 16 B/cycle under the first scheme.
    let row = &rows[8];
    assert_eq!(
        ["rows", "columns", "bandwidth", "scheme"].map(|name| cell(row, name)),
        ["32", "64", "16", "w8a8_per_tensor"]
    );
    let run = folder.path().join("run");
    let sets = [
        "matrix_units.0.systolic_array.rows=32",
        "matrix_units.0.systolic_array.columns=64",
        "memories.dram.dram.bytes_per_cycle=16",
    ];
    npusim()
        .args([
            "run",
            "--hw",
            "edge-int8",
            "--workload",
            "minilm-layer",
            "--scheme",
            "w8a8_per_tensor",
            "--no-numerics",
        ])
        .args(sets.iter().flat_map(|set| ["--set", set]))
        .arg("--out")
        .arg(&run)
        .assert()
        .success();
    let report: Value = serde_json::from_slice(&fs::read(run.join("report.json")).unwrap()).unwrap();
    let totals = &report["totals"];
    assert_eq!(cell(row, "cycles"), totals["cycles"].to_string());
    assert_eq!(cell(row, "energy_pj").parse::<f64>().unwrap(), totals["energy_pj"]["total"].as_f64().unwrap());
    // What cannot run is a row with its reason.
    assert_eq!(cell(&rows[9], "cycles"), "");
    assert!(cell(&rows[9], "error").contains("mxfp4 by mxfp4, which no matrix unit does"));
    let found = summary(&out);
    assert_eq!((&found["points"], &found["failed"], &found["panicked"]), (&12.into(), &6.into(), &0.into()));
    // The front by comparing all pairs.
    let measured: Vec<(u64, f64, f64)> = rows
        .iter()
        .filter(|row| !cell(row, "cycles").is_empty())
        .map(|row| {
            let number = |name| cell(row, name).parse::<f64>().unwrap();
            (cell(row, "index").parse().unwrap(), number("cycles"), number("energy_pj"))
        })
        .collect();
    let beats = |a: &(u64, f64, f64), b: &(u64, f64, f64)| a.1 <= b.1 && a.2 <= b.2 && (a.1 < b.1 || a.2 < b.2);
    let mut expected: Vec<u64> =
        measured.iter().filter(|b| !measured.iter().any(|a| beats(a, b))).map(|(index, ..)| *index).collect();
    let mut front: Vec<u64> =
        found["front"].as_array().unwrap().iter().map(|point| point["index"].as_u64().unwrap()).collect();
    expected.sort_unstable();
    front.sort_unstable();
    assert_eq!(front, expected);
}

#[test]
fn threads_parts_and_a_journal_cut_anywhere_give_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let study = study(folder.path(), GRID);
    let out = |name: &str| folder.path().join(name);
    explored(&study, &out("one"), &["--threads", "1"]);
    explored(&study, &out("two"), &["--threads", "2"]);
    let whole = files(&out("one"));
    assert_eq!(files(&out("two")), whole);
    for part in ["2/3", "1/3", "3/3"] {
        explored(&study, &out("parts"), &["--shard", part]);
    }
    npusim().arg("merge").arg(out("parts")).assert().success();
    assert_eq!(files(&out("parts")), whole);
    for cut in [whole[0].len() / 3, whole[0].len() / 2, whole[0].len() - 1] {
        let resumed = out("resumed");
        fs::create_dir_all(&resumed).unwrap();
        fs::write(resumed.join("journal.jsonl"), &whole[0][..cut]).unwrap();
        explored(&study, &resumed, &["--resume"]);
        assert_eq!(files(&resumed), whole, "cut at {cut}");
        fs::remove_dir_all(&resumed).unwrap();
    }
}

#[test]
fn a_study_that_is_killed_goes_on_and_ends_in_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let more_points = GRID.replace("values: [16, 32]", "values: [8, 12, 16, 20, 24, 28, 32, 40, 48, 64]");
    let study = study(folder.path(), &more_points);
    let (whole, killed) = (folder.path().join("whole"), folder.path().join("killed"));
    explored(&study, &whole, &[]);
    let journal = killed.join("journal.jsonl");
    let lines = || fs::read_to_string(&journal).map_or(0, |text| text.lines().count());
    for more in [&[][..], &["--resume"]] {
        let before = lines();
        let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_npusim"))
            .args(["explore", "--threads", "1"])
            .arg(&study)
            .arg("--out")
            .arg(&killed)
            .args(more)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        while lines() < before + 5 && child.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_millis(1));
        }
        // SIGKILL.
        let _ = child.kill();
        child.wait().unwrap();
    }
    assert!(lines() >= 5);
    explored(&study, &killed, &["--resume"]);
    assert_eq!(files(&killed), files(&whole));
}

#[test]
fn the_genetic_search_is_repeatable_goes_on_after_a_cut_and_cannot_be_shared_out() {
    let folder = tempfile::tempdir().unwrap();
    let text = GRID.replace("values: [16, 32]", "range: { from: 8, to: 32, step: 4 }")
        + "sampler: { nsga2: { population: 6, generations: 3, seed: 5 } }\n";
    let study = study(folder.path(), &text);
    let (one, cut) = (folder.path().join("one"), folder.path().join("cut"));
    explored(&study, &one, &["--threads", "1"]);
    let whole = files(&one);
    fs::create_dir_all(&cut).unwrap();
    fs::write(cut.join("journal.jsonl"), &whole[0][..whole[0].len() / 2]).unwrap();
    explored(&study, &cut, &["--resume", "--threads", "2"]);
    assert_eq!(files(&cut), whole);
    let parts = folder.path().join("parts");
    let refusal = npusim().arg("explore").arg(&study).args(["--shard", "1/2", "--out"]).arg(parts).assert().code(2);
    let text = String::from_utf8(refusal.get_output().stderr.clone()).unwrap();
    assert!(text.contains("nsga2 picks points by the results of earlier ones"), "{text}");
}

#[test]
fn what_would_mix_or_overwrite_results_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = study(folder.path(), GRID);
    let out = folder.path().join("out");
    explored(&path, &out, &[]);
    let before = files(&out);
    let refused = |more: &[&str]| {
        let assert = npusim().arg("explore").arg(&path).arg("--out").arg(&out).args(more).assert().code(2);
        String::from_utf8(assert.get_output().stderr.clone()).unwrap()
    };
    assert!(refused(&[]).contains("go on with it by --resume, or name another folder"));
    study(folder.path(), &GRID.replace("to: 32", "to: 64"));
    assert!(refused(&["--resume"]).contains("the journal of another study or of other files: the study differs"));
    assert!(refused(&["--shard", "4/3"]).contains("there is no part 4 of 3"));
    study(folder.path(), &GRID.replace("values: [16, 32]", "values: [16, 48]"));
    let text = refused(&["--resume"]);
    assert!(text.contains("another study"), "{text}");
    assert_eq!(files(&out), before);
    let assert = npusim().arg("merge").arg(&out).assert().code(2);
    assert!(String::from_utf8(assert.get_output().stderr.clone()).unwrap().contains("no part of a study stands here"));
}

#[test]
fn a_path_that_no_file_has_is_cited_in_the_study() {
    let folder = tempfile::tempdir().unwrap();
    let text = GRID.replace("memories.dram.dram.bytes_per_cycle", "memorise.dram.dram.bytes_per_cycle");
    let path = study(folder.path(), &text);
    let assert = npusim().arg("explore").arg(&path).arg("--out").arg(folder.path().join("out")).assert().code(2);
    let text = String::from_utf8(assert.get_output().stderr.clone()).unwrap();
    assert!(text.contains("study.yaml:8:"), "{text}");
    assert!(text.contains("did you mean \"memories\"?"), "{text}");
    assert!(!folder.path().join("out").exists());
}

#[cfg(feature = "parquet")]
#[test]
fn the_typed_table_is_read_back_with_types_and_nulls() {
    use std::io::Write;

    use npusim::explore::parquet_table::to_parquet;
    use parquet::file::reader::{FileReader, SerializedFileReader};
    use parquet::record::Field;

    let csv =
        "index,rows,scheme,cycles,feasible,front,error\n0,8,a,1.5,true,false,\n1,16,b,,false,false,\"no, unit\"\n";
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&to_parquet(csv).unwrap()).unwrap();
    let reader = SerializedFileReader::new(file).unwrap();
    let rows = reader.get_row_iter(None).unwrap().map(|row| {
        row.unwrap().get_column_iter().map(|(name, field)| (name.clone(), field.clone())).collect::<Vec<_>>()
    });
    let text = |text: &str| Field::Str(text.to_owned());
    let first = [
        Field::Long(0),
        Field::Double(8.0),
        text("a"),
        Field::Double(1.5),
        Field::Bool(true),
        Field::Bool(false),
        Field::Null,
    ];
    let second = [
        Field::Long(1),
        Field::Double(16.0),
        text("b"),
        Field::Null,
        Field::Bool(false),
        Field::Bool(false),
        text("no, unit"),
    ];
    let names = ["index", "rows", "scheme", "cycles", "feasible", "front", "error"].map(str::to_owned);
    let expected = [first, second].map(|fields| names.iter().cloned().zip(fields).collect::<Vec<_>>());
    assert_eq!(rows.collect::<Vec<_>>(), expected);
}
