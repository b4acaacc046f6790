//! Arrays in tensor files: whether their shape is that of a tensor, and their bytes as values.
//!
//! Deliberately absent: how a file says what it holds; each kind of tensor file has a module of its own.

use std::io::{self, Read};

use crate::config::diagnostics::{Cited, Diagnostic};
use crate::config::placed::Placed;
use crate::config::workload::TensorFile;
use crate::numerics::formats::{ElementFormat, FP32};
use crate::numerics::tensor::{Elements, Tensor};
use crate::shape::MatrixShape;

/// How many bytes are read and converted at a time: small enough for the second-level cache, a multiple of each element.
const CHUNK_BYTES: usize = 1 << 16;

/// In which order a file holds the bytes of an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ByteOrder {
    /// Least significant byte first.
    Little,
    /// Most significant byte first.
    Big,
}

/// Checks that an array of `axes` is the tensor that is `written` there: either its axes, or the rows and columns of its
/// matrix, of which the rows may be left out where there is one. `what` names the array.
///
/// # Errors
/// It is another; cites the shape.
pub(crate) fn check_shape(
    axes: &[u64],
    shape: MatrixShape,
    written: &Placed<TensorFile>,
    what: &str,
) -> Result<(), Diagnostic> {
    let declared = written.declared_axes();
    let is_matrix = match axes {
        [columns] => shape == MatrixShape::new(1, *columns),
        [rows, columns] => shape == MatrixShape::new(*rows, *columns),
        _ => false,
    };
    if is_matrix || axes == declared {
        return Ok(());
    }
    let problem = written.shape.problem(format!("{what} has the shape {axes:?}"));
    let problem = problem.note(match declared.len() {
        0..=2 => format!("here it is {shape}"),
        _ => format!("here it is {declared:?}, or {shape} as a matrix"),
    });
    Err(match axes {
        [first, second] if declared == [*second, *first] => problem.help(format!(
            "it is the transpose: save it transposed, or, if it is the weight of a product, write shape: {axes:?} here \
             and weight_transposed: true there"
        )),
        _ => problem,
    })
}

/// The next `count` elements of `format` from `source`, as values; [`io::ErrorKind::UnexpectedEof`] if there are fewer.
///
/// `fp32` holds every value of such a format, so none is rounded.
pub(crate) fn values(
    source: &mut impl Read,
    format: &'static ElementFormat,
    order: ByteOrder,
    count: u64,
) -> io::Result<Vec<f32>> {
    let width = format.storage_bits() as usize / 8;
    let size = |count: u64| usize::try_from(count).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory));
    let mut left = size(count)?;
    let mut values: Vec<f32> = Vec::new();
    values.try_reserve_exact(left).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
    let mut chunk = vec![0; CHUNK_BYTES.min(left * width)];
    while left > 0 {
        let elements = left.min(CHUNK_BYTES / width);
        let bytes = &mut chunk[..elements * width];
        source.read_exact(bytes)?;
        if order == ByteOrder::Big {
            bytes.chunks_exact_mut(width).for_each(<[u8]>::reverse);
        }
        match Elements::from_le_bytes(format, bytes) {
            Elements::F32(part) if *format == FP32 => values.extend(part),
            codes => {
                let shape = MatrixShape::new(1, elements as u64);
                let part = Tensor::try_new(shape, format, codes).expect("codes of whole bytes exist in their format");
                values.extend(part.to_f32());
            }
        }
        left -= elements;
    }
    Ok(values)
}
