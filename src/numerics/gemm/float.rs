//! Products with a floating point accumulator: FP16, BF16, MX and NVFP4 operands, every [`AccumulationOrder`].
//!
//! [`fn@reference`] evaluates each output on its own, as `accumulate` defines it. [`multiply_accumulate`] gives the same bits
//! and takes a fast path where one is proven: `sequential` in f32 arithmetic when every scaled element is an f32, and
//! `block` in integers when the products of a block fit in 32 or 64 bits. Both paths vectorise across the columns of
//! C, never along k.
//!
//! Scales of whole tensors, rows or columns are not applied here.

use crate::numerics::accumulate::{AccumulationOrder, Destination, FloatAccumulator, Term};
use crate::numerics::gemm::OperandPart;
use crate::numerics::gemm::panels::{block_order, sequential_order};
use crate::numerics::gemm::{GemmError, check_shapes};

/// The accumulators of a block of C, in a stated order.
#[derive(Debug, Clone)]
pub struct FloatTile {
    rows: usize,
    columns: usize,
    block: usize,
    order: AccumulationOrder,
    destination: Destination,
    state: State,
}

#[derive(Debug, Clone)]
enum State {
    Rounded(Vec<f32>),
    Exact(Vec<FloatAccumulator>),
}

impl FloatTile {
    /// `rows` x `columns` accumulators that hold zero. `block` is the number of products that share their scales, and, in
    /// the `block` order, the depth of the dot unit for operands without scales.
    ///
    /// # Errors
    /// [`GemmError::WrongScales`] when `block` is zero.
    pub fn try_new(
        rows: usize,
        columns: usize,
        block: usize,
        order: AccumulationOrder,
        destination: Destination,
    ) -> Result<Self, GemmError> {
        if block == 0 {
            return Err(GemmError::WrongScales { rows, k: 0, block, given: 0 });
        }
        let state = match order {
            AccumulationOrder::Exact => {
                State::Exact(vec![FloatAccumulator::new(order, destination, 0.0); rows * columns])
            }
            _ => State::Rounded(vec![0.0; rows * columns]),
        };
        Ok(Self { rows, columns, block, order, destination, state })
    }

    /// Sets the accumulators to `values`, row-major: sums that an earlier product left there, rounded to the destination.
    /// Panics unless there is one value for each accumulator.
    pub fn start_from(&mut self, values: &[f32]) {
        assert_eq!(values.len(), self.rows * self.columns, "one value for each accumulator");
        let (order, destination) = (self.order, self.destination);
        match &mut self.state {
            State::Rounded(sums) => sums.copy_from_slice(values),
            State::Exact(accumulators) => {
                for (accumulator, value) in accumulators.iter_mut().zip(values) {
                    *accumulator = FloatAccumulator::new(order, destination, *value);
                }
            }
        }
    }

    /// The accumulated values, row-major, each a value of the destination. There is one NaN: its payload would depend on
    /// the processor.
    pub fn values(&self) -> Vec<f32> {
        let one_nan = |value: f32| if value.is_nan() { f32::NAN } else { value };
        match &self.state {
            State::Rounded(values) => values.iter().copied().map(one_nan).collect(),
            State::Exact(accumulators) => accumulators.iter().map(|accumulator| one_nan(accumulator.value())).collect(),
        }
    }

    fn accumulate(&mut self, index: usize, products: &[Term]) {
        match &mut self.state {
            State::Exact(accumulators) => accumulators[index].accumulate(products, self.block),
            State::Rounded(values) => {
                let mut accumulator = FloatAccumulator::new(self.order, self.destination, values[index]);
                accumulator.accumulate(products, self.block);
                values[index] = accumulator.value();
            }
        }
    }

    fn check(&self, a: &OperandPart<'_>, b: &OperandPart<'_>) -> Result<(), GemmError> {
        let shape = |part: &OperandPart<'_>| (part.rows.len(), part.k.len());
        let (b_rows, b_columns) = (shape(b).1, shape(b).0);
        check_shapes(shape(a), (b_rows, b_columns), (self.rows, self.columns))?;
        if a.k != b.k || a.operand.k() != b.operand.k() {
            return Err(GemmError::SegmentMismatch { a: a.k.clone(), b: b.k.clone() });
        }
        for block in [a.operand.block(), b.operand.block()].into_iter().flatten() {
            if block != self.block {
                return Err(GemmError::BlockMismatch { operand: block, accumulator: self.block });
            }
        }
        let step = self.order.products_per_operation(self.block);
        let aligned = |position: usize| position.is_multiple_of(step) || position == a.operand.k();
        if !aligned(a.k.start) || !aligned(a.k.end) {
            return Err(GemmError::SplitOperation { segment: a.k.clone(), step });
        }
        if let AccumulationOrder::Truncated(rule) = self.order
            && rule.group().get() > 1
        {
            for format in [a.operand.format(), b.operand.format()] {
                if format.storage_bits() > 8 {
                    return Err(GemmError::UnsupportedFormat { format });
                }
            }
        }
        Ok(())
    }
}

