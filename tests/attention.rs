//! Attention with a cache of keys and values: who sees what, and blocks that start anew with each head.

use npusim::config::document::Document;
use npusim::config::workload;
use npusim::execute::{self, Granularity};
use npusim::numerics::formats::FP32;
use npusim::numerics::tensor::{Elements, Tensor};
use npusim::reference::{real, untiled};
use npusim::scheme::blocks::{self, Blocks};
use npusim::scheme::{Scheme, cast};
use npusim::shape::MatrixShape;
use npusim::workload::bindings::Bindings;
use npusim::workload::graph::Workload;

use crate::anchors::{self, Run, run_workload};
use crate::closed_form;
use crate::fixture::{self, SplitMix};

/// A matrix of values, row by row.
#[derive(Clone, Debug, PartialEq)]
struct Matrix {
    rows: usize,
    columns: usize,
    values: Vec<f32>,
}

impl Matrix {
    fn new(rows: usize, columns: usize, value: impl Fn(usize, usize) -> f32) -> Matrix {
        let values = (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column)));
        let values = values.map(|(row, column)| value(row, column)).collect();
        Matrix { rows, columns, values }
    }

    fn at(&self, row: usize, column: usize) -> f32 {
        self.values[row * self.columns + column]
    }

    /// The part of `rows` x `columns` that starts there.
    fn part(&self, [row, column]: [usize; 2], [rows, columns]: [usize; 2]) -> Matrix {
        Matrix::new(rows, columns, |r, c| self.at(row + r, column + c))
    }

    fn tensor(&self) -> Tensor {
        let shape = MatrixShape::new(self.rows as u64, self.columns as u64);
        Tensor::try_new(shape, &FP32, Elements::F32(self.values.clone())).unwrap()
    }
}

/// A workload of these tensors and layers, written as in a file.
fn workload_of(tensors: &[(&str, &Matrix)], layers: &str) -> (Workload, Bindings) {
    let shapes: Vec<String> = tensors
        .iter()
        .map(|(name, matrix)| format!("{{ name: {name}, shape: [{}, {}] }}", matrix.rows, matrix.columns))
        .collect();
    let text = format!("name: n\nactivation_format: fp32\ntensors: [{}]\nlayers: [{layers}]\n", shapes.join(", "));
    let document = Document::from_bytes("n.yaml", text.as_bytes(), ".").unwrap();
    let (workload, _) = workload::resolve(&document).unwrap_or_else(|error| panic!("{error}"));
    (workload, Bindings::new(tensors.iter().map(|(_, matrix)| Some(matrix.tensor())).collect()))
}

/// The output of the last layer.
fn output(run: &Run) -> Vec<f32> {
    let execution = execute::run(&run.program, &run.schedule, &run.bindings, Granularity::Tiles).unwrap();
    let output = run.program.layers.last().unwrap().output;
    let reference = untiled::evaluate(&run.program, &run.schedule.accumulation, &run.bindings);
    assert_eq!(execution.tensor(output), reference[output.0].as_ref(), "{}\n{}", run.scheme, run.program);
    execution.tensor(output).unwrap().to_f32()
}

