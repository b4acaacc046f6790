//! Standard normal samples from uniform bits: the transform of Box and Muller (Annals of Mathematical Statistics 29,
//! 1958, p. 610).
//!
//! The logarithm, sine and cosine are those of the pure-Rust `libm` and the rest is IEEE 754 in a written order, so the
//! same bits come out on every machine. The rejection samplers of the usual crates are faster, but their bits hang on
//! the version of the crate and on whether it was built against the platform's mathematics.

/// 2^-53: the distance of neighbouring uniform numbers.
const STEP: f64 = 1.0 / 9_007_199_254_740_992.0;

/// Two independent samples of the standard normal distribution from two words of 64 uniform bits each.
///
/// With `u = ((first >> 11) + 1) / 2^53`, in (0, 1], and `v = (second >> 11) / 2^53`, in [0, 1), they are
/// `sqrt(-2 ln u) cos(2 pi v)` and `sqrt(-2 ln u) sin(2 pi v)`. None is farther from 0 than `sqrt(106 ln 2)` < 8.58.
pub fn normal_pair(first: u64, second: u64) -> [f64; 2] {
    let radius = libm::sqrt(-2.0 * libm::log(((first >> 11) + 1) as f64 * STEP));
    let angle = std::f64::consts::TAU * unit_interval(second);
    [radius * libm::cos(angle), radius * libm::sin(angle)]
}

/// The upper 53 of 64 uniform bits as a number of [0, 1).
pub fn unit_interval(bits: u64) -> f64 {
    (bits >> 11) as f64 * STEP
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_corners_of_the_unit_square_go_where_the_formula_says() {
        // u = 1 has the logarithm 0, whatever the angle.
        assert_eq!(normal_pair(u64::MAX, u64::MAX), [0.0, -0.0]);
        // u = 2^-53, v = 0: the farthest sample, sqrt(106 ln 2) = 8.5716...
        let [farthest, zero] = normal_pair(0, 0);
        assert!((farthest - 8.571_674_348_652_905).abs() < 1e-12, "{farthest}");
        assert_eq!(zero, 0.0);
        // u = 1/2 (its 2^52 is reached from 2^52 - 1), v = 1/4: 0 and sqrt(2 ln 2) = 1.17741002251547...
        let [cosine, sine] = normal_pair(((1 << 52) - 1) << 11, 1 << 62);
        assert!(cosine.abs() < 1e-15 && (sine - 1.177_410_022_515_474_7).abs() < 1e-15, "{cosine} {sine}");
    }
}
