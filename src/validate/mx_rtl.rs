//! Dot products of real micro-scaling hardware: output bits of simulated RTL, and of one published model.
//!
//! The packs hold inputs and outputs of MXDOTP (pulp-platform `cvfpu`), of Precision-Scalable MX (KU Leuven), of
//! MX-for-FPGA (Imperial College) and of MMA-Sim (Microsoft, a software model of NVIDIA matrix units). Which rule a case
//! follows is read from its `rule`; see the README beside the rows.
//!
//! Two ways in which MXDOTP and the KU Leuven unit depart from their own rule are restated here, because they are of those
//! designs and not of the order of accumulation: `passes_through` and `KUL_ZERO`.

use std::num::NonZeroU32;
use std::path::Path;

use crate::numerics::accumulate::{AccumulationOrder, Destination, ExactSum, FloatAccumulator, Term, Truncation};
use crate::numerics::formats::{self, E8M0, ElementFormat};
use crate::validate::folder::{Case, Folder};
use crate::validate::{Comparison, ValidateError, ValidationRow, ValidationSet};

/// The set `mx-rtl`.
pub struct MxRtl;

const SET: &str = "mx-rtl";

/// The KU Leuven datapath gives 2^-125 for an exact zero in the rows that its pack marks as not clean.
const KUL_ZERO: u32 = 0x0100_0000;

impl ValidationSet for MxRtl {
    fn name(&self) -> &'static str {
        SET
    }

    fn origin(&self) -> &'static str {
        "output bits of four micro-scaling dot-product units, simulated from their published sources"
    }

    fn packs(&self) -> Vec<&'static str> {
        vec!["mxdotp", "kul", "imperial", "nv_model"]
    }

    fn run(&self, rows: &Path) -> Result<Vec<ValidationRow>, ValidateError> {
        let folder = Folder::open(rows)?;
        let mut judged: Vec<(String, Comparison)> = Vec::new();
        let mut defective: Vec<(String, u64)> = Vec::new();
        for case in folder.cases() {
            let (pack, rule) = (case.pack()?, case.text("rule")?);
            let unit = match pack {
                "mxdotp" if rule.starts_with("fused") => Unit::Mxdotp,
                "kul" if rule == "fused" => Unit::Kul,
                "kul" if rule.ends_with("truncating") => {
                    let rows = case.matrix("a")?.0 as u64;
                    add(&mut defective, format!("kul: {rule}"), || 0, |count| *count += rows);
                    continue;
                }
                "imperial" if rule == "exact integer" => Unit::Imperial,
                "nv_model" => Unit::Truncating(truncation(&case, rule)?),
                _ => {
                    return Err(case.error(format!(
                        "pack `{pack}` with rule `{rule}` is not known; known are mxdotp and kul with `fused`, kul with \
                         truncating rules (not judged), imperial with `exact integer`, nv_model with truncating rules"
                    )));
                }
            };
            let mut comparison = Comparison::default();
            Rows::read(&case, unit)?.compare(&mut comparison)?;
            let group = if pack == "kul" { "kul: fused" } else { pack };
            add(&mut judged, group.to_owned(), Comparison::default, |total| total.merge(comparison));
        }
        let judged = judged.iter().map(|(group, comparison)| ValidationRow::of_equality(SET, group, comparison));
        let note = "published defects of these designs: accumulator or exponent lost; not to be copied";
        let defective = defective.iter().map(|(group, rows)| ValidationRow::not_judged(SET, group, *rows, note));
        Ok(judged.chain(defective).collect())
    }
}

/// Changes the entry of `group`, in the order of first appearance.
fn add<T>(groups: &mut Vec<(String, T)>, group: String, empty: impl FnOnce() -> T, change: impl FnOnce(&mut T)) {
    let index = groups.iter().position(|(name, _)| *name == group).unwrap_or_else(|| {
        groups.push((group, empty()));
        groups.len() - 1
    });
    change(&mut groups[index].1);
}

/// What computes a case.
#[derive(Clone, Copy)]
enum Unit {
    Mxdotp,
    Kul,
    Imperial,
    Truncating(Truncation),
}

/// `truncated fused, F=25, RZ to 23 mantissa bits` or `groups of 16 exact, F=35, RZ`.
fn truncation(case: &Case<'_>, rule: &str) -> Result<Truncation, ValidateError> {
    let number_after = |words: &str| -> Option<u32> {
        let rest = &rule[rule.find(words)? + words.len()..];
        let digits = rest.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(rest.len());
        rest[..digits].parse().ok()
    };
    let unknown = || case.error(format!("rule `{rule}` does not say `F=` and `RZ`"));
    let products = u32::try_from(case.count("elements_per_op")?).ok().and_then(NonZeroU32::new);
    let (Some(bits), Some(products), true) = (number_after("F="), products, rule.contains("RZ")) else {
        return Err(unknown());
    };
    let mut truncation = Truncation::try_new(products, bits).map_err(|problem| case.error(problem.to_string()))?;
    if let Some(mantissa_bits) = number_after("RZ to ") {
        truncation =
            truncation.with_result_bits(mantissa_bits + 1).map_err(|problem| case.error(problem.to_string()))?;
    }
    if let Some(group) = number_after("groups of ").and_then(NonZeroU32::new) {
        truncation = truncation.with_group(group).map_err(|problem| case.error(problem.to_string()))?;
    }
    Ok(truncation)
}

