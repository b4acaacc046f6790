//! Exponents and powers of two, read from and built from the bits of IEEE 754 floats.
//!
//! A float logarithm misrounds just below a power of two (float32 `log2` is one too high there), and a power
//! function is only as good as the platform's library. Bits are exact and equal everywhere.

/// `2^exponent` as an f64, for `-1022 <= exponent <= 1023`; smaller exponents give zero, larger ones infinity.
pub const fn power_of_two_f64(exponent: i32) -> f64 {
    if exponent < -1022 {
        0.0
    } else if exponent > 1023 {
        f64::INFINITY
    } else {
        f64::from_bits(((exponent + 1023) as u64) << 52)
    }
}

/// `2^exponent` as an f32, subnormals included (`-149 <= exponent <= 127`); smaller exponents give zero, larger ones
/// infinity.
pub const fn power_of_two_f32(exponent: i32) -> f32 {
    if exponent < -149 {
        0.0
    } else if exponent < -126 {
        f32::from_bits(1 << (exponent + 149))
    } else if exponent > 127 {
        f32::INFINITY
    } else {
        f32::from_bits(((exponent + 127) as u32) << 23)
    }
}

/// `floor(log2(|value|))` of a finite, non-zero f32, subnormals included; `None` for zero, infinity and NaN.
pub const fn exponent_of_f32(value: f32) -> Option<i32> {
    let magnitude = value.to_bits() & 0x7FFF_FFFF;
    if magnitude == 0 || magnitude >= 0x7F80_0000 {
        return None;
    }
    if magnitude < 0x0080_0000 {
        return Some(31 - magnitude.leading_zeros() as i32 - 149);
    }
    Some((magnitude >> 23) as i32 - 127)
}

/// A float taken apart: sign, and what stands behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FloatParts {
    /// The sign bit, also of zeros, infinities and NaNs.
    pub negative: bool,
    /// The magnitude.
    pub magnitude: Magnitude,
}

/// The magnitude of a float, exactly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Magnitude {
    /// Zero.
    Zero,
    /// `significand * 2^exponent` with `2^52 <= significand < 2^53`.
    Finite {
        /// 53 significant bits, the top one set.
        significand: u64,
        /// Weight of the lowest of them.
        exponent: i32,
    },
    /// Infinity.
    Infinite,
    /// Not a number; the payload is not kept.
    NotANumber,
}

/// Takes an f64 apart, subnormals normalised.
pub const fn float_parts(value: f64) -> FloatParts {
    let bits = value.to_bits();
    let negative = bits >> 63 == 1;
    let field = ((bits >> 52) & 0x7FF) as i32;
    let fraction = bits & 0x000F_FFFF_FFFF_FFFF;
    let magnitude = match (field, fraction) {
        (0, 0) => Magnitude::Zero,
        (0, _) => {
            let shift = fraction.leading_zeros() - 11;
            Magnitude::Finite { significand: fraction << shift, exponent: -1074 - shift as i32 }
        }
        (0x7FF, 0) => Magnitude::Infinite,
        (0x7FF, _) => Magnitude::NotANumber,
        _ => Magnitude::Finite { significand: fraction | 1 << 52, exponent: field - 1075 },
    };
    FloatParts { negative, magnitude }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn powers_of_two_agree_with_repeated_halving_and_doubling() {
        // Halving and doubling are exact in IEEE 754 until the range ends.
        let (mut down, mut up) = (1.0f32, 1.0f32);
        for exponent in 0..=160 {
            assert_eq!(power_of_two_f32(-exponent).to_bits(), down.to_bits(), "2^-{exponent}");
            assert_eq!(power_of_two_f32(exponent).to_bits(), up.to_bits(), "2^{exponent}");
            (down, up) = (down * 0.5, up * 2.0);
        }
        let mut down = 1.0f64;
        for exponent in 0..=1022 {
            assert_eq!(power_of_two_f64(-exponent), down);
            assert_eq!(power_of_two_f64(exponent), 1.0 / down);
            down *= 0.5;
        }
    }

    #[test]
    fn the_exponent_of_a_float_just_below_a_power_of_two_is_the_lower_one() {
        for exponent in -148..=127 {
            let power = power_of_two_f32(exponent);
            let below = f32::from_bits(power.to_bits() - 1);
            assert_eq!(exponent_of_f32(power), Some(exponent));
            assert_eq!(exponent_of_f32(-below), Some(exponent - 1));
        }
        assert_eq!(exponent_of_f32(0.0), None);
        assert_eq!(exponent_of_f32(f32::INFINITY), None);
        assert_eq!(exponent_of_f32(f32::NAN), None);
    }

    #[test]
    fn the_parts_of_a_float_give_it_back() {
        for value in [1.0, -1.5, 0.1, 1e300, f64::MIN_POSITIVE, f64::MAX, 6.0] {
            let FloatParts { negative, magnitude } = float_parts(value);
            let Magnitude::Finite { significand, exponent } = magnitude else { panic!("{value} is finite") };
            assert_eq!(significand >> 52, 1);
            assert_eq!(negative, value < 0.0);
            // Two exact steps, because 2^-1074 alone has no normal representation.
            let half = exponent / 2;
            let back = significand as f64 * power_of_two_f64(half) * power_of_two_f64(exponent - half);
            assert_eq!(back, value.abs());
        }
        let smallest = float_parts(f64::from_bits(1)).magnitude;
        assert_eq!(smallest, Magnitude::Finite { significand: 1 << 52, exponent: -1074 - 52 });
        assert_eq!(float_parts(-0.0), FloatParts { negative: true, magnitude: Magnitude::Zero });
    }
}
