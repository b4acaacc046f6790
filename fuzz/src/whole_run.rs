//! From files to a report on small shapes: valid combinations of hardware, workload and scheme, each changed in a few places.
//!
//! A combination may be refused in words. If it runs, it takes at least as many cycles as the lower bound of its report; a
//! schedule that does not end, and a program that its verifier refuses, are errors of the simulator.

use std::path::Path;

use npusim::config::document::Document;
use npusim::inputs::Documents;
use npusim::simulation::{Setup, SimulationError, simulate};
use npusim::timing::observer::Unobserved;
use npusim::workload::layer::LayerOperation;
use rand::RngExt;
use rand_pcg::Pcg64;

use crate::corpus::Corpus;
use crate::mutate::{Dictionary, change, pick};
use crate::targets::{Target, Verdict};
use crate::tree::Tree;

/// The parts of an input: hardware, workload, scheme, and a `PATH=VALUE` on each line.
const BETWEEN: &str = "\n-----\n";
/// The most multiply-accumulates and elements of an input that is run.
const MOST_WORK: u64 = 1 << 21;

/// The target.
pub struct WholeRun {
    hardware: Vec<Tree>,
    workloads: Vec<Tree>,
    schemes: Vec<Tree>,
    dictionaries: [Dictionary; 3],
    paths: Vec<(String, String)>,
}

impl WholeRun {
    /// A target with the shipped files as its start.
    pub fn new(corpus: &Corpus) -> WholeRun {
        let parse = |texts: &[String]| texts.iter().map(|text| Tree::parse(text)).collect::<Vec<_>>();
        let (hardware, workloads, schemes) = (parse(&corpus.hardware), parse(&corpus.small), parse(&corpus.schemes));
        let dictionaries = [&hardware, &workloads, &schemes].map(Dictionary::of::<'_>);
        let paths = hardware.iter().chain(&workloads).chain(&schemes).flat_map(Tree::paths).collect();
        WholeRun { hardware, workloads, schemes, dictionaries, paths }
    }
}

impl Target for WholeRun {
    fn name(&self) -> &'static str {
        "run"
    }

    fn cost(&self) -> u64 {
        4000
    }

    fn make(&self, random: &mut Pcg64) -> Vec<u8> {
        let mut parts = Vec::new();
        for (trees, dictionary) in [&self.hardware, &self.workloads, &self.schemes].into_iter().zip(&self.dictionaries)
        {
            let mut tree = pick(trees, random).clone();
            // Most combinations stay valid in two of three files.
            if random.random_range(0..2) == 0 {
                change(&mut tree, 2, dictionary, random);
            }
            parts.push(tree.text(true));
        }
        let mut sets = Vec::new();
        for _ in 0..random.random_range(0..3) {
            let (path, value) = pick(&self.paths, random);
            let mut value = Tree::plain(value);
            change(&mut value, 1, &Dictionary::default(), random);
            sets.push(format!("{path}={}", value.text(true)));
        }
        parts.push(sets.join("\n"));
        parts.join(BETWEEN).into_bytes()
    }

    fn run(&self, input: &[u8], _folder: &Path) -> Verdict {
        let Ok(text) = std::str::from_utf8(input) else { return Verdict::Refused };
        let mut parts = text.split(BETWEEN);
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../hw-configs");
        let mut document = |name: &str| {
            let mut document = Document::from_bytes(name, parts.next()?.as_bytes(), folder).ok()?;
            npusim::config::presets::include_energy_table(&mut document).ok()?;
            Some(document)
        };
        let (Some(hardware), Some(workload), Some(scheme)) =
            (document("hardware.yaml"), document("workload.yaml"), document("scheme.yaml"))
        else {
            return Verdict::Refused;
        };
        let mut documents = Documents::of([hardware, workload, scheme]);
        for assignment in parts.next().unwrap_or_default().lines() {
            // One that does not fit these files changes nothing.
            let _ = documents.set(assignment);
        }
        let Ok(mut inputs) = documents.resolve() else { return Verdict::Refused };
        if work_of(&inputs.workload) > MOST_WORK {
            return Verdict::TooLarge;
        }
        let Ok(bindings) = inputs.bindings() else { return Verdict::Refused };
        let Ok(calibration) = inputs.calibration(bindings.as_ref()) else { return Verdict::Refused };
        let setup = Setup {
            npu: &inputs.npu,
            workload: &inputs.workload,
            scheme: inputs.scheme.as_ref(),
            calibration: calibration.as_ref(),
            bindings: bindings.as_ref(),
            configuration: inputs.configuration(),
            defaults: inputs.defaults(),
        };
        match simulate(setup, &mut Unobserved) {
            Ok(outcome) => {
                let totals = &outcome.report.totals;
                if totals.cycles < totals.lower_bound_cycles {
                    let (cycles, bound) = (totals.cycles, totals.lower_bound_cycles);
                    return Verdict::Wrong(format!("{cycles} cycles lie below the bound of {bound}"));
                }
                Verdict::Accepted
            }
            Err(error @ (SimulationError::Program(_) | SimulationError::Timing(_))) => {
                Verdict::Wrong(error.to_string())
            }
            Err(_) => Verdict::Refused,
        }
    }
}

/// Multiply-accumulates and elements of all layers and tensors, as far as they are small.
fn work_of(workload: &npusim::workload::graph::Workload) -> u64 {
    let product = |sizes: &[u64]| sizes.iter().fold(1u64, |product, size| product.saturating_mul(*size));
    let layers = workload.layers().iter().map(|layer| match &layer.operation {
        LayerOperation::Gemm(gemm) => gemm.macs(),
        LayerOperation::Activate { shape, .. } => product(&[shape.rows, shape.columns, 16]),
        LayerOperation::Vector(vector) => product(&[vector.shape.rows, vector.shape.columns, 16]),
    });
    let tensors = workload.tensors().iter().map(|tensor| product(&[tensor.shape.rows, tensor.shape.columns]));
    layers.chain(tensors).fold(0u64, u64::saturating_add)
}
