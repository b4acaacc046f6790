//! The record of defaults that stand in for missing keys.

use std::fmt;

use crate::config::dotted_path::DottedPath;

/// Every default that a resolver has put in for a missing key: the report lists them, because they change results.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(transparent)]
pub struct Defaults(Vec<TakenDefault>);

/// One missing key and what stands in for it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct TakenDefault {
    /// The path of the missing key.
    pub path: String,
    /// What was taken instead.
    pub value: String,
    /// Why this value: a sentence.
    pub reason: String,
}

impl Defaults {
    /// Notes that `value` stands in for the missing key at `path`.
    pub fn record(&mut self, path: &DottedPath, value: &impl fmt::Display, reason: &str) {
        self.0.push(TakenDefault { path: path.to_string(), value: value.to_string(), reason: reason.to_string() });
    }

    /// All that were taken, in the order of resolving.
    pub fn taken(&self) -> &[TakenDefault] {
        &self.0
    }
}
