//! The text form of a program: one line an operation, for people, golden files and error messages.

use std::fmt;

use crate::program::Program;
use crate::program::channels::{ChannelSide, Selection, SumFactor, Treatment};
use crate::program::op::{BlockAxis, GemmOperand, Op, OpKind, Scale, ScaleSource, ScaleTarget, Scope};
use crate::program::tensor::TensorId;

impl fmt::Display for Program {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (title, ops) in [("prepare", &self.preparation), ("run", &self.ops)] {
            writeln!(formatter, "{title} {{")?;
            for op in ops {
                writeln!(formatter, "  {}", OpText { program: self, op })?;
            }
            writeln!(formatter, "}}")?;
        }
        Ok(())
    }
}

struct OpText<'a> {
    program: &'a Program,
    op: &'a Op,
}

impl OpText<'_> {
    fn name(&self, id: TensorId) -> String {
        format!("%{}", self.program.tensor(id).name)
    }

    fn operand(&self, operand: GemmOperand) -> String {
        let scales = operand.blocks.map(|blocks| format!(" scaled by {}", self.name(blocks.scales)));
        self.name(operand.codes) + &scales.unwrap_or_default()
    }

    fn selection(&self, selection: &Selection) -> String {
        match selection {
            Selection::Static { channels, .. } => format!("{} channels", channels.len()),
            Selection::Planned { maxima, rule, count, .. } => {
                format!("up to {count} channels with {} {rule}", self.name(*maxima))
            }
        }
    }

    fn by(&self, scale: Option<Scale>) -> String {
        let Some(scale) = scale else { return String::new() };
        let source = match scale.source {
            ScaleSource::Static => "static",
            ScaleSource::Dynamic => "dynamic",
        };
        format!(" by {} ({source} per {})", self.name(scale.tensor), scope_name(scale.scope))
    }
}

/// A factor before what it multiplies.
fn factor_text(factor: SumFactor) -> String {
    match factor {
        SumFactor::One => String::new(),
        SumFactor::Shift(exponent) => format!("2^{exponent} "),
        SumFactor::ShiftSubtract(exponent) => format!("(2^{exponent} - 1) "),
    }
}

/// Name of a scope in text.
pub const fn scope_name(scope: Scope) -> &'static str {
    match scope {
        Scope::Tensor => "tensor",
        Scope::Row => "row",
        Scope::Column => "column",
    }
}

impl fmt::Display for OpText<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, output) in self.op.kind.writes().into_iter().enumerate() {
            let output = self.program.tensor(output);
            let comma = if position > 0 { ", " } else { "" };
            write!(formatter, "{comma}%{}: {} {}", output.name, output.format, output.shape)?;
        }
        formatter.write_str(" = ")?;
        match &self.op.kind {
            OpKind::Gemm(gemm) => {
                let [left, right] = [gemm.left, gemm.right].map(|operand| self.operand(operand));
                let rows = gemm.right_rows.map(|rows| format!("rows {} of ", self.name(rows))).unwrap_or_default();
                write!(formatter, "gemm {left} {rows}{right} ({})", gemm.shape)?;
                if gemm.batching.count > 1 {
                    write!(formatter, " x {}", gemm.batching.count)?;
                }
                if let Some(window) = &gemm.window {
                    write!(formatter, " window {}x{}", window.y.kernel(), window.x.kernel())?;
                }
                if let Some(initial) = gemm.initial {
                    write!(formatter, " onto {}{}", factor_text(initial.factor), self.name(initial.sums))?;
                }
            }
            OpKind::Reduce { input, scope, target, .. } => {
                let target = match target {
                    ScaleTarget::Element(format) => format.name(),
                    ScaleTarget::Blocks(format) => format.name(),
                    ScaleTarget::Magnitude => "itself",
                };
                write!(formatter, "reduce abs_max per {} of {} for {target}", scope_name(*scope), self.name(*input))?;
            }
            OpKind::Quantize { input, scale, .. } => {
                write!(formatter, "quantize {}{}", self.name(*input), self.by(*scale))?;
            }
            OpKind::QuantizeBlocks { input, format, along, run, tensor_scale, codes, .. } => {
                let along = match along {
                    BlockAxis::Columns => "columns",
                    BlockAxis::Rows => "rows",
                };
                let input = self.name(*input);
                write!(formatter, "quantize {input} to {format} along {along}")?;
                if *run < self.program.tensor(*codes).shape.columns {
                    write!(formatter, " in runs of {run}")?;
                }
                write!(formatter, "{}", self.by(*tensor_scale))?;
            }
            OpKind::Dequantize { input, left_scale, right_scale, bias, .. } => {
                let (left, right) = (self.by(*left_scale), self.by(*right_scale));
                write!(formatter, "dequantize {}{left}{right}", self.name(*input))?;
                if let Some(bias) = bias {
                    write!(formatter, " plus {}", self.name(*bias))?;
                }
            }
            OpKind::Vector(vector) => {
                formatter.write_str(vector.function.name())?;
                for read in vector.inputs.iter().chain(&vector.constants) {
                    write!(formatter, " {}", self.name(*read))?;
                }
            }
            OpKind::Activate { function, input, .. } => {
                write!(formatter, "{} {}", function.name(), self.name(*input))?;
            }
            OpKind::ExtractChannels(extract) => {
                let treatment = match extract.treatment {
                    Treatment::Zero => "zeroed".to_owned(),
                    Treatment::ShiftDown(exponent) => format!("divided by 2^{exponent}"),
                };
                let which = self.selection(&extract.selection);
                write!(formatter, "extract {which} of {}", self.name(extract.input))?;
                if extract.body.is_some() {
                    write!(formatter, ", {treatment} in the body")?;
                }
            }
            OpKind::ExtractTop(top) => {
                write!(formatter, "extract the largest of each {} channels of {}", top.group, self.name(top.input))?;
            }
            OpKind::GatherRows(gather) => {
                write!(
                    formatter,
                    "gather {} as rows of {}",
                    self.selection(&gather.selection),
                    self.name(gather.input)
                )?;
            }
            OpKind::Merge(merge) => {
                let base = merge.base.map(|base| format!("{} + ", self.name(base))).unwrap_or_default();
                write!(formatter, "merge {base}{}{}", factor_text(merge.factor), self.name(merge.addend))?;
            }
            OpKind::DivideChannels(divide) => {
                let (input, factors) = (self.name(divide.input), self.name(divide.factors));
                match divide.side {
                    ChannelSide::Activation => write!(formatter, "divide columns of {input} by {factors}")?,
                    ChannelSide::Absorbed => write!(formatter, "take {input} with columns divided by {factors}")?,
                    ChannelSide::Weight => write!(formatter, "multiply rows of {input} by {factors}")?,
                }
            }
        }
        write!(formatter, "  # {}, {}", self.program.layer(self.op.layer).name, self.op.path.name())
    }
}
