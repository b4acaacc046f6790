//! INT32 sums to eight bits: the four rules of LiteRT, Vela and ONNX Runtime.

use crate::numerics::requantize::{
    EffectiveScale, RequantizeRule, Requantizer, rounding_divide_by_power_of_two, saturating_rounding_doubling_high_mul,
};
use crate::validate::ValidateError;
use crate::validate::folder::Case;
use crate::validate::numerics::Findings;
use crate::validate::numerics::integer_products::{compare_integers, product};

pub(super) fn run(case: &Case<'_>, findings: &mut Findings) -> Result<(), ValidateError> {
    if case.has("high_mul") {
        primitives(case, findings)
    } else if case.has("s_out") {
        fully_connected(case, findings)
    } else if case.has("s_y") {
        quantized_product(case, findings)
    } else {
        Err(case.error("has none of the arrays `high_mul`, `s_out`, `s_y` that tell how it is requantized"))
    }
}

/// The two steps of gemmlowp, on their own.
fn primitives(case: &Case<'_>, findings: &mut Findings) -> Result<(), ValidateError> {
    let (a, multipliers) = (case.narrow::<i32>("a")?, case.narrow::<i32>("multiplier")?);
    let exponents = case.narrow::<u32>("exponent")?;
    case.expect_length("multiplier", multipliers.len(), a.len())?;
    case.expect_length("exponent", exponents.len(), a.len())?;
    let high: Vec<i32> = a
        .iter()
        .zip(&multipliers)
        .map(|(&a, &multiplier)| saturating_rounding_doubling_high_mul(a, multiplier))
        .collect();
    let shifted: Vec<i32> = high
        .iter()
        .zip(&exponents)
        .map(|(&value, &exponent)| rounding_divide_by_power_of_two(value, exponent))
        .collect();
    compare_integers(case, "high_mul", &high, findings)?;
    compare_integers(case, "shifted", &shifted, findings)
}

/// One requantizer an accumulator, or one for all.
fn fully_connected(case: &Case<'_>, findings: &mut Findings) -> Result<(), ValidateError> {
    let sums = case.narrow::<i32>("acc")?;
    let zero_point: i32 = case.single("zp_out")?;
    let scales = Scales::read(case, ["s_in", "s_w", "s_out"], sums.len())?;
    for name in case.array_names()?.filter(|name| name.starts_with("y_")) {
        let rule = match name {
            "y_litert_ref" => RequantizeRule::SingleAway,
            "y_litert_opt" => RequantizeRule::DoubleUp,
            "y_vela" => RequantizeRule::DoubleGemmlowp,
            "y_litert_xnnpack" => RequantizeRule::F32Even,
            _ => return Err(case.error(format!("array `{name}` is no kernel whose rule is known"))),
        };
        let (low, high) = case.integer_range(name)?;
        let mut codes = Vec::with_capacity(sums.len());
        for (index, &sum) in sums.iter().enumerate() {
            codes.push(requantizer(case, rule, scales.of(index), zero_point, (low, high))?.requantize(sum));
        }
        compare_integers(case, name, &codes, findings)?;
    }
    let (low, high) = (i32::MIN, i32::MAX);
    let count = case.integers("multiplier")?.len();
    let (mut multipliers, mut shifts) = (Vec::new(), Vec::new());
    for index in 0..count {
        let requantizer = requantizer(case, RequantizeRule::SingleAway, scales.of(index), 0, (low, high))?;
        multipliers.push(requantizer.multiplier().multiplier());
        shifts.push(requantizer.multiplier().right_shift());
    }
    compare_integers(case, "multiplier", &multipliers, findings)?;
    compare_integers(case, "right_shift", &shifts, findings)
}

/// QLinearMatMul: the product of the codes, and its requantization by a scale for the tensor or for each column.
fn quantized_product(case: &Case<'_>, findings: &mut Findings) -> Result<(), ValidateError> {
    let sums = product(case, "a", "b", "zp_a", "zp_b")?;
    compare_integers(case, "acc", &sums, findings)?;
    let (_, columns) = case.matrix("b")?;
    let scales = Scales::read(case, ["s_a", "s_b", "s_y"], columns)?;
    let range = case.integer_range("y")?;
    let zero_point: i32 = case.single("zp_y")?;
    let mut codes = Vec::with_capacity(sums.len());
    for (index, &sum) in sums.iter().enumerate() {
        let scale = scales.of(index % columns);
        codes.push(requantizer(case, RequantizeRule::F32Even, scale, zero_point, range)?.requantize(sum));
    }
    compare_integers(case, "y", &codes, findings)
}

fn requantizer(
    case: &Case<'_>,
    rule: RequantizeRule,
    scale: EffectiveScale,
    zero_point: i32,
    (low, high): (i32, i32),
) -> Result<Requantizer, ValidateError> {
    Requantizer::try_new(rule, scale, zero_point, low, high).map_err(|problem| case.error(problem.to_string()))
}

/// Scales of input, weights and output; each is one value or one an output.
struct Scales<'a>([&'a [f32]; 3]);

impl<'a> Scales<'a> {
    fn read(case: &Case<'a>, names: [&str; 3], count: usize) -> Result<Self, ValidateError> {
        let mut scales: [&[f32]; 3] = [&[]; 3];
        for (name, scales) in names.iter().zip(&mut scales) {
            *scales = case.floats(name)?;
            if scales.len() != 1 {
                case.expect_length(name, scales.len(), count)?;
            }
        }
        Ok(Self(scales))
    }

    fn of(&self, index: usize) -> EffectiveScale {
        let [input, weight, output] = self.0.map(|scales| scales[if scales.len() == 1 { 0 } else { index }]);
        EffectiveScale::of_product(input, weight, output)
    }
}
