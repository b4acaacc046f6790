//! Layers that get something else than the name of their scheme says, brought together by what they get and why.
//!
//! What a layer gets is decided and recorded where it is lowered ([`Deviation`]); here it is only told.

use serde::Serialize;

use crate::program::{Deviation, Program};
use crate::report::data::Report;

/// Layers that get the same in place of their scheme, for the same reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DeviatingLayers {
    /// The scheme that lowers them, or what is done otherwise.
    pub got: String,
    /// Why: what they have in common.
    pub reason: String,
    /// Their names in execution order.
    pub layers: Vec<String>,
}

/// Names in one line; further ones are counted.
const MOST_NAMES: usize = 8;

/// The layers of a report that deviate, in the order of the first of each group.
pub fn of_report(report: &Report) -> Vec<DeviatingLayers> {
    grouped(report.layers.iter().map(|layer| (layer.name.as_str(), layer.deviations.as_slice())))
}

/// The layers of a program that deviate, in the order of the first of each group.
pub fn of_program(program: &Program) -> Vec<DeviatingLayers> {
    grouped(program.layers.iter().map(|layer| (layer.name.as_str(), layer.deviations.as_slice())))
}

fn grouped<'a>(layers: impl Iterator<Item = (&'a str, &'a [Deviation])>) -> Vec<DeviatingLayers> {
    let mut groups: Vec<DeviatingLayers> = Vec::new();
    for (name, deviation) in layers.flat_map(|(name, of)| of.iter().map(move |deviation| (name, deviation))) {
        let Deviation { got, reason } = deviation;
        match groups.iter_mut().find(|group| group.got == *got && group.reason == *reason) {
            Some(group) => group.layers.push(name.to_owned()),
            None => {
                let (got, reason) = (got.clone(), reason.clone());
                groups.push(DeviatingLayers { got, reason, layers: vec![name.to_owned()] });
            }
        }
    }
    groups
}

impl DeviatingLayers {
    /// The group in a line: layers whose names differ in numbers alone are one pattern.
    pub fn line(&self, scheme: &str) -> String {
        let mut patterns: Vec<(String, &str, usize)> = Vec::new();
        for name in &self.layers {
            let pattern = pattern(name);
            match patterns.iter_mut().find(|(known, ..)| *known == pattern) {
                Some((_, _, count)) => *count += 1,
                None => patterns.push((pattern, name, 1)),
            }
        }
        let shown = patterns.iter().take(MOST_NAMES);
        let shown = shown.map(|(pattern, name, count)| if *count > 1 { pattern } else { *name });
        let shown = shown.collect::<Vec<_>>().join(", ");
        let more = if patterns.len() > MOST_NAMES { ", ..." } else { "" };
        let (layers, verb) = match self.layers.len() {
            1 => (String::new(), "gets"),
            count => (format!(" ({count} layers)"), "get"),
        };
        format!("not as {scheme} says: {shown}{more}{layers} {verb} {}, because: {}", self.got, self.reason)
    }
}

/// A name with each number in it replaced by a star.
fn pattern(name: &str) -> String {
    let mut pattern = String::with_capacity(name.len());
    for character in name.chars() {
        match character {
            '0'..='9' if pattern.ends_with('*') => {}
            '0'..='9' => pattern.push('*'),
            other => pattern.push(other),
        }
    }
    pattern
}

#[cfg(test)]
mod tests {
    use super::grouped;
    use crate::program::Deviation;

    #[test]
    fn layers_of_one_reason_are_one_line_whatever_their_number() {
        let deviation = [Deviation { got: "fp16".to_owned(), reason: "why".to_owned() }];
        let names: Vec<String> =
            (0..400).flat_map(|block| [format!("block{block}.scores"), format!("block{block}.fc")]).collect();
        let layers = names.iter().map(|name| {
            let deviations = if name.ends_with("scores") { &deviation[..] } else { &[] };
            (name.as_str(), deviations)
        });
        let groups = grouped(layers.chain([("head", &deviation[..])]));
        let lines: Vec<String> = groups.iter().map(|group| group.line("osc_mxfp4")).collect();
        assert_eq!(lines, ["not as osc_mxfp4 says: block*.scores, head (401 layers) get fp16, because: why"]);
    }

    #[test]
    fn a_single_layer_is_named_with_its_number() {
        let deviation = [Deviation { got: "fp16".to_owned(), reason: "why".to_owned() }];
        let groups = grouped([("conv1", &deviation[..]), ("conv2", &[][..])].into_iter());
        assert_eq!(groups[0].line("osc_int4"), "not as osc_int4 says: conv1 gets fp16, because: why");
    }
}
