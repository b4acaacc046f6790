//! Traces, held against "Trace Event Format" (Google): what each kind of event must have, and what a viewer makes of it.

use std::collections::BTreeMap;

use npusim::hardware::npu::Npu;
use npusim::report::data::{Configuration, Report};
use npusim::report::trace::{MOST_EVENTS, TraceWriter, Written};
use npusim::scheme::w8a8;
use npusim::simulation::{Setup, simulate};
use serde_json::Value;

use crate::fixture;
use crate::traces::decoder;

/// A decoder layer on the small test machine: its trace with at most so many events, and its report.
fn traced(most_events: u64) -> (Value, Written, Report) {
    let npu = Npu::try_new(fixture::parts()).unwrap();
    let (workload, _) = decoder();
    let setup = Setup {
        npu: &npu,
        workload: &workload,
        scheme: &w8a8::PER_TENSOR,
        calibration: None,
        bindings: None,
        configuration: Configuration::default(),
        defaults: Vec::new(),
    };
    let mut text: Vec<u8> = Vec::new();
    let mut trace = TraceWriter::new(&mut text, most_events);
    let report = simulate(setup, &mut trace).unwrap().report;
    let written = trace.finish().unwrap();
    (serde_json::from_slice(&text).unwrap(), written, report)
}

fn events<'t>(trace: &'t Value, phase: &str) -> Vec<&'t Value> {
    trace["traceEvents"].as_array().unwrap().iter().filter(|event| event["ph"] == phase).collect()
}

fn number(event: &Value, key: &str) -> f64 {
    event[key].as_f64().unwrap_or_else(|| panic!("no number {key} in {event}"))
}

/// A time in cycles; a nanosecond of the viewer, which counts microseconds, is a cycle.
fn cycle(event: &Value, key: &str) -> u64 {
    (number(event, key) * 1000.0).round() as u64
}

/// The process and the thread of an event.
fn track(event: &Value) -> (u64, u64) {
    (event["pid"].as_u64().unwrap(), event["tid"].as_u64().unwrap())
}

/// Start and end of a slice, and its event.
type Slice<'t> = (u64, u64, &'t Value);

/// Start, end and event of each slice, by track in order of start.
fn slices(trace: &Value) -> BTreeMap<(u64, u64), Vec<Slice<'_>>> {
    let mut slices: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for event in events(trace, "X") {
        let start = cycle(event, "ts");
        slices.entry(track(event)).or_default().push((start, start + cycle(event, "dur"), event));
    }
    slices.values_mut().for_each(|slices| slices.sort_by_key(|(start, end, _)| (*start, *end)));
    slices
}

#[test]
fn every_event_has_what_its_phase_asks_for() {
    let (trace, ..) = traced(MOST_EVENTS);
    assert_eq!(trace["displayTimeUnit"], "ns");
    for event in trace["traceEvents"].as_array().unwrap() {
        let phase = event["ph"].as_str().unwrap();
        assert!(event["name"].as_str().is_some_and(|name| !name.is_empty()), "{event}");
        track(event);
        if phase != "M" {
            assert!(number(event, "ts") >= 0.0, "{event}");
        }
        match phase {
            "X" => assert!(number(event, "dur") >= 0.0 && event["cat"].is_string(), "{event}"),
            "C" => assert!(event["args"].as_object().unwrap().values().all(Value::is_number), "{event}"),
            "s" | "f" => assert!(event["id"].is_u64() && event["cat"].is_string(), "{event}"),
            "M" => {
                let known = ["process_name", "thread_name", "process_sort_index", "thread_sort_index"];
                assert!(known.contains(&event["name"].as_str().unwrap()) && event["args"].is_object(), "{event}");
            }
            other => panic!("there is no reason for a phase {other}"),
        }
    }
}

#[test]
fn each_command_is_a_slice_with_its_layer_and_path_and_slices_of_a_track_do_not_overlap() {
    let (trace, written, report) = traced(MOST_EVENTS);
    let slices = slices(&trace);
    assert_eq!(events(&trace, "X").len() as u64, report.totals.commands);
    assert_eq!(written.left_out_commands, 0);
    let layers: Vec<&str> = report.layers.iter().map(|layer| layer.name.as_str()).collect();
    for slices in slices.values() {
        for pair in slices.windows(2) {
            assert!(pair[0].1 <= pair[1].0, "{} and {}", pair[0].2, pair[1].2);
        }
        for (start, end, event) in slices {
            let (layer, path) = event["name"].as_str().unwrap().split_once(' ').unwrap();
            assert!(layers.contains(&layer) && !path.is_empty(), "{event}");
            assert_eq!((cycle_of(event, "start_cycle"), cycle_of(event, "end_cycle")), (*start, *end));
        }
    }
    let end = slices.values().flatten().map(|(_, end, _)| *end).max().unwrap();
    assert_eq!(end, report.totals.cycles);
}

