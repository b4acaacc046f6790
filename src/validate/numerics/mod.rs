//! Formats, blocks, products and requantization as other libraries compute them, element by element.
//!
//! A folder of cases in safetensors packs; each case states the library, its call and the rule. Everything is equal
//! but what the README beside the rows lists as quirks of a library; those elements are counted as excluded, by the
//! condition that the README gives, never by the name of a case. Products of unspecified order are compared with a
//! tolerance.

mod blocks;
mod element_tables;
mod integer_products;
mod quantization;
mod requantization;
mod scaled_products;
mod schemes;

use std::path::Path;

use crate::numerics::float_bits::exponent_of_f32;
use crate::validate::folder::{Case, Folder};
use crate::validate::{Comparison, ErrorStatistic, ValidateError, ValidationRow, ValidationSet};

/// The set `numerics`.
pub struct Numerics;

const SET: &str = "numerics";

/// Largest difference, relative to the largest output, that a product of unspecified order may have. assumed: the libraries
/// sum up to 384 products of f32 in some order, each addition within 2^-24; 1e-6 is 17 such errors, and the README beside
/// the rows measured 1.4e-7.
const UNSPECIFIED_ORDER: f64 = 1e-6;

/// What the cases of one pack gave.
#[derive(Default)]
struct Findings {
    equality: Comparison,
    /// Relative to the largest output of the case.
    errors: Vec<f64>,
}

/// Runs one case.
type Run = fn(&Case<'_>, &mut Findings) -> Result<(), ValidateError>;

/// The packs, and what runs their cases.
static PACKS: &[(&str, Run)] = &[
    ("element_tables", element_tables::run),
    ("block_microxcaling", blocks::run_microxcaling),
    ("block_torchao", blocks::run_torchao),
    ("block_quark", blocks::run_quark),
    ("block_gfloat", blocks::run_gfloat),
    ("block_nvfp4", blocks::run_nvfp4),
    ("gemm_int", integer_products::run_integer),
    ("gemm_quant", integer_products::run_quantized),
    ("gemm_mx", scaled_products::run),
    ("quantize", quantization::run),
    ("requant", requantization::run),
    ("llm_int8", schemes::run_llm_int8),
    ("smoothquant", schemes::run_smoothquant),
    ("muxq_own", schemes::run_muxq),
    ("osc_own", schemes::run_osc),
];

impl ValidationSet for Numerics {
    fn name(&self) -> &'static str {
        SET
    }

    fn origin(&self) -> &'static str {
        "element tables, blocks, products, requantization and outlier schemes of eleven libraries"
    }

    fn packs(&self) -> Vec<&'static str> {
        PACKS.iter().map(|(name, _)| *name).collect()
    }

    fn run(&self, rows: &Path) -> Result<Vec<ValidationRow>, ValidateError> {
        let folder = Folder::open(rows)?;
        let mut findings: Vec<(usize, Findings)> = PACKS.iter().map(|_| (0, Findings::default())).collect();
        for case in folder.cases() {
            let pack = case.pack()?;
            let index = PACKS.iter().position(|(name, _)| *name == pack).ok_or_else(|| {
                let known = PACKS.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
                case.error(format!("pack `{pack}` is not known; known are {known}"))
            })?;
            let (cases, found) = &mut findings[index];
            *cases += 1;
            case.expect_listed_arrays()?;
            let before = found.equality.compared() + found.equality.excluded();
            (PACKS[index].1)(&case, found)?;
            if found.equality.compared() + found.equality.excluded() == before {
                return Err(case.error("has no array to compare with"));
            }
        }
        let mut report = Vec::new();
        for ((pack, _), (_, found)) in PACKS.iter().zip(findings).filter(|(_, (cases, _))| *cases > 0) {
            report.push(ValidationRow::of_equality(SET, pack, &found.equality));
            if !found.errors.is_empty() {
                let group = format!("{pack}: order not specified");
                let statistic = ErrorStatistic::Worst;
                report.push(ValidationRow::of_errors(SET, &group, found.errors, statistic, UNSPECIFIED_ORDER));
            }
        }
        Ok(report)
    }
}

/// Records how far `found` is from `expected`, relative to the largest expected magnitude.
fn record_errors(findings: &mut Findings, found: &[f32], expected: &[f64]) {
    let largest = expected.iter().fold(0.0f64, |largest, value| largest.max(value.abs()));
    let scale = if largest == 0.0 { 1.0 } else { largest };
    let errors = found.iter().zip(expected).map(|(&found, &expected)| (f64::from(found) - expected).abs() / scale);
    findings.errors.extend(errors);
}

/// Within 2^-18 of a power of two, relative: a float32 logarithm cannot tell on which side.
fn near_power_of_two(value: f32) -> bool {
    let Some(mantissa) = mantissa(value) else { return false };
    // 2^-18 of the significand is 32 units of 2^-23.
    mantissa <= 32 || mantissa >= (1 << 23) - 64
}

/// The 23 bits below the leading one of a finite magnitude above zero.
fn mantissa(value: f32) -> Option<u32> {
    let exponent = exponent_of_f32(value)?;
    Some(value.to_bits() << (-126 - exponent).max(0) & 0x7F_FFFF)
}

#[cfg(test)]
mod tests {
    use super::near_power_of_two;

    #[test]
    fn the_neighbourhood_of_a_power_of_two_has_two_sides() {
        assert!(near_power_of_two(1.0) && near_power_of_two(2.0f32.next_down()) && near_power_of_two(2.0f32.next_up()));
        assert!(!near_power_of_two(1.0 + 2f32.powi(-17)) && !near_power_of_two(2.0 - 2f32.powi(-16)));
        assert!(!near_power_of_two(0.0));
    }
}
