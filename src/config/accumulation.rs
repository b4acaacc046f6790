//! How a matrix unit adds up the products of a format pair, as written.
//!
//! ```yaml
//! - { .., accumulator: fp32, accumulation: block }                          # or sequential, or exact
//! - { .., accumulator: fp32, accumulation: { fused: 8 } }
//! - { .., accumulator: fp32, accumulation: { truncated: { n: 32, bits: 13 } } }
//! - { .., accumulator: int32, accumulator_bits: 24, overflow: saturate_at_end }   # or wrap, or saturate_each_step
//! - { .., accumulator: int32, overflow: { saturate_every: 32 } }
//! ```

use std::num::NonZeroU32;

use serde::Deserialize;

use crate::config::checks::{exactly_one, place_of};
use crate::config::defaults::Defaults;
use crate::config::diagnostics::{Cited, ConfigError, Diagnostic, Problems};
use crate::config::field::Field;
use crate::config::placed::Placed;
use crate::config::source::Place;
use crate::hardware::array::Array;
use crate::hardware::matrix_unit::{Accumulation, FloatAccumulation};
use crate::numerics::accumulate::{
    AccumulationOrder, Destination, IntegerAccumulator, IntegerOverflow, SaturationPoint, Truncation,
};
use crate::numerics::formats::{BF16, ElementFormat};

/// The most products of one operation.
const MOST_PRODUCTS: u64 = 1 << 16;

/// An order by its name, or with its parameters.
#[derive(Deserialize)]
#[serde(rename = "npusim::ShortForm")]
pub(crate) struct OrderFile {
    order: Field<String>,
    fused: Field<u64>,
    truncated: Option<Placed<TruncatedFile>>,
}

#[derive(Deserialize)]
struct TruncatedFile {
    n: Field<u64>,
    bits: Field<u64>,
    group: Field<u64>,
    result_bits: Field<u64>,
}

/// What happens beyond the width by its name, or with its parameter.
#[derive(Deserialize)]
#[serde(rename = "npusim::ShortForm")]
pub(crate) struct OverflowFile {
    rule: Field<String>,
    saturate_every: Field<u64>,
}

/// The keys of a format that concern its accumulator.
pub(crate) struct Written<'f> {
    pub(crate) accumulator: &'f Field<String>,
    pub(crate) accumulation: &'f Option<Placed<OrderFile>>,
    pub(crate) accumulator_bits: &'f Field<u64>,
    pub(crate) overflow: &'f Option<Placed<OverflowFile>>,
}

/// A format pair whose sums are to be described.
pub(crate) struct Pair {
    pub(crate) activation: &'static ElementFormat,
    pub(crate) weight: &'static ElementFormat,
    pub(crate) accumulator: &'static ElementFormat,
    pub(crate) macs_per_element_per_cycle: u64,
}

/// How sums of `pair` are formed on `array`. Where that is not known, which is a mistake noted elsewhere, what follows from
/// it is not checked.
pub(crate) fn resolve(
    written: &Written<'_>,
    pair: &Pair,
    array: Option<&Array>,
    defaults: &mut Defaults,
) -> Result<Accumulation, ConfigError> {
    let mut problems = Problems::default();
    let given_in_vain = |cited: &dyn Cited, message: &str| {
        let key = cited.path().last();
        let problem = Diagnostic::new(cited.place(), cited.path(), message);
        problem.help(format!("remove {key}, or choose another accumulator"))
    };
    if pair.accumulator.is_integer() {
        if let Some(order) = written.accumulation {
            let message = format!("an order says where sums are rounded, and {} does not round", pair.accumulator);
            problems.push(given_in_vain(order, &message));
        }
        let accumulator = problems.take(resolve_integer(written, pair, defaults));
        return problems.built(|| accumulator.map(Accumulation::Integer));
    }
    let message = format!("{} has a fixed width and overflows to infinity", pair.accumulator);
    if let Some(overflow) = written.overflow {
        problems.push(given_in_vain(overflow, &message));
    }
    if written.accumulator_bits.is_given() {
        problems.push(given_in_vain(written.accumulator_bits, &message));
    }
    let destination = if pair.accumulator == &BF16 { Destination::Bf16 } else { Destination::Fp32 };
    let order = problems.take(resolve_order(written, pair, array, defaults));
    problems.built(|| {
        let dot_depth = array.map_or(1, |array| array.dot_depth(pair.macs_per_element_per_cycle));
        Some(Accumulation::Float(FloatAccumulation { order: order?, destination, dot_depth }))
    })
}

fn resolve_integer(
    written: &Written<'_>,
    pair: &Pair,
    defaults: &mut Defaults,
) -> Result<IntegerAccumulator, ConfigError> {
    let mut problems = Problems::default();
    let product_bits = u64::from(pair.activation.storage_bits() + pair.weight.storage_bits());
    let width = u64::from(pair.accumulator.storage_bits());
    let bits = written.accumulator_bits.or_default(width, "all bits of the accumulator's format", defaults);
    let bits = problems.take(bits.beside_others().in_range(product_bits..=width));
    let bits = bits.map(|bits| u32::try_from(bits).expect("formats have less than 2^32 bits"));
    let rules = [
        ("wrap", IntegerOverflow::Wrap),
        ("saturate_each_step", IntegerOverflow::Saturate(SaturationPoint::Step)),
        ("saturate_at_end", IntegerOverflow::Saturate(SaturationPoint::End)),
    ];
    let overflow = match written.overflow {
        None => {
            let path = written.accumulator.path().parent().key("overflow");
            defaults.record(&path, &rules[0].0, "adders of two's complement wrap unless built otherwise");
            Some(IntegerOverflow::Wrap)
        }
        Some(overflow) => problems.take(resolve_overflow(overflow, &rules)),
    };
    let (bits, overflow) = problems.built(|| bits.zip(overflow))?;
    IntegerAccumulator::try_new(bits, overflow).map_err(|error| written.accumulator.problem(error.to_string()).into())
}

