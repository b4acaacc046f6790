//! Counts that depend on data: what a program makes room for before anything is known of the run's values.
//!
//! A plan says where it comes from. What a run finds is not known here; whoever executes the program can say.

use crate::program::Program;
use crate::program::channels::Selection;
use crate::program::op::OpKind;
use crate::workload::calibration::CalibrationBasis;

/// A count that was planned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Planned {
    /// What is counted.
    pub counted: Counted,
    /// How many.
    pub count: u64,
    /// Where the number comes from.
    pub source: PlanSource,
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    /// Channels whose largest magnitude makes them outliers.
    OutlierChannels,
    /// Elements other than zero that bypass the narrow path, over all tokens.
    ProtectedElements,
}

impl Counted {
    /// Name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Counted::OutlierChannels => "outlier_channels",
            Counted::ProtectedElements => "protected_elements",
        }
    }
}

/// Where a plan comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlanSource {
    /// A calibration on values.
    Calibration,
    /// A number that was assumed for want of values.
    Assumption,
    /// The definition of the scheme: one of each group and token.
    Definition,
}

impl PlanSource {
    /// Name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            PlanSource::Calibration => "calibration",
            PlanSource::Assumption => "assumption",
            PlanSource::Definition => "definition",
        }
    }
}

/// What is planned for an operation; nothing where its work depends on no values.
pub fn of(program: &Program, kind: &OpKind) -> Option<Planned> {
    let of_selection = |selection: &Selection| match selection {
        Selection::Static { .. } => None,
        Selection::Planned { count, basis, .. } => {
            let source = match basis {
                CalibrationBasis::Values => PlanSource::Calibration,
                CalibrationBasis::Assumption => PlanSource::Assumption,
            };
            Some(Planned { counted: Counted::OutlierChannels, count: *count, source })
        }
    };
    match kind {
        OpKind::ExtractChannels(extract) => of_selection(&extract.selection),
        OpKind::GatherRows(gather) => of_selection(&gather.selection),
        OpKind::ExtractTop(top) => {
            let shape = program.tensor(top.input).shape;
            let count = shape.rows * shape.columns.div_ceil(top.group);
            Some(Planned { counted: Counted::ProtectedElements, count, source: PlanSource::Definition })
        }
        OpKind::Gemm(_)
        | OpKind::Reduce { .. }
        | OpKind::Quantize { .. }
        | OpKind::QuantizeBlocks { .. }
        | OpKind::Dequantize { .. }
        | OpKind::Vector(_)
        | OpKind::Activate { .. }
        | OpKind::Merge(_)
        | OpKind::DivideChannels(_) => None,
    }
}
