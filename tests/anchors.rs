//! The anchors, as checks that say what is wrong: `consistency` asks that they hold, `bites` that they do not.

use npusim::calibrate;
use npusim::energy::{self, Observed};
use npusim::execute::{self, Granularity};
use npusim::hardware::npu::{Npu, NpuParts};
use npusim::program::Program;
use npusim::program::op::OpKind;
use npusim::program::tensor::TensorId;
use npusim::reference::{real, untiled};
use npusim::report::bounds;
use npusim::report::numerics::layer_numerics;
use npusim::schedule::{self, Schedule};
use npusim::scheme::{self, Scheme};
use npusim::shape::GemmShape;
use npusim::timing::attribution::attributed_cycles;
use npusim::timing::observer::Unobserved;
use npusim::timing::{self, statistics::RunStatistics};
use npusim::units::Cycles;
use npusim::workload::bindings::Bindings;
use npusim::workload::calibration::Calibration;
use npusim::workload::graph::Workload;
use npusim::workload::layer::{LayerOperation, LogicalGemm, ValueRef};

use crate::fixture::chain;

/// A scheduled and timed program with its values.
pub(crate) struct Run {
    pub(crate) npu: Npu,
    pub(crate) workload: Workload,
    pub(crate) bindings: Bindings,
    pub(crate) program: Program,
    pub(crate) schedule: Schedule,
    pub(crate) statistics: RunStatistics,
    pub(crate) scheme: String,
}

/// What an anchor found wrong.
pub(crate) type Finding = Result<(), String>;

/// Lowers, schedules and times a seeded chain.
pub(crate) fn run(parts: NpuParts, shapes: &[GemmShape], scheme: &dyn Scheme) -> Run {
    run_workload(parts, chain(shapes, 7), scheme)
}

/// Lowers, schedules and times a workload.
pub(crate) fn run_workload(parts: NpuParts, workload: (Workload, Bindings), scheme: &dyn Scheme) -> Run {
    let npu = Npu::try_new(parts).unwrap();
    let (workload, bindings) = workload;
    let calibration = calibration(&workload, &bindings, scheme);
    let program = scheme::lower(&workload, scheme, calibration.as_ref()).unwrap();
    npusim::program::verify::verify(&program).unwrap();
    let schedule = schedule::schedule(&program, &npu, workload.mapping()).unwrap();
    let statistics = timing::run(&program, &schedule, &npu, &mut Unobserved).unwrap();
    Run { npu, workload, bindings, program, schedule, statistics, scheme: scheme.name().to_owned() }
}

/// What a scheme asks to know about a seeded chain, whose fourth channel of each 16 reaches 10 where the others reach 1.
pub(crate) fn calibration(workload: &Workload, bindings: &Bindings, scheme: &dyn Scheme) -> Option<Calibration> {
    let request = scheme.calibration();
    (!request.is_empty()).then(|| calibrate::calibrate(workload, bindings, request).unwrap())
}

fn ensure(holds: bool, otherwise: impl FnOnce() -> String) -> Finding {
    if holds { Ok(()) } else { Err(otherwise()) }
}