fn resolve_overflow(
    overflow: &Placed<OverflowFile>,
    rules: &[(&str, IntegerOverflow)],
) -> Result<IntegerOverflow, Diagnostic> {
    let given =
        [("rule", place_if_given(&overflow.rule)), ("saturate_every", place_if_given(&overflow.saturate_every))];
    match exactly_one(overflow, &given)? {
        0 => overflow.rule.required().beside_others().one_of(rules),
        _ => Ok(IntegerOverflow::Saturate(SaturationPoint::Every(products(&overflow.saturate_every)?))),
    }
}

fn resolve_order(
    written: &Written<'_>,
    pair: &Pair,
    array: Option<&Array>,
    defaults: &mut Defaults,
) -> Result<AccumulationOrder, ConfigError> {
    let Some(order) = written.accumulation else {
        let is_block_scaled = pair.activation.is_integer() && pair.weight.is_integer();
        let (order, reason) = match array {
            None | Some(Array::DotProduct(_)) => {
                (AccumulationOrder::Block, "a dot unit sums its products before it adds them")
            }
            Some(Array::Systolic(_)) if is_block_scaled => {
                (AccumulationOrder::Block, "a scale belongs to the sum of a block")
            }
            Some(Array::Systolic(_)) => {
                (AccumulationOrder::Sequential, "each element adds its product to the sum that passes")
            }
        };
        defaults.record(&written.accumulator.path().parent().key("accumulation"), &order, reason);
        return Ok(order);
    };
    let given = [
        ("order", place_if_given(&order.order)),
        ("fused", place_if_given(&order.fused)),
        ("truncated", place_of(&order.truncated)),
    ];
    exactly_one(order, &given)?;
    if order.fused.is_given() {
        let products = products(&order.fused)?;
        fits_an_element(&order.fused, products, pair, array)?;
        return Ok(AccumulationOrder::Fused(products));
    }
    if let Some(truncated) = &order.truncated {
        return resolve_truncation(truncated, pair, array, defaults).map(AccumulationOrder::Truncated);
    }
    Ok(order.order.required().one_of(&[
        ("sequential", AccumulationOrder::Sequential),
        ("block", AccumulationOrder::Block),
        ("exact", AccumulationOrder::Exact),
    ])?)
}

fn resolve_truncation(
    truncated: &TruncatedFile,
    pair: &Pair,
    array: Option<&Array>,
    defaults: &mut Defaults,
) -> Result<Truncation, ConfigError> {
    let mut problems = Problems::default();
    let n = problems.take(products(&truncated.n));
    n.and_then(|n| problems.take(fits_an_element(&truncated.n, n, pair, array)));
    let bits = problems.take(truncated.bits.required().in_range(1..=80));
    // Of a number of products that cannot be read a mistake is noted already.
    let most = n.map_or(MOST_PRODUCTS, |n| u64::from(n.get()));
    let group =
        truncated.group.or_default(1, "each product is cut on its own", defaults).beside_others().in_range(1..=most);
    let group = problems.take(group);
    let result_bits = truncated.result_bits.or_default(24, "results keep the bits of FP32", defaults);
    let result_bits = problems.take(result_bits.in_range(2..=24));
    let small = |value: u64| u32::try_from(value).expect("the ranges are small");
    if group.is_some_and(|group| group > 1)
        && let Some(wide) = [pair.activation, pair.weight].into_iter().find(|format| format.storage_bits() > 8)
    {
        let problem = truncated.group.problem(format!("{wide} has products too wide for exact sums of a group"));
        let problem = problem.note("groups are for elements of up to 8 bits");
        problems.push(problem.help("remove group, or set it to 1"));
    }
    let (n, bits, group, result_bits) = problems.built(|| Some((n?, bits?, group?, result_bits?)))?;
    Truncation::try_new(n, small(bits))
        .and_then(|rule| rule.with_group(NonZeroU32::new(small(group)).expect("at least 1")))
        .and_then(|rule| rule.with_result_bits(small(result_bits)))
        .map_err(|error| truncated.group.problem(error.to_string()).help("choose a group that divides n").into())
}

/// A processing element of a systolic array has no more products at once than lanes.
fn fits_an_element(
    field: &Field<u64>,
    products: NonZeroU32,
    pair: &Pair,
    array: Option<&Array>,
) -> Result<(), Diagnostic> {
    let Some(array) = array else { return Ok(()) };
    let lanes = array.dot_depth(pair.macs_per_element_per_cycle);
    match array {
        Array::Systolic(_) if u64::from(products.get()) > lanes => Err(field
            .problem(format!("an operation adds {products} products, but an element of this array has {lanes} at once"))
            .help(format!("at most {lanes}, or a dot_product_array"))),
        Array::Systolic(_) | Array::DotProduct(_) => Ok(()),
    }
}

fn products(field: &Field<u64>) -> Result<NonZeroU32, Diagnostic> {
    let products = field.required().in_range(1..=MOST_PRODUCTS)?;
    Ok(u32::try_from(products).ok().and_then(NonZeroU32::new).expect("1 to 2^16"))
}

fn place_if_given<T>(field: &Field<T>) -> Option<&Place> {
    field.is_given().then(|| field.place())
}
