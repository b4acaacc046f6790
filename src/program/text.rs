//! The text form of a program: one line an operation, for people, golden files and error messages.

use std::fmt;

use crate::program::Program;
use crate::program::op::{Op, OpKind, Scale, ScaleSource, Scope};
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

    fn scale(&self, scale: Scale) -> String {
        let source = match scale.source {
            ScaleSource::Static => "static",
            ScaleSource::Dynamic => "dynamic",
        };
        format!("{} ({source} per {})", self.name(scale.tensor), scope_name(scale.scope))
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
        let output = self.program.tensor(self.op.kind.output());
        write!(formatter, "%{}: {} {} = ", output.name, output.format, output.shape)?;
        match &self.op.kind {
            OpKind::Gemm(gemm) => {
                write!(formatter, "gemm {} {} ({})", self.name(gemm.left), self.name(gemm.right), gemm.shape)?;
            }
            OpKind::Reduce { input, scope, target, .. } => {
                write!(formatter, "reduce abs_max per {} of {} for {target}", scope_name(*scope), self.name(*input))?;
            }
            OpKind::Quantize { input, scale, .. } => {
                write!(formatter, "quantize {} by {}", self.name(*input), self.scale(*scale))?;
            }
            OpKind::Dequantize { input, left_scale, right_scale, bias, .. } => {
                write!(
                    formatter,
                    "dequantize {} by {} and {}",
                    self.name(*input),
                    self.scale(*left_scale),
                    self.scale(*right_scale)
                )?;
                if let Some(bias) = bias {
                    write!(formatter, " plus {}", self.name(*bias))?;
                }
            }
            OpKind::Activate { function, input, .. } => {
                write!(formatter, "{} {}", function.name(), self.name(*input))?;
            }
        }
        write!(formatter, "  # {}, {}", self.program.layer(self.op.layer).name, self.op.path.name())
    }
}