/// Anchor 0: the products are those of the workload, and the outputs lie within the error bound of the real workload.
///
/// For a layer whose input comes from outside, `|error| <= sum over k of |x| d_w + |w| d_x + d_x d_w`, where `d` is the
/// furthest that rounding moves a value of the tensor: the scheme's [`rounding_reach`] times the largest magnitude.
pub(crate) fn workload_is_done(run: &Run) -> Finding {
    let program: u64 = run.program.ops.iter().map(|op| gemm_macs(&op.kind)).sum();
    let expected = run.workload.macs() + additional_macs(run)?;
    ensure(program == expected, || format!("{program} products instead of {expected}"))?;
    let execution = execute::run(&run.program, &run.schedule, &run.bindings, Granularity::Tiles)
        .map_err(|error| error.to_string())?;
    let real = real::evaluate(&run.workload, &run.bindings).map_err(|error| error.to_string())?;
    // Each layer starts from the previous one's rounded output, so errors of a chain add up; a layer that was forgotten
    // would still be far outside.
    for (layer, numerics) in run.program.layers.iter().zip(layer_numerics(&run.program, &execution, &real)) {
        let error = numerics.with_bias.unwrap_or(numerics.error).relative_error;
        // Four bits leave a relative error of some ten percent per layer.
        let has_four_bits = ["w4", "int4", "osc_int4"].iter().any(|start| run.scheme.starts_with(start));
        let is_narrow = rounding_reach(&run.scheme) > 0.2 || has_four_bits;
        let limit = if is_narrow { 0.6 } else { 0.2 };
        ensure(error < limit, || format!("{}: relative error {error}", layer.name))?;
    }
    for (index, layer) in run.workload.layers().iter().enumerate() {
        let LayerOperation::Gemm(gemm) = &layer.operation else { continue };
        let ValueRef::Source(input) = gemm.input else { continue };
        let mut x = run.bindings.get(input).unwrap().to_f64();
        let Some(weight) = gemm.constant_weight() else { continue };
        if *gemm != LogicalGemm::dense(gemm.shape, gemm.input, weight, gemm.bias) {
            // The bound is that of a plain product.
            continue;
        }
        let mut w = run.bindings.get(weight).unwrap().to_f64();
        let (k, n) = (gemm.shape.k as usize, gemm.shape.n as usize);
        if run.scheme.starts_with("smoothquant") {
            smooth(&mut x, &mut w, k, n);
        }
        let reach = rounding_reach(&run.scheme);
        let furthest = |values: &[f64]| values.iter().fold(0.0f64, |a, b| a.max(b.abs())) * reach;
        let (x_moved, w_moved) = (furthest(&x), furthest(&w));
        let computed = execution.computed(run.program.layers[index].output).unwrap().to_f64();
        for (position, (computed, expected)) in computed.iter().zip(&real[index].output).enumerate() {
            let (i, j) = (position / n, position % n);
            let bound: f64 =
                (0..k).map(|p| x[i * k + p].abs() * w_moved + w[p * n + j].abs() * x_moved + x_moved * w_moved).sum();
            let error = (computed - expected).abs();
            // The remainder covers f32 rounding of scales, sums and bias.
            ensure(error <= bound * 1.0001 + 1e-5, || format!("{} [{i}, {j}]: {error} > {bound}", layer.name))?;
        }
    }
    Ok(())
}

/// Anchor 1: products executed, timed and programmed are the same number, operation by operation.
pub(crate) fn products_agree(run: &Run) -> Finding {
    let execution = execute::run(&run.program, &run.schedule, &run.bindings, Granularity::Tiles)
        .map_err(|error| error.to_string())?;
    for (index, op) in run.program.ops.iter().enumerate() {
        let expected = gemm_macs(&op.kind);
        let (executed, timed) = (execution.macs()[index], run.statistics.ops[index].macs);
        ensure(executed == expected, || format!("operation {index}: {executed} executed instead of {expected}"))?;
        ensure(timed == expected, || format!("operation {index}: {timed} timed instead of {expected}"))?;
    }
    Ok(())
}

/// Anchor 2: tiled execution equals the un-tiled reference bit for bit, every tensor.
pub(crate) fn tiles_change_no_bit(run: &Run) -> Finding {
    let execution = execute::run(&run.program, &run.schedule, &run.bindings, Granularity::Tiles)
        .map_err(|error| error.to_string())?;
    let at_once = execute::run(&run.program, &run.schedule, &run.bindings, Granularity::Products);
    let at_once = at_once.map_err(|error| error.to_string())?;
    let reference = untiled::evaluate(&run.program, &run.schedule.accumulation, &run.bindings);
    for (index, tensor) in run.program.tensors.iter().enumerate() {
        let equal = execution.tensor(TensorId(index)) == reference[index].as_ref();
        ensure(equal, || format!("{} differs", tensor.name))?;
        let same = execution.tensor(TensorId(index)) == at_once.tensor(TensorId(index));
        ensure(same, || format!("{} differs when products are computed at once", tensor.name))?;
    }
    Ok(())
}

