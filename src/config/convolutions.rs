//! Convolutions as written, into products with a window.

use serde::Deserialize;

use crate::config::diagnostics::{Cited, ConfigError, Problems};
use crate::config::field::Field;
use crate::config::layers::Axes;
use crate::config::placed::Placed;
use crate::shape::GemmShape;
use crate::workload::batching::{BatchAxis, Batching};
use crate::workload::convolution::{ConvolutionWindow, WindowAxis};
use crate::workload::layer::{LayerOperation, LayerRole, LogicalGemm, ValueRef};
use crate::workload::tensor_description::SourceTensorId;

/// The largest stride, dilation, padding and number of groups.
const LARGEST: u64 = 1 << 16;

#[derive(Deserialize)]
pub(crate) struct ConvolutionFile {
    pub(crate) input: Field<String>,
    pub(crate) weight: Field<String>,
    pub(crate) bias: Field<String>,
    stride: Option<Placed<StepsFile>>,
    padding: Option<Placed<PaddingFile>>,
    dilation: Option<Placed<StepsFile>>,
    groups: Field<u64>,
    role: Field<String>,
}

#[derive(Deserialize)]
struct StepsFile {
    y: Field<u64>,
    x: Field<u64>,
}

#[derive(Deserialize)]
struct PaddingFile {
    top: Field<u64>,
    bottom: Field<u64>,
    left: Field<u64>,
    right: Field<u64>,
}

/// What a convolution says beside the names of its operands. Of two, that along y comes first.
pub(crate) struct Steps {
    stride: [u64; 2],
    dilation: [u64; 2],
    /// Before and behind.
    padding: [[u64; 2]; 2],
    role: Option<LayerRole>,
}

/// Reads what does not follow from shapes.
pub(crate) fn resolve(written: &ConvolutionFile) -> Result<Steps, ConfigError> {
    let mut problems = Problems::default();
    let mut steps = |file: &Option<Placed<StepsFile>>| match file {
        None => [Some(1), Some(1)],
        Some(steps) => [&steps.y, &steps.x].map(|step| problems.take(step.required().in_range(1..=LARGEST))),
    };
    let (stride, dilation) = (steps(&written.stride), steps(&written.dilation));
    let padding = match &written.padding {
        None => [Some(0); 4],
        Some(file) => [&file.top, &file.bottom, &file.left, &file.right]
            .map(|side| problems.take(side.optional().map_or(Ok(0), |padding| padding.in_range(0..=LARGEST)))),
    };
    let role = problems.take(written.role.optional().map(|role| role.one_of(&LayerRole::NAMES)).transpose());
    problems.built(|| {
        let [top, bottom, left, right] = padding;
        Some(Steps {
            stride: [stride[0]?, stride[1]?],
            dilation: [dilation[0]?, dilation[1]?],
            padding: [[top?, bottom?], [left?, right?]],
            role: role?,
        })
    })
}

/// The product of a convolution over an input and a weight of the given axes, and the axes of its output.
pub(crate) fn shaped(
    written: &Placed<ConvolutionFile>,
    steps: &Steps,
    (input, weight, bias): (ValueRef, SourceTensorId, Option<SourceTensorId>),
    input_axes: &Axes,
    weight_axes: &Axes,
) -> Result<(LayerOperation, Axes), ConfigError> {
    let (images, height, width, channels) = match input_axes[..] {
        [height, width, channels] => (1, height, width, channels),
        [images, height, width, channels] => (images, height, width, channels),
        _ => {
            let message = format!("a convolution moves over images, and this has {} axes", input_axes.len());
            let axes = "expected: [height, width, channels] or [images, height, width, channels]";
            return Err(written.input.problem(message).note(axes).into());
        }
    };
    let [kernel_y, kernel_x, of_group, outputs] = weight_axes[..] else {
        let message = format!("the weight of a convolution has 4 axes, and this has {}", weight_axes.len());
        let axes = "expected: [kernel height, kernel width, channels of a group, outputs]";
        return Err(written.weight.problem(message).note(axes).into());
    };
    let groups = match written.groups.optional() {
        Some(groups) => {
            let divides = format!("a divisor of the {channels} channels and of the {outputs} outputs");
            groups.beside_others().must(&divides, |groups| {
                (1..=LARGEST).contains(groups) && channels.is_multiple_of(*groups) && outputs.is_multiple_of(*groups)
            })?
        }
        None => 1,
    };
    if of_group * groups != channels {
        let message =
            format!("the weight is for {of_group} channels in each of {groups} groups, the input has {channels}");
        return Err(written.weight.problem(message).into());
    }
    let Steps { stride, dilation, padding, role } = *steps;
    let axis = |index: usize, input: u64, kernel: u64| {
        WindowAxis::try_new(input, kernel, stride[index], dilation[index], padding[index]).map_err(|error| {
            let name = ["y", "x"][index];
            written.problem(format!("along {name}: {error}"))
        })
    };
    let mut problems = Problems::default();
    let (y, x) = (problems.take(axis(0, height, kernel_y)), problems.take(axis(1, width, kernel_x)));
    let window = problems.built(|| Some(ConvolutionWindow { images, y: y?, x: x?, channels: of_group }))?;
    let shape = GemmShape::new(window.output_pixels(), window.depth(), outputs / groups);
    let side_by_side = BatchAxis::Columns;
    let batching = match groups {
        1 => Batching::SINGLE,
        _ => {
            Batching { count: groups, right_sharing: 1, left: side_by_side, right: side_by_side, output: side_by_side }
        }
    };
    let gemm = LogicalGemm {
        batching,
        window: Some(window),
        role: role.or(Some(LayerRole::Convolution)),
        ..LogicalGemm::dense(shape, input, weight, bias)
    };
    let output = [images, window.y.output(), window.x.output(), outputs];
    let output = if input_axes.len() == 3 { output[1..].to_vec() } else { output.to_vec() };
    Ok((LayerOperation::Gemm(gemm), output))
}
