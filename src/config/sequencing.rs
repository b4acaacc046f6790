//! The `sequencing:` of a dot-product array: the order of work and the way of results, as written, into [`Sequencing`].

use serde::Deserialize;

use crate::config::checks::MOST_CYCLES;
use crate::config::defaults::Defaults;
use crate::config::diagnostics::{Cited, ConfigError, Problems};
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
pub(crate) fn resolve(file: &Placed<SequencingFile>, defaults: &mut Defaults) -> Result<Sequencing, ConfigError> {
    let mut problems = Problems::default();
    let whole = file.start.required().one_of(&[("first_tile", false), ("whole_activation", true)]);
    let whole = problems.take(whole);
    if whole == Some(false) && file.start_delay_cycles.is_given() {
        let problem =
            file.start_delay_cycles.problem("products that start with their first tile have no delay of their own");
        problems.push(problem.help("set start: whole_activation, or remove start_delay_cycles"));
    }
    let lower = problems.take(file.stripe.lower.required().in_range(1..=MOST_ROWS));
    // Of a bound that cannot be read a mistake is noted already.
    let upper = problems.take(file.stripe.upper.required().beside_others().in_range(lower.unwrap_or(1)..=MOST_ROWS));
    let depth =
        problems.take(file.results.depth_rows.required().beside_others().in_range(upper.unwrap_or(1)..=MOST_ROWS));
    let elements_per_cycle = problems.take(rate(&file.results.elements_per_cycle));
    let shortest_block = problems.take(file.shortest_block_cycles.required().in_range(1..=MOST_STEP_CYCLES));
    let mut cycles = |field: &Field<u64>, reason| {
        problems.take(field.or_default(0, reason, defaults).in_range(0..=MOST_CYCLES).map(Cycles))
    };
    let start = match whole {
        Some(true) => {
            let delay = cycles(&file.start_delay_cycles, "a product starts as soon as its activations are there");
            delay.map(|delay| StartRule::WholeActivation { delay })
        }
        Some(false) => Some(StartRule::FirstTile),
        None => None,
    };
    let row_pause = cycles(&file.results.row_pause_cycles, "rows leave without a pause");
    let latency = cycles(&file.results.latency_cycles, "sums leave as soon as they are final");
    let credit_return = cycles(&file.results.credit_return_cycles, "the room of a row is used again at once");
    let first_block = cycles(&file.first_block_cycles, "the array starts as soon as operands are there");
    let read_ahead = cycles(&file.read_ahead_cycles, "weights are read out of their memory as their block starts");
    problems.built(|| {
        let results = ResultPath {
            elements_per_cycle: elements_per_cycle?,
            row_pause: row_pause?,
            depth: depth?,
            latency: latency?,
            credit_return: credit_return?,
        };
        Some(Sequencing {
            start: start?,
            first_block: first_block?,
            stripe: StripeLimits { lower: lower?, upper: upper? },
            shortest_block: Cycles(shortest_block?),
            read_ahead: read_ahead?,
            results,
        })
    })
}