/// Anchor 4: no run is faster than its bounds, each queue accounts for the makespan, the layers' parts sum to it, and
/// energy is counts times cost (each action of the test table costs 1 pJ).
pub(crate) fn time_and_energy_add_up(run: &Run) -> Finding {
    let makespan = run.statistics.makespan;
    let bounds = bounds::bounds(&run.program, &run.npu, &run.statistics);
    ensure(bounds.moved_bandwidth_cycles >= bounds.compulsory_bandwidth_cycles, || format!("{bounds:?}"))?;
    ensure(makespan.get() >= bounds.compute_cycles, || format!("{makespan} < {bounds:?}"))?;
    ensure(makespan.get() >= bounds.moved_bandwidth_cycles, || format!("{makespan} < {bounds:?}"))?;
    for queue in &run.statistics.queues {
        let sum = queue.busy + queue.stalls.total() + queue.idle;
        ensure(sum == makespan, || format!("{queue:?} sums to {sum} instead of {makespan}"))?;
    }
    let attributed: Cycles = attributed_cycles(&run.statistics).into_iter().sum();
    ensure(attributed == makespan, || format!("attributed {attributed} instead of {makespan}"))?;
    let observed = Observed::default();
    let energy = energy::cost(&run.program, &run.schedule, &run.npu, &run.statistics, &observed);
    let energy = energy.map_err(|error| error.to_string())?;
    let actions: u64 = energy.counts.iter().map(|(_, times)| times).sum();
    let by_op: f64 = energy.ops.iter().map(|op| op.total_pj()).sum();
    let total = energy.total.total_pj();
    ensure(total == actions as f64 && by_op == total, || format!("{total} pJ, by operation {by_op}, for {actions}"))
}

/// SmoothQuant's equation 4 with alpha 1/2: what is rounded are the smoothed tensors, whose product is the same.
fn smooth(x: &mut [f64], w: &mut [f64], k: usize, n: usize) {
    for channel in 0..k {
        let column = x.iter().skip(channel).step_by(k).fold(0.0f64, |a, b| a.max(b.abs())).max(1e-5);
        let row = w[channel * n..(channel + 1) * n].iter().fold(0.0f64, |a, b| a.max(b.abs())).max(1e-5);
        let factor = (column / row).sqrt();
        x.iter_mut().skip(channel).step_by(k).for_each(|value| *value /= factor);
        w[channel * n..(channel + 1) * n].iter_mut().for_each(|value| *value *= factor);
    }
}

/// What a scheme multiplies beyond the workload, by its definition: `m n |O|` for each layer with a set O of outlier channels
/// (magnitude above 6, in f64 from the workload), except where the outliers only go first.
fn additional_macs(run: &Run) -> Result<u64, String> {
    let products = run.workload.layers().iter().filter_map(|layer| match &layer.operation {
        LayerOperation::Gemm(gemm) => Some(gemm.shape),
        _ => None,
    });
    match run.scheme.as_str() {
        // One column of path B, or one gathered row a token, for each group of 32; or the whole depth.
        "osc_mxfp4" | "osc_mxfp4_fp8_fallback" | "osc_int4" | "osc_dynamic_row_gather" => {
            return Ok(products.map(|shape| shape.m * shape.n * (shape.k / 32)).sum());
        }
        "osc_dynamic" => return Ok(run.workload.macs()),
        "osc_mxfp4_compact" => {
            let scheme = scheme::by_name(&run.scheme).expect("it is registered");
            let known = calibration(&run.workload, &run.bindings, scheme).expect("it asks for protected channels");
            let columns = |layer: &str| known.layers[layer].protected.iter().flatten().flatten().count() as u64;
            let names = run.workload.layers().iter().filter(|layer| layer.name.starts_with("gemm"));
            return Ok(products.zip(names).map(|(shape, layer)| shape.m * shape.n * columns(&layer.name)).sum());
        }
        _ => {}
    }
    if !(run.scheme.starts_with("muxq") || run.scheme.starts_with("llm_int8")) || run.scheme == "muxq_tender_shift" {
        return Ok(0);
    }
    let real = real::evaluate(&run.workload, &run.bindings).map_err(|error| error.to_string())?;
    let mut sum = 0;
    for layer in run.workload.layers() {
        let LayerOperation::Gemm(gemm) = &layer.operation else { continue };
        let x = match gemm.input {
            ValueRef::Source(id) => run.bindings.get(id).unwrap().to_f64(),
            ValueRef::Layer(id) => real[id.0].output.clone(),
        };
        let k = gemm.shape.k as usize;
        let is_outlier = |channel: &usize| x.iter().skip(*channel).step_by(k).any(|value| value.abs() > 6.0);
        sum += gemm.shape.m * gemm.shape.n * (0..k).filter(is_outlier).count() as u64;
    }
    Ok(sum)
}

