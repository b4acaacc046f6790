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
}

impl WindowAxis {
    /// `kernel` taps, `dilation` apart, moved by `stride` over `input` elements with zeros before and after them.
    ///
    /// # Errors
    /// [`WindowError`] on a zero, or a kernel that does not fit.
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

    /// The inputs from the first to the last that the windows of `outputs` (at least one) cover. Windows that lie in the
    /// padding altogether are given the input next to them, so that what is asked for is never empty.
    pub fn inputs_of(self, outputs: Span) -> Span {
        let start = (outputs.start * self.stride).saturating_sub(self.padding_before);
        let end = ((outputs.end - 1) * self.stride + self.reach()).saturating_sub(self.padding_before);
        Span::new(start.min(self.input - 1), end.clamp(1, self.input))
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

    /// The most input pixels that any `block` neighbouring output pixels need, wherever the first of them is.
    ///
    /// A block whose first pixel lies at column `c` of an output row reaches over `(c + block - 1) / width + 1` rows, most
    /// where `c = width - 1`.
    pub fn most_inputs(&self, block: u64) -> u64 {
        let (width, height) = (self.x.output(), self.y.output());
        self.most_inputs_of_rows(block, (width + block - 2) / width + 1, height)
    }

    /// The most input pixels that a tile needs where tiles of `block` output pixels follow one another from the first on.
    ///
    /// Tiles of whole output rows start and end with a row, and where they also divide the image, none lies in two images.
    pub fn most_inputs_of_tiles(&self, block: u64) -> u64 {
        let (width, height) = (self.x.output(), self.y.output());
        if !block.is_multiple_of(width) {
            return self.most_inputs(block);
        }
        let rows = block / width;
        let last_start = if rows.is_multiple_of(height) {
            1
        } else if height.is_multiple_of(rows) {
            height - rows + 1
        } else {
            height
        };
        self.most_inputs_of_rows(block, rows, last_start)
    }

    /// Input pixels under `rows` neighbouring output rows, the first of which is at most the `last_start`-th of its image.
    fn most_inputs_of_rows(&self, block: u64, rows: u64, last_start: u64) -> u64 {
        if block >= self.output_pixels() {
            return self.inputs_of(Span::new(0, self.output_pixels())).len();
        }
        let further = ((last_start - 1 + rows - 1) / self.y.output()).min(self.images - 1);
        let covered = if further > 0 {
            // From the first row of one image to the last of another.
            (further + 1) * self.y.input()
        } else {
            // Within one image: a stride from row to row, and the reach of the last.
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
    fn a_kernel_that_does_not_fit_is_refused() {
        assert_eq!(
            WindowAxis::try_new(2, 2, 1, 2, [0, 0]),
            Err(WindowError::TooLarge { reach: 3, padded: 2 }),
            "dilated over three elements"
        );
        assert_eq!(WindowAxis::try_new(5, 3, 0, 1, [0, 0]), Err(WindowError::Zero));
    }

    #[test]
    fn windows_that_lie_in_the_padding_altogether_see_zeros_and_ask_for_the_input_next_to_them() {
        // One tap over 3 inputs with 2 zeros on each side: 7 outputs, of which the third to the fifth see an input.
        let axis = WindowAxis::try_new(3, 1, 1, 1, [2, 2]).unwrap();
        let seen: Vec<_> = (0..axis.output()).map(|output| axis.input_of(output, 0)).collect();
        assert_eq!(seen, [None, None, Some(0), Some(1), Some(2), None, None]);
        let asked = |output: u64| axis.inputs_of(Span::new(output, output + 1));
        assert_eq!([asked(0), asked(1), asked(2)], [Span::new(0, 1); 3]);
        assert_eq!([asked(4), asked(5), asked(6)], [Span::new(2, 3); 3]);
        assert_eq!(axis.inputs_of(Span::new(0, 7)), Span::new(0, 3));
    }

    #[test]
    fn a_block_as_long_as_an_output_row_that_starts_within_one_needs_the_inputs_of_two() {
        // 6 x 6 inputs, 3 x 2 taps, 2 rows apart, a row of zeros above and below, a column before: 4 x 6 outputs. Pixels 31
        // to 36 are of rows 1 and 2 of the second image, whose windows reach from input row 0 to input row 5.
        let y = WindowAxis::try_new(6, 3, 1, 2, [1, 1]).unwrap();
        let x = |width| WindowAxis::try_new(width, 2, 1, 1, [1, 0]).unwrap();
        let dilated = ConvolutionWindow { images: 2, y, x: x(6), channels: 1 };
        assert_eq!(dilated.inputs_of(Span::new(31, 37)), Span::new(36, 72));
        // The last row of one image and the first of the next: both counted whole.
        assert_eq!(dilated.most_inputs(6), 72);
        // Aligned: one output row, whose windows reach over five inputs.
        assert_eq!(dilated.most_inputs_of_tiles(6), 30);
        // 3 x 6 inputs, two taps moved by two: 2 x 6 outputs. Pixels 1 to 6 are of both rows: inputs 0 to 2.
        let y = WindowAxis::try_new(3, 2, 2, 1, [1, 1]).unwrap();
        let strided = ConvolutionWindow { images: 2, y, x: x(6), channels: 1 };
        assert_eq!(strided.inputs_of(Span::new(1, 7)), Span::new(0, 18));
        // Rows of two images: both whole.
        assert_eq!(strided.most_inputs(6), 36);
        assert_eq!(strided.most_inputs_of_tiles(6), 12);
    }

    proptest! {
        #[test]
        fn a_tile_needs_whole_image_rows_around_every_pixel_that_its_taps_touch(
            images in 1u64..3, height in 1u64..9, width in 1u64..7, kernel in 1u64..4, stride in 1u64..4,
            dilation in 1u64..3, padding in 0u64..5, start in 0u64..40, length in 1u64..40
        ) {
            let y = WindowAxis::try_new(height, kernel, stride, dilation, [padding, padding]);
            let x = WindowAxis::try_new(width, 2, 1, 1, [1, 0]);
            prop_assume!(y.is_ok() && x.is_ok());
            let window = ConvolutionWindow { images, y: y.unwrap(), x: x.unwrap(), channels: 1 };
            prop_assume!(start + length <= window.output_pixels());
            let tile = Span::new(start, start + length);
            let touched: Vec<u64> = (tile.start..tile.end)
                .flat_map(|pixel| (0..kernel).flat_map(move |a| (0..2).map(move |b| (pixel, [a, b]))))
                .filter_map(|(pixel, taps)| window.pixel_of(pixel, taps))
                .collect();
            let needed = window.inputs_of(tile);
            prop_assert_eq!([needed.start % width, needed.end % width], [0, 0]);
            prop_assert!(!needed.is_empty());
            prop_assert!(touched.iter().all(|pixel| needed.start <= *pixel && *pixel < needed.end));
            prop_assert!(needed.len() <= window.most_inputs(length), "{} > {}", needed.len(), window.most_inputs(length));
            let (first, most) = (start / length * length, window.most_inputs_of_tiles(length));
            let aligned = window.inputs_of(Span::new(first, (first + length).min(window.output_pixels())));
            prop_assert!(aligned.len() <= most, "{} > {most}", aligned.len());
        }
    }
}
