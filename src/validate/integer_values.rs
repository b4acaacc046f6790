//! Operands of integer layers, and their exact products.
//!
//! The reference walks images and kernels by their coordinates, adds up in 64 bits and saturates once: it shares neither the
//! geometry nor the kernels of the simulator.

use crate::numerics::formats;
use crate::numerics::tensor::{Elements, Tensor};
use crate::shape::MatrixShape;
use crate::validate::accelerator_run::IntegerLayer;
use crate::workload::convolution::WindowAxis;

/// Activations and weights of a layer. They are spread such that some sums of a typical depth saturate and most do not.
pub(super) fn operands(layer: &IntegerLayer) -> [Tensor; 2] {
    let input = layer.window.map_or(layer.shape.left(), |window| window.input_shape(1));
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    // A linear congruential generator (Knuth, The Art of Computer Programming 2, section 3.3.4: MMIX); its high bits are good.
    let mut next = |spread: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 33) % (2 * spread + 1)) as i64 - spread as i64
    };
    let mut tensor = |shape: MatrixShape, spread: u64| {
        let codes = (0..shape.elements()).map(|_| next(spread) as i8).collect();
        Tensor::try_new(shape, &formats::INT8, Elements::I8(codes)).expect("codes of the shape")
    };
    [tensor(input, 7), tensor(layer.shape.right(), 2)]
}

/// The product, or the convolution, of operands; saturated to 8 bits.
pub(super) fn saturated_product(layer: &IntegerLayer, [input, weights]: &[Tensor; 2]) -> Vec<i8> {
    let codes = |tensor: &Tensor| tensor.as_i8().expect("operands are INT8").to_vec();
    let (input, weights) = (codes(input), codes(weights));
    let shape = layer.shape;
    let mut results = Vec::new();
    for row in 0..shape.m {
        for column in 0..shape.n {
            let mut sum = 0i64;
            for depth in 0..shape.k {
                let position = match layer.window {
                    None => Some(row * shape.k + depth),
                    Some(window) => {
                        let (channel, tap) = (depth % window.channels, depth / window.channels);
                        let tap = [tap / window.x.kernel(), tap % window.x.kernel()];
                        let pixel = [row / window.x.output(), row % window.x.output()];
                        let at = |axis: WindowAxis, index: usize| {
                            let padded = (pixel[index] * axis.stride() + tap[index] * axis.dilation()) as i64;
                            let inside = padded - axis.padding()[0] as i64;
                            (0..axis.input() as i64).contains(&inside).then_some(inside as u64)
                        };
                        let (y, x) = (at(window.y, 0), at(window.x, 1));
                        y.zip(x).map(|(y, x)| (y * window.x.input() + x) * window.channels + channel)
                    }
                };
                if let Some(position) = position {
                    let weight = weights[(depth * shape.n + column) as usize];
                    sum += i64::from(input[position as usize]) * i64::from(weight);
                }
            }
            results.push(sum.clamp(i64::from(i8::MIN), i64::from(i8::MAX)) as i8);
        }
    }
    results
}