/// `C += A x B` in the order of the accumulators, where `b` holds the columns of B as its rows.
///
/// Both operands give the same segment of k; segments come in ascending order and start at a multiple of
/// [`AccumulationOrder::products_per_operation`]. The bits are those of [`fn@reference`] over the whole of k.
///
/// # Errors
/// [`GemmError::ShapeMismatch`], [`GemmError::SegmentMismatch`], [`GemmError::BlockMismatch`] when operands and
/// accumulators do not belong together, [`GemmError::SplitOperation`] when a segment cuts an operation in two,
/// [`GemmError::UnsupportedFormat`] when an order sums groups of elements of more than eight bits.
pub fn multiply_accumulate(a: &OperandPart<'_>, b: &OperandPart<'_>, tile: &mut FloatTile) -> Result<(), GemmError> {
    tile.check(a, b)?;
    let (block, destination) = (tile.block, tile.destination);
    if let (State::Rounded(values), Destination::Fp32) = (&mut tile.state, destination) {
        match tile.order {
            AccumulationOrder::Sequential => {
                if let (Some(left), Some(right)) = (a.operand.values_by_row(), b.operand.values_by_k()) {
                    sequential_order(a, b, left, right, values);
                    return Ok(());
                }
            }
            AccumulationOrder::Block => {
                if let (Some(left), Some(right)) = (a.operand.integers_by_row(), b.operand.integers_by_k())
                    && block_order(a, b, left, right, block, values)
                {
                    return Ok(());
                }
            }
            _ => {}
        }
    }
    plain(a, b, tile);
    Ok(())
}

/// [`multiply_accumulate`] one output at a time: the definition that the fast paths are held against.
///
/// # Errors
/// As [`multiply_accumulate`].
pub fn reference(a: &OperandPart<'_>, b: &OperandPart<'_>, tile: &mut FloatTile) -> Result<(), GemmError> {
    tile.check(a, b)?;
    plain(a, b, tile);
    Ok(())
}

