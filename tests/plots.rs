//! Pictures of saved results: their data against the reports they are drawn from, and how they look as files.

use assert_cmd::Command;
use npusim::hardware::npu::{Npu, NpuParts};
use npusim::report::compare::{Attempt, Tilings, compare};
use npusim::report::data::{Configuration, Report, SourceText};
use npusim::report::plots::saved::Saved;
use npusim::report::plots::{self, Figure};
use npusim::report::timeline::Recorder;
use npusim::report::{compare_text, json};
use npusim::scheme::{Scheme, cast, w8a8};
use npusim::simulation::{Setup, simulate};
use npusim::units::Rate;
use serde_json::Value;

use crate::fixture;
use crate::traces::decoder;

/// A decoder layer with values on the small test machine, recorded; `overrides` are said to have been set.
fn report(parts: NpuParts, scheme: &dyn Scheme, overrides: &[&str]) -> Report {
    let npu = Npu::try_new(parts).unwrap();
    let (workload, bindings) = decoder();
    let named = |name: &str| SourceText { name: name.to_owned(), ..SourceText::default() };
    let configuration = Configuration {
        hardware: named("small"),
        workload: named("decoder"),
        scheme: named(scheme.name()),
        overrides: overrides.iter().map(|text| (*text).to_owned()).collect(),
        ..Configuration::default()
    };
    let setup = Setup {
        npu: &npu,
        workload: &workload,
        scheme,
        calibration: None,
        bindings: Some(&bindings),
        configuration,
        defaults: Vec::new(),
    };
    let mut recorder = Recorder::default();
    let mut report = simulate(setup, &mut recorder).unwrap().report;
    report.timeline = Some(recorder.timeline());
    report
}

/// The data of the plot called `name`, and the report or comparison as JSON.
fn data(name: &str, saved: &Saved) -> Option<Value> {
    figure(name, saved).map(|figure| figure.data)
}

fn figure(name: &str, saved: &Saved) -> Option<Figure> {
    plots::ALL.iter().find(|plot| plot.name() == name).unwrap().figure(saved)
}

fn one_run() -> (Value, Saved) {
    let text = json::to_json(&report(fixture::parts(), &w8a8::PER_TENSOR, &[]));
    (serde_json::from_str(&text).unwrap(), Saved::read(&[text]).unwrap())
}

fn three_schemes() -> (Value, Saved) {
    let schemes: [&dyn Scheme; 3] = [&w8a8::PER_TENSOR, &w8a8::PER_TOKEN_PER_CHANNEL, &cast::BF16];
    let attempts = schemes.map(|scheme| {
        let report = Report { timeline: None, ..report(fixture::parts(), scheme, &[]) };
        (scheme.name().to_owned(), Attempt::Ran(Box::new(report)))
    });
    let comparison = compare(attempts.into(), w8a8::PER_TENSOR.name(), Tilings::Searched).unwrap();
    let text = compare_text::to_json(&comparison);
    (serde_json::from_str(&text).unwrap(), Saved::read(&[text]).unwrap())
}