/// The rows of one case.
struct Rows<'a> {
    case: Case<'a>,
    unit: Unit,
    format: &'static ElementFormat,
    /// Elements of a row.
    depth: usize,
    /// Elements that share a pair of scales.
    block: usize,
    products_per_operation: NonZeroU32,
    destination: Destination,
    a: Vec<u8>,
    b: Vec<u8>,
    /// Pairs, a and b.
    scales: Vec<u8>,
}

impl<'a> Rows<'a> {
    fn read(case: &Case<'a>, unit: Unit) -> Result<Self, ValidateError> {
        let element = case.text("element")?;
        let format = formats::ALL.iter().copied().find(|format| {
            format.name() == element || format.name().strip_suffix(element).is_some_and(|rest| rest.ends_with('_'))
        });
        let format = format.ok_or_else(|| case.error(format!("`{element}` is no known element format")))?;
        let (rows, depth) = case.matrix("a")?;
        if case.matrix("b")? != (rows, depth) || depth == 0 {
            return Err(case.error("arrays `a` and `b` must have the same shape and must not be empty"));
        }
        let scales = if case.has("scale") { case.narrow("scale")? } else { Vec::new() };
        let pairs = scales.len() / 2 / rows.max(1);
        if scales.len() != rows * pairs * 2 || (pairs > 0 && depth % pairs != 0) {
            return Err(case.error("array `scale` must hold a pair for each block of each row"));
        }
        let products = u32::try_from(case.count("elements_per_op")?).ok().and_then(NonZeroU32::new);
        let products_per_operation = products.ok_or_else(|| case.error("`elements_per_op` is out of range"))?;
        let destination = match case.optional_text("dst") {
            None | Some("f32") => Destination::Fp32,
            Some("bf16") => Destination::Bf16,
            Some(other) => return Err(case.error(format!("`dst` is `{other}`; known are f32 and bf16"))),
        };
        let block = depth.checked_div(pairs).unwrap_or(depth);
        let (a, b) = (case.narrow("a")?, case.narrow("b")?);
        Ok(Self { case: *case, unit, format, depth, block, products_per_operation, destination, a, b, scales })
    }

    fn compare(&self, comparison: &mut Comparison) -> Result<(), ValidateError> {
        match self.unit {
            Unit::Imperial => self.compare_integers(comparison),
            _ => self.compare_floats(comparison),
        }
    }

    fn rows(&self) -> usize {
        self.a.len() / self.depth
    }

    /// The exact products of a row, with their scales.
    fn products(&self, row: usize) -> Vec<Term> {
        // KU Leuven applies the 2^-6 of an MXINT8 element; the others take plain integers.
        let unit_exponent = match self.unit {
            Unit::Kul if self.format.is_integer() => -6,
            _ => 0,
        };
        let range = row * self.depth..(row + 1) * self.depth;
        let elements = self.a[range.clone()].iter().zip(&self.b[range]);
        let element = |code: u8| Term::element(self.format, u32::from(code), unit_exponent);
        elements
            .enumerate()
            .map(|(position, (&a, &b))| match self.scale_codes(row, position) {
                None => element(a).times(element(b)),
                Some((scale_a, scale_b)) => {
                    let scale = Term::scale(&E8M0, u32::from(scale_a)).times(Term::scale(&E8M0, u32::from(scale_b)));
                    element(a).times(element(b)).times(scale)
                }
            })
            .collect()
    }

    fn scale_codes(&self, row: usize, position: usize) -> Option<(u8, u8)> {
        let pair = 2 * (row * (self.depth / self.block) + position / self.block);
        let scales = self.scales.get(pair..pair + 2)?;
        // The KU Leuven unit has the wrong bias for E2M3: its results are 2^-4 too small.
        let defect = if matches!(self.unit, Unit::Kul) && self.format.name() == "fp6_e2m3" { 4 } else { 0 };
        Some((scales[0], scales[1].wrapping_sub(defect)))
    }