#[test]
fn a_causal_softmax_over_a_cache_is_aligned_to_the_newest_key_of_each_head() {
    const DEPTH: usize = 4;
    for (heads, queries, keys) in [(8, 1, 8), (8, 4, 16), (2, 3, 7), (3, 5, 5), (32, 1, 33)] {
        // Small whole numbers, so that the scores are exact in every format.
        let q = Matrix::new(queries, heads * DEPTH, |row, column| ((row * 7 + column * 3) % 5) as f32 - 2.0);
        let k = Matrix::new(keys, heads * DEPTH, |row, column| ((row * 5 + column * 2) % 7) as f32 - 3.0);
        let layers = format!(
            "{{ name: scores, gemm: {{ input: q, weight: k, weight_transposed: true, batches: {{ count: {heads}, input: columns, weight: columns, output: rows }} }} }}, \
             {{ name: probabilities, softmax: {{ input: scores, scale: 0.25, causal: true }} }}"
        );
        // Query i of a head is token keys - queries + i, and sees the tokens before it and itself.
        let mut expected = Vec::new();
        for head in 0..heads {
            for query in 0..queries {
                let seen = keys - queries + query + 1;
                let score = |key: usize| -> f64 {
                    let products = (0..DEPTH).map(|d| q.at(query, head * DEPTH + d) * k.at(key, head * DEPTH + d));
                    f64::from(products.sum::<f32>()) * 0.25
                };
                let sum: f64 = (0..seen).map(|key| score(key).exp()).sum();
                expected.extend((0..keys).map(|key| if key < seen { score(key).exp() / sum } else { 0.0 }));
            }
        }
        let run = run_workload(fixture::parts(), workload_of(&[("q", &q), ("k", &k)], &layers), &cast::BF16);
        let found = output(&run);
        let real = real::evaluate(&run.workload, &run.bindings).unwrap();
        for (index, expected) in expected.iter().enumerate() {
            let computed = f64::from(found[index]);
            assert!((computed - expected).abs() < 1e-6, "{heads} x {queries} over {keys}: {index} is {computed}");
            let real = real[1].output[index];
            assert!((real - expected).abs() < 1e-12, "{heads} x {queries} over {keys}: {index} is really {real}");
        }
    }
}

#[test]
fn rotary_positions_of_a_decode_step_are_those_of_the_whole_sequence() {
    // The last two tokens of six, turned with an offset of four, are the last two rows of all six turned.
    let x = Matrix::new(6, 8, |row, column| (row * 8 + column) as f32 / 16.0 - 1.5);
    let newest = x.part([4, 0], [2, 8]);
    let turned = |x: &Matrix, offset: &str| {
        let layers = format!("{{ name: turned, rotary: {{ input: x, width: 4, base: 10000{offset} }} }}");
        output(&run_workload(fixture::parts(), workload_of(&[("x", x)], &layers), &cast::BF16))
    };
    let whole = turned(&x, "");
    assert_eq!(turned(&newest, ", offset: 4"), whole[4 * 8..]);
    // Pairs two columns apart, the first turned by the position, the second by a hundredth of it (10000^(-1/2)).
    for (row, position) in (0..6).zip(0..6u8) {
        for (place, angle) in [f64::from(position), f64::from(position) / 100.0].into_iter().enumerate() {
            let (a, b) = (f64::from(x.at(row, place)), f64::from(x.at(row, place + 2)));
            let expected = [a * angle.cos() - b * angle.sin(), b * angle.cos() + a * angle.sin()];
            for (column, expected) in [place, place + 2].into_iter().zip(expected) {
                let found = f64::from(whole[row * 8 + column]);
                assert!((found - expected).abs() < 1e-6, "row {row}, column {column}: {found} is not {expected}");
            }
        }
    }
}

/// The matrices of `heads` one below the other, or side by side.
fn stacked(heads: &[Matrix], axis: &str) -> Matrix {
    let [rows, columns] = [heads[0].rows, heads[0].columns];
    match axis {
        "rows" => Matrix::new(rows * heads.len(), columns, |r, c| heads[r / rows].at(r % rows, c)),
        _ => Matrix::new(rows, columns * heads.len(), |r, c| heads[c / columns].at(r, c % columns)),
    }
}

/// Seeded values between -1 and 1, one of which is 1: the largest magnitude, and so a scale over all, is the same of each
/// matrix.
fn seeded(rows: usize, columns: usize, seed: u64) -> Matrix {
    let mut random = SplitMix(seed);
    let mut values: Vec<f32> = (0..rows * columns).map(|_| (random.next() % 2001) as f32 / 1000.0 - 1.0).collect();
    values[0] = 1.0;
    Matrix { rows, columns, values }
}

