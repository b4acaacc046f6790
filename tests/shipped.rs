//! Every shipped trace on every shipped accelerator: all can run, but for what is listed here with its reason.

use npusim::config::defaults::Defaults;
use npusim::config::{hardware, presets, workload};
use npusim::schedule::{schedule, token_run, verify};
use npusim::scheme::{self, Scheme, cast, w8a8};

/// Accelerators that cannot run a trace in INT8, and what stands against it.
///
/// NVDLA holds the weights of a group of kernels along the whole of K in its buffer: 12288 x 32 (or x 8) bytes and their
/// scales, for the `down` projection of Qwen3-8B.
const WITHOUT_INT8: [(&str, &str, &str); 3] = [
    ("nvdla-large", "qwen3-8b-layer", "layer `down`: the smallest tile needs 393344 bytes of the weight partition"),
    ("nvdla-small", "qwen3-8b-layer", "layer `down`: the smallest tile needs 98336 bytes of the weight partition"),
    ("nvdla-small-256", "qwen3-8b-layer", "layer `down`: the smallest tile needs 98336 bytes of the weight partition"),
];

/// Accelerators whose arrays multiply FP16, by the formats of their files. The others are for integers, and for BF16.
const WITH_FP16: [&str; 1] = ["mx-npu"];

/// Why a trace cannot run under a scheme, if it cannot. A schedule that stands is run through without time.
fn refusal(hardware_name: &str, workload_name: &str, scheme: &dyn Scheme) -> Option<String> {
    let document = presets::open_hardware(hardware_name).unwrap();
    let npu = hardware::resolve(&document, &mut Defaults::default()).unwrap();
    let (workload, _) = workload::resolve(&presets::open_workload(workload_name).unwrap()).unwrap();
    let program = scheme::lower(&workload, scheme, None).unwrap();
    let schedule = match schedule(&program, &npu, workload.mapping()) {
        Ok(schedule) => schedule,
        Err(error) => return Some(error.to_string()),
    };
    verify::verify(&schedule).unwrap();
    assert!(token_run::token_run(&schedule).unwrap() > 0, "{hardware_name}, {workload_name}");
    None
}

#[test]
fn every_shipped_trace_runs_in_int8_on_every_shipped_accelerator_but_for_those_listed() {
    for hardware in presets::HARDWARE {
        for workload in presets::WORKLOADS {
            let refused = refusal(hardware.name, workload.name, &w8a8::PER_TOKEN_PER_CHANNEL);
            let listed = WITHOUT_INT8.iter().find(|(npu, trace, _)| (*npu, *trace) == (hardware.name, workload.name));
            match (refused, listed) {
                (None, None) => {}
                (Some(reason), Some((.., expected))) => assert!(reason.starts_with(expected), "{reason}"),
                (refused, _) => panic!("{} on {}: {refused:?}", workload.name, hardware.name),
            }
        }
    }
}

#[test]
fn fp16_runs_where_the_file_has_it_and_is_refused_by_name_elsewhere() {
    for hardware in presets::HARDWARE {
        let refused = refusal(hardware.name, "minilm-layer", &cast::FP16);
        if WITH_FP16.contains(&hardware.name) {
            assert_eq!(refused, None, "{}", hardware.name);
        } else {
            let reason = refused.unwrap_or_else(|| panic!("{} ran FP16", hardware.name));
            assert!(reason.contains("fp16"), "{}: {reason}", hardware.name);
        }
    }
}
