//! The operands of a floating point product: codes with or without block scales, decoded once.

use std::ops::Range;
use std::sync::OnceLock;

use crate::numerics::accumulate::{Term, round};
use crate::numerics::block::BlockTensor;
use crate::numerics::formats::{ElementFormat, Rounding};
use crate::numerics::gemm::GemmError;
use crate::numerics::tensor::{ElementsView, TensorView};

/// The scales of the blocks of an operand; each row has `ceil(k / block)` of them.
#[derive(Debug, Clone, Copy)]
pub struct BlockScales<'a> {
    /// Their format: E8M0 for MX, E4M3 for NVFP4, FP16 or FP32 for integers in groups.
    pub format: &'static ElementFormat,
    /// One code a block, row-major.
    pub codes: ElementsView<'a>,
    /// Elements of one block, along k.
    pub block: usize,
}

/// One operand, decoded: `rows` x `k`, k along the row. A holds one row a row of C, B one row a *column* of C.
#[derive(Debug, Clone)]
pub struct Operand {
    format: &'static ElementFormat,
    rows: usize,
    k: usize,
    codes: Vec<u16>,
    /// What each code stands for.
    elements: Vec<Term>,
    scales: Option<Scales>,
    values_by_row: OnceLock<Option<Vec<f32>>>,
    values_by_k: OnceLock<Option<Vec<f32>>>,
    integers_by_row: OnceLock<Option<Integers>>,
    integers_by_k: OnceLock<Option<Integers>>,
}

#[derive(Debug, Clone)]
struct Scales {
    terms: Vec<Term>,
    blocks: usize,
    block: usize,
}

/// Elements as integers in units of the lowest bit of their format, without their scales.
#[derive(Debug, Clone)]
pub(super) struct Integers {
    pub(super) elements: IntegerElements,
    /// Weight of the lowest bit, as an exponent of two.
    pub(super) unit_exponent: i32,
    /// Of the largest element that the format has.
    pub(super) largest: i64,
    /// Of the scale of each block, in the order of the elements; empty without scales.
    pub(super) scale_significands: Vec<i32>,
    pub(super) scale_exponents: Vec<i32>,
    pub(super) largest_scale_significand: i64,
}

#[derive(Debug, Clone)]
pub(super) enum IntegerElements {
    I32(Vec<i32>),
    I64(Vec<i64>),
}

impl Operand {
    /// Decodes the codes of `elements`, `rows` x `k`, in units of `2^unit_exponent`: -6 for the elements of MXINT8, -2 for
    /// those of MXINT4, 0 for floats.
    ///
    /// # Errors
    /// [`GemmError::UnsupportedFormat`] for elements of more than 16 bits and [`GemmError::WrongScales`] when the number
    /// of scales is not one a block or the block is empty.
    pub fn try_new(
        elements: TensorView<'_>,
        unit_exponent: i32,
        scales: Option<BlockScales<'_>>,
    ) -> Result<Self, GemmError> {
        let format = elements.format();
        let codes: Vec<u16> = match elements.elements() {
            ElementsView::I8(codes) => codes.iter().map(|&code| u16::from(code as u8)).collect(),
            ElementsView::I16(codes) => codes.iter().map(|&code| code as u16).collect(),
            ElementsView::Code8(codes) => codes.iter().map(|&code| u16::from(code)).collect(),
            ElementsView::Code16(codes) => codes.to_vec(),
            ElementsView::I32(_) | ElementsView::F32(_) => return Err(GemmError::UnsupportedFormat { format }),
        };
        // A 4-bit integer is stored sign-extended in a byte, so the table covers the storage, not the format.
        let stored_codes = if format.storage_bits() <= 8 { 1 << 8 } else { 1 << 16 };
        let table = (0..stored_codes).map(|code| Term::element(format, code, unit_exponent)).collect();
        let shape = elements.shape();
        let (rows, k) = (shape.rows as usize, shape.columns as usize);
        let scales = scales.map(|scales| Scales::try_new(scales, rows, k)).transpose()?;
        Ok(Self {
            format,
            rows,
            k,
            codes,
            elements: table,
            scales,
            values_by_row: OnceLock::new(),
            values_by_k: OnceLock::new(),
            integers_by_row: OnceLock::new(),
            integers_by_k: OnceLock::new(),
        })
    }

