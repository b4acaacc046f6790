//! How the products of a workload shall be mapped to an accelerator: how they are shared among matrix units, and how they
//! are cut into tiles: what to aim at, and which tilings are fixed.
//!
//! It names layers and says nothing of hardware; whether a fixed tiling can be used is found out by `schedule`.

/// Order of the loops over the tiles of a product, outermost first.
///
/// With k innermost the partial sums of an output tile stay in the accumulators until they are final. With k outside of m
/// or n, those of all output tiles inside of it are open at once: where they do not fit, they leave the accumulators between
/// the passes over k and come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LoopOrder {
    /// Rows outermost: a row block is final early, weights are read again for each row block.
    MNK,
    /// Columns outermost: weights are read once, activations are read again for each column block.
    NMK,
    /// All columns of a row block for each block of k.
    MKN,
    /// All rows of a column block for each block of k: weights are read once.
    NKM,
    /// All outputs for each block of k, row block by row block: activations are read once.
    KMN,
    /// All outputs for each block of k, column block by column block: weights are read once.
    KNM,
}

impl LoopOrder {
    /// Every order by its name in files and reports.
    pub const NAMES: [(&str, LoopOrder); 6] = [
        ("mnk", LoopOrder::MNK),
        ("nmk", LoopOrder::NMK),
        ("mkn", LoopOrder::MKN),
        ("nkm", LoopOrder::NKM),
        ("kmn", LoopOrder::KMN),
        ("knm", LoopOrder::KNM),
    ];

    /// Orders with k innermost.
    pub const WITH_K_INNERMOST: [LoopOrder; 2] = [LoopOrder::MNK, LoopOrder::NMK];

    /// Orders with k outside of m or n.
    pub const WITH_K_OUTSIDE: [LoopOrder; 4] = [LoopOrder::MKN, LoopOrder::NKM, LoopOrder::KMN, LoopOrder::KNM];

    /// Name in files and reports.
    pub const fn name(self) -> &'static str {
        match self {
            LoopOrder::MNK => "mnk",
            LoopOrder::NMK => "nmk",
            LoopOrder::MKN => "mkn",
            LoopOrder::NKM => "nkm",
            LoopOrder::KMN => "kmn",
            LoopOrder::KNM => "knm",
        }
    }
}

/// Whether and how a product is split over equal matrix units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Split {
    /// Over all equal units, along the axis with the least cost.
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

/// What becomes of an intermediate that does not fit the chip as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Intermediates {
    /// It goes through the next memory, whole.
    #[default]
    Whole,
    /// It passes through a ring of row blocks where the next layer's work takes its rows in order, else as before.
    Rings,
}

impl Intermediates {
    /// Every choice by its name in files.
    pub const NAMES: [(&str, Intermediates); 2] = [("whole", Intermediates::Whole), ("rings", Intermediates::Rings)];
}

/// What a tiling is chosen for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Objective {
    /// The fewest cycles; among tilings that are as good within the estimate's accuracy, the fewest off-chip bytes.
    #[default]
    Cycles,
    /// The fewest bytes from and to off-chip memory.
    DramBytes,
    /// The least energy by the accelerator's energy table.
    Energy,
}

impl Objective {
    /// Every objective by its name in files.
    pub const NAMES: [(&str, Objective); 3] =
        [("cycles", Objective::Cycles), ("dram_bytes", Objective::DramBytes), ("energy", Objective::Energy)];

    /// Name in files and reports.
    pub const fn name(self) -> &'static str {
        match self {
            Objective::Cycles => "cycles",
            Objective::DramBytes => "dram_bytes",
            Objective::Energy => "energy",
        }
    }
}

/// The tiling of one product.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FixedTiling {
    /// Layer of the product.
    pub layer: String,
    /// Part of the layer's work that the product is, as in reports: `body`, `auxiliary`, `branch`.
    pub path: String,
    /// Rows of a block.
    pub m: u64,
    /// Block of the reduction axis.
    pub k: u64,
    /// Columns of a block.
    pub n: u64,
    /// Loop order; without one the better of those with k innermost is chosen.
    pub order: Option<LoopOrder>,
}

/// What becomes of a fixed tiling that cannot be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unusable {
    /// The run is refused.
    #[default]
    Refused,
    /// The product is tiled by the search, and the report says so: for tilings taken over from another scheme, whose
    /// products may have other axes and formats.
    Searched,
}

/// How the products of a workload are mapped to units and cut into tiles.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mapping {
    /// What tilings are chosen for.
    pub objective: Objective,
    /// Tilings that are given; all others are chosen.
    pub tilings: Vec<FixedTiling>,
    /// What becomes of a given tiling that cannot be used.
    pub unusable: Unusable,
    /// Splitting over equal matrix units.
    pub split: Split,
    /// Intermediates that do not fit the chip.
    pub intermediates: Intermediates,
}

impl Mapping {
    /// The tiling given for a product.
    pub fn tiling(&self, layer: &str, path: &str) -> Option<&FixedTiling> {
        self.tilings.iter().find(|tiling| tiling.layer == layer && tiling.path == path)
    }
}
