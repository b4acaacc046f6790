//! The paragraphs of `reports/examples/README.md` about studies: each number in them follows from the table beside it.

use std::collections::BTreeMap;
use std::path::Path;

use npusim::config::document::Document;
use npusim::config::study;

/// A row of a study's table, by the names of its columns.
type Row = BTreeMap<String, String>;

fn folder(study: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("reports/examples").join(study)
}

fn rows(study: &str) -> Vec<Row> {
    let mut reader = csv::Reader::from_path(folder(study).join("results.csv")).unwrap();
    reader.deserialize().map(Result::unwrap).collect()
}

fn number(row: &Row, column: &str) -> f64 {
    row[column].parse().unwrap_or_else(|_| panic!("{column} is {:?}", row[column]))
}

/// The only row whose columns have these values.
fn row<'r>(rows: &'r [Row], wanted: &[(&str, &str)]) -> &'r Row {
    let mut fitting = rows.iter().filter(|row| wanted.iter().all(|(column, value)| row[*column] == *value));
    let found = fitting.next().unwrap_or_else(|| panic!("no row has {wanted:?}"));
    assert!(fitting.next().is_none(), "several rows have {wanted:?}");
    found
}

/// The paragraph under the heading that ends with `(study/)`, its lines joined.
fn paragraph(study: &str) -> String {
    let text = std::fs::read_to_string(folder("README.md")).unwrap();
    let rest = text.split(&format!("(`{study}/`)\n")).nth(1).unwrap_or_else(|| panic!("no heading names {study}"));
    rest.split("\n## ").next().unwrap().split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Every phrase stands in the paragraph of `study`.
fn assert_says(study: &str, phrases: &[String]) {
    let paragraph = paragraph(study);
    let missing: Vec<&String> = phrases.iter().filter(|phrase| !paragraph.contains(*phrase)).collect();
    assert!(missing.is_empty(), "the paragraph about {study} does not say {missing:#?}");
}

fn ends(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)))
}

#[test]
fn the_paragraph_about_arrays_for_osc_says_what_its_table_has() {
    let rows = rows("osc-array");
    let of = |side: &str, sram: &str, bandwidth: &str, scheme: &str, column: &str| {
        let wanted = [("side", side), ("sram_kib", sram), ("bandwidth", bandwidth), ("scheme", scheme)];
        number(row(&rows, &wanted), column)
    };
    let osc = |side: &str, sram: &str, bandwidth: &str| of(side, sram, bandwidth, "osc_mxfp4", "cycles");
    let ratios = |scheme: &str, column: &str| {
        let machines = rows.iter().filter(|row| row["scheme"] == "osc_mxfp4").map(|own| {
            let wanted = ["side", "sram_kib", "bandwidth"].map(|column| (column, own[column].as_str()));
            let wanted: Vec<_> = wanted.into_iter().chain([("scheme", scheme)]).collect();
            number(row(&rows, &wanted), column) / number(own, column)
        });
        ends(machines)
    };
    let fp8 = "w8a8_fp8_per_token_per_channel";
    let (least, most) = ratios(fp8, "cycles");
    let (least_energy, most_energy) = ratios(fp8, "energy_pj");
    let (fewest, nearest) = ratios("mxfp4", "cycles");
    assert_says(
        "osc-array",
        &[
            format!("{} points", rows.len()),
            format!(
                "from a side of 8 to one of 16 makes OSC {:.2} times as fast",
                osc("8", "1024", "51.2") / osc("16", "1024", "51.2")
            ),
            format!(
                "a side of 32 is {:.2} times as fast as one of 16",
                osc("16", "1024", "51.2") / osc("32", "1024", "51.2")
            ),
            format!("at 204.8 it is {:.2} times", osc("16", "1024", "204.8") / osc("32", "1024", "204.8")),
            format!("{:.2} of the array's rate is used", of("32", "1024", "204.8", "osc_mxfp4", "utilization")),
            format!("512 KiB to 1 MiB gives {:.2}", osc("32", "512", "204.8") / osc("32", "1024", "204.8")),
            format!("1 to 4 MiB {:.2} more", osc("32", "1024", "204.8") / osc("32", "4096", "204.8")),
            format!("{least:.2} to {most:.2} times as fast as FP8"),
            format!("{least_energy:.2} to {most_energy:.2} times less energy"),
            format!(
                "{:.0} to {:.0} % more cycles than MXFP4",
                (1.0 / nearest - 1.0) * 100.0,
                (1.0 / fewest - 1.0) * 100.0
            ),
        ],
    );
}