fn plain(a: &OperandPart<'_>, b: &OperandPart<'_>, tile: &mut FloatTile) {
    let mut products = Vec::with_capacity(a.k.len());
    for i in 0..tile.rows {
        for j in 0..tile.columns {
            products.clear();
            let term = |p| a.operand.term(a.rows.start + i, p).times(b.operand.term(b.rows.start + j, p));
            products.extend(a.k.clone().map(term));
            tile.accumulate(i * tile.columns + j, &products);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use proptest::prelude::{Strategy, any, prop, prop_assert_eq, proptest};

    use super::{FloatTile, multiply_accumulate, reference};
    use crate::numerics::accumulate::{AccumulationOrder, Destination, Truncation};
    use crate::numerics::formats::{
        BF16, E8M0, ElementFormat, FP4_E2M1, FP6_E2M3, FP6_E3M2, FP8_E4M3, FP8_E5M2, FP16, FP32, INT4, INT8,
    };
    use crate::numerics::gemm::{BlockScales, GemmError, Operand};
    use crate::numerics::tensor::{Elements, ElementsView, Tensor};
    use crate::shape::MatrixShape;

    fn operand(
        format: &'static ElementFormat,
        rows: usize,
        k: usize,
        codes: &[u16],
        scales: Option<BlockScales<'_>>,
    ) -> Operand {
        let codes = &codes[..rows * k];
        let mask = format.code_mask() as u16;
        let elements = match format.storage_bits() {
            16 => Elements::Code16(codes.to_vec()),
            _ if *format == INT8 => Elements::I8(codes.iter().map(|&code| code as i8).collect()),
            _ if *format == INT4 => Elements::I8(codes.iter().map(|&code| (code as i8) << 4 >> 4).collect()),
            _ => Elements::Code8(codes.iter().map(|&code| (code & mask) as u8).collect()),
        };
        let tensor = Tensor::try_new(MatrixShape::new(rows as u64, k as u64), format, elements).unwrap();
        Operand::try_new(tensor.view(), 0, scales).unwrap()
    }

    fn orders() -> Vec<AccumulationOrder> {
        let rule = Truncation::try_new(NonZeroU32::new(16).unwrap(), 25).unwrap();
        vec![
            AccumulationOrder::Sequential,
            AccumulationOrder::Block,
            AccumulationOrder::Exact,
            AccumulationOrder::Fused(NonZeroU32::new(8).unwrap()),
            AccumulationOrder::Truncated(rule),
        ]
    }

    fn bits(tile: &FloatTile) -> Vec<u32> {
        tile.values().into_iter().map(f32::to_bits).collect()
    }

    const BLOCK: usize = 16;

    #[derive(Debug)]
    struct Problem {
        m: usize,
        n: usize,
        k: usize,
        left: Operand,
        right: Operand,
    }

    fn formats() -> impl Strategy<Value = &'static ElementFormat> {
        prop::sample::select(vec![&FP8_E4M3, &FP8_E5M2, &FP6_E3M2, &FP6_E2M3, &FP4_E2M1, &INT8, &INT4, &FP16, &BF16])
    }

    fn problem() -> impl Strategy<Value = Problem> {
        // Ordinary scales, those at the ends of the range of f32, and all of them with NaN.
        let scale_codes = prop::sample::select(vec![(120u8, 134u8), (0, 30), (225, 254), (0, 255)]);
        let scales = scale_codes.prop_flat_map(|(low, high)| {
            (prop::collection::vec(low..=high, 3 * 5), prop::collection::vec(low..=high, 70 * 5))
        });
        let codes = (prop::collection::vec(any::<u16>(), 3 * 80), prop::collection::vec(any::<u16>(), 70 * 80));
        let shape = (1usize..4, 1usize..70, 1usize..80);
        (formats(), formats(), shape, codes, scales, any::<bool>(), any::<bool>()).prop_map(
            |(
                left_format,
                right_format,
                (m, n, k),
                (mut left, mut right),
                (left_scales, right_scales),
                scaled,
                specials,
            )| {
                if !specials {
                    // Clears a bit of every top exponent and of the NaN of E4M3, so that the fast paths are taken.
                    left.iter_mut().chain(&mut right).for_each(|code| *code &= !0x0485);
                }
                let blocks = k.div_ceil(BLOCK);
                let left_scales =
                    BlockScales { format: &E8M0, codes: ElementsView::Code8(&left_scales[..m * blocks]), block: BLOCK };
                let right_scales = BlockScales {
                    format: &E8M0,
                    codes: ElementsView::Code8(&right_scales[..n * blocks]),
                    block: BLOCK,
                };
                let left = operand(left_format, m, k, &left, scaled.then_some(left_scales));
                let right = operand(right_format, n, k, &right, scaled.then_some(right_scales));
                Problem { m, n, k, left, right }
            },
        )
    }

    proptest! {
        #[test]
        fn the_fast_paths_give_the_bits_of_the_reference(problem in problem(), bf16 in any::<bool>()) {
            let Problem { m, n, left, right, .. } = &problem;
            let destination = if bf16 { Destination::Bf16 } else { Destination::Fp32 };
            for order in orders() {
                let mut expected = FloatTile::try_new(*m, *n, BLOCK, order, destination).unwrap();
                reference(&left.whole(), &right.whole(), &mut expected).unwrap();
                let mut tile = FloatTile::try_new(*m, *n, BLOCK, order, destination).unwrap();
                multiply_accumulate(&left.whole(), &right.whole(), &mut tile).unwrap();
                prop_assert_eq!(bits(&tile), bits(&expected), "{}", order);
            }
        }

        #[test]
        fn any_tiling_with_k_ascending_gives_the_bits_of_the_whole(
            problem in problem(), (row, column, cut) in (0usize..4, 0usize..70, 0usize..5)
        ) {
            let Problem { m, n, k, left, right } = &problem;
            let (row, column, cut) = (row.min(*m), column.min(*n), (cut * BLOCK).min(*k));
            for order in orders() {
                let mut whole = FloatTile::try_new(*m, *n, BLOCK, order, Destination::Fp32).unwrap();
                multiply_accumulate(&left.whole(), &right.whole(), &mut whole).unwrap();
                for rows in [0..row, row..*m] {
                    for columns in [0..column, column..*n] {
                        let mut tile =
                            FloatTile::try_new(rows.len(), columns.len(), BLOCK, order, Destination::Fp32).unwrap();
                        for segment in [0..cut, cut..*k] {
                            let a = left.part(rows.clone(), segment.clone()).unwrap();
                            let b = right.part(columns.clone(), segment).unwrap();
                            multiply_accumulate(&a, &b, &mut tile).unwrap();
                        }
                        let values = bits(&tile);
                        let expected: Vec<u32> =
                            rows.clone().flat_map(|i| bits(&whole)[i * n..][columns.clone()].to_vec()).collect();
                        prop_assert_eq!(values, expected, "{}", order);
                    }
                }
            }
        }
    }

    #[test]
    fn nvfp4_scales_multiply_each_block_exactly() {
        // Elements 1.5 (code 3) and 6 (code 7); scales 1.875 (E4M3 code 0x3F) and 448 (0x7E). By hand: a block of 16 times
        // 1.5 * 6 = 144, times 1.875 * 448 = 840, is 120960, and two such blocks are 241920.
        let left = [3u16; 32];
        let right = [7u16; 32];
        let scales = |codes: &'static [u8]| {
            Some(BlockScales { format: &FP8_E4M3, codes: ElementsView::Code8(codes), block: 16 })
        };
        let left = operand(&FP4_E2M1, 1, 32, &left, scales(&[0x3F, 0x3F]));
        let right = operand(&FP4_E2M1, 1, 32, &right, scales(&[0x7E, 0x7E]));
        for order in orders() {
            let mut tile = FloatTile::try_new(1, 1, 16, order, Destination::Fp32).unwrap();
            multiply_accumulate(&left.whole(), &right.whole(), &mut tile).unwrap();
            assert_eq!(tile.values(), [241_920.0], "{order}");
        }
    }

    /// A block of 32 products of 7 x 7 is 1568; times (1 + 2^-23)^2, which takes 47 bits, and rounded once.
    #[test]
    fn scales_of_fp32_multiply_each_group_of_integers_exactly() {
        let scale = 1.0f32.next_up();
        let scales = [scale];
        let scales = || Some(BlockScales { format: &FP32, codes: ElementsView::F32(&scales), block: 32 });
        let codes = [7u16; 32];
        let (left, right) = (operand(&INT4, 1, 32, &codes, scales()), operand(&INT4, 1, 32, &codes, scales()));
        let expected = (1568.0 * f64::from(scale) * f64::from(scale)) as f32;
        for order in [AccumulationOrder::Block, AccumulationOrder::Exact] {
            let mut tile = FloatTile::try_new(1, 1, 32, order, Destination::Fp32).unwrap();
            multiply_accumulate(&left.whole(), &right.whole(), &mut tile).unwrap();
            assert_eq!(tile.values(), [expected], "{order}");
        }
        for order in orders() {
            let mut tiles = [(); 2].map(|()| FloatTile::try_new(1, 1, 32, order, Destination::Fp32).unwrap());
            multiply_accumulate(&left.whole(), &right.whole(), &mut tiles[0]).unwrap();
            reference(&left.whole(), &right.whole(), &mut tiles[1]).unwrap();
            assert_eq!(bits(&tiles[0]), bits(&tiles[1]), "{order}");
        }
    }

    #[test]
    fn operands_that_do_not_belong_together_are_refused() {
        let codes = [0u16; 64];
        let scales = Some(BlockScales { format: &E8M0, codes: ElementsView::Code8(&[127; 4]), block: 16 });
        let (a, b) = (operand(&FP4_E2M1, 2, 32, &codes, scales), operand(&FP4_E2M1, 2, 32, &codes, None));
        let tile = |block, order| FloatTile::try_new(2, 2, block, order, Destination::Fp32).unwrap();
        let mut wrong_block = tile(32, AccumulationOrder::Block);
        let refused = multiply_accumulate(&a.whole(), &b.whole(), &mut wrong_block);
        assert_eq!(refused, Err(GemmError::BlockMismatch { operand: 16, accumulator: 32 }));
        let mut right_block = tile(16, AccumulationOrder::Block);
        let (a_part, b_part) = (a.part(0..2, 0..8).unwrap(), b.part(0..2, 0..8).unwrap());
        let refused = multiply_accumulate(&a_part, &b_part, &mut right_block);
        assert_eq!(refused, Err(GemmError::SplitOperation { segment: 0..8, step: 16 }));
        let refused = multiply_accumulate(&a_part, &b.part(0..2, 8..16).unwrap(), &mut right_block);
        assert_eq!(refused, Err(GemmError::SegmentMismatch { a: 0..8, b: 8..16 }));
        assert!(a.part(0..3, 0..32).is_err());
        assert!(FloatTile::try_new(1, 1, 0, AccumulationOrder::Block, Destination::Fp32).is_err());
    }
}