    fn compare_floats(&self, comparison: &mut Comparison) -> Result<(), ValidateError> {
        let case = &self.case;
        let operations = self.depth.div_ceil(self.products_per_operation.get() as usize);
        let outputs: Vec<u32> = case.narrow("out")?;
        case.expect_length("out", outputs.len(), self.rows() * operations)?;
        let starts: Vec<u32> = if case.has("acc") { case.narrow("acc")? } else { vec![0; self.rows()] };
        case.expect_length("acc", starts.len(), self.rows())?;
        let order = match self.unit {
            Unit::Truncating(truncation) => AccumulationOrder::Truncated(truncation),
            _ => AccumulationOrder::Fused(self.products_per_operation),
        };
        // A bfloat16 stands in the low half of a word.
        let half = if self.destination == Destination::Bf16 { 16 } else { 0 };
        let clean = if case.has("clean") { case.integers("clean")?.to_vec() } else { vec![1; self.rows()] };
        case.expect_length("clean", clean.len(), self.rows())?;
        for (row, &start) in starts.iter().enumerate() {
            let products = self.products(row);
            let mut accumulator = f32::from_bits(start << half);
            for (step, operation) in products.chunks(self.products_per_operation.get() as usize).enumerate() {
                let exact_zero = is_exact_zero(accumulator, operation);
                accumulator = self.operation(order, accumulator, operation, row, step);
                if clean[row] == 0 && exact_zero {
                    accumulator = f32::from_bits(KUL_ZERO);
                }
                let index = row * operations + step;
                let (found, expected) = (accumulator.to_bits() >> half, outputs[index]);
                // The sign of a zero is not part of the published model.
                let zeros = matches!(self.unit, Unit::Truncating(_)) && (found | expected) << 1 == 0;
                comparison.record(found == expected || zeros, || {
                    format!("{} row {row} operation {step} is {found:08x}, not {expected:08x}", case.id)
                });
                // A wrong step must not spoil the rest of its chain.
                accumulator = f32::from_bits(expected << half);
            }
        }
        Ok(())
    }

    fn operation(&self, order: AccumulationOrder, start: f32, products: &[Term], row: usize, step: usize) -> f32 {
        let mut accumulator = FloatAccumulator::new(order, self.destination, start);
        accumulator.accumulate(products, self.block);
        let sum = accumulator.value();
        match self.unit {
            Unit::Mxdotp => {
                let position = step * self.products_per_operation.get() as usize;
                let scales = self.scale_codes(row, position).unwrap_or((127, 127));
                let datapath_bytes = self.products_per_operation.get() * self.format.storage_bits() / 8;
                if passes_through(start, products, scales, datapath_bytes) { start } else { sum }
            }
            _ => sum,
        }
    }

    /// The in-block dot product as an integer of 96 bits in units of `2^lsb_log2`.
    fn compare_integers(&self, comparison: &mut Comparison) -> Result<(), ValidateError> {
        let case = &self.case;
        let unit = i32::try_from(case.integer("lsb_log2")?).map_err(|_| case.error("`lsb_log2` is out of range"))?;
        let (words, flags) = (case.narrow::<u32>("sum")?, case.integers("nan")?);
        case.expect_length("sum", words.len(), 3 * self.rows())?;
        case.expect_length("nan", flags.len(), self.rows())?;
        for (row, (words, &flag)) in words.chunks_exact(3).zip(flags).enumerate() {
            let products = self.products(row);
            let special = products.iter().any(|product| !product.is_finite());
            if special || flag != 0 {
                comparison.record(special == (flag != 0), || format!("{} row {row}: NaN flag is {flag}", case.id));
                continue;
            }
            let mut sum = 0i128;
            for product in products {
                if let Term::Finite { significand, exponent, .. } = product
                    && significand != 0
                {
                    let shift = u32::try_from(exponent - unit).ok().filter(|&shift| shift < 64);
                    let shift = shift.ok_or_else(|| case.error(format!("`lsb_log2` of {unit} does not fit")))?;
                    sum += i128::from(significand) << shift;
                }
            }
            let expected = u128::from(words[2]) << 64 | u128::from(words[1]) << 32 | u128::from(words[0]);
            let found = sum as u128 & ((1 << 96) - 1);
            comparison
                .record(found == expected, || format!("{} row {row} is {found:024x}, not {expected:024x}", case.id));
        }
        Ok(())
    }
}

/// Whether the accumulator and the products sum to exactly zero.
fn is_exact_zero(start: f32, products: &[Term]) -> bool {
    let mut sum = ExactSum::ZERO;
    sum.add_f32(start);
    products.iter().for_each(|&product| sum.add_term(product));
    sum.is_zero()
}

/// MXDOTP hands the accumulator through unchanged when it lies too far above the products, or when they sum to zero and
/// it lies far below their grid: then -0 stays -0 and nothing is rounded.
fn passes_through(start: f32, products: &[Term], scales: (u8, u8), datapath_bytes: u32) -> bool {
    let bits = start.to_bits();
    let (field, mantissa) = ((bits >> 23 & 0xFF) as i32, bits & 0x7F_FFFF);
    let exponent = field + i32::from(field == 0 && mantissa != 0);
    let scale = i32::from(scales.0) + i32::from(scales.1) - 254;
    let shift = 11 - scale + exponent - 127;
    shift > 67 + datapath_bytes.max(1).ilog2() as i32 || (shift < -24 && is_exact_zero(0.0, products))
}
