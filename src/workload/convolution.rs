//! The geometry of a two-dimensional convolution as a matrix product.
//!
//! A tensor of images `[images, height, width, channels]` is held as a matrix of `images * height * width` rows (pixels) by
//! `channels` columns. The product is that of im2col (Chellapilla, Puri and Simard, IWFHR 2006): row `m` is an output
//! pixel, and `k` runs over kernel rows, then kernel columns, then channels. What lies in the padding is zero. The matrix
//! of windows itself is never stored: memories hold and move the pixels.

use crate::shape::{MatrixShape, Span};

/// One axis of the window: how outputs and taps of the kernel meet inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WindowAxis {
    input: u64,
    kernel: u64,
    stride: u64,
    dilation: u64,
    padding_before: u64,
    padding_after: u64,
}

/// Why numbers do not make an axis of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WindowError {
    /// An extent or a step is zero.
    #[error("extents, strides and dilations are at least 1")]
    Zero,
    /// The kernel does not fit even once.
    #[error("the kernel reaches over {reach} elements, but the padded input has only {padded}")]
    TooLarge {
        /// Elements from the first to the last tap.
        reach: u64,
        /// Elements of the input with its padding.
        padded: u64,
    },
    /// A window could lie in the padding altogether.
    #[error("a padding of {padding} is not less than the reach of the kernel, {reach}")]
    PaddingTooWide {
        /// The padding.
        padding: u64,
        /// Elements from the first to the last tap.
        reach: u64,
    },
}

impl WindowAxis {
    /// `kernel` taps, `dilation` apart, moved by `stride` over `input` elements with zeros before and after them.
    ///
    /// # Errors
    /// [`WindowError`] on a zero, a kernel that does not fit, or a padding as wide as the kernel.
    pub fn try_new(
        input: u64,
        kernel: u64,
        stride: u64,
        dilation: u64,
        [padding_before, padding_after]: [u64; 2],
    ) -> Result<WindowAxis, WindowError> {
        if [input, kernel, stride, dilation].contains(&0) {
            return Err(WindowError::Zero);
        }
        let axis = WindowAxis { input, kernel, stride, dilation, padding_before, padding_after };
        let (reach, padded) = (axis.reach(), input + padding_before + padding_after);
        let padding = padding_before.max(padding_after);
        if padding >= reach {
            return Err(WindowError::PaddingTooWide { padding, reach });
        }
        if reach > padded {
            return Err(WindowError::TooLarge { reach, padded });
        }
        Ok(axis)
    }

    /// Elements of the input, padding aside.
    pub const fn input(self) -> u64 {
        self.input
    }

    /// Taps of the kernel.
    pub const fn kernel(self) -> u64 {
        self.kernel
    }

    /// Inputs from one output to the next.
    pub const fn stride(self) -> u64 {
        self.stride
    }

    /// Inputs from one tap to the next.
    pub const fn dilation(self) -> u64 {
        self.dilation
    }

    /// Zeros before the first and after the last input.
    pub const fn padding(self) -> [u64; 2] {
        [self.padding_before, self.padding_after]
    }

    /// Elements from the first to the last tap, both included.
    pub const fn reach(self) -> u64 {
        self.dilation * (self.kernel - 1) + 1
    }

    /// Number of outputs.
    pub const fn output(self) -> u64 {
        (self.input + self.padding_before + self.padding_after - self.reach()) / self.stride + 1
    }

    /// The input under a tap of an output's window, unless it lies in the padding.
    pub const fn input_of(self, output: u64, tap: u64) -> Option<u64> {
        let padded = output * self.stride + tap * self.dilation;
        if padded < self.padding_before || padded - self.padding_before >= self.input {
            None
        } else {
            Some(padded - self.padding_before)
        }
    }

    /// The inputs from the first to the last that the windows of `outputs` (at least one) cover.
    pub const fn inputs_of(self, outputs: Span) -> Span {
        let start = (outputs.start * self.stride).saturating_sub(self.padding_before);
        let end = ((outputs.end - 1) * self.stride + self.reach()).saturating_sub(self.padding_before);
        Span::new(start, if end > self.input { self.input } else { end })
    }
}

/// The window of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConvolutionWindow {
    /// Images that lie one after the other.
    pub images: u64,
    /// From top to bottom.
    pub y: WindowAxis,
    /// From left to right.
    pub x: WindowAxis,
    /// Input channels that one output channel sees: those of its group.
    pub channels: u64,
}

impl ConvolutionWindow {
    /// Output pixels: the m of the product.
    pub const fn output_pixels(&self) -> u64 {
        self.images * self.y.output() * self.x.output()
    }

    /// Input pixels: rows of the input matrix.
    pub const fn input_pixels(&self) -> u64 {
        self.images * self.y.input() * self.x.input()
    }

    /// Taps times channels: the k of the product.
    pub const fn depth(&self) -> u64 {
        self.y.kernel() * self.x.kernel() * self.channels
    }

    /// Whether each output pixel sees exactly the input pixel of the same position: a plain product over channels.
    pub fn is_pointwise(&self) -> bool {
        let is_identity = |axis: WindowAxis| axis.kernel() == 1 && axis.stride() == 1 && axis.padding() == [0, 0];
        is_identity(self.y) && is_identity(self.x)
    }

    /// The matrix of `groups` groups of channels that the window moves over.
    pub const fn input_shape(&self, groups: u64) -> MatrixShape {
        MatrixShape::new(self.input_pixels(), self.channels * groups)
    }

