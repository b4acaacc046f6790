//! What a calibration knows about the activations of each layer: outlier channels, protected channels, smoothing factors,
//! static ranges.
//!
//! It is made from recorded activations before a run and answers a request, which it carries: a scheme that asks for
//! something else is refused. How it is computed is not known here.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::workload::layer::LogicalGemm;

/// How the largest magnitude of a channel is compared with the threshold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Comparison {
    /// An outlier is larger.
    Above,
    /// An outlier is as large or larger.
    AtLeast,
}

/// What makes a channel an outlier: its largest magnitude over all tokens (LLM.int8(), Dettmers et al., 2022, section 3.2).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutlierRule {
    /// A finite magnitude.
    pub threshold: f32,
    /// On which side of it.
    pub comparison: Comparison,
}

// The threshold is finite, so equality is an equivalence.
impl Eq for OutlierRule {}

impl OutlierRule {
    /// Whether a channel with that largest magnitude is an outlier.
    pub fn selects(&self, maximum: f32) -> bool {
        match self.comparison {
            Comparison::Above => maximum > self.threshold,
            Comparison::AtLeast => maximum >= self.threshold,
        }
    }
}

impl fmt::Display for OutlierRule {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = match self.comparison {
            Comparison::Above => ">",
            Comparison::AtLeast => ">=",
        };
        write!(formatter, "{sign} {}", self.threshold)
    }
}

/// Which channels of each group are protected.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProtectionRule {
    /// Neighbouring channels that form a group.
    pub group: u64,
    /// Channels protected in each group.
    pub per_group: u64,
    /// How they are chosen.
    pub choice: ProtectionChoice,
}

impl Eq for ProtectionRule {}

/// How protected channels are chosen from calibration tokens. Ties go to the lowest index.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProtectionChoice {
    /// The channel that is most often the largest of its group, among tokens whose largest exceeds `factor` times the mean
    /// magnitude of the layer (OSC, arXiv 2604.12782, algorithm 1). A group without such a token has none.
    ModeOverThreshold {
        /// Times the mean magnitude of the layer.
        factor: f32,
    },
    /// The channels that are most often among the largest of their group.
    HitCount,
    /// The channels with the largest mean magnitude.
    MeanAbs,
}

/// What a scheme asks of a calibration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CalibrationRequest {
    /// Smoothing factors (SmoothQuant). Everything else is then found on the smoothed activations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub smoothing: Option<Smoothing>,
    /// Outlier channels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outliers: Option<OutlierRule>,
    /// Protected channels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protection: Option<ProtectionRule>,
    /// The largest magnitude of the layer's activations, for static scales.
    #[serde(default)]
    pub range: bool,
    /// Outlier channels are divided by two to this power before their largest magnitude is taken (MUXQ's body).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range_with_outliers_shifted_by: Option<u32>,
}

/// `factor_j = max|X_j|^alpha / max|W_j|^(1 - alpha)` (Xiao et al., ICML 2023, equation 4), both maxima at least 1e-5.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Smoothing {
    /// Share of the difficulty that goes to the weights, 0 to 1.
    pub alpha: f32,
}

impl Eq for Smoothing {}

impl fmt::Display for CalibrationRequest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        parts.extend(self.smoothing.map(|smoothing| format!("smoothing (alpha {})", smoothing.alpha)));
        parts.extend(self.outliers.map(|rule| format!("outliers (magnitude {rule})")));
        parts.extend(self.protection.map(|ProtectionRule { group, per_group, choice }| {
            let choice = match choice {
                ProtectionChoice::ModeOverThreshold { factor } => format!("mode over {factor} times the mean"),
                ProtectionChoice::HitCount => "hit count".to_owned(),
                ProtectionChoice::MeanAbs => "mean magnitude".to_owned(),
            };
            format!("{per_group} protected of each {group} channels (by {choice})")
        }));
        if self.range {
            parts.push("a range".to_owned());
        }
        let shift = self.range_with_outliers_shifted_by;
        parts.extend(shift.map(|exponent| format!("outliers divided by 2^{exponent} before the range")));
        if parts.is_empty() {
            parts.push("nothing".to_owned());
        }
        formatter.write_str(&parts.join(", "))
    }
}

