//! What a scalar may mean: whole numbers, decimals, switches, text, rates, sizes and clocks, each with its own words
//! for what was given instead.
//!
//! Numbers are written in plain decimal digits. YAML readers disagree on `1_024`, `0x20`, `010` and `1e3`, so these are
//! refused with the plain form as remedy instead of being read one way or the other.

use std::fmt;
use std::path::PathBuf;

use crate::config::diagnostics::{cut, quoted};
use crate::config::node::Scalar;
use crate::units::{Bytes, Rate};

/// A clock frequency in hertz.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hertz(pub u64);

impl fmt::Display for Hertz {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} Hz", self.0)
    }
}

/// Why a scalar cannot be read as the wanted type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// What was given and what is wrong with it.
    pub message: String,
    /// The remedy, if one is known.
    pub help: Option<String>,
}

impl Mismatch {
    fn new(message: String) -> Mismatch {
        Mismatch { message, help: None }
    }

    fn help(mut self, help: impl Into<String>) -> Mismatch {
        self.help = Some(help.into());
        self
    }
}

/// A type that a leaf of a document can be read as.
pub trait ScalarType: Sized {
    /// What is expected, with its article: "a whole number".
    const EXPECTED: &'static str;

    /// The value, exactly as written.
    ///
    /// # Errors
    /// What was given and why it is not one. The scalar is never null.
    fn convert(scalar: &Scalar) -> Result<Self, Mismatch>;
}

impl ScalarType for u64 {
    const EXPECTED: &'static str = "a whole number";

    /// Decimal digits without sign, separators or leading zeros.
    fn convert(scalar: &Scalar) -> Result<u64, Mismatch> {
        let text = &*scalar.text;
        if let Some(positive) = text.strip_prefix('-')
            && is_digits(positive)
            && !scalar.quoted
        {
            return Err(Mismatch::new(format!("{} is negative; {} is expected", quoted(text), Self::EXPECTED)));
        }
        let digits = plain_digits(scalar, text, Self::EXPECTED)?;
        digits.parse().map_err(|_| Mismatch::new(format!("{} is too large; the largest is {}", quoted(text), u64::MAX)))
    }
}

macro_rules! narrow {
    ($($type:ident),*) => {$(
        impl ScalarType for $type {
            const EXPECTED: &'static str = u64::EXPECTED;

            /// As for u64, up to the largest value of the type.
            fn convert(scalar: &Scalar) -> Result<$type, Mismatch> {
                let too_large = format!("{} is too large; the largest is {}", quoted(&scalar.text), $type::MAX);
                $type::try_from(u64::convert(scalar)?).map_err(|_| Mismatch::new(too_large))
            }
        }
    )*};
}

narrow!(u8, u16, u32, usize);

impl ScalarType for i64 {
    const EXPECTED: &'static str = "a whole number (negative ones too)";

    /// Decimal digits with an optional minus sign, without separators or leading zeros.
    fn convert(scalar: &Scalar) -> Result<i64, Mismatch> {
        let text = &*scalar.text;
        plain_digits(scalar, text.strip_prefix('-').unwrap_or(text), Self::EXPECTED)?;
        text.parse().map_err(|_| {
            Mismatch::new(format!("{} is too large; the range is {} to {}", quoted(text), i64::MIN, i64::MAX))
        })
    }
}

impl ScalarType for f64 {
    const EXPECTED: &'static str = "a decimal number";

    /// A finite decimal such as `3`, `-0.25` or `1.5e-3`, rounded to the nearest f64.
    fn convert(scalar: &Scalar) -> Result<f64, Mismatch> {
        let text = &*scalar.text;
        refuse_quoted(scalar, Self::EXPECTED)?;
        if let ".nan" | ".NaN" | ".NAN" | "nan" | "NaN" = text {
            return Err(Mismatch::new(format!("{text} is not a number; a decimal number is expected")));
        }
        if let ".inf" | ".Inf" | ".INF" | "inf" | "Inf" = text.trim_start_matches(['-', '+']) {
            return Err(Mismatch::new(format!("{text} is infinite; a finite decimal number is expected")));
        }
        let unsigned = text.strip_prefix('-').unwrap_or(text);
        let (mantissa, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, "0"));
        let exponent = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
        if ![whole, fraction, exponent].iter().all(|part| is_digits(part)) {
            return Err(odd_number(text, Self::EXPECTED));
        }
        match text.parse::<f64>() {
            Ok(value) if value.is_finite() => Ok(value),
            _ => Err(Mismatch::new(format!("{} is too large for a decimal number", quoted(text)))),
        }
    }
}