    /// The input pixel (row of the input matrix) under tap `(y, x)` of output pixel `pixel`; `None` in the padding.
    pub fn pixel_of(&self, pixel: u64, [tap_y, tap_x]: [u64; 2]) -> Option<u64> {
        let (width, height) = (self.x.output(), self.y.output());
        let (image, y, x) = (pixel / (width * height), pixel / width % height, pixel % width);
        let (y, x) = (self.y.input_of(y, tap_y)?, self.x.input_of(x, tap_x)?);
        Some((image * self.y.input() + y) * self.x.input() + x)
    }

    /// The input pixels that a tile of output pixels (at least one) needs: whole rows of the image, from the first to the
    /// last that its windows cover, halo included.
    pub fn inputs_of(&self, pixels: Span) -> Span {
        let (width, height) = (self.x.output(), self.y.output());
        let first_row = pixels.start / width;
        let last_row = (pixels.end - 1) / width;
        let start = self.y.inputs_of(Span::new(first_row % height, first_row % height + 1)).start;
        let end = self.y.inputs_of(Span::new(last_row % height, last_row % height + 1)).end;
        let image_row = |row: u64, y: u64| (row / height * self.y.input() + y) * self.x.input();
        Span::new(image_row(first_row, start), image_row(last_row, end))
    }

    /// The most input pixels that a block of `block` output pixels needs, one of those that cut all of them evenly from the
    /// first one on.
    pub fn most_inputs(&self, block: u64) -> u64 {
        if block >= self.output_pixels() {
            return self.inputs_of(Span::new(0, self.output_pixels())).len();
        }
        let (width, height) = (self.x.output(), self.y.output());
        // A block that starts in the middle of an output row ends in the middle of another.
        let rows = if block.is_multiple_of(width) { block / width } else { (block - 1).div_ceil(width) + 1 };
        // How many images a block can reach beyond the one that it starts in.
        let further = if rows.is_multiple_of(height) && block.is_multiple_of(width) {
            rows / height - 1
        } else {
            ((height - 1 + rows - 1) / height).min(self.images - 1)
        };
        let covered = if further > 0 || rows > height {
            (further + 1) * self.y.input()
        } else {
            ((rows - 1) * self.y.stride() + self.y.reach()).min(self.y.input())
        };
        covered * self.x.input()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop_assert, prop_assert_eq, prop_assume, proptest};

    use super::*;

    #[test]
    fn the_extent_of_the_output_follows_the_usual_formula() {
        // Dumoulin and Visin, "A guide to convolution arithmetic" (arXiv 1603.07285), relationships 6 and 15:
        // o = floor((i + 2p - k - (k - 1)(d - 1)) / s) + 1; the examples of figures 2.6 (i 5, k 3, s 2, p 1: 3) and 5.1
        // (i 7, k 3, d 2, s 1, p 0: 3).
        assert_eq!(WindowAxis::try_new(5, 3, 2, 1, [1, 1]).unwrap().output(), 3);
        assert_eq!(WindowAxis::try_new(7, 3, 1, 2, [0, 0]).unwrap().output(), 3);
        // The first convolution of ResNet-50: 224 pixels, kernel 7, stride 2, padding 3: 112.
        assert_eq!(WindowAxis::try_new(224, 7, 2, 1, [3, 3]).unwrap().output(), 112);
    }

    #[test]
    fn a_kernel_that_does_not_fit_and_a_padding_wider_than_it_are_refused() {
        assert_eq!(
            WindowAxis::try_new(2, 2, 1, 2, [0, 0]),
            Err(WindowError::TooLarge { reach: 3, padded: 2 }),
            "dilated over three elements"
        );
        assert!(matches!(WindowAxis::try_new(5, 3, 1, 1, [3, 0]), Err(WindowError::PaddingTooWide { .. })));
        assert_eq!(WindowAxis::try_new(5, 3, 0, 1, [0, 0]), Err(WindowError::Zero));
    }

    proptest! {
        #[test]
        fn a_tile_needs_whole_image_rows_around_every_pixel_that_its_taps_touch(
            images in 1u64..3, height in 1u64..9, width in 1u64..7, kernel in 1u64..4, stride in 1u64..4,
            dilation in 1u64..3, padding in 0u64..3, index in 0u64..12, length in 1u64..40
        ) {
            let y = WindowAxis::try_new(height, kernel, stride, dilation, [padding, padding]);
            let x = WindowAxis::try_new(width, 2, 1, 1, [1, 0]);
            prop_assume!(y.is_ok() && x.is_ok());
            let window = ConvolutionWindow { images, y: y.unwrap(), x: x.unwrap(), channels: 1 };
            let start = index % window.output_pixels().div_ceil(length) * length;
            let tile = Span::new(start, (start + length).min(window.output_pixels()));
            let touched: Vec<u64> = (tile.start..tile.end)
                .flat_map(|pixel| (0..kernel).flat_map(move |a| (0..2).map(move |b| (pixel, [a, b]))))
                .filter_map(|(pixel, taps)| window.pixel_of(pixel, taps))
                .collect();
            let needed = window.inputs_of(tile);
            prop_assert_eq!([needed.start % width, needed.end % width], [0, 0]);
            prop_assert!(touched.iter().all(|pixel| needed.start <= *pixel && *pixel < needed.end));
            prop_assert!(needed.len() <= window.most_inputs(length), "{} > {}", needed.len(), window.most_inputs(length));
        }
    }
}
