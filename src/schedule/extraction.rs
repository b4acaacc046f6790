//! Whether a vector unit, and the extractor beside it, can do an operation.

use crate::hardware::vector_unit::{VectorFunction, VectorUnit};
use crate::program::Program;
use crate::program::channels::Selection;
use crate::program::op::{OpId, OpKind};
use crate::schedule::ScheduleError;

/// Bytes of an index that the run finds.
const FOUND_INDEX_BYTES: u64 = 2;

/// Checks that `unit` has a rate for what `op` needs and that its extractor's table holds the channels.
///
/// # Errors
/// [`ScheduleError::MissingVectorFunction`], [`ScheduleError::NoExtractor`], [`ScheduleError::TableTooLarge`].
pub fn check(program: &Program, op: OpId, unit: &VectorUnit) -> Result<(), ScheduleError> {
    let layer = || program.layer(program.op(op).layer).name.clone();
    let kind = &program.op(op).kind;
    let functions = kind.vector_functions();
    if functions.contains(&VectorFunction::Extract) {
        let Some(extractor) = &unit.extractor else {
            return Err(ScheduleError::NoExtractor { layer: layer(), unit: unit.name.clone() });
        };
        let (needed, available) = (table_bytes(program, kind), extractor.table.get());
        if needed > available {
            return Err(ScheduleError::TableTooLarge { layer: layer(), unit: unit.name.clone(), needed, available });
        }
    }
    match functions.iter().find(|function| !unit.supports(**function)) {
        None => Ok(()),
        Some(missing) => {
            let (function, unit) = (missing.name(), unit.name.clone());
            Err(ScheduleError::MissingVectorFunction { layer: layer(), function, unit })
        }
    }
}

/// Bytes of the table of channels that an operation goes by.
fn table_bytes(program: &Program, kind: &OpKind) -> u64 {
    let selection = match kind {
        OpKind::ExtractChannels(extract) => &extract.selection,
        OpKind::GatherRows(gather) => &gather.selection,
        // The channels of one token, found while it passes.
        OpKind::ExtractTop(_) => return kind.gathered_columns(program).unwrap_or(0) * FOUND_INDEX_BYTES,
        _ => return 0,
    };
    match selection {
        Selection::Static { table, .. } => table.map_or(0, |table| program.tensor(table).bytes().get()),
        Selection::Planned { count, .. } => count * FOUND_INDEX_BYTES,
    }
}