impl ScalarType for bool {
    const EXPECTED: &'static str = "true or false";

    fn convert(scalar: &Scalar) -> Result<bool, Mismatch> {
        refuse_quoted(scalar, Self::EXPECTED)?;
        let meant = match &*scalar.text {
            "true" => return Ok(true),
            "false" => return Ok(false),
            "True" | "TRUE" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" | "y" | "Y" | "1" => Some("true"),
            "False" | "FALSE" | "no" | "No" | "NO" | "off" | "Off" | "OFF" | "n" | "N" | "0" => Some("false"),
            _ => None,
        };
        let mismatch = Mismatch::new(format!("{} is neither true nor false", quoted(&scalar.text)));
        Err(meant.map_or(mismatch.clone(), |meant| mismatch.help(format!("write {meant}"))))
    }
}

impl ScalarType for String {
    const EXPECTED: &'static str = "text";

    /// The text as written: `no` and `123` are text too where text is wanted.
    fn convert(scalar: &Scalar) -> Result<String, Mismatch> {
        if scalar.text.trim().is_empty() {
            return Err(Mismatch::new("the text is empty".to_string()));
        }
        Ok(scalar.text.to_string())
    }
}

/// Any single value as it is written, be it text, a number or a switch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Literal(pub String);

impl ScalarType for Literal {
    const EXPECTED: &'static str = "a value";

    fn convert(scalar: &Scalar) -> Result<Literal, Mismatch> {
        String::convert(scalar).map(Literal)
    }
}

impl ScalarType for PathBuf {
    const EXPECTED: &'static str = "a path";

    /// The path as written; [`crate::config::field::Reading::path`] sees it from the folder of the document.
    fn convert(scalar: &Scalar) -> Result<PathBuf, Mismatch> {
        String::convert(scalar).map(PathBuf::from)
    }
}

impl ScalarType for Rate {
    const EXPECTED: &'static str = "a rate such as 32, 25.6 or 128/5";

    /// Exactly the written number: an integer, a decimal, or a fraction of integers (in quotes or not).
    fn convert(scalar: &Scalar) -> Result<Rate, Mismatch> {
        let text = &*scalar.text;
        let (numerator, denominator) = match text.split_once('/') {
            Some((numerator, denominator)) if is_digits(numerator.trim()) && is_digits(denominator.trim()) => {
                (numerator.trim().parse::<u128>().ok(), denominator.trim().parse::<u128>().ok())
            }
            Some(_) => return Err(Mismatch::new(format!("{} is not {}", quoted(text), Self::EXPECTED))),
            None => {
                refuse_quoted(scalar, Self::EXPECTED)?;
                let decimal = exact_decimal(text, Self::EXPECTED)?;
                (Some(decimal.digits), 10u128.checked_pow(decimal.places))
            }
        };
        let too_long = || Mismatch::new(format!("{} has too many digits", quoted(text)));
        let (numerator, denominator) = numerator.zip(denominator).ok_or_else(too_long)?;
        if numerator == 0 || denominator == 0 {
            return Err(Mismatch::new(format!("{} is not a rate; it must be more than zero", quoted(text))));
        }
        let divisor = greatest_common_divisor(numerator, denominator);
        let narrow = |value: u128| u64::try_from(value / divisor).map_err(|_| too_long());
        Ok(Rate::try_new(narrow(numerator)?, narrow(denominator)?).expect("neither part is zero"))
    }
}

impl ScalarType for Bytes {
    const EXPECTED: &'static str = "a size such as 512 KiB, 2 MiB or a plain number of bytes";