#[test]
fn heads_whose_depth_is_no_multiple_of_the_block_have_the_blocks_of_single_heads() {
    const HEADS: usize = 3;
    let schemes: [&Blocks; 9] = [
        &blocks::MXFP8_E4M3,
        &blocks::MXFP6_E2M3,
        &blocks::MXFP4,
        &blocks::MXINT8,
        &blocks::NVFP4,
        &blocks::NVFP4_ONE_LEVEL,
        &blocks::INT4_G32,
        &blocks::INT8_G128,
        &blocks::W4A8_MX,
    ];
    let mut runs = 0;
    for (index, scheme) in schemes.into_iter().enumerate() {
        for (m, k, n) in [(1, 33, 8), (2, 8, 5), (3, 80, 4), (1, 64, 3)] {
            let of_heads = |rows, columns, seed: u64| -> Vec<Matrix> {
                (0..HEADS).map(|head| seeded(rows, columns, seed + head as u64)).collect()
            };
            let lefts = of_heads(m, k, 10 * index as u64);
            for is_transposed in [false, true] {
                let rights = if is_transposed { of_heads(n, k, 500) } else { of_heads(k, n, 500) };
                let layout = if is_transposed { ", weight_transposed: true" } else { "" };
                let alone: Vec<f32> = lefts
                    .iter()
                    .zip(&rights)
                    .flat_map(|(left, right)| {
                        let layers = format!("{{ name: y, gemm: {{ input: x, weight: w{layout} }} }}");
                        let workload = workload_of(&[("x", left), ("w", right)], &layers);
                        output(&run_workload(fixture::parts(), workload, scheme))
                    })
                    .collect();
                for left in ["rows", "columns"] {
                    for right in ["rows", "columns"] {
                        let layers = format!(
                            "{{ name: y, gemm: {{ input: x, weight: w{layout}, batches: {{ count: {HEADS}, input: {left}, weight: {right}, output: rows }} }} }}"
                        );
                        let (x, w) = (stacked(&lefts, left), stacked(&rights, right));
                        let run = run_workload(fixture::parts(), workload_of(&[("x", &x), ("w", &w)], &layers), scheme);
                        let what = format!("{} {m}x{k}x{n}, {left} by {right}{layout}", scheme.name());
                        assert_eq!(output(&run), alone, "{what}");
                        closed_form::bytes_match(&run).unwrap();
                        anchors::products_agree(&run).unwrap();
                        runs += 1;
                    }
                }
            }
        }
    }
    assert_eq!(runs, 9 * 4 * 2 * 4);
}

#[test]
fn a_layer_that_is_read_whole_and_by_heads_is_quantized_in_both_ways() {
    // Two heads of 20: blocks of 32 lie across both where the row is one k, and start anew with each head where it is two.
    let (x, v, w) = (seeded(2, 40, 1), seeded(6, 40, 2), seeded(40, 4, 3));
    let layers = "{ name: scores, gemm: { input: x, weight: v, weight_transposed: true, batches: { count: 2, input: columns, weight: columns, output: rows } } }, \
                  { name: y, gemm: { input: x, weight: w } }";
    let run = run_workload(fixture::parts(), workload_of(&[("x", &x), ("v", &v), ("w", &w)], layers), &blocks::MXINT8);
    let alone = run_workload(
        fixture::parts(),
        workload_of(&[("x", &x), ("w", &w)], "{ name: y, gemm: { input: x, weight: w } }"),
        &blocks::MXINT8,
    );
    assert_eq!(output(&run), output(&alone));
    let scales = |name: &str| -> Vec<MatrixShape> {
        let named = run.program.tensors.iter().filter(|tensor| tensor.name.ends_with(name));
        named.map(|tensor| tensor.shape).collect()
    };
    // ceil(20 / 32) for each head, and ceil(40 / 32).
    assert_eq!(scales(".x_block_scales"), [MatrixShape::new(2, 2), MatrixShape::new(2, 2)]);
    assert!(run.program.to_string().contains("along columns in runs of 20"), "{}", run.program);
    // Heads of 80 instead: ceil(80 / 32) = 3 scales each, where 160 in one would have 5.
    let (x, v) = (seeded(2, 160, 1), seeded(6, 160, 2));
    let layers = layers.split(", { name: y").next().unwrap();
    let run = run_workload(fixture::parts(), workload_of(&[("x", &x), ("v", &v)], layers), &blocks::MXINT8);
    let tensor = run.program.tensors.iter().find(|tensor| tensor.name.ends_with(".x_block_scales")).unwrap();
    assert_eq!(tensor.shape, MatrixShape::new(2, 6));
    closed_form::bytes_match(&run).unwrap();
}
