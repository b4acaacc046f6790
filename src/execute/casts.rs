//! What casts could not keep: values beyond the largest magnitude of their format, and NaN and infinity that became numbers.
//!
//! Losses are marked by element, so that an element that is written again (in a second walk, or by a wider box of tiles)
//! counts once, and the counts depend neither on tiles nor on threads.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::numerics::formats::{ElementFormat, Rounding};
use crate::program::Program;
use crate::program::op::Op;
use crate::program::tensor::TensorId;

/// What a cast lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loss {
    /// A finite value whose code was limited by the largest magnitude of the format; not one that only rounds to it.
    Clipped,
    /// NaN or an infinity that became a number. A code under a scale that is no number itself is none.
    NotFinite,
}

/// Losses of one layer or tensor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CastLosses {
    /// Finite values that were clipped to the largest magnitude of their format.
    pub clipped_values: u64,
    /// NaN and infinities that became numbers.
    pub non_finite_values: u64,
}

impl CastLosses {
    fn add(&mut self, loss: Loss) {
        match loss {
            Loss::Clipped => self.clipped_values += 1,
            Loss::NotFinite => self.non_finite_values += 1,
        }
    }

    fn plus(self, other: CastLosses) -> CastLosses {
        CastLosses {
            clipped_values: self.clipped_values + other.clipped_values,
            non_finite_values: self.non_finite_values + other.non_finite_values,
        }
    }
}

/// Losses by tensor.
#[derive(Default)]
pub(super) struct Casts {
    /// Of tensors that the program writes: a mark for each element that was last written with a loss.
    written: BTreeMap<TensorId, Marks>,
    /// Of tensors that are there before it, each cast once.
    given: BTreeMap<TensorId, CastLosses>,
}

/// Two bits an element.
struct Marks(Vec<u8>);

impl Marks {
    const PER_BYTE: usize = 4;

    fn set(&mut self, position: usize, bits: u8) {
        let shift = 2 * (position % Marks::PER_BYTE);
        let byte = &mut self.0[position / Marks::PER_BYTE];
        *byte = *byte & !(0b11 << shift) | bits << shift;
    }

    fn losses(&self) -> CastLosses {
        let mut losses = CastLosses::default();
        for byte in self.0.iter().filter(|byte| **byte != 0) {
            for element in 0..Marks::PER_BYTE {
                match byte >> (2 * element) & 0b11 {
                    0b01 => losses.add(Loss::Clipped),
                    0b10 => losses.add(Loss::NotFinite),
                    _ => {}
                }
            }
        }
        losses
    }
}

impl Casts {
    /// Marks what was lost when the elements of `range`, of `elements` in all, were written.
    pub(super) fn note(&mut self, id: TensorId, elements: u64, range: Range<usize>, lost: &[(usize, Loss)]) {
        let marks = match self.written.entry(id) {
            std::collections::btree_map::Entry::Vacant(_) if lost.is_empty() => return,
            entry => entry.or_insert_with(|| {
                Marks(vec![0; usize::try_from(elements.div_ceil(4)).expect("the elements are in memory")])
            }),
        };
        range.clone().for_each(|position| marks.set(position, 0));
        for (position, loss) in lost {
            let bits = match loss {
                Loss::Clipped => 0b01,
                Loss::NotFinite => 0b10,
            };
            marks.set(range.start + position, bits);
        }
    }

    /// Counts what a cast of `values` to the format of a tensor that is there before the program loses.
    pub(super) fn note_given(&mut self, id: TensorId, format: &'static ElementFormat, values: &[f32]) {
        let mut losses = self.given.get(&id).copied().unwrap_or_default();
        losses_of(format, values).into_iter().for_each(|(_, loss)| losses.add(loss));
        if losses != CastLosses::default() {
            self.given.insert(id, losses);
        }
    }

    /// Losses by layer: of each tensor to the layer of the operation that writes it, of what is there before to the first
    /// layer that reads it.
    pub(super) fn by_layer(&self, program: &Program) -> Vec<CastLosses> {
        let all = || program.preparation.iter().chain(&program.ops);
        let layer_of = |touches: &dyn Fn(&Op) -> bool| all().find(|op| touches(op)).map(|op| op.layer.0);
        let mut layers = vec![CastLosses::default(); program.layers.len()];
        let mut add = |layer: Option<usize>, losses: CastLosses| {
            if let Some(layer) = layer {
                layers[layer] = layers[layer].plus(losses);
            }
        };
        for (id, marks) in &self.written {
            add(layer_of(&|op| op.kind.writes().contains(id)), marks.losses());
        }
        for (id, losses) in &self.given {
            add(layer_of(&|op| op.kind.reads().contains(id)), *losses);
        }
        layers
    }
}

/// What a saturating cast of `values` to a float format loses, by position. Integers that only move lose nothing.
pub(super) fn losses_of(format: &'static ElementFormat, values: &[f32]) -> Vec<(usize, Loss)> {
    if format.is_integer() {
        return Vec::new();
    }
    let largest = format.max_finite() as f32;
    let suspects = values.iter().enumerate().filter(|(_, value)| is_beyond(**value, largest));
    let lost = suspects.filter_map(|(position, value)| {
        let loss = if !value.is_finite() {
            let code = format.encode_f32(*value, Rounding::NearestEven, crate::numerics::formats::Overflow::Saturate);
            format.decode(code).is_finite().then_some(Loss::NotFinite)
        } else {
            format.clips(f64::from(*value), Rounding::NearestEven).then_some(Loss::Clipped)
        };
        Some((position, loss?))
    });
    lost.collect()
}

/// Whether a value is above `largest` in magnitude, or NaN.
pub(super) fn is_beyond(value: f32, largest: f32) -> bool {
    value.is_nan() || value.abs() > largest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::numerics::formats::{FP8_E4M3, FP16, FP32};

    #[test]
    fn an_element_that_is_written_again_counts_as_it_was_written_last() {
        let (mut casts, id) = (Casts::default(), TensorId(0));
        casts.note(id, 10, 0..4, &[(1, Loss::Clipped), (2, Loss::NotFinite)]);
        casts.note(id, 10, 8..10, &[(1, Loss::Clipped)]);
        let counts = |casts: &Casts| {
            let losses = casts.written[&id].losses();
            (losses.clipped_values, losses.non_finite_values)
        };
        assert_eq!(counts(&casts), (2, 1));
        casts.note(id, 10, 0..10, &[(1, Loss::Clipped), (2, Loss::NotFinite), (9, Loss::Clipped)]);
        assert_eq!(counts(&casts), (2, 1), "a second walk over the same values changes nothing");
        casts.note(id, 10, 0..3, &[]);
        assert_eq!(counts(&casts), (1, 0), "what was written anew without a loss has none");
    }

    #[test]
    fn a_cast_loses_what_is_beyond_the_format_and_infinities_but_not_nan_that_it_has() {
        // FP16 ends at 65504; 65520 is halfway to 65536, a tie that the odd code gives up.
        let values = [65504.0, 65519.0, -65520.0, f32::INFINITY, f32::NAN, 1e-30];
        assert_eq!(losses_of(&FP16, &values), [(2, Loss::Clipped), (3, Loss::NotFinite)]);
        assert_eq!(losses_of(&FP8_E4M3, &[464.0, 465.0, f32::NAN]), [(1, Loss::Clipped)]);
        assert_eq!(losses_of(&FP32, &[f32::MAX, -1.0]), []);
    }
}