fn cycle_of(event: &Value, key: &str) -> u64 {
    event["args"][key].as_u64().unwrap()
}

#[test]
fn each_track_is_named_after_its_unit_and_queue() {
    let (trace, _, report) = traced(MOST_EVENTS);
    let names: BTreeMap<(u64, u64), &str> = events(&trace, "M")
        .into_iter()
        .filter(|event| event["name"] == "thread_name")
        .map(|event| (track(event), event["args"]["name"].as_str().unwrap()))
        .collect();
    for place in slices(&trace).keys() {
        let name = names.get(place).unwrap_or_else(|| panic!("{place:?} has no name"));
        let is_known =
            |queue: &npusim::report::data::QueueReport| name.starts_with(&format!("{} {}", queue.unit, queue.queue));
        assert!(report.queues.iter().any(is_known), "{name}");
    }
}

#[test]
fn a_flow_leaves_a_slice_before_it_arrives_at_the_start_of_another() {
    let (trace, ..) = traced(MOST_EVENTS);
    let slices = slices(&trace);
    let ends: BTreeMap<u64, &Value> =
        events(&trace, "f").into_iter().map(|event| (event["id"].as_u64().unwrap(), event)).collect();
    let starts = events(&trace, "s");
    assert!(!starts.is_empty() && starts.len() == ends.len());
    for start in starts {
        let end = ends[&start["id"].as_u64().unwrap()];
        assert_eq!(end["bp"], "e");
        let (from, to) = (cycle(start, "ts"), cycle(end, "ts"));
        assert!(from < to, "{start} {end}");
        assert!(slices[&track(start)].iter().any(|(start, end, _)| *start <= from && from < *end), "{start}");
        assert!(slices[&track(end)].iter().any(|(start, ..)| *start == to), "{end}");
    }
}

#[test]
fn counters_of_bandwidth_integrate_to_the_bytes_of_the_run() {
    let (trace, _, report) = traced(MOST_EVENTS);
    let integral = |name: &str| {
        let points: Vec<(f64, f64)> = events(&trace, "C")
            .into_iter()
            .filter(|event| event["name"] == name)
            .map(|event| (cycle(event, "ts") as f64, event["args"]["B/cycle"].as_f64().unwrap()))
            .collect();
        points.windows(2).map(|pair| pair[0].1 * (pair[1].0 - pair[0].0)).sum::<f64>()
    };
    let counted = &report.totals.memories["dram"];
    // Three decimals of a rate, and a last step that the end of the run may cut.
    for (name, bytes) in [("dram reads [B/cycle]", counted.read_bytes), ("dram writes [B/cycle]", counted.write_bytes)]
    {
        let share = integral(name) / bytes as f64;
        assert!((0.97..=1.001).contains(&share), "{name}: {share}");
    }
    let names: Vec<&str> = events(&trace, "C").into_iter().map(|event| event["name"].as_str().unwrap()).collect();
    for wanted in ["under way [commands]", "activations held [B]", "weights held [B]"] {
        assert!(names.iter().any(|name| name.ends_with(wanted)), "{wanted}");
    }
}

#[test]
fn buffers_hold_no_more_than_their_partitions() {
    let (trace, ..) = traced(MOST_EVENTS);
    let mut parts = fixture::parts();
    let partitions = fixture::partitions_of(&mut parts).to_owned();
    for (role, most) in [("activations", partitions.activations), ("weights", partitions.weights)] {
        let name = format!("{role} held [B]");
        let held = events(&trace, "C").into_iter().filter(|event| event["name"].as_str().unwrap().ends_with(&name));
        let largest = held.map(|event| event["args"]["B"].as_u64().unwrap()).max().unwrap();
        assert!(largest > 0 && largest <= most.get(), "{role}: {largest} in {most}");
    }
}

#[test]
fn a_full_trace_says_so_and_how_much_it_lacks() {
    let (trace, written, report) = traced(100);
    let kept = events(&trace, "X").len() as u64;
    assert!(written.events >= 100 && written.events <= 103, "{written:?}");
    assert_eq!(kept + written.left_out_commands, report.totals.commands);
    assert_eq!(trace["otherData"]["left_out_commands"], written.left_out_commands.to_string());
    let notices = events(&trace, "i");
    assert_eq!(notices.len(), 1);
    assert!(notices[0]["name"].as_str().unwrap().contains("left out"));
    // Counters are there over the whole run.
    assert!(events(&trace, "C").into_iter().any(|event| cycle(event, "ts") == report.totals.cycles), "up to its end");
}
