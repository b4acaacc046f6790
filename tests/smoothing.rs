//! Where the divisions of a smoothing are free, and what they cost elsewhere.

use npusim::inputs::{Inputs, Names};
use npusim::program::channels::ChannelSide;
use npusim::program::op::OpKind;
use npusim::simulation::{Outcome, Setup, simulate};
use npusim::timing::observer::Unobserved;

const TENSORS: &str = "name: smoothed
activation_format: fp32
defaults:
  tensors: { generate: { distribution: normal, mean: 1, std: 0.2, seed: 1 } }
tensors:
  - { name: x, shape: [32, 64] }
  - { name: g, shape: [64] }
  - { name: w, shape: [64, 64] }
  - { name: v, shape: [64, 64] }
layers:
";

fn run(layers: &str, scheme: &str, has_values: bool) -> Outcome {
    let folder = tempfile::tempdir().unwrap();
    let workload = folder.path().join("workload.yaml");
    std::fs::write(&workload, format!("{TENSORS}{layers}")).unwrap();
    let names = Names { hardware: "mx-npu", workload: workload.to_str().unwrap(), scheme };
    let mut inputs = Inputs::open(names, &[]).unwrap();
    let bindings = if has_values { inputs.bindings().unwrap() } else { None };
    let calibration = inputs.calibration(bindings.as_ref()).unwrap();
    let setup = Setup {
        npu: &inputs.npu,
        workload: &inputs.workload,
        scheme: inputs.scheme.as_ref(),
        calibration: calibration.as_ref(),
        bindings: bindings.as_ref(),
        configuration: inputs.configuration(),
        defaults: inputs.defaults(),
    };
    simulate(setup, &mut Unobserved).unwrap()
}

/// The divisions of a run: who does each, and for how many elements and cycles the vector unit is at it.
fn divisions(outcome: &Outcome) -> Vec<(ChannelSide, u64)> {
    let ops = outcome.program.ops.iter().zip(&outcome.statistics.ops);
    let of = ops.filter_map(|(op, statistics)| match &op.kind {
        OpKind::DivideChannels(divide) => Some((divide.side, statistics.busy.get())),
        _ => None,
    });
    of.collect()
}

const NORM: &str = "  - { name: norm, rms_norm: { input: x, weight: g, epsilon: 0.00001 } }
  - { name: fc, gemm: { input: norm, weight: w } }
";

const FREE: (ChannelSide, u64) = (ChannelSide::Absorbed, 0);
/// 32 x 64 elements at 64 a cycle, the rate of a multiplication.
const CHARGED: (ChannelSide, u64) = (ChannelSide::Activation, 32);

#[test]
fn a_norm_or_a_product_takes_the_factors_of_its_only_reader_into_its_weights() {
    for has_values in [false, true] {
        assert_eq!(divisions(&run(NORM, "smoothquant_per_token", has_values)), [FREE]);
        // `first` reads a tensor from outside, whose maker is unknown.
        let products = "  - { name: first, gemm: { input: x, weight: w } }
  - { name: second, gemm: { input: first, weight: v } }
";
        assert_eq!(divisions(&run(products, "smoothquant_per_token", has_values)), [CHARGED, FREE]);
    }
}

#[test]
fn nobody_takes_up_factors_where_an_activation_function_or_another_reader_stands_between() {
    let activated = "  - { name: norm, rms_norm: { input: x, weight: g, epsilon: 0.00001 } }
  - { name: act, activate: { input: norm, function: gelu } }
  - { name: fc, gemm: { input: act, weight: w } }
";
    assert_eq!(divisions(&run(activated, "smoothquant_per_token", false)), [CHARGED]);
    let residual = format!("{NORM}  - {{ name: sum, add: {{ left: fc, right: norm }} }}\n");
    assert_eq!(divisions(&run(&residual, "smoothquant_per_token", false)), [CHARGED]);
}

/// The factors of a layer depend on its weight: two readers share them where the weights are the same.
#[test]
fn several_readers_share_a_division_only_if_they_share_the_factors() {
    let two = |weight: &str| format!("{NORM}  - {{ name: gate, gemm: {{ input: norm, weight: {weight} }} }}\n");
    assert_eq!(divisions(&run(&two("w"), "smoothquant_per_token", true)), [FREE, FREE]);
    assert_eq!(divisions(&run(&two("v"), "smoothquant_per_token", true)), [CHARGED, CHARGED]);
    // Without values nothing is known of them.
    assert_eq!(divisions(&run(&two("w"), "smoothquant_per_token", false)), [CHARGED, CHARGED]);
}

/// One division in the walk that finds the scale, one in the walk that applies it; 64 factors of 4 bytes come from off the
/// chip. The numbers do not depend on who divides.
#[test]
fn a_division_that_nobody_takes_up_is_done_in_each_walk_over_the_data() {
    let product = "  - { name: fc, gemm: { input: x, weight: w } }\n";
    let outcome = run(product, "smoothquant_per_tensor", true);
    assert_eq!(divisions(&outcome), [CHARGED, CHARGED]);
    let plain = run(product, "w8a8_per_tensor", true);
    let read = |outcome: &Outcome| outcome.report.totals.dram_read_bytes;
    assert!(read(&outcome) >= read(&plain) + 64 * 4, "{} and {}", read(&outcome), read(&plain));
}