    /// A plain number of bytes, or a decimal with the unit B, KiB, MiB, GiB or TiB that gives whole bytes.
    ///
    /// KB, MB and the like are refused: some mean 1000 by them and some 1024, and a buffer of the wrong size changes
    /// every result without a sign.
    fn convert(scalar: &Scalar) -> Result<Bytes, Mismatch> {
        const UNITS: [(&str, u128); 5] =
            [("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40)];
        let (number, unit) = number_and_unit(&scalar.text);
        if let [prefix @ (b'k' | b'K' | b'M' | b'm' | b'G' | b'g' | b'T' | b't'), rest @ ..] = unit.as_bytes()
            && matches!(rest, b"" | b"B" | b"b")
        {
            let prefix = char::from(prefix.to_ascii_uppercase());
            return Err(Mismatch::new(format!("the unit of {} may mean 1000 or 1024", quoted(&scalar.text)))
                .help(format!("write \"{number} {prefix}iB\" for powers of 1024, or the plain number of bytes")));
        }
        with_unit(scalar, number, unit, &UNITS, Self::EXPECTED, "bytes").map(Bytes)
    }
}

impl ScalarType for Hertz {
    const EXPECTED: &'static str = "a frequency such as 1 GHz, 800 MHz or a plain number of hertz";

    /// A plain number of hertz, or a decimal with the unit Hz, kHz, MHz or GHz that gives whole hertz.
    fn convert(scalar: &Scalar) -> Result<Hertz, Mismatch> {
        const UNITS: [(&str, u128); 4] = [("Hz", 1), ("kHz", 1_000), ("MHz", 1_000_000), ("GHz", 1_000_000_000)];
        let (number, unit) = number_and_unit(&scalar.text);
        with_unit(scalar, number, unit, &UNITS, Self::EXPECTED, "hertz").map(Hertz)
    }
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn refuse_quoted(scalar: &Scalar, expected: &str) -> Result<(), Mismatch> {
    if scalar.quoted {
        return Err(Mismatch::new(format!("\"{}\" is text in quotes; {expected} is expected", cut(&scalar.text)))
            .help("write it without quotes"));
    }
    Ok(())
}

/// `digits` if they are a plain whole number.
fn plain_digits<'t>(scalar: &Scalar, digits: &'t str, expected: &str) -> Result<&'t str, Mismatch> {
    refuse_quoted(scalar, expected)?;
    if !is_digits(digits) {
        return Err(odd_number(&scalar.text, expected));
    }
    if digits.len() > 1 && digits.starts_with('0') {
        let plain = digits.trim_start_matches('0');
        return Err(Mismatch::new(format!(
            "{} has a leading zero, which some readers take for octal",
            quoted(&scalar.text)
        ))
        .help(format!("write {}", if plain.is_empty() { "0" } else { plain })));
    }
    Ok(digits)
}

/// The words for text that is a number in some other notation, or none at all.
fn odd_number(text: &str, expected: &str) -> Mismatch {
    let refusal = |what: &str| Mismatch::new(format!("{} is {what}; {expected} is expected", quoted(text)));
    let (sign, unsigned) = text.strip_prefix('-').map_or(("", text), |unsigned| ("-", unsigned));
    let lower = unsigned.to_ascii_lowercase();
    for (prefix, radix, name) in [("0x", 16, "hexadecimal"), ("0o", 8, "octal"), ("0b", 2, "binary")] {
        if let Some(value) = lower.strip_prefix(prefix).and_then(|digits| u64::from_str_radix(digits, radix).ok()) {
            return refusal(name).help(format!("write {sign}{value}"));
        }
    }
    let joined = unsigned.replace('_', "");
    let is_grouped = joined.len() < unsigned.len() && !unsigned.starts_with('_');
    if is_grouped && is_digits(&joined.replacen('.', "", 1)) {
        return refusal("a number with grouped digits").help(format!("write {sign}{joined}"));
    }
    let mismatch = Mismatch::new(format!("{} is not {expected}", quoted(text)));
    match text.parse::<f64>() {
        Ok(value) if value.fract() == 0.0 && value.abs() < 1e15 => mismatch.help(format!("write {value}")),
        _ => mismatch,
    }
}

/// `digits / 10^places`, exactly.
struct ExactDecimal {
    digits: u128,
    places: u32,
}

fn exact_decimal(text: &str, expected: &str) -> Result<ExactDecimal, Mismatch> {
    if text.starts_with('-') {
        return Err(Mismatch::new(format!("{} is negative; {expected} is expected", quoted(text))));
    }
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    if !is_digits(whole) || !is_digits(fraction) {
        return Err(odd_number(text, expected));
    }
    let fraction = fraction.trim_end_matches('0');
    let digits = format!("{whole}{fraction}").parse();
    match (digits, u32::try_from(fraction.len())) {
        (Ok(digits), Ok(places)) => Ok(ExactDecimal { digits, places }),
        _ => Err(Mismatch::new(format!("{} has too many digits", quoted(text)))),
    }
}

/// Splits `512 KiB` into `512` and `KiB`.
fn number_and_unit(text: &str) -> (&str, &str) {
    let text = text.trim();
    let unit = text.trim_start_matches(|c: char| !c.is_ascii_alphabetic());
    let is_suffix = !unit.is_empty() && unit.bytes().all(|byte| byte.is_ascii_alphabetic());
    if !is_suffix || unit.len() == text.len() {
        return (text, "");
    }
    (text[..text.len() - unit.len()].trim_end(), unit)
}

fn with_unit(
    scalar: &Scalar,
    number: &str,
    unit: &str,
    units: &[(&str, u128)],
    expected: &str,
    what: &str,
) -> Result<u64, Mismatch> {
    let scale = match units.iter().find(|(name, _)| *name == unit) {
        Some((_, scale)) => *scale,
        None if unit.is_empty() => {
            refuse_quoted(scalar, expected)?;
            1
        }
        None => {
            let mismatch =
                Mismatch::new(format!("{} has an unknown unit; {expected} is expected", quoted(&scalar.text)));
            let near = units.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit));
            return Err(match near {
                Some((name, _)) => mismatch.help(format!("write \"{number} {name}\"")),
                None => mismatch,
            });
        }
    };
    let decimal = exact_decimal(number, expected)?;
    let too_large =
        || Mismatch::new(format!("{} is too large; the largest is {} {what}", quoted(&scalar.text), u64::MAX));
    let scaled = decimal.digits.checked_mul(scale).ok_or_else(too_large)?;
    let divisor = 10u128.checked_pow(decimal.places).filter(|divisor| scaled.is_multiple_of(*divisor));
    let Some(divisor) = divisor else {
        return Err(Mismatch::new(format!("{} is not a whole number of {what}", quoted(&scalar.text))));
    };
    u64::try_from(scaled / divisor).map_err(|_| too_large())
}

