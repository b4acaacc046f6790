//! Tiles of operations on single channels.

use crate::execute::values::Values;
use crate::numerics::tensor::Elements;
use crate::program::channels::{
    ChannelSide, DivideChannels, ExtractChannels, ExtractTop, GatherRows, Merge, Selection, Treatment, power_of_two,
};
use crate::program::op::OpKind;
use crate::program::tensor::TensorId;
use crate::schedule::grid::Tile;
use crate::shape::Span;

/// The channels of a selection, one for each dense column.
fn channels(values: &Values, selection: &Selection) -> Vec<Option<u32>> {
    match selection {
        Selection::Static { .. } => selection.channels(&[]),
        Selection::Planned { maxima, .. } => selection.channels(&row(values, *maxima, 0)),
    }
}

fn row(values: &Values, tensor: TensorId, row: u64) -> Vec<f32> {
    let mut out = Vec::new();
    values.read_row(tensor, row, Span::new(0, values.shape(tensor).columns), &mut out);
    out
}

/// What a finished run found of what was planned for an operation: the outlier channels of its selection, however many
/// there was room for, or the elements other than zero that it took out.
pub(super) fn observed(values: &Values, kind: &OpKind) -> Option<u64> {
    let of_selection = |selection: &Selection| match selection {
        Selection::Static { .. } => None,
        Selection::Planned { maxima, rule, .. } => {
            Some(row(values, *maxima, 0).into_iter().filter(|maximum| rule.selects(*maximum)).count() as u64)
        }
    };
    match kind {
        OpKind::ExtractChannels(extract) => of_selection(&extract.selection),
        OpKind::GatherRows(gather) => of_selection(&gather.selection),
        OpKind::ExtractTop(top) => {
            let rows = 0..values.shape(top.kept).rows;
            let taken = |index| row(values, top.kept, index).into_iter().filter(|value| *value != 0.0).count() as u64;
            Some(rows.map(taken).sum())
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

pub(super) fn extract(values: &mut Values, extract: &ExtractChannels, tile: &Tile) {
    let channels = channels(values, &extract.selection);
    if let Some(dense) = extract.dense.filter(|_| extract.is_gathered()) {
        for row in tile.m.start..tile.m.end {
            let columns = &channels[tile.n.start as usize..tile.n.end as usize];
            let at = |channel: &Option<u32>| channel.map_or(0.0, |k| values.value(extract.input, row, u64::from(k)));
            let gathered: Vec<f32> = columns.iter().map(at).collect();
            values.write_row(dense, row, tile.n.start, &gathered);
        }
        return;
    }
    let mut line = Vec::new();
    for row in tile.m.start..tile.m.end {
        line.clear();
        values.read_row(extract.input, row, tile.n, &mut line);
        if let Some(dense) = extract.dense {
            // The grouping gives an extraction with dense columns whole rows.
            let of = |channel: &Option<u32>| channel.map_or(0.0, |channel| line[channel as usize]);
            let selected: Vec<f32> = channels.iter().map(of).collect();
            values.write_row(dense, row, 0, &selected);
        }
        if let Some(body) = extract.body {
            for channel in channels.iter().flatten().map(|channel| u64::from(*channel)) {
                if tile.n.start <= channel && channel < tile.n.end {
                    let value = &mut line[(channel - tile.n.start) as usize];
                    match extract.treatment {
                        Treatment::Zero => *value = 0.0,
                        Treatment::ShiftDown(exponent) => *value /= power_of_two(exponent),
                    }
                }
            }
            values.write_row(body, row, tile.n.start, &line);
        }
    }
}

pub(super) fn extract_top(values: &mut Values, top: &ExtractTop, tile: &Tile) {
    let group = usize::try_from(top.group).expect("a group is shorter than a row");
    let mut line = Vec::new();
    for row in tile.m.start..tile.m.end {
        line.clear();
        values.read_row(top.input, row, tile.n, &mut line);
        let mut kept = vec![0.0; line.len()];
        let (mut taken, mut channels) = (Vec::new(), Vec::new());
        for (index_of_group, (body, kept)) in line.chunks_mut(group).zip(kept.chunks_mut(group)).enumerate() {
            let mut largest = 0;
            for (index, value) in body.iter().enumerate() {
                if value.abs() > body[largest].abs() {
                    largest = index;
                }
            }
            kept[largest] = std::mem::replace(&mut body[largest], 0.0);
            taken.push(kept[largest]);
            channels.push((tile.n.start as usize + index_of_group * group + largest) as f32);
        }
        values.write_row(top.body, row, tile.n.start, &line);
        match top.positions {
            None => values.write_row(top.kept, row, tile.n.start, &kept),
            Some(positions) => {
                let first = tile.n.start / top.group;
                values.write_row(top.kept, row, first, &taken);
                values.write_row(positions, row, first, &channels);
            }
        }
    }
}

pub(super) fn gather_rows(values: &mut Values, gather: &GatherRows, tile: &Tile) {
    let channels = channels(values, &gather.selection);
    let mut line = Vec::new();
    for row in tile.m.start..tile.m.end {
        line.clear();
        match channels[usize::try_from(row).expect("a tensor with values fits memory")] {
            Some(channel) => values.read_row(gather.input, u64::from(channel), tile.n, &mut line),
            None => line.resize((tile.n.end - tile.n.start) as usize, 0.0),
        }
        values.write_row(gather.output, row, tile.n.start, &line);
    }
}

pub(super) fn merge(values: &mut Values, merge: &Merge, tile: &Tile) {
    for row in tile.m.start..tile.m.end {
        if let Elements::I32(_) = values.elements(merge.addend) {
            let addend = values.sums_row(merge.addend, row, tile.n);
            let exact_addend = values.exact_sums_row(merge.addend, row, tile.n);
            let base = merge.base.map(|base| values.sums_row(base, row, tile.n));
            let exact_base = merge.base.map(|base| values.exact_sums_row(base, row, tile.n));
            let (merged, exact): (Vec<i64>, Vec<i64>) = (0..addend.len())
                .map(|index| {
                    let scaled = merge.factor.of_i32(addend[index]);
                    let merged = base.as_ref().map_or(0, |base| base[index]).wrapping_add(scaled);
                    let exact_base = exact_base.as_ref().map_or(0, |base| base[index]);
                    (i64::from(merged), merge.factor.of_exact(exact_addend[index]).saturating_add(exact_base))
                })
                .unzip();
            values.write_sums(merge.output, row, tile.n.start, &merged, &exact);
        } else {
            let (mut addend, mut base) = (Vec::new(), Vec::new());
            values.read_row(merge.addend, row, tile.n, &mut addend);
            if let Some(id) = merge.base {
                values.read_row(id, row, tile.n, &mut base);
            }
            for (index, value) in addend.iter_mut().enumerate() {
                let scaled = merge.factor.of_f32(*value);
                *value = base.get(index).map_or(scaled, |base| base + scaled);
            }
            values.write_row(merge.output, row, tile.n.start, &addend);
        }
    }
}

pub(super) fn divide(values: &mut Values, divide: &DivideChannels, tile: &Tile) {
    let factors = row(values, divide.factors, 0);
    let mut line = Vec::new();
    for row in tile.m.start..tile.m.end {
        line.clear();
        values.read_row(divide.input, row, tile.n, &mut line);
        match divide.side {
            ChannelSide::Activation | ChannelSide::Absorbed => {
                let factors = &factors[tile.n.start as usize..tile.n.end as usize];
                line.iter_mut().zip(factors).for_each(|(value, factor)| *value /= factor);
            }
            ChannelSide::Weight => line.iter_mut().for_each(|value| *value *= factors[row as usize]),
        }
        values.write_row(divide.output, row, tile.n.start, &line);
    }
}