#[test]
fn the_paragraph_about_a_second_unit_says_what_its_table_has() {
    let rows = rows("osc-second-unit");
    let of = |unit: &str, depth: &str, bandwidth: &str, column: &str| {
        let wanted = [("unit_of_branch", unit), ("branch_depth", depth), ("bandwidth", bandwidth)];
        number(row(&rows, &wanted), column)
    };
    let change = |depth: &str, bandwidth: &str, column: &str| {
        (of("branch", depth, bandwidth, column) / of("main", depth, bandwidth, column) - 1.0) * 100.0
    };
    let all = || {
        ["4", "8", "16"].into_iter().flat_map(|depth| ["51.2", "204.8", "819.2"].map(|bandwidth| (depth, bandwidth)))
    };
    let (_, most_energy) = ends(all().map(|(depth, bandwidth)| change(depth, bandwidth, "energy_pj")));
    let (least_energy, _) = ends(all().map(|(depth, bandwidth)| change(depth, bandwidth, "energy_pj")));
    let (best, _) = ends(all().map(|(depth, bandwidth)| change(depth, bandwidth, "cycles")));
    assert_eq!(best, change("16", "204.8", "cycles"));
    assert_says(
        "osc-second-unit",
        &[
            format!("{} points", rows.len()),
            format!("at most {:.1} % of the cycles", -best),
            format!("costs {:.1} to {:.1} %", change("16", "51.2", "cycles"), change("4", "51.2", "cycles")),
            format!("a unit 4 deep saves {:.1} %", -change("4", "204.8", "cycles")),
            format!("8 deep {:.1} %", -change("8", "204.8", "cycles")),
            format!("16 deep {:.1} %", -change("16", "204.8", "cycles")),
            format!("from {least_energy:.1} to {most_energy:.1} %").replace('-', "−"),
        ],
    );
}

#[test]
fn the_paragraph_about_auxiliary_modes_says_what_its_table_has() {
    let rows = rows("muxq-outliers");
    let of = |scheme: &str, channels: &str, column: &str| {
        number(row(&rows, &[("scheme", scheme), ("channels", channels)]), column)
    };
    let more = |scheme: &str, channels: &str, column: &str| {
        (of(scheme, channels, column) / of("w8a8_per_tensor", channels, column) - 1.0) * 100.0
    };
    let times = |column: &str| of("muxq_separate_gemm", "4", column) / of("w8a8_per_tensor", "4", column);
    assert_says(
        "muxq-outliers",
        &[
            format!("{} points", rows.len()),
            format!(
                "{:.1} % more cycles than plain INT8 with 4 outlier channels",
                more("muxq_per_tensor", "4", "cycles")
            ),
            format!("{:.1} % with 64", more("muxq_per_tensor", "64", "cycles")),
            format!("{:.1} % with 4", more("muxq_tender_shift", "4", "cycles")),
            format!("and {:.1} % with 64", more("muxq_tender_shift", "64", "cycles")),
            format!(
                "{:.2} times the cycles and {:.2} times the off-chip bytes with 4 channels already",
                times("cycles"),
                times("dram_bytes")
            ),
            format!(
                "from {:.1} to {:.1} % more energy",
                more("muxq_tender_shift", "32", "energy_pj"),
                more("muxq_per_tensor", "32", "energy_pj")
            ),
        ],
    );
    // With no outliers both modes are the plain scheme.
    for scheme in ["muxq_per_tensor", "muxq_tender_shift"] {
        assert_eq!(of(scheme, "0", "cycles"), of("w8a8_per_tensor", "0", "cycles"));
    }
}