/// Runs with four bandwidths, two sizes of the array's side and so on: eight points.
fn points() -> (Vec<Value>, Saved) {
    let mut texts = Vec::new();
    for bandwidth in [4, 8, 16, 32] {
        for scheme in [&w8a8::PER_TENSOR as &dyn Scheme, &cast::BF16] {
            let mut parts = fixture::parts();
            fixture::dram_of(&mut parts).bytes_per_cycle = Rate::whole(bandwidth).unwrap();
            let set = format!("memories.dram.dram.bytes_per_cycle={bandwidth}");
            texts.push(json::to_json(&report(parts, scheme, &[&set])));
        }
    }
    let values = texts.iter().map(|text| serde_json::from_str(text).unwrap()).collect();
    (values, Saved::read(&texts).unwrap())
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap_or_else(|| panic!("{value} is no list"))
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

fn assert_near(found: f64, expected: f64, what: &str) {
    assert!((found - expected).abs() <= 1e-9 * expected.abs().max(1e-9), "{what}: {found} instead of {expected}");
}

#[test]
fn speedups_are_the_cycles_of_the_baseline_over_those_of_each_scheme() {
    let (comparison, saved) = three_schemes();
    let data = data("speedup", &saved).unwrap();
    let row = |name: &Value| list(&comparison["schemes"]).iter().find(|row| row["scheme"] == *name).unwrap();
    let baseline = row(&comparison["baseline"]);
    for bars in list(&data["schemes"]) {
        let scheme = row(&bars["scheme"]);
        for (group, speedup) in list(&data["groups"]).iter().zip(list(&bars["speedups"])) {
            let cycles = |row: &Value| match group.as_str().unwrap() {
                "whole run" => number(&row["total"]["cycles"]),
                name => {
                    let layer = list(&row["layers"]).iter().find(|layer| layer["name"] == name).unwrap();
                    number(&layer["span_cycles"])
                }
            };
            let (own, of_baseline) = (cycles(scheme), cycles(baseline));
            if own > 0.0 {
                assert_near(number(speedup), of_baseline / own, group.as_str().unwrap());
            }
        }
    }
    assert_eq!(list(&data["schemes"]).len(), 2, "the baseline is the line at 1");
}

#[test]
fn parts_of_energy_sum_to_the_energy_of_the_run_by_component_and_by_path() {
    for (reports, saved) in [(vec![one_run().0], one_run().1), {
        let (comparison, saved) = three_schemes();
        (list(&comparison["reports"]).to_vec(), saved)
    }] {
        let data = data("energy", &saved).unwrap();
        for panel in list(&data["panels"]) {
            for (scheme, report) in reports.iter().enumerate() {
                let parts = list(&panel["parts"]).iter().map(|part| number(&part["energy_uj"][scheme]));
                let sum: f64 = parts.sum();
                assert_near(sum * 1e6, number(&report["totals"]["energy_pj"]["total"]), "sum of parts");
                let [low, high] = [0, 1].map(|end| number(&data["ends_uj"][scheme][end]) * 1e6);
                assert_near(low, number(&report["energy"]["total_pj"]["low"]), "low end");
                assert_near(high, number(&report["energy"]["total_pj"]["high"]), "high end");
            }
        }
    }
}

#[test]
fn the_whole_run_lies_below_both_roofs_which_are_those_of_the_report() {
    let (report, saved) = one_run();
    let data = data("roofline", &saved).unwrap();
    let peak = number(&data["macs_per_cycle"]);
    let macs: f64 = report["totals"]["macs"].as_object().unwrap().values().map(number).sum();
    let bytes = number(&report["totals"]["dram_read_bytes"]) + number(&report["totals"]["dram_write_bytes"]);
    // One format pair and one channel: the peaks are those of the bounds.
    let below = |found: f64, bound: f64| assert!(found <= bound && bound < found + 1.0, "{found} of {bound}");
    below(macs / peak, number(&report["bounds"]["compute_cycles"]));
    below(bytes / number(&data["bytes_per_cycle"]), number(&report["bounds"]["moved_bandwidth_cycles"]));
    let products = list(&report["layers"]).iter().filter(|layer| number(&layer["macs"]) > 0.0).count();
    let layers = list(&data["layers"]);
    assert!(layers.len() > 1 && layers.len() <= products + 1);
    assert_eq!(layers[0]["name"], "whole run");
    let (found, per_byte) = (number(&layers[0]["macs_per_cycle"]), number(&layers[0]["macs_per_byte"]));
    assert_near(found, macs / number(&report["totals"]["cycles"]), "whole run");
    assert!(found <= peak && found <= per_byte * number(&data["bytes_per_cycle"]));
    for layer in layers {
        let (found, per_byte) = (number(&layer["macs_per_cycle"]), number(&layer["macs_per_byte"]));
        assert!(found <= peak && found <= per_byte * number(&data["bytes_per_cycle"]), "{layer}");
    }
}

#[test]
fn spans_of_the_units_lie_within_the_run_and_reach_its_end() {
    let (report, saved) = one_run();
    let data = data("units", &saved).unwrap();
    let cycles = number(&report["totals"]["cycles"]);
    let spans = || list(&data["queues"]).iter().flat_map(|queue| list(&queue["spans"]));
    let ends: Vec<f64> = spans().map(|span| number(&span["end_cycle"])).collect();
    assert_eq!(ends.iter().copied().fold(0.0, f64::max), cycles);
    for span in spans() {
        let busy = number(&span["busy"]);
        assert!(number(&span["start_cycle"]) <= number(&span["end_cycle"]), "{span}");
        assert!((0.0..=1.0).contains(&busy), "{span}");
    }
    // Every queue that issued commands has a row.
    let working = list(&report["queues"]).iter().filter(|queue| number(&queue["commands"]) > 0.0).count();
    assert_eq!(list(&data["queues"]).len(), working);
}

#[test]
fn bandwidth_over_time_sums_to_the_bytes_of_the_run() {
    let (report, saved) = one_run();
    let data = data("bandwidth", &saved).unwrap();
    let (cycles, step) = (number(&report["totals"]["cycles"]), number(&data["cycles_per_step"]));
    for memory in list(&data["memories"]) {
        let counted = &report["totals"]["memories"][memory["name"].as_str().unwrap()];
        for (side, counter) in [("reads", "read_bytes"), ("writes", "write_bytes")] {
            let steps = list(&memory[side]).iter().enumerate();
            let bytes: f64 = steps.map(|(index, rate)| number(rate) * step.min(cycles - index as f64 * step)).sum();
            assert_near(bytes, number(&counted[counter]), counter);
        }
    }
}

#[test]
fn error_against_cost_has_the_lowest_ratio_of_each_scheme_and_its_cycles() {
    let (comparison, saved) = three_schemes();
    let data = data("error_cost", &saved).unwrap();
    assert_eq!(list(&data["points"]).len(), 3);
    for (point, row) in list(&data["points"]).iter().zip(list(&comparison["schemes"])) {
        assert_eq!((&point["name"], number(&point["x"])), (&row["scheme"], number(&row["total"]["cycles"])));
        let ratios = list(&row["layers"]).iter().filter_map(|layer| layer["numerics"]["sqnr_db"].as_f64());
        assert_near(number(&point["y"]), ratios.fold(f64::INFINITY, f64::min), "lowest ratio");
    }
}

#[test]
fn a_study_is_drawn_over_what_differs_between_its_runs() {
    let (reports, saved) = points();
    let cycles: Vec<f64> = reports.iter().map(|report| number(&report["totals"]["cycles"])).collect();
    // More bandwidth never takes longer here, so that ranks of cycles fall as those of bandwidth rise.
    let sensitivity = data("sensitivity", &saved).unwrap();
    let paths: Vec<&str> = list(&sensitivity["parameters"]).iter().map(|it| it["path"].as_str().unwrap()).collect();
    // A scheme has no rank.
    assert_eq!(paths, ["memories.dram.dram.bytes_per_cycle"]);
    assert!(number(&sensitivity["parameters"][0]["correlations"][0]) < -0.5);
    let sweep = data("sweep", &saved).unwrap();
    assert_eq!(sweep["parameter"], "memories.dram.dram.bytes_per_cycle");
    for panel in list(&sweep["panels"]) {
        assert_eq!(list(&panel["lines"]).len(), 2, "one for each scheme");
        for line in list(&panel["lines"]) {
            let bandwidths: Vec<f64> = list(&line["points"]).iter().map(|point| number(&point[0])).collect();
            assert_eq!(bandwidths, [4.0, 8.0, 16.0, 32.0]);
        }
    }
    let of_lines = |panel: usize| {
        let lines = list(&sweep["panels"][panel]["lines"]).iter();
        sorted(lines.flat_map(|line| list(&line["points"])).map(|point| number(&point[1])))
    };
    assert_eq!(of_lines(0), sorted(cycles.iter().copied()));
    let energy: Vec<f64> = reports.iter().map(|report| number(&report["totals"]["energy_pj"]["total"]) / 1e6).collect();
    for (found, expected) in of_lines(1).into_iter().zip(sorted(energy.iter().copied())) {
        assert_near(found, expected, "energy");
    }
    let heat = data("heat_map", &saved).unwrap();
    let mut cells: Vec<f64> = list(&heat["cells"]).iter().flat_map(list).map(number).collect();
    let mut all = cycles.clone();
    cells.sort_by(f64::total_cmp);
    all.sort_by(f64::total_cmp);
    assert_eq!(cells, all);
    let pareto = data("pareto", &saved).unwrap();
    let drawn: Vec<f64> = list(&pareto["points"]).iter().map(|point| number(&point["x"])).collect();
    assert_eq!(drawn, cycles);
}

/// A study of four points by hand: a side, what is computed from it, and a scheme; the last point breaks a constraint.
const STUDY: &str = "\
index,side,port,scheme,cycles,energy_pj,sqnr_db,feasible,front,error
0,8,512,mxfp4,400,4000000,12,true,false,
1,16,1024,mxfp4,200,5000000,12,true,true,
2,8,512,osc,450,4500000,30,true,true,
3,16,1024,osc,100,1000000,31,false,false,
4,32,2048,osc,,,,,,does not fit
";

#[test]
fn a_study_is_drawn_by_its_own_objectives_and_without_points_that_break_a_constraint() {
    let summary = r#"{ "objectives": ["minimize cycles", "maximize sqnr_db"] }"#;
    let saved = Saved::read(&[STUDY.to_owned()]).unwrap().with_summary(summary).unwrap();
    let pareto = data("pareto", &saved).unwrap();
    assert_eq!(pareto["axes"], serde_json::json!(["time [cycles]", "lowest SQNR of a layer [dB]"]));
    assert_eq!(pareto["series"], serde_json::json!(["scheme mxfp4", "scheme osc"]));
    // By hand: point 1 is faster than 0 at the same ratio, 2 has the better ratio, 3 would beat all but breaks a constraint.
    let fronts: Vec<bool> = list(&pareto["points"]).iter().map(|point| point["is_on_front"] == true).collect();
    assert_eq!(fronts, [false, true, true, false]);
    let sensitivity = data("sensitivity", &saved).unwrap();
    let paths: Vec<&Value> = list(&sensitivity["parameters"]).iter().map(|parameter| &parameter["path"]).collect();
    assert_eq!(paths, ["side"], "the port goes with the side, and a scheme has no rank");
    let heat = data("heat_map", &saved).unwrap();
    assert_eq!(heat["cells"], serde_json::json!([[400.0, 200.0], [450.0, null]]));
    // Without the summary, cycles and energy; of four points by ranks: side 1.5, 3.5, 1.5, 3.5 against cycles 3, 2, 4, 1.
    let usual = Saved::read(&[STUDY.to_owned()]).unwrap();
    assert_eq!(data("pareto", &usual).unwrap()["axes"][1], "energy [µJ]");
    let correlation = number(&data("sensitivity", &usual).unwrap()["parameters"][0]["correlations"][0]);
    assert_near(correlation, -4.0 / 20f64.sqrt(), "Spearman's correlation");
}

#[test]
fn the_data_of_every_picture_is_as_recorded() {
    let saved = [one_run().1, three_schemes().1, points().1];
    for plot in plots::ALL {
        let found: Vec<Value> = saved.iter().filter_map(|saved| data(plot.name(), saved)).collect();
        assert!(!found.is_empty(), "nothing here has a picture of {}", plot.name());
        insta::with_settings!({ snapshot_path => "cases/plots", prepend_module_to_snapshot => false, omit_expression => true }, {
            insta::assert_json_snapshot!(plot.name(), found);
        });
    }
}

#[test]
fn pictures_have_names_for_axes_and_no_text_outside_of_their_page() {
    let saved = [one_run().1, three_schemes().1, points().1];
    for (plot, saved) in plots::ALL.iter().flat_map(|plot| saved.iter().map(move |saved| (plot, saved))) {
        let Some(figure) = plot.figure(saved) else { continue };
        let page = page_of(&figure.svg);
        for Placed { left, right, y, text } in texts_of(&figure.svg) {
            let is_within = left >= 0.0 && right <= page.0 && y >= 0.0 && y <= page.1;
            assert!(is_within, "{}: {text:?} from {left} to {right} at {y} in {page:?}", plot.name());
        }
        assert!(figure.svg.contains('['), "{} names no unit", plot.name());
        assert_eq!(&figure.png()[1..4], b"PNG");
        // The same data gives the same bytes.
        assert_eq!(plot.figure(saved).unwrap().svg, figure.svg);
    }
}

/// Width and height of the page in pixels of the drawing.
fn page_of(svg: &str) -> (f64, f64) {
    let view = svg.split("viewBox=\"").nth(1).unwrap().split('"').next().unwrap();
    let sides: Vec<f64> = view.split_whitespace().map(|side| side.parse().unwrap()).collect();
    (sides[2], sides[3])
}

/// A text and where it is, in pixels of the drawing.
struct Placed {
    left: f64,
    right: f64,
    y: f64,
    text: String,
}

/// All texts, as wide as 0.47 of their size a letter: less than any text here is, so that what is found outside is outside.
fn texts_of(svg: &str) -> Vec<Placed> {
    let attribute = |element: &str, name: &str| -> Option<String> {
        Some(element.split(&format!(" {name}=\"")).nth(1)?.split('"').next()?.to_owned())
    };
    let number = |element: &str, name: &str| attribute(element, name).unwrap().parse::<f64>().unwrap();
    let placed = |element: &str| {
        let (tag, rest) = element.split_once('>').unwrap();
        let text = rest.split('<').next().unwrap().trim().to_owned();
        let width = text.chars().count() as f64 * number(tag, "font-size") * 0.47;
        let (x, y) = (number(tag, "x"), number(tag, "y"));
        let before = match attribute(tag, "text-anchor").as_deref() {
            Some("middle") => 0.5,
            Some("end") => 1.0,
            _ => 0.0,
        };
        match attribute(tag, "transform") {
            // Runs upwards.
            Some(_) => Placed { left: x, right: x, y, text },
            None => Placed { left: x - before * width, right: x + (1.0 - before) * width, y, text },
        }
    };
    svg.split("<text").skip(1).map(placed).collect()
}

#[test]
fn the_command_draws_saved_results_again_byte_for_byte() {
    let folder = tempfile::tempdir().unwrap();
    let (out, again) = (folder.path().join("out"), folder.path().join("again"));
    let npusim = || {
        let mut npusim = Command::new(env!("CARGO_BIN_EXE_npusim"));
        npusim.current_dir(env!("CARGO_MANIFEST_DIR"));
        npusim
    };
    let run = ["run", "--hw", "edge-int8", "--workload", "small-convnet", "--no-numerics", "--out"];
    npusim().args(run).arg(&out).assert().success();
    npusim().arg("plot").arg(&out).arg("--out").arg(&again).assert().success();
    for name in ["energy.svg", "energy.png", "roofline.svg", "units.png", "bandwidth.svg"] {
        assert_eq!(std::fs::read(out.join(name)).unwrap(), std::fs::read(again.join(name)).unwrap(), "{name}");
    }
    let nothing = npusim().arg("plot").arg(folder.path()).assert().code(2);
    let text = String::from_utf8(nothing.get_output().stderr.clone()).unwrap();
    assert!(text.contains("this folder holds no result"), "{text}");
    // A result with its pictures is an earlier result, which the next run replaces.
    npusim().args(run).arg(&out).assert().success();
}

/// What `plot` says of `text` as a report, after it neither drew nor panicked.
fn refusal(text: &str) -> String {
    Saved::read(&[text.to_owned()]).expect_err("no run gives this").to_string()
}

/// One run's report with the value at `pointer` replaced.
fn edited(pointer: &str, value: Value) -> String {
    let (mut report, _) = one_run();
    *report.pointer_mut(pointer).unwrap_or_else(|| panic!("{pointer}")) = value;
    report.to_string()
}

#[test]
fn a_span_that_ends_before_it_starts_is_refused_and_not_subtracted() {
    let text = edited("/timeline/spans/0/start_cycle", Value::from(u64::MAX));
    let refused = refusal(&text);
    assert!(refused.contains("timeline.spans[0].end_cycle") && refused.contains("at least start_cycle"), "{refused}");
    let refused = refusal(&edited("/timeline/spans/0/busy_cycles", Value::from(u64::MAX)));
    assert!(refused.contains("timeline.spans[0].busy_cycles"), "{refused}");
}

#[test]
fn counts_of_a_damaged_report_whose_sum_overflows_are_refused() {
    let huge = || Value::from(u64::MAX);
    for (pointer, path) in [
        ("/totals/dram_read_bytes", "totals.dram_read_bytes"),
        ("/layers/0/attributed_cycles", "layers.attributed_cycles"),
        ("/layers/0/dram_write_bytes", "layers[0].dram_read_bytes"),
        ("/timeline/memories/0/read_bytes/0", "timeline.memories[0]"),
    ] {
        let refused = refusal(&edited(pointer, huge()));
        assert!(refused.contains(path) && refused.contains("add up to more than"), "{pointer}: {refused}");
    }
    let macs = Value::from_iter([("int8", u64::MAX), ("fp16", 1)]);
    assert!(refusal(&edited("/totals/macs", macs)).contains("totals.macs"));
    // One report of several is read as a point, and is checked as well.
    let text = edited("/totals/dram_read_bytes", huge());
    assert!(Saved::read(&[text.clone(), text]).is_err());
}

#[test]
fn energies_and_ratios_of_a_damaged_report_that_no_run_gives_are_refused() {
    for (pointer, value) in [
        ("/energy/total_pj/high", 1e308),
        ("/energy/total_pj/low", -1.0),
        ("/energy/by_path/0/total_pj/typical", -1.0),
        ("/layers/0/numerics/sqnr_db", 1e200),
    ] {
        let refused = refusal(&edited(pointer, Value::from(value)));
        assert!(refused.contains(&pointer[1..7]) && refused.contains("valid: a finite number"), "{pointer}: {refused}");
    }
    let (mut comparison, _) = three_schemes();
    comparison["schemes"][1]["total"]["speedup"] = Value::from(-2.0);
    let refused = refusal(&comparison.to_string());
    assert!(refused.contains("schemes[1].total.speedup: -2 is not valid here"), "{refused}");
    let (mut comparison, _) = three_schemes();
    comparison["schemes"][1]["layers"][0]["span_cycles"] = Value::from(u64::MAX);
    assert!(refusal(&comparison.to_string()).contains("schemes[1].layers.span_cycles"));
}

#[test]
fn a_report_of_no_cycles_or_of_very_short_steps_is_drawn_without_a_panic() {
    for (pointer, value) in [
        ("/totals/cycles", 0),
        ("/totals/cycles", u64::MAX),
        ("/timeline/cycles_per_step", 0),
        ("/timeline/cycles_per_step", 1),
        ("/timeline/cycles_per_step", u64::MAX),
        ("/bounds/compute_cycles", u64::MAX),
        ("/bounds/moved_bandwidth_cycles", u64::MAX),
    ] {
        let saved = Saved::read(&[edited(pointer, Value::from(value))]).unwrap();
        assert!(!plots::files(&saved).is_empty(), "{pointer}");
    }
}

#[test]
fn control_characters_in_names_are_drawn_as_escapes_and_not_as_broken_xml() {
    let (mut report, _) = one_run();
    report["configuration"]["scheme"]["name"] = Value::from("a\u{0}b\u{202e}c");
    report["timeline"]["spans"][0]["unit"] = Value::from("unit\u{1b}[31m");
    report["layers"][0]["name"] = Value::from("u\u{1}p\u{ffff}");
    let components = report["energy"]["by_component_pj"].as_object_mut().unwrap();
    let (_, energy) = components.clone().into_iter().next().unwrap();
    components.insert("\u{7}".to_owned(), energy);
    let saved = Saved::read(&[report.to_string()]).unwrap();
    // A picture as pixels is read from the SVG, which fails where that is no XML.
    for picture in plots::files(&saved).iter().filter(|picture| picture.name.ends_with(".svg")) {
        let text = std::str::from_utf8(&picture.contents).unwrap();
        assert!(!text.contains(|letter: char| letter.is_control() && letter != '\n'), "{}", picture.name);
        assert!(!text.contains(['\u{202e}', '\u{ffff}']), "{}", picture.name);
    }
    let energy = figure("energy", &saved).unwrap();
    assert!(energy.svg.contains("a\\u{0}b\\u{202e}c"), "the name is there, with escapes");
}

#[test]
fn a_cell_of_a_table_that_is_no_number_is_refused_with_its_line_and_column() {
    let table = |cell: &str| format!("index,bandwidth,cycles,feasible\n0,4,10,true\n1,8,{cell},true\n");
    assert!(Saved::read(&[table("9")]).is_ok() && Saved::read(&[table("")]).is_ok());
    for cell in ["inf", "nan", "1e300", "0x10", "9 9"] {
        let refused = refusal(&table(cell));
        assert!(refused.starts_with(&format!("line 3, column `cycles`: \"{cell}\"")), "{refused}");
    }
    assert!(refusal("index,cycles\n-1,3\n").contains("column `index`"));
    assert!(refusal("index,cycles,feasible\n0,3,perhaps\n").contains("column `feasible`"));
    let saved = Saved::read(&[table("9")]).unwrap();
    let refused =
        saved.with_summary(r#"{"objectives": ["minimize cycles", "shrink cycles"]}"#).unwrap_err().to_string();
    assert!(refused.contains("objectives[1]: \"shrink cycles\""), "{refused}");
}