    /// Decodes a block-quantized matrix; its tensor scale, if it has one, is left to the caller.
    ///
    /// # Errors
    /// As [`Operand::try_new`]; no block format of this crate is refused.
    pub fn from_blocks(tensor: &BlockTensor) -> Result<Self, GemmError> {
        let block = usize::try_from(tensor.block()).unwrap_or(usize::MAX);
        let scales = tensor.scales();
        let scales = BlockScales { format: scales.format(), codes: scales.view().elements(), block };
        Self::try_new(tensor.codes().view(), tensor.format().implicit_exponent(), Some(scales))
    }

    /// The element format.
    pub fn format(&self) -> &'static ElementFormat {
        self.format
    }

    /// Number of rows: of C for the left operand, of columns of C for the right one.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Depth of the product.
    pub fn k(&self) -> usize {
        self.k
    }

    /// Elements that share a scale, if there are scales.
    pub fn block(&self) -> Option<usize> {
        self.scales.as_ref().map(|scales| scales.block)
    }

    /// The element `(row, position)` with its scale, exactly.
    pub fn term(&self, row: usize, position: usize) -> Term {
        let element = self.elements[usize::from(self.codes[row * self.k + position])];
        match &self.scales {
            None => element,
            Some(scales) => element.times(scales.terms[row * scales.blocks + position / scales.block]),
        }
    }

    /// The scaled elements as f32, row by row; `None` unless all are exact.
    pub(super) fn values_by_row(&self) -> Option<&[f32]> {
        let decode =
            || (0..self.rows * self.k).map(|index| exact_f32(self.term(index / self.k, index % self.k))).collect();
        self.values_by_row.get_or_init(decode).as_deref()
    }

    /// The scaled elements as f32, `k` x `rows`; `None` unless all are exact.
    pub(super) fn values_by_k(&self) -> Option<&[f32]> {
        let transpose = || Some(transposed(self.values_by_row()?, self.rows, self.k));
        self.values_by_k.get_or_init(transpose).as_deref()
    }

    /// The elements as integers, row by row; `None` when one of them or of their scales is infinite or NaN.
    pub(super) fn integers_by_row(&self) -> Option<&Integers> {
        self.integers_by_row.get_or_init(|| self.integers()).as_ref()
    }

    /// The elements as integers, `k` x `rows`, their scales `blocks` x `rows`; `None` when one is infinite or NaN.
    pub(super) fn integers_by_k(&self) -> Option<&Integers> {
        let transpose = || {
            let by_row = self.integers_by_row()?;
            let elements = match &by_row.elements {
                IntegerElements::I32(elements) => IntegerElements::I32(transposed(elements, self.rows, self.k)),
                IntegerElements::I64(elements) => IntegerElements::I64(transposed(elements, self.rows, self.k)),
            };
            let blocks = self.scales.as_ref().map_or(0, |scales| scales.blocks);
            Some(Integers {
                elements,
                scale_significands: transposed(&by_row.scale_significands, self.rows, blocks),
                scale_exponents: transposed(&by_row.scale_exponents, self.rows, blocks),
                ..*by_row
            })
        };
        self.integers_by_k.get_or_init(transpose).as_ref()
    }

    fn integers(&self) -> Option<Integers> {
        let exponents = self.elements.iter().filter_map(|term| match *term {
            Term::Finite { exponent, .. } => Some(exponent),
            _ => None,
        });
        let unit_exponent = exponents.min()?;
        let integer = |term: Term| match term {
            Term::Finite { significand, exponent, .. } => {
                let shift = u32::try_from(exponent - unit_exponent).expect("the unit is the lowest exponent");
                let fits = shift < significand.unsigned_abs().leading_zeros() || significand == 0;
                fits.then(|| if significand == 0 { 0 } else { significand << shift })
            }
            _ => None,
        };
        let table: Vec<Option<i64>> = self.elements.iter().map(|&term| integer(term)).collect();
        let largest = table.iter().flatten().map(|element| element.unsigned_abs()).max()?;
        let largest = i64::try_from(largest).ok()?;
        let wide: Option<Vec<i64>> = self.codes.iter().map(|&code| table[usize::from(code)]).collect();
        let elements = if largest <= i64::from(i32::MAX) {
            IntegerElements::I32(wide?.into_iter().map(|element| element as i32).collect())
        } else {
            IntegerElements::I64(wide?)
        };
        let (mut scale_significands, mut scale_exponents) = (Vec::new(), Vec::new());
        for scale in self.scales.iter().flat_map(|scales| &scales.terms) {
            let Term::Finite { significand, exponent, .. } = *scale else { return None };
            scale_significands.push(i32::try_from(significand).ok()?);
            scale_exponents.push(exponent);
        }
        let largest_scale_significand = scale_significands.iter().copied().map(i64::from).max().unwrap_or(1);
        Some(Integers {
            elements,
            unit_exponent,
            largest,
            scale_significands,
            scale_exponents,
            largest_scale_significand,
        })
    }

    /// The block of the given rows and positions along k.
    ///
    /// # Errors
    /// [`GemmError::BlockOutOfBounds`] when the block is not inside the operand.
    pub fn part(&self, rows: Range<usize>, k: Range<usize>) -> Result<OperandPart<'_>, GemmError> {
        let inside = |range: &Range<usize>, size: usize| range.start <= range.end && range.end <= size;
        if inside(&rows, self.rows) && inside(&k, self.k) {
            return Ok(OperandPart { operand: self, rows, k });
        }
        Err(GemmError::BlockOutOfBounds { rows, columns: k, of_rows: self.rows, of_columns: self.k })
    }

    /// All of the operand.
    pub fn whole(&self) -> OperandPart<'_> {
        OperandPart { operand: self, rows: 0..self.rows, k: 0..self.k }
    }
}