/// The furthest that a scheme's rounding moves a value, as a share of the largest magnitude of the tensor.
///
/// With `p` significand bits a float moves by at most `2^-p` of itself. With an abs-max scale the top of the range is
/// exact, so INT8 moves by half a step of 1/127, and FP8 E4M3 by 2^-4. An MX block with maximum `a` takes the scale
/// `2^(floor(log2 a) - emax)`: just below the next power of two, elements saturate at the largest one (1.5 of 2 for E2M1,
/// 1.75 of 2 for E4M3, E5M2 and E3M2, 1.875 of 2 for E2M3, 127/64 of 2 for INT8, 1.75 of 2 for INT4), which moves them by
/// that gap; rounding within the range moves them by less, except for E5M2 (2^-3). NVFP4 adds the rounding of an E4M3 scale
/// (2^-4) to half the widest gap of E2M1 (1 of 6).
fn rounding_reach(scheme: &str) -> f64 {
    match scheme {
        "fp16" => 2f64.powi(-11),
        "bf16" => 2f64.powi(-8),
        "w8a8_fp8_per_tensor" | "w8a8_fp8_per_token_per_channel" => 2f64.powi(-4),
        "mxfp8_e4m3" | "mxfp8_e5m2" | "mxfp6_e3m2" => 0.125,
        "mxfp6_e2m3" => 0.0625,
        "mxint8" => 1.0 / 128.0,
        // Half a step of 1/7 of the largest magnitude.
        "w4a8" | "w4a16" => 0.5 / 7.0,
        // The same, of a scale that FP16 rounds; groups of protected channels move less.
        "int4_g32" | "int4_g128" | "osc_int4" => 0.5 / 7.0 + 2f64.powi(-10),
        "int8_g128" | "zeroquant" => 0.5 / 127.0 + 2f64.powi(-10),
        // Protected channels move less.
        "mxint4"
        | "mxfp4"
        | "w4a8_mx"
        | "osc_mxfp4"
        | "osc_mxfp4_compact"
        | "osc_mxfp4_fp8_fallback"
        | "osc_dynamic"
        | "osc_dynamic_row_gather" => 0.25,
        "nvfp4" | "nvfp4_one_level" => 1.0 / 6.0 + 2f64.powi(-4),
        _ => 0.5 / 127.0,
    }
}

fn gemm_macs(kind: &OpKind) -> u64 {
    match kind {
        OpKind::Gemm(gemm) => gemm.macs(),
        OpKind::ExtractChannels(_)
        | OpKind::ExtractTop(_)
        | OpKind::GatherRows(_)
        | OpKind::Merge(_)
        | OpKind::DivideChannels(_)
        | OpKind::Reduce { .. }
        | OpKind::Quantize { .. }
        | OpKind::QuantizeBlocks { .. }
        | OpKind::Dequantize { .. }
        | OpKind::Vector(_)
        | OpKind::Activate { .. } => 0,
    }
}
