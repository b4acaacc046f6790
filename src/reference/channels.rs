//! Operations on single channels, evaluated whole: element by element over the full matrix.

use crate::numerics::tensor::{Elements, Tensor};
use crate::program::channels::{ChannelSide, DivideChannels, ExtractChannels, ExtractTop, Merge, Selection, Treatment};
use crate::reference::untiled::Evaluator;

impl Evaluator<'_> {
    pub(super) fn selected(&self, selection: &Selection) -> Option<Vec<Option<u32>>> {
        match selection {
            Selection::Static { channels, .. } => Some(channels.clone()),
            Selection::Planned { maxima, rule, count, .. } => {
                let maxima = self.get(*maxima)?.to_f32();
                let outliers = maxima.iter().enumerate().filter(|(_, maximum)| rule.selects(**maximum));
                let mut channels: Vec<_> = outliers.map(|(channel, _)| u32::try_from(channel).ok()).collect();
                channels.resize(usize::try_from(*count).ok()?, None);
                Some(channels)
            }
        }
    }

    pub(super) fn extract(&self, extract: &ExtractChannels) -> Vec<Option<Tensor>> {
        let (Some(input), Some(channels)) = (self.get(extract.input), self.selected(&extract.selection)) else {
            return vec![None; usize::from(extract.body.is_some()) + usize::from(extract.dense.is_some())];
        };
        let shape = input.shape();
        let body = extract.body.map(|body| {
            let mut values = input.to_f32();
            for channel in channels.iter().flatten() {
                for row in 0..shape.rows {
                    let value = &mut values[(row * shape.columns + u64::from(*channel)) as usize];
                    *value = match extract.treatment {
                        Treatment::Zero => 0.0,
                        Treatment::ShiftDown(exponent) => (0..exponent).fold(*value, |value, _| value / 2.0),
                    };
                }
            }
            self.real(body, &values)
        });
        let dense = extract.dense.map(|dense| {
            let at = |row: u64, channel: Option<u32>| channel.map_or(0.0, |k| input.value(row, u64::from(k)) as f32);
            let values: Vec<f32> =
                (0..shape.rows).flat_map(|row| channels.iter().map(move |channel| at(row, *channel))).collect();
            self.real(dense, &values)
        });
        body.into_iter().chain(dense).collect()
    }

    /// The body, what was taken, and its positions where they are asked for.
    pub(super) fn extract_top(&self, top: &ExtractTop) -> Option<Vec<Tensor>> {
        let input = self.get(top.input)?;
        let shape = input.shape();
        let mut body = input.to_f32();
        let mut kept = vec![0.0; body.len()];
        let mut taken: Vec<(f32, f32)> = Vec::new();
        for row in 0..shape.rows {
            for start in (0..shape.columns).step_by(usize::try_from(top.group).ok()?) {
                let end = (start + top.group).min(shape.columns);
                let mut best = start;
                for column in start..end {
                    if input.value(row, column).abs() > input.value(row, best).abs() {
                        best = column;
                    }
                }
                let index = (row * shape.columns + best) as usize;
                kept[index] = body[index];
                body[index] = 0.0;
                taken.push((kept[index], best as f32));
            }
        }
        let body = self.real(top.body, &body)?;
        let Some(positions) = top.positions else { return Some(vec![body, self.real(top.kept, &kept)?]) };
        let (kept, channels): (Vec<f32>, Vec<f32>) = taken.into_iter().unzip();
        Some(vec![body, self.real(top.kept, &kept)?, self.real(positions, &channels)?])
    }

    pub(super) fn merge(&self, merge: &Merge) -> Option<Tensor> {
        let addend = self.get(merge.addend)?;
        let base = match merge.base {
            Some(base) => Some(self.get(base)?),
            None => None,
        };
        if let Some(addend) = addend.as_i32() {
            let base = match base {
                Some(base) => base.as_i32()?.to_vec(),
                None => vec![0; addend.len()],
            };
            let sums = base.iter().zip(addend).map(|(base, addend)| base.wrapping_add(merge.factor.of_i32(*addend)));
            let output = self.program.tensor(merge.output);
            return Tensor::try_new(output.shape, output.format, Elements::I32(sums.collect())).ok();
        }
        let mut values: Vec<f32> = addend.to_f32().into_iter().map(|value| merge.factor.of_f32(value)).collect();
        if let Some(base) = base {
            values.iter_mut().zip(base.to_f32()).for_each(|(value, base)| *value += base);
        }
        self.real(merge.output, &values)
    }

    pub(super) fn divide(&self, divide: &DivideChannels) -> Option<Tensor> {
        let (input, factors) = (self.get(divide.input)?, self.get(divide.factors)?.to_f32());
        let columns = input.shape().columns as usize;
        let values: Vec<f32> = input
            .to_f32()
            .into_iter()
            .enumerate()
            .map(|(index, value)| match divide.side {
                ChannelSide::Activation | ChannelSide::Absorbed => value / factors[index % columns],
                ChannelSide::Weight => value * factors[index / columns],
            })
            .collect();
        self.real(divide.output, &values)
    }
}