impl CalibrationRequest {
    /// What is left of it for one product: channels are treated of single products with constant weights, but any operand
    /// has a largest magnitude.
    pub fn of_product(self, gemm: &LogicalGemm) -> CalibrationRequest {
        if gemm.is_plain() { self } else { CalibrationRequest { range: self.range, ..CalibrationRequest::default() } }
    }

    /// Whether it asks for nothing.
    pub fn is_empty(&self) -> bool {
        *self == CalibrationRequest::default()
    }
}

/// What is known about the input of one layer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LayerCalibration {
    /// Input channels of the layer: columns of the matrix that holds its input.
    pub channels: u64,
    /// One factor per channel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub smoothing: Option<Vec<f32>>,
    /// Outlier channels, ascending.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outliers: Option<Vec<u32>>,
    /// Protected channels: `per_group` entries for each group, ascending within it; absent ones stand last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protected: Option<Vec<Option<u32>>>,
    /// The largest magnitude.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<f32>,
    /// The largest magnitude of the right operand, where another layer computes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight_range: Option<f32>,
    /// The largest magnitude of the outlier channels alone, shifted; zero where there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outlier_range: Option<f32>,
    /// What was seen of the activations, for people: no scheme asks for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed: Option<Observed>,
}

/// What was seen of the input of a layer, after smoothing where there is any.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Observed {
    /// Tokens of the calibration.
    pub tokens: u64,
    /// The largest magnitude of each channel.
    pub maxima: Vec<f32>,
    /// The mean magnitude of each channel.
    pub means: Vec<f64>,
    /// For each outlier channel the share of tokens in which it is an outlier itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outlier_persistence: Vec<f64>,
    /// Clustering density of the groups, 0 to 1 (OSC, arXiv 2604.12782, section 3): of the tokens in which the largest of a
    /// group exceeds the threshold, the share in which it is the group's most frequent channel; mean over the groups that
    /// have such tokens, absent where none has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clustering_density: Option<f64>,
}

/// What a calibration was made from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CalibrationBasis {
    /// Activations.
    #[default]
    Values,
    /// Nothing but a number of channels: costs follow from it, numbers do not.
    Assumption,
}

/// A calibration of a workload.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    /// What was asked for.
    pub request: CalibrationRequest,
    /// What it was made from.
    #[serde(default)]
    pub basis: CalibrationBasis,
    /// Layers with a matrix product, by name.
    #[serde(deserialize_with = "each_once")]
    pub layers: BTreeMap<String, LayerCalibration>,
}

/// Layers by name; a name that is there twice is refused, because one of the two would be lost.
fn each_once<'de, D: Deserializer<'de>>(reader: D) -> Result<BTreeMap<String, LayerCalibration>, D::Error> {
    struct Layers;
    impl<'de> Visitor<'de> for Layers {
        type Value = BTreeMap<String, LayerCalibration>;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("layers by name")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
            let mut layers = BTreeMap::new();
            while let Some((name, layer)) = entries.next_entry::<String, LayerCalibration>()? {
                if layers.contains_key(&name) {
                    return Err(A::Error::custom(format_args!("layer `{}` is there twice", name.escape_debug())));
                }
                layers.insert(name, layer);
            }
            Ok(layers)
        }
    }
    reader.deserialize_map(Layers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_at_the_threshold_is_an_outlier_only_if_the_rule_says_so() {
        let rule = |comparison| OutlierRule { threshold: 6.0, comparison };
        assert!(!rule(Comparison::Above).selects(6.0) && rule(Comparison::Above).selects(6.000_001));
        assert!(rule(Comparison::AtLeast).selects(6.0) && !rule(Comparison::AtLeast).selects(5.999_999));
    }
}
