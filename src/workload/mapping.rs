//! How the products of a workload shall be mapped to an accelerator, as far as the user wants to say.

/// Whether and how a product is split over equal matrix units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Split {
    /// Over all equal units, along the axis with the fewest estimated cycles.
    #[default]
    Auto,
    /// Each product on one unit; products that do not depend on one another run beside each other.
    None,
    /// Each unit takes a part of the rows of the output.
    M,
    /// Each unit takes a part of the columns of the output.
    N,
    /// Each unit takes a part of the reduction axis; the vector unit adds the partial sums.
    K,
}

impl Split {
    /// Every choice by its name in files.
    pub const NAMES: [(&str, Split); 5] =
        [("auto", Split::Auto), ("none", Split::None), ("m", Split::M), ("n", Split::N), ("k", Split::K)];
}

/// How products are mapped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mapping {
    /// Splitting over equal matrix units.
    pub split: Split,
}
