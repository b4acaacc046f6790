//! Integers in groups along k, each under a float scale: `q = round(x / s)` with `s = max|x| / 7` (127 for INT8).
//!
//! What weight-only quantizers and ZeroQuant call group-wise. Not an OCP format: the scale is a float of 16 or 32 bits rather
//! than a power of two, so no code of the largest magnitude is lost to rounding the scale up.

use crate::numerics::block::{BlockFormat, Scaling};
use crate::numerics::formats::{ElementFormat, FP16, FP32, INT4, INT8};

const fn group(
    name: &'static str,
    element: &'static ElementFormat,
    block: u64,
    scale: &'static ElementFormat,
) -> BlockFormat {
    BlockFormat { name, element, implicit_exponent: 0, block, scaling: Scaling::Float { scale } }
}

macro_rules! groups {
    ($($format:ident: $name:literal, $element:ident, $size:literal, $scale:ident;)+) => {
        $(
            #[doc = concat!(stringify!($element), " in groups of ", stringify!($size), " with an ", stringify!($scale), " scale.")]
            pub static $format: BlockFormat = group($name, &$element, $size, &$scale);
        )+
        /// All of them.
        #[cfg(test)]
        pub(super) static ALL: &[&BlockFormat] = &[$(&$format),+];
    };
}

groups! {
    INT4_G32: "int4_g32", INT4, 32, FP16;
    INT4_G64: "int4_g64", INT4, 64, FP16;
    INT4_G128: "int4_g128", INT4, 128, FP16;
    INT4_G32_FP32: "int4_g32_fp32", INT4, 32, FP32;
    INT4_G64_FP32: "int4_g64_fp32", INT4, 64, FP32;
    INT4_G128_FP32: "int4_g128_fp32", INT4, 128, FP32;
    INT8_G32: "int8_g32", INT8, 32, FP16;
    INT8_G64: "int8_g64", INT8, 64, FP16;
    INT8_G128: "int8_g128", INT8, 128, FP16;
    INT8_G32_FP32: "int8_g32_fp32", INT8, 32, FP32;
    INT8_G64_FP32: "int8_g64_fp32", INT8, 64, FP32;
    INT8_G128_FP32: "int8_g128_fp32", INT8, 128, FP32;
}
