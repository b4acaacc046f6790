//! From one process node to the next: only between neighbours, because equations drift from silicon with every step.
//!
//! Anchors are 45, 22, 16, 7 and 5 nm. Logic energy is a power law whose exponent is fixed by operations that are known at
//! both 45 and 7 nm (Horowitz, ISSCC 2014; Jouppi et al., ISCA 2021, table 2, recalled; the 128x128 array of TPUv4i,
//! AccelForge): a multiply-accumulate of INT8 went from 0.3 to 0.084 pJ, which is the typical exponent; an addition of FP32
//! went from 0.9 to 0.38 pJ and scaled least, which is the high end. The low end are the quadratic equations of Stillmaker
//! and Baas (Integration 58, 2017) at 0.8 V, which describe ideal chains of logic; nodes between theirs are interpolated on
//! logarithmic axes, and below 7 nm the last step goes on.

use crate::hardware::band::Band;
use crate::numerics::real_functions::{ln, pow};

/// The nodes at which figures are anchored, in nm.
pub const ANCHORS_NM: [u64; 5] = [45, 22, 16, 7, 5];

/// `ln(0.3 / 0.084) / ln(45 / 7)`: INT8 multiply-accumulate.
const TYPICAL_EXPONENT: f64 = 0.684_113;
/// `ln(0.9 / 0.38) / ln(45 / 7)`: FP32 addition.
const HIGH_EXPONENT: f64 = 0.463_374;

/// Nodes of Stillmaker and Baas with the energy factor at 0.8 V and area relative to 45 nm.
const STILLMAKER_BAAS: [(f64, f64, f64); 7] = [
    (65.0, 0.8598, 1.5),
    (45.0, 0.693_02, 1.0),
    (32.0, 0.456_94, 0.46),
    (20.0, 0.1532, 0.21),
    (16.0, 0.120_27, 0.19),
    (10.0, 0.081_61, 0.10),
    (7.0, 0.065_36, 0.059),
];

/// Whether no anchor lies strictly between two nodes.
pub fn are_neighbours(from_nm: u64, to_nm: u64) -> bool {
    let (small, large) = (from_nm.min(to_nm), from_nm.max(to_nm));
    !ANCHORS_NM.iter().any(|anchor| small < *anchor && *anchor < large)
}

/// The factor on the energy of logic from one node to a neighbouring one; `None` where an anchor lies between them.
pub fn logic_energy(from_nm: u64, to_nm: u64) -> Option<Band> {
    let ratio = to_nm as f64 / from_nm as f64;
    let equations = quadratic(|(.., energy, _)| energy, from_nm, to_nm);
    let [typical, slow] = [TYPICAL_EXPONENT, HIGH_EXPONENT].map(|exponent| pow(ratio, exponent));
    let all = [equations, typical, slow];
    are_neighbours(from_nm, to_nm).then(|| Band {
        low: all.into_iter().fold(f64::INFINITY, f64::min),
        typical,
        high: all.into_iter().fold(0.0, f64::max),
    })
}

/// The factor on the area of logic from one node to a neighbouring one: that of Stillmaker and Baas at the low end, the
/// ratio of the nodes at the high end, their geometric mean typical. `None` where an anchor lies between them.
pub fn logic_area(from_nm: u64, to_nm: u64) -> Option<Band> {
    let ends = [quadratic(|(.., area)| area, from_nm, to_nm), to_nm as f64 / from_nm as f64];
    are_neighbours(from_nm, to_nm).then(|| Band {
        low: ends[0].min(ends[1]),
        typical: (ends[0] * ends[1]).sqrt(),
        high: ends[0].max(ends[1]),
    })
}

fn quadratic(column: fn((f64, f64, f64)) -> f64, from_nm: u64, to_nm: u64) -> f64 {
    let at = |node: u64| {
        let node = node as f64;
        // The segment that holds the node, or the nearest one.
        let last = STILLMAKER_BAAS.len() - 2;
        let segment = (0..last).find(|index| node >= STILLMAKER_BAAS[index + 1].0).unwrap_or(last);
        let [(above, below), (high, low)] = {
            let [a, b] = [STILLMAKER_BAAS[segment], STILLMAKER_BAAS[segment + 1]];
            [(a.0, b.0), (column(a), column(b))]
        };
        let share = ln(node / below) / ln(above / below);
        low * pow(high / low, share)
    };
    at(to_nm) / at(from_nm)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponents_are_those_of_the_operations_that_are_known_at_both_ends() {
        let exponent = |at_45: f64, at_7: f64| ln(at_45 / at_7) / ln(45.0 / 7.0);
        assert!((exponent(0.3, 0.084) - TYPICAL_EXPONENT).abs() < 1e-6);
        assert!((exponent(0.9, 0.38) - HIGH_EXPONENT).abs() < 1e-6);
    }

    #[test]
    fn a_step_stays_between_neighbouring_anchors() {
        assert!(are_neighbours(45, 22) && are_neighbours(28, 22) && are_neighbours(7, 5) && are_neighbours(22, 45));
        assert!(!are_neighbours(45, 16) && !are_neighbours(40, 7));
        assert_eq!(logic_energy(45, 16), None);
        assert_eq!(logic_area(22, 7), None);
        let same = logic_energy(22, 22).unwrap();
        assert!((same.low - 1.0).abs() < 1e-12 && (same.high - 1.0).abs() < 1e-12);
    }

    #[test]
    fn equations_at_their_own_nodes_are_the_published_ratios() {
        // Their table at 0.8 V: 16 nm to 7 nm is 0.06536 / 0.12027 in energy and 0.31 in area.
        let energy = logic_energy(16, 7).unwrap();
        assert!((energy.low - 0.543_44).abs() < 1e-4 && energy.is_ordered(), "{energy:?}");
        let area = logic_area(16, 7).unwrap();
        assert!((area.low - 0.31).abs() < 0.005 && area.is_ordered(), "{area:?}");
    }
}
