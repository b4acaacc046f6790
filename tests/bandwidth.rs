//! Bytes over time: no step of any memory above its peak, and the steps sum to the bytes that are counted.

use npusim::hardware::memory::{Arbitration, Dram, MemoryId, WriteChannel};
use npusim::hardware::npu::{Npu, NpuParts};
use npusim::report::timeline::Recorder;
use npusim::report::trace::TraceWriter;
use npusim::scheme::{Scheme, w8a8};
use npusim::shape::GemmShape;
use npusim::timing;
use npusim::timing::observer::{All, Observer, Setting};
use npusim::units::{Bytes, Cycles, Rate};
use serde_json::Value;

use crate::anchors;
use crate::fixture::{self, DRAM, SHARED, dram_of, partitions_of};

/// Bytes a cycle of a memory's reads, of its writes, and of both together.
type Peaks = (MemoryId, [f64; 3]);

/// Small machines whose transfers queue up in every way, and the peaks of their memories.
fn machines() -> Vec<(NpuParts, Vec<Peaks>)> {
    let mut machines = Vec::new();
    for model in ["ideal", "bandwidth_limited"] {
        for (numerator, denominator) in [(19, 3), (1, 2), (51, 1)] {
            for write_channel in
                [None, Some(WriteChannel { bytes_per_cycle: Rate::whole(3).unwrap(), response_latency: Cycles(9) })]
            {
                for burst in [1, 64] {
                    let mut parts = fixture::parts();
                    partitions_of(&mut parts).resident = Bytes(0);
                    let arbitration = Arbitration { quantum: Bytes(48), weights: [2, 3, 1] };
                    let rate = Rate::try_new(numerator, denominator).unwrap();
                    let one = Dram::with_one_channel(model, Cycles(31), rate);
                    *dram_of(&mut parts) = Dram { write_channel, arbitration, burst: Bytes(burst), ..one };
                    let peak = numerator as f64 / denominator as f64;
                    let of_writes = if write_channel.is_some() { 3.0 } else { peak };
                    let both = if write_channel.is_some() { peak + 3.0 } else { peak };
                    machines.push((parts, vec![(DRAM, [peak, of_writes, both])]));
                }
            }
        }
    }
    // What does not fit the operand memory waits in a shared one of 32 bytes a cycle out and 16 in.
    let (parts, peaks) = machines[0].clone();
    let peaks = peaks.into_iter().chain([(SHARED, [32.0, 16.0, 48.0])]).collect();
    machines.push((fixture::with_shared_memory(parts, Bytes(1 << 20)), peaks));
    machines
}

#[test]
fn no_step_of_a_memory_is_above_its_peak_and_the_steps_sum_to_the_bytes_that_are_counted() {
    let scheme: &dyn Scheme = &w8a8::PER_TOKEN_PER_CHANNEL;
    // From steps of a cycle to steps of many.
    let runs = [vec![GemmShape::new(3, 16, 8)], vec![GemmShape::new(40, 96, 56), GemmShape::new(40, 56, 64)]];
    for (parts, peaks) in machines() {
        for shapes in &runs {
            let run = anchors::run(parts.clone(), shapes, scheme);
            let npu = Npu::try_new(parts.clone()).unwrap();
            let (mut recorder, mut text) = (Recorder::default(), Vec::new());
            let mut trace = TraceWriter::new(&mut text, 0);
            let mut all = All(vec![&mut recorder, &mut trace]);
            all.begin(&Setting { program: &run.program, schedule: &run.schedule, npu: &npu });
            let statistics = timing::run(&run.program, &run.schedule, &npu, &mut all).unwrap();
            trace.finish().unwrap();
            let timeline = recorder.timeline();
            let trace: Value = serde_json::from_slice(&text).unwrap();
            for (memory, [reads, writes, both]) in &peaks {
                let name = &npu.memory(*memory).name;
                let Some(traffic) = timeline.memories.iter().find(|traffic| traffic.memory == *name) else {
                    assert_eq!(*memory, SHARED, "the memory off the chip is always used");
                    continue;
                };
                let counted = statistics.ops.iter().filter_map(|op| op.traffic.get(memory.0));
                let sum = |bytes: &[u64]| bytes.iter().sum::<u64>();
                assert_eq!(sum(&traffic.read_bytes), counted.clone().map(|traffic| traffic.read.get()).sum::<u64>());
                assert_eq!(sum(&traffic.write_bytes), counted.map(|traffic| traffic.written.get()).sum::<u64>());
                let at = |bytes: &[u64], step: usize| bytes.get(step).copied().unwrap_or(0) as f64;
                let length = timeline.cycles_per_step as f64;
                for step in 0..traffic.read_bytes.len().max(traffic.write_bytes.len()) {
                    let [read, written] = [&traffic.read_bytes, &traffic.write_bytes].map(|bytes| at(bytes, step));
                    // Steps hold whole bytes: each direction may have finished one that it began in the step before.
                    assert!(read < reads * length + 1.0 && written < writes * length + 1.0, "{name}, step {step}");
                    assert!(read + written < both * length + 2.0, "{name}, step {step}: {read} and {written}");
                }
                for (direction, peak) in [("reads", reads), ("writes", writes)] {
                    let counter = format!("{name} {direction} [B/cycle]");
                    let events = trace["traceEvents"].as_array().unwrap().iter();
                    let shown = events.filter(|event| event["name"] == counter.as_str());
                    for event in shown {
                        let value = event["args"]["B/cycle"].as_f64().unwrap();
                        assert!(value < peak + 1.0, "{counter} {value} of {peak}");
                    }
                }
            }
        }
    }
}
