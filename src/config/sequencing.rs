//! The `sequencing:` of a dot-product array: the order of work and the way of results, as written, into [`Sequencing`].

use serde::Deserialize;

use crate::config::checks::MOST_CYCLES;
use crate::config::defaults::Defaults;
use crate::config::diagnostics::{Cited, Diagnostic};
use crate::config::field::Field;
use crate::config::memories::rate;
use crate::config::placed::Placed;
use crate::hardware::sequencing::{ResultPath, Sequencing, StartRule, StripeLimits};
use crate::units::{Cycles, Rate};

/// The longest stripe, and the most rows that a result buffer holds.
const MOST_ROWS: u64 = 1 << 32;
/// The most cycles of what happens once a block or once a row.
const MOST_STEP_CYCLES: u64 = 1 << 16;

#[derive(Deserialize)]
pub(crate) struct SequencingFile {
    start: Field<String>,
    start_delay_cycles: Field<u64>,
    first_block_cycles: Field<u64>,
    stripe: Placed<StripeFile>,
    shortest_block_cycles: Field<u64>,
    read_ahead_cycles: Field<u64>,
    results: Placed<ResultsFile>,
}

#[derive(Deserialize)]
struct StripeFile {
    lower: Field<u64>,
    upper: Field<u64>,
}

#[derive(Deserialize)]
struct ResultsFile {
    elements_per_cycle: Field<Rate>,
    row_pause_cycles: Field<u64>,
    depth_rows: Field<u64>,
    latency_cycles: Field<u64>,
    credit_return_cycles: Field<u64>,
}

/// The sequencing that `file` describes.
pub(crate) fn resolve(file: &Placed<SequencingFile>, defaults: &mut Defaults) -> Result<Sequencing, Diagnostic> {
    let mut latency =
        |field: &Field<u64>, reason| field.or_default(0, reason, defaults).in_range(0..=MOST_CYCLES).map(Cycles);
    let whole = || -> Result<_, Diagnostic> {
        file.start.required().one_of(&[("first_tile", false), ("whole_activation", true)])
    };
    let start = if whole()? {
        StartRule::WholeActivation {
            delay: latency(&file.start_delay_cycles, "a product starts as soon as its activations are there")?,
        }
    } else if file.start_delay_cycles.is_given() {
        return Err(file
            .start_delay_cycles
            .problem("products that start with their first tile have no delay of their own")
            .help("set start: whole_activation, or remove start_delay_cycles"));
    } else {
        StartRule::FirstTile
    };
    let lower = file.stripe.lower.required().in_range(1..=MOST_ROWS)?;
    let upper = file.stripe.upper.required().in_range(lower..=MOST_ROWS)?;
    let depth = file.results.depth_rows.required().in_range(upper..=MOST_ROWS)?;
    let results = ResultPath {
        elements_per_cycle: rate(&file.results.elements_per_cycle)?,
        row_pause: latency(&file.results.row_pause_cycles, "rows leave without a pause")?,
        depth,
        latency: latency(&file.results.latency_cycles, "sums leave as soon as they are final")?,
        credit_return: latency(&file.results.credit_return_cycles, "the room of a row is used again at once")?,
    };
    Ok(Sequencing {
        start,
        first_block: latency(&file.first_block_cycles, "the array starts as soon as operands are there")?,
        stripe: StripeLimits { lower, upper },
        shortest_block: Cycles(file.shortest_block_cycles.required().in_range(1..=MOST_STEP_CYCLES)?),
        read_ahead: latency(&file.read_ahead_cycles, "weights are read out of their memory as their block starts")?,
        results,
    })
}