/// A block of an [`Operand`], in place.
#[derive(Debug, Clone)]
pub struct OperandPart<'a> {
    pub(super) operand: &'a Operand,
    pub(super) rows: Range<usize>,
    pub(super) k: Range<usize>,
}

impl Scales {
    fn try_new(scales: BlockScales<'_>, rows: usize, k: usize) -> Result<Self, GemmError> {
        let blocks = if scales.block == 0 { 0 } else { k.div_ceil(scales.block) };
        if scales.block == 0 || Some(scales.codes.len()) != rows.checked_mul(blocks) {
            return Err(GemmError::WrongScales { rows, k, block: scales.block, given: scales.codes.len() });
        }
        let term = |code: u32| Term::scale(scales.format, code);
        let terms = match scales.codes {
            ElementsView::Code8(codes) => codes.iter().map(|code| term(u32::from(*code))).collect(),
            ElementsView::Code16(codes) => codes.iter().map(|code| term(u32::from(*code))).collect(),
            ElementsView::F32(values) => values.iter().map(|value| term(value.to_bits())).collect(),
            ElementsView::I8(_) | ElementsView::I16(_) | ElementsView::I32(_) => {
                return Err(GemmError::UnsupportedFormat { format: scales.format });
            }
        };
        Ok(Self { terms, blocks, block: scales.block })
    }
}

/// The f32 of the same value, if there is one.
fn exact_f32(term: Term) -> Option<f32> {
    match term {
        Term::NotANumber => Some(f32::NAN),
        Term::Infinite { negative } => Some(if negative { f32::NEG_INFINITY } else { f32::INFINITY }),
        Term::Finite { significand, exponent, .. } => {
            let magnitude = u128::from(significand.unsigned_abs());
            let nearest = |rounding| round(significand < 0, magnitude, exponent, 24, rounding);
            let cut = nearest(Rounding::TowardZero);
            // Exact means that the bits of the f32 are those of the term, shifted.
            match Term::from_f32(cut) {
                Term::Finite { significand: kept, exponent: kept_exponent, .. } => {
                    let (low, high) = (exponent.min(kept_exponent), exponent.max(kept_exponent));
                    let same = significand == 0 && kept == 0
                        || (high - low < 64
                            && i128::from(significand) << (exponent - low)
                                == i128::from(kept) << (kept_exponent - low));
                    same.then_some(cut)
                }
                _ => None,
            }
        }
    }
}

fn transposed<T: Copy>(elements: &[T], rows: usize, columns: usize) -> Vec<T> {
    (0..columns).flat_map(|column| (0..rows).map(move |row| elements[row * columns + column])).collect()
}