#[test]
fn the_paragraph_about_wandering_outliers_says_what_its_table_has() {
    let rows = rows("wandering-outliers");
    let of = |scheme: &str, persistence: &str, column: &str| {
        number(row(&rows, &[("scheme", scheme), ("persistence", persistence)]), column)
    };
    let sqnr = |scheme: &str, persistence: &str| of(scheme, persistence, "sqnr_db");
    let cycles = |scheme: &str| of(scheme, "0.5", "cycles");
    let every = |scheme: &str, column: &str| {
        ends(rows.iter().filter(|row| row["scheme"] == scheme).map(|row| number(row, column)))
    };
    for scheme in ["osc_mxfp4", "osc_dynamic", "mxfp4", "mxfp8_e4m3"] {
        let (least, most) = every(scheme, "cycles");
        assert_eq!(least, most, "cycles of {scheme} do not hang on values");
    }
    let (dynamic_least, dynamic_most) = every("osc_dynamic", "sqnr_db");
    assert!(
        sqnr("osc_mxfp4", "1") > sqnr("mxfp8_e4m3", "1") && sqnr("osc_mxfp4", "0.875") < sqnr("mxfp8_e4m3", "0.875")
    );
    assert!(
        sqnr("osc_mxfp4", "0.5") - sqnr("mxfp4", "0.5") < 3.0
            && sqnr("osc_mxfp4", "0.625") - sqnr("mxfp4", "0.625") > 3.0
    );
    assert_says(
        "wandering-outliers",
        &[
            format!("{} points", rows.len()),
            format!("{:.1} dB where outliers never leave their channel", sqnr("osc_mxfp4", "1")),
            format!("{:.1} dB at a persistence of 0.875", sqnr("osc_mxfp4", "0.875")),
            format!("{:.1} dB at 0,", sqnr("osc_mxfp4", "0")),
            format!("MXFP8's {:.1} dB", sqnr("mxfp8_e4m3", "0.875")),
            format!("MXFP4's {:.1} dB", sqnr("mxfp4", "0.5")),
            format!("{:.2} times as fast as MXFP8", cycles("mxfp8_e4m3") / cycles("osc_mxfp4")),
            format!("{:.1} % more cycles than MXFP4", (cycles("osc_mxfp4") / cycles("mxfp4") - 1.0) * 100.0),
            format!("{dynamic_least:.1} to {dynamic_most:.1} dB"),
            format!("{:.2} times the cycles of MXFP8", cycles("osc_dynamic") / cycles("mxfp8_e4m3")),
        ],
    );
}

#[test]
fn every_shipped_study_has_its_results_with_pictures_and_all_its_points() {
    let studies = Path::new(env!("CARGO_MANIFEST_DIR")).join("workloads/studies");
    for name in ["osc-array", "osc-second-unit", "muxq-outliers", "wandering-outliers"] {
        let document = Document::open(studies.join(format!("explore-{name}.yaml"))).unwrap();
        assert_eq!(study::resolve(&document).unwrap().name, name);
        let summary: serde_json::Value =
            serde_json::from_str(&std::fs::read_to_string(folder(name).join("study.json")).unwrap()).unwrap();
        assert_eq!(summary["text"], document.source().text(), "{name} was run from another study file");
        assert_eq!(summary["points"], rows(name).len());
        assert!(rows(name).iter().all(|row| row["error"].is_empty()));
        for picture in ["pareto.png", "sweep.png", "heat_map.png", "sensitivity.png"] {
            let size = std::fs::metadata(folder(name).join(picture)).unwrap().len();
            assert!((1..150_000).contains(&size), "{name}/{picture} has {size} bytes");
        }
    }
}
