//! Decoding of every code and encoding of hard values: one column for each library.

use crate::numerics::block;
use crate::numerics::formats::{ElementFormat, ElementKind, Overflow, Rounding, Specials};
use crate::validate::ValidateError;
use crate::validate::comparison::{Comparison, ZeroSign};
use crate::validate::folder::Case;
use crate::validate::numerics::{Findings, near_power_of_two};

pub(super) fn run(case: &Case<'_>, findings: &mut Findings) -> Result<(), ValidateError> {
    let format = case.element_format()?;
    if case.has("code") && case.has("value") {
        return decode(case, format, &mut findings.equality);
    }
    let values = case.floats("x")?;
    for name in case.array_names()?.filter(|&name| name != "x") {
        let column = Column::try_new(case, format, name)?;
        if case.is_float(name)? {
            let expected = case.doubles(name)?;
            case.expect_length(name, expected.len(), values.len())?;
            for (&value, &expected) in values.iter().zip(&expected) {
                if let Some(reason) = column.quirk(value) {
                    findings.equality.exclude(1, reason);
                    continue;
                }
                let found = format.decode(column.encode(value));
                let place = || format!("{} {name} of {value:e}", case.id);
                findings.equality.record_float(found, expected, ZeroSign::Ignored, place);
            }
        } else {
            let expected: Vec<u32> = case.narrow(name)?;
            case.expect_length(name, expected.len(), values.len())?;
            for (&value, &expected) in values.iter().zip(&expected) {
                if let Some(reason) = column.quirk(value) {
                    findings.equality.exclude(1, reason);
                    continue;
                }
                let found = column.encode(value);
                let both_nan = format.decode(found).is_nan() && format.decode(expected).is_nan();
                let both_zero =
                    column.ignores_sign_of_zero() && format.decode(found) == 0.0 && format.decode(expected) == 0.0;
                findings.equality.record(found == expected || both_nan || both_zero, || {
                    format!("{} {name} of {value:e} is code {found:#x}, not {expected:#x}", case.id)
                });
            }
        }
    }
    Ok(())
}

fn decode(case: &Case<'_>, format: &'static ElementFormat, equality: &mut Comparison) -> Result<(), ValidateError> {
    let (codes, expected) = (case.narrow::<u32>("code")?, case.doubles("value")?);
    case.expect_length("value", expected.len(), codes.len())?;
    // The tables hold integers as elements of the MX format that uses them: `int8` is MXINT8, code / 64.
    let block = block::ALL.iter().find(|block| format.is_integer() && block.element() == format);
    for (&code, &expected) in codes.iter().zip(&expected) {
        let found = block.map_or_else(|| format.decode(code), |block| block.element_value(code));
        equality.record_float(found, expected, ZeroSign::Compared, || format!("{} code {code:#x}", case.id));
    }
    Ok(())
}

/// One library's way to encode.
struct Column<'a> {
    name: &'a str,
    format: &'static ElementFormat,
    rounding: Rounding,
    overflow: Overflow,
}

impl<'a> Column<'a> {
    fn try_new(case: &Case<'_>, format: &'static ElementFormat, name: &'a str) -> Result<Self, ValidateError> {
        let is_scale = matches!(format.kind(), ElementKind::Scale { .. });
        let has_infinity = matches!(format.kind(), ElementKind::Float { specials: Specials::TopExponent, .. });
        let (rounding, overflow) = match name {
            // Both give ties of E8M0 to the larger scale.
            "ml_dtypes" | "torch" if is_scale => (Rounding::NearestAway, Overflow::NonFinite),
            // torch saturates where there is no infinity, since 2.15.
            "torch" if !has_infinity => (Rounding::NearestEven, Overflow::Saturate),
            "ml_dtypes" | "gfloat_rne_nosat" | "gfloat_nosat" | "numpy" | "torch" | "ort_nosat" => {
                (Rounding::NearestEven, Overflow::NonFinite)
            }
            "gfloat_rne_sat" | "gfloat_sat" | "ort_sat" | "torchao" | "quark" | "mx_even" => {
                (Rounding::NearestEven, Overflow::Saturate)
            }
            "gfloat_away_sat" | "mx_nearest" => (Rounding::NearestAway, Overflow::Saturate),
            "gfloat_trunc_sat" | "mx_floor" => (Rounding::TowardZero, Overflow::Saturate),
            _ => return Err(case.error(format!("column `{name}` is no library whose rule is known"))),
        };
        Ok(Self { name, format, rounding, overflow })
    }

    fn encode(&self, value: f32) -> u32 {
        self.format.encode_f32(value, self.rounding, self.overflow)
    }

    fn is_scale(&self) -> bool {
        matches!(self.format.kind(), ElementKind::Scale { .. })
    }

    fn ignores_sign_of_zero(&self) -> bool {
        self.format.storage_bits() == 4 || self.name == "torchao"
    }

    /// Why this value is left out of this column: the quirks 6 and 7 of the README beside the rows, and what a library does
    /// that this crate does not offer.
    fn quirk(&self, value: f32) -> Option<&'static str> {
        let magnitude = value.abs();
        if self.name.starts_with("mx_") {
            let half_smallest = (self.format.decode(1) / 2.0) as f32;
            if magnitude.is_infinite() {
                return Some("microxcaling keeps infinities outside of blocks");
            }
            if magnitude == half_smallest.next_down() || magnitude == f32::MAX {
                return Some("microxcaling misrounds next to half the smallest subnormal and at the largest f32");
            }
        }
        if self.name == "mx_floor" && near_power_of_two(value) {
            return Some("microxcaling takes the float32 log2 of a value next to a power of two");
        }
        // Subnormal values are next to the smallest scale or below it.
        let below = value < f32::MIN_POSITIVE && (value > 0.0 || self.name == "torch");
        if self.is_scale() && matches!(self.name, "ml_dtypes" | "torch") && below {
            return Some("no two libraries agree on the scale nearest to zero, to negative and to subnormal values");
        }
        let lacks_nan = self.format.storage_bits() < 8;
        if value.is_nan() && lacks_nan && self.name != "ml_dtypes" {
            return Some("the format has no NaN and the library refuses it or leaves the finite values");
        }
        if value.is_infinite() && matches!(self.name, "quark" | "torchao") {
            return Some("the library was given finite values only");
        }
        if self.name == "ort_nosat" {
            let (first, beyond) = match self.format.kind() {
                ElementKind::Float { specials: Specials::AllOnesIsNotANumber, .. } => (480.0, 496.0f32.next_up()),
                _ => (61440.0, 65536.0),
            };
            if (first..beyond).contains(&magnitude) {
                return Some("onnxruntime without saturation saturates just above the largest value");
            }
        }
        None
    }
}
