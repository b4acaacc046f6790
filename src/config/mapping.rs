//! The `mapping:` section of a workload file: how products are shared among matrix units.
//!
//! What depends on the hardware, such as whether there are equal units, is found out when the run is scheduled.

use serde::Deserialize;

use crate::config::diagnostics::{ConfigError, Problems};
use crate::config::field::Field;
use crate::config::placed::Placed;
use crate::workload::mapping::{Mapping, Split};

/// The section as written.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct MappingFile {
    split: Field<String>,
}

/// The mapping that `file` describes. Without the section, or the key, the schedule chooses.
///
/// # Errors
/// An unknown split.
pub(super) fn resolve(file: Option<&Placed<MappingFile>>) -> Result<Mapping, ConfigError> {
    let Some(file) = file else { return Ok(Mapping::default()) };
    let mut problems = Problems::default();
    let split = match file.split.optional() {
        Some(split) => problems.take(split.one_of(&Split::NAMES)).unwrap_or_default(),
        None => Split::default(),
    };
    problems.finish()?;
    Ok(Mapping { split })
}
