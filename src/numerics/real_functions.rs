//! The activation functions, and what softmax and rotary positions need, in f64: what the real-valued workload computes,
//! against which errors are measured.
//!
//! They go through the pure-Rust `libm`, so they are the same on every machine.

/// `e^x`.
pub fn exp(x: f64) -> f64 {
    libm::exp(x)
}

/// `ln x`.
pub fn ln(x: f64) -> f64 {
    libm::log(x)
}

/// `base^exponent`.
pub fn pow(base: f64, exponent: f64) -> f64 {
    libm::pow(base, exponent)
}

/// Sine and cosine of `x`.
pub fn sine_and_cosine(x: f64) -> (f64, f64) {
    libm::sincos(x)
}

/// `x / 2 (1 + erf(x / sqrt 2))`.
pub fn gelu(x: f64) -> f64 {
    0.5 * x * (1.0 + libm::erf(x * std::f64::consts::FRAC_1_SQRT_2))
}

/// `x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))`.
pub fn gelu_tanh(x: f64) -> f64 {
    // sqrt(2 / pi)
    const FACTOR: f64 = 0.797_884_560_802_865_4;
    0.5 * x * (1.0 + libm::tanh(FACTOR * (x + 0.044715 * x * x * x)))
}

/// `max(x, 0)`, NaN kept.
pub fn relu(x: f64) -> f64 {
    if x < 0.0 { 0.0 } else { x }
}

/// `x / (1 + exp(-x))`.
pub fn silu(x: f64) -> f64 {
    x / (1.0 + libm::exp(-x))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_agree_with_the_normal_distribution() {
        // Phi(1) = 0.841344746068542948..., Phi(-2) = 0.022750131948179207... (Abramowitz and Stegun, table 26.1).
        assert!((gelu(1.0) - 0.841_344_746_068_543).abs() < 1e-15);
        assert!((gelu(-2.0) + 2.0 * 0.022_750_131_948_179_21).abs() < 1e-15);
        // The approximation is within 5e-4 of the exact form (Hendrycks and Gimpel, 2016).
        assert!((gelu_tanh(1.0) - gelu(1.0)).abs() < 5e-4);
        // 1 / (1 + e^-1) = 0.731058578630004879...
        assert!((silu(1.0) - 0.731_058_578_630_004_9).abs() < 1e-15);
        assert_eq!(relu(-3.0), 0.0);
    }
}