fn greatest_common_divisor(mut a: u128, mut b: u128) -> u128 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(text: &str) -> Scalar {
        Scalar { text: text.into(), quoted: false }
    }

    #[track_caller]
    fn accepts<T: ScalarType + PartialEq + fmt::Debug>(text: &str, expected: T) {
        assert_eq!(T::convert(&plain(text)), Ok(expected));
    }

    /// The message, followed by the remedy in brackets.
    #[track_caller]
    fn refuses<T: ScalarType + fmt::Debug>(text: &str, expected: &str) {
        let Mismatch { message, help } = T::convert(&plain(text)).unwrap_err();
        assert_eq!(help.map_or(message.clone(), |help| format!("{message} ({help})")), expected);
    }

    #[test]
    fn whole_numbers_are_plain_decimal_digits() {
        accepts::<u64>("0", 0);
        accepts::<u64>("18446744073709551615", u64::MAX);
        accepts::<i64>("-128", -128);
        accepts::<i64>("-9223372036854775808", i64::MIN);
        accepts::<u8>("255", 255);
    }

    #[test]
    fn other_notations_of_whole_numbers_are_refused_with_the_plain_form() {
        refuses::<u64>("1_024", "1_024 is a number with grouped digits; a whole number is expected (write 1024)");
        // A comma may group digits or mark decimals, so no form is proposed.
        refuses::<u64>("1,024", "\"1,024\" is not a whole number");
        refuses::<u64>("0x20", "\"0x20\" is hexadecimal; a whole number is expected (write 32)");
        refuses::<u64>("0o20", "\"0o20\" is octal; a whole number is expected (write 16)");
        refuses::<u64>("0b11", "\"0b11\" is binary; a whole number is expected (write 3)");
        refuses::<u64>("010", "010 has a leading zero, which some readers take for octal (write 10)");
        refuses::<u64>("000", "000 has a leading zero, which some readers take for octal (write 0)");
        refuses::<u64>("1e3", "1e3 is not a whole number (write 1000)");
        refuses::<u64>("3.0", "3.0 is not a whole number (write 3)");
        refuses::<u64>("+5", "+5 is not a whole number (write 5)");
    }

    #[test]
    fn what_is_no_whole_number_has_its_own_words() {
        refuses::<u64>("3.5", "3.5 is not a whole number");
        refuses::<u64>("-4", "-4 is negative; a whole number is expected");
        refuses::<u64>(
            "18446744073709551616",
            "18446744073709551616 is too large; the largest is 18446744073709551615",
        );
        refuses::<u8>("256", "256 is too large; the largest is 255");
        refuses::<u64>("wide", "\"wide\" is not a whole number");
        refuses::<u64>(".nan", "\".nan\" is not a whole number");
        refuses::<u64>("\u{663}", "\"\u{663}\" is not a whole number");
        refuses::<i64>("-0x10", "\"-0x10\" is hexadecimal; a whole number (negative ones too) is expected (write -16)");
        refuses::<i64>("-", "\"-\" is not a whole number (negative ones too)");
        let quoted = u64::convert(&Scalar { text: "12".into(), quoted: true }).unwrap_err();
        assert_eq!(quoted.message, "\"12\" is text in quotes; a whole number is expected");
        assert_eq!(quoted.help.as_deref(), Some("write it without quotes"));
    }

    #[test]
    fn decimal_numbers_are_finite() {
        accepts::<f64>("3", 3.0);
        accepts::<f64>("-0.25", -0.25);
        accepts::<f64>("1.5e-3", 0.0015);
        refuses::<f64>(".nan", ".nan is not a number; a decimal number is expected");
        refuses::<f64>("-.inf", "-.inf is infinite; a finite decimal number is expected");
        refuses::<f64>("inf", "inf is infinite; a finite decimal number is expected");
        refuses::<f64>("1e999", "1e999 is too large for a decimal number");
        refuses::<f64>(
            "1_000.5",
            "1_000.5 is a number with grouped digits; a decimal number is expected (write 1000.5)",
        );
        refuses::<f64>("0x10", "\"0x10\" is hexadecimal; a decimal number is expected (write 16)");
        refuses::<f64>("infinity", "\"infinity\" is not a decimal number");
        refuses::<f64>("1.", "1. is not a decimal number (write 1)");
        refuses::<f64>("fast", "\"fast\" is not a decimal number");
    }

    #[test]
    fn switches_are_true_or_false_and_other_words_for_them_are_translated() {
        accepts::<bool>("true", true);
        accepts::<bool>("false", false);
        refuses::<bool>("yes", "\"yes\" is neither true nor false (write true)");
        refuses::<bool>("Off", "\"Off\" is neither true nor false (write false)");
        refuses::<bool>("0", "0 is neither true nor false (write false)");
        refuses::<bool>("maybe", "\"maybe\" is neither true nor false");
    }

    #[test]
    fn text_is_taken_as_written_but_not_empty() {
        accepts::<String>("no", "no".to_string());
        accepts::<String>("0123", "0123".to_string());
        refuses::<String>(" ", "the text is empty");
    }

    #[test]
    fn rates_are_exact() {
        let rate = |numerator, denominator| Rate::try_new(numerator, denominator).unwrap();
        accepts("32", rate(32, 1));
        accepts("25.6", rate(128, 5));
        accepts("128/5", rate(128, 5));
        accepts("256 / 10", rate(128, 5));
        accepts("0.333", rate(333, 1000));
        accepts("1.50", rate(3, 2));
        refuses::<Rate>("0", "0 is not a rate; it must be more than zero");
        refuses::<Rate>("1/0", "1/0 is not a rate; it must be more than zero");
        refuses::<Rate>("-1.5", "-1.5 is negative; a rate such as 32, 25.6 or 128/5 is expected");
        refuses::<Rate>("1/x", "\"1/x\" is not a rate such as 32, 25.6 or 128/5");
        refuses::<Rate>(
            "1_0.5",
            "1_0.5 is a number with grouped digits; a rate such as 32, 25.6 or 128/5 is expected (write 10.5)",
        );
        refuses::<Rate>("0.00000000000000000001", "0.00000000000000000001 has too many digits");
    }

    #[test]
    fn sizes_have_binary_units_and_ambiguous_ones_are_refused() {
        accepts("4096", Bytes(4096));
        accepts("12 B", Bytes(12));
        accepts("512 KiB", Bytes(524_288));
        accepts("2MiB", Bytes(2_097_152));
        accepts("1.5 GiB", Bytes(1_610_612_736));
        accepts("0", Bytes(0));
        refuses::<Bytes>(
            "512 KB",
            "the unit of \"512 KB\" may mean 1000 or 1024 (write \"512 KiB\" for powers of 1024, or the plain number of bytes)",
        );
        refuses::<Bytes>(
            "2m",
            "the unit of \"2m\" may mean 1000 or 1024 (write \"2 MiB\" for powers of 1024, or the plain number of bytes)",
        );
        const EXPECTED: &str = "a size such as 512 KiB, 2 MiB or a plain number of bytes";
        refuses::<Bytes>("2 mib", &format!("\"2 mib\" has an unknown unit; {EXPECTED} is expected (write \"2 MiB\")"));
        refuses::<Bytes>("2 bits", &format!("\"2 bits\" has an unknown unit; {EXPECTED} is expected"));
        refuses::<Bytes>("0.3 KiB", "\"0.3 KiB\" is not a whole number of bytes");
        refuses::<Bytes>("1.5", "1.5 is not a whole number of bytes");
        refuses::<Bytes>("-1 KiB", &format!("-1 is negative; {EXPECTED} is expected"));
        refuses::<Bytes>("16777216 TiB", "\"16777216 TiB\" is too large; the largest is 18446744073709551615 bytes");
        refuses::<Bytes>("1e3", &format!("1e3 is not {EXPECTED} (write 1000)"));
        refuses::<Bytes>("big", &format!("\"big\" is not {EXPECTED}"));
    }

    #[test]
    fn frequencies_have_decimal_units() {
        accepts("1000000000", Hertz(1_000_000_000));
        accepts("1 GHz", Hertz(1_000_000_000));
        accepts("1.2GHz", Hertz(1_200_000_000));
        accepts("800 MHz", Hertz(800_000_000));
        const EXPECTED: &str = "a frequency such as 1 GHz, 800 MHz or a plain number of hertz";
        refuses::<Hertz>("1 Ghz", &format!("\"1 Ghz\" has an unknown unit; {EXPECTED} is expected (write \"1 GHz\")"));
        refuses::<Hertz>("0.5 Hz", "\"0.5 Hz\" is not a whole number of hertz");
    }

    proptest::proptest! {
        #[test]
        fn no_scalar_makes_a_conversion_panic(text in "\\PC{0,30}|[-+0-9._eExX/ KMGTiBHznaf]{0,45}", quoted: bool) {
            let scalar = Scalar { text: text.into(), quoted };
            let _ = (u64::convert(&scalar), i64::convert(&scalar), f64::convert(&scalar), bool::convert(&scalar));
            let _ = (Rate::convert(&scalar), Bytes::convert(&scalar), Hertz::convert(&scalar), u8::convert(&scalar));
        }

        #[test]
        fn every_whole_number_is_read_back(value: u64, signed: i64) {
            proptest::prop_assert_eq!(u64::convert(&plain(&value.to_string())), Ok(value));
            proptest::prop_assert_eq!(i64::convert(&plain(&signed.to_string())), Ok(signed));
        }
    }
}
