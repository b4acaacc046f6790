//! What inputs are made from: the files that are shipped, three small workloads beside this package, and results of runs of
//! these.

use std::fs;
use std::path::{Path, PathBuf};

use npusim::calibrate;
use npusim::config::tensors::{self, Generated};
use npusim::config::{calibration, document::Document, workload};
use npusim::inputs::{Documents, open_file};
use npusim::report::compare::{Attempt, Tilings, compare};
use npusim::report::data::Report;
use npusim::report::timeline::Recorder;
use npusim::report::{compare_text, json};
use npusim::simulation::{Setup, simulate};
use npusim::workload::graph::Workload;

/// Texts of files by kind.
pub struct Corpus {
    pub hardware: Vec<String>,
    pub workloads: Vec<String>,
    pub schemes: Vec<String>,
    pub studies: Vec<String>,
    pub energy: Vec<String>,
    /// Workloads that are quickly run.
    pub small: Vec<String>,
    pub calibrations: Vec<String>,
    /// A report and a comparison.
    pub results: Vec<String>,
    /// Tables of studies with their summaries.
    pub tables: Vec<(String, String)>,
    /// Lines of a journal: what each is, and its JSON.
    pub journal: Vec<(String, String)>,
    /// The small workload that calibrations are for.
    pub products: Workload,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The files of a folder with one of these endings, in the order of their names.
fn files(folder: &str, ending: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(root().join(folder)).unwrap_or_else(|problem| panic!("{folder}: {problem}"));
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.retain(|path| path.extension().is_some_and(|found| found == ending));
    paths.sort();
    paths
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|problem| panic!("{}: {problem}", path.display()))
}

fn texts(folder: &str) -> Vec<String> {
    files(folder, "yaml").iter().map(|path| read(path)).collect()
}

impl Corpus {
    /// Reads the shipped files and runs the small ones.
    pub fn load() -> Corpus {
        let small = texts("fuzz/corpus");
        let products = small.iter().find(|text| text.contains("name: products")).expect("it is in fuzz/corpus");
        let document = Document::from_bytes("products.yaml", products.as_bytes(), "").expect("a well-formed file");
        let (workload, places) = workload::resolve(&document).expect("a sound workload");
        let values = tensors::load(&workload, &places, Generated::Wanted).expect("values from a seed");
        let mut calibrations: Vec<String> = Vec::new();
        for scheme in npusim::scheme::ALL.iter().filter(|scheme| !scheme.calibration().is_empty()) {
            let made =
                calibrate::calibrate_and_observe(&workload, &values, scheme.calibration()).expect("finite values");
            let text = calibration::to_json(&made);
            if !calibrations.contains(&text) {
                calibrations.push(text);
            }
        }
        let studies = texts("workloads/studies").into_iter().chain(texts("examples/slurm"));
        let reports = files("reports/examples/muxq-outliers", "csv")
            .into_iter()
            .chain(files("reports/examples/osc-array", "csv"));
        let tables = reports.map(|path| (read(&path), read(&path.with_file_name("study.json")))).collect();
        Corpus {
            hardware: texts("hw-configs"),
            workloads: texts("workloads").into_iter().chain(small.clone()).collect(),
            schemes: texts("workloads/schemes"),
            studies: studies.collect(),
            energy: texts("hw-configs/energy"),
            results: results(products),
            small,
            calibrations,
            tables,
            journal: vec![
                (
                    "header".to_owned(),
                    "{\"journal_version\":1,\"npusim_version\":\"0.1.0\",\"study\":\"s\",\"file\":\"s.yaml\",\"text\":\"name: \
                     s\\n\",\"folder\":\"\",\"fingerprint\":\"f\",\"shard\":{\"number\":1,\"of\":2},\"kept\":[0,2]}"
                        .to_owned(),
                ),
                ("point".to_owned(), "{\"index\":0,\"choice\":[1,2],\"metrics\":{\"cycles\":12.5,\"energy_pj\":1e3}}".to_owned()),
                ("point".to_owned(), "{\"index\":2,\"choice\":[0,1],\"error\":\"it does not fit\"}".to_owned()),
                ("point".to_owned(), "{\"index\":4,\"choice\":[],\"panic\":\"at a line\"}".to_owned()),
            ],
            products: workload,
        }
    }
}

/// The report of a run with its timeline, and a comparison of three schemes.
fn results(workload: &str) -> Vec<String> {
    let report = |scheme: &str| -> Report {
        let workload = Document::from_bytes("products.yaml", workload.as_bytes(), "").expect("a well-formed file");
        let opened = [open_file(0, "mx-npu").expect("built in"), workload, open_file(2, scheme).expect("built in")];
        let mut inputs = Documents::of(opened).resolve().expect("sound files");
        let bindings = inputs.bindings().expect("values from a seed");
        let calibration = inputs.calibration(bindings.as_ref()).expect("finite values");
        let setup = Setup {
            npu: &inputs.npu,
            workload: &inputs.workload,
            scheme: inputs.scheme.as_ref(),
            calibration: calibration.as_ref(),
            bindings: bindings.as_ref(),
            configuration: inputs.configuration(),
            defaults: inputs.defaults(),
        };
        let mut recorder = Recorder::default();
        let mut report = simulate(setup, &mut recorder).expect("a run that works").report;
        report.timeline = Some(recorder.timeline());
        // Only their names are drawn, and long texts would draw the mutations to themselves.
        for text in
            [&mut report.configuration.hardware, &mut report.configuration.workload, &mut report.configuration.scheme]
        {
            text.text.clear();
        }
        report.configuration.energy.clear();
        report
    };
    let run = json::to_json(&report("muxq_per_tensor"));
    let attempts = ["w8a8_per_tensor", "muxq_per_tensor", "osc_mxfp4"].map(|scheme| {
        let report = Report { timeline: None, ..report(scheme) };
        (scheme.to_owned(), Attempt::Ran(Box::new(report)))
    });
    let comparison = compare(attempts.into(), "w8a8_per_tensor", Tilings::Searched).expect("the baseline ran");
    vec![run, compare_text::to_json(&comparison)]
}
