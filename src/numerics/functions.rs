//! Transcendental functions and activations on f32, equal on every machine.
//!
//! They come from the pure-Rust `libm` crate, never from the platform's library: the last bit of a platform's `expf`
//! depends on its version, and the outputs of a run must not. Each formula is evaluated in f32 in the order written.

/// `e^x`.
pub fn exp(x: f32) -> f32 {
    libm::expf(x)
}

/// Natural logarithm.
pub fn ln(x: f32) -> f32 {
    libm::logf(x)
}

/// Error function.
pub fn erf(x: f32) -> f32 {
    libm::erff(x)
}

/// Hyperbolic tangent.
pub fn tanh(x: f32) -> f32 {
    libm::tanhf(x)
}

/// Sine, for rotary position embeddings.
pub fn sin(x: f32) -> f32 {
    libm::sinf(x)
}

/// Cosine, for rotary position embeddings.
pub fn cos(x: f32) -> f32 {
    libm::cosf(x)
}

/// `base^exponent`, for rotary frequencies and smoothing factors; not for powers of two (see `float_bits`).
pub fn pow(base: f32, exponent: f32) -> f32 {
    libm::powf(base, exponent)
}

/// Square root, correctly rounded.
pub fn sqrt(x: f32) -> f32 {
    libm::sqrtf(x)
}

/// `1 / (1 + e^-x)`.
pub fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// `x` where positive, else 0; NaN stays NaN.
pub fn relu(x: f32) -> f32 {
    if x <= 0.0 { 0.0 } else { x }
}

/// `x / (1 + e^-x)`, also called swish.
pub fn silu(x: f32) -> f32 {
    x / (1.0 + exp(-x))
}

/// `0.5 x (1 + erf(x / sqrt 2))` (Hendrycks and Gimpel, arXiv 1606.08415, section 2).
pub fn gelu(x: f32) -> f32 {
    0.5 * x * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2))
}

/// `0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))`, the approximation given by the same paper.
pub fn gelu_tanh(x: f32) -> f32 {
    const SQRT_2_OVER_PI: f32 = 0.797_884_6;
    0.5 * x * (1.0 + tanh(SQRT_2_OVER_PI * (x + 0.044715 * x * x * x)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Equal to `expected` within `ulps` units in the last place.
    fn near(found: f32, expected: f64, ulps: f64) {
        let unit = f64::from(f32::EPSILON) * expected.abs().max(f64::from(f32::MIN_POSITIVE));
        assert!((f64::from(found) - expected).abs() <= ulps * unit, "{found} is not {expected}");
    }

    #[test]
    fn functions_agree_with_printed_tables() {
        // Abramowitz and Stegun: tables 4.4 (exp), 4.15 (tanh), 7.1 (erf), 4.2 (ln), 4.6 (sin, cos).
        near(exp(1.0), std::f64::consts::E, 1.0);
        near(exp(-5.0), 0.006737946999085467, 1.0);
        near(tanh(0.5), 0.46211715726000975, 1.0);
        near(erf(1.0), 0.8427007929497149, 1.0);
        near(erf(0.5), 0.5204998778130465, 1.0);
        near(ln(2.0), std::f64::consts::LN_2, 1.0);
        near(sin(1.0), 0.8414709848078965, 1.0);
        near(cos(1.0), 0.5403023058681398, 1.0);
        near(pow(10000.0, -0.5), 0.01, 1.0);
        near(sqrt(2.0), std::f64::consts::SQRT_2, 0.5);
    }

    #[test]
    fn activations_agree_with_their_definitions_in_known_points() {
        // Phi(1) = 0.8413447460685429 (normal distribution), sigmoid(1) = 0.7310585786300049, sigmoid(-2) = 0.11920292202211755.
        near(gelu(1.0), 0.8413447460685429, 2.0);
        near(gelu(-1.0), -0.15865525393145707, 4.0);
        // 0.5 (1 + tanh(0.7978845608 * 1.044715)) = 0.8411919906.
        near(gelu_tanh(1.0), 0.841191990608, 3.0);
        near(sigmoid(1.0), 0.7310585786300049, 2.0);
        near(silu(-2.0), -0.2384058440442351, 2.0);
        assert_eq!((relu(-3.0), relu(3.0)), (0.0, 3.0));
        assert_eq!((silu(-200.0), sigmoid(-200.0), gelu(-200.0)), (0.0, 0.0, 0.0));
        assert!(relu(f32::NAN).is_nan() && silu(f32::NAN).is_nan() && gelu(f32::NAN).is_nan());
    }
}
