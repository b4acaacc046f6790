//! Integer layers, products and convolutions, on a shipped accelerator with the row's memory and buffer, through the same
//! stages as `npusim run`.

use crate::config::defaults::Defaults;
use crate::config::diagnostics::ConfigError;
use crate::config::document::Document;
use crate::config::source::Place;
use crate::config::{hardware, presets, scheme};
use crate::hardware::npu::Npu;
use crate::memory::Direction;
use crate::numerics::formats;
use crate::numerics::tensor::Tensor;
use crate::program::op::OpKind;
use crate::report::data::Configuration;
use crate::schedule::commands::{Queue, Work};
use crate::schedule::nest::DmaQueue;
use crate::shape::GemmShape;
use crate::simulation::{Outcome, Setup, SimulationError, simulate};
use crate::timing::observer::{CommandRecord, Observer};
use crate::workload::bindings::Bindings;
use crate::workload::convolution::ConvolutionWindow;
use crate::workload::graph::{Workload, WorkloadError};
use crate::workload::layer::{Layer, LayerId, LayerOperation, LogicalGemm, ValueRef};
use crate::workload::tensor_description::{SourceTensorId, TensorDescription};

/// A layer: a product, or a convolution with its window.
#[derive(Clone, Copy, Debug)]
pub(super) struct IntegerLayer {
    pub(super) shape: GemmShape,
    pub(super) window: Option<ConvolutionWindow>,
}

/// What a run was seen to do.
#[derive(Clone, Debug)]
pub(super) struct Measured {
    /// When each layer's last result was acknowledged by memory.
    pub(super) layer_ends: Vec<u64>,
    /// When the last activation and the last weight of all layers could be read by the array.
    pub(super) activations_loaded: u64,
    pub(super) weights_loaded: u64,
    /// First and last cycle in which a row of activations entered the array, and how many did.
    pub(super) first_step: u64,
    pub(super) last_step: u64,
    pub(super) steps: u64,
    /// Bytes of activations and weights read from off-chip memory, and of results written to it.
    pub(super) activation_bytes: u64,
    pub(super) weight_bytes: u64,
    pub(super) written_bytes: u64,
    /// Results of the last layer, where values were given.
    pub(super) output: Option<Tensor>,
}

/// Why layers could not be run.
#[derive(Debug, thiserror::Error)]
pub(super) enum RunError {
    #[error(transparent)]
    Simulation(#[from] SimulationError),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Workload(#[from] WorkloadError),
}

/// The accelerator of that name with values replaced, as by `--set`.
pub(super) fn accelerator(name: &str, overrides: &[(&str, String)]) -> Result<Npu, ConfigError> {
    let mut document = presets::open_hardware(name)?;
    for (path, value) in overrides {
        document.apply(path, value, &Place::flag(format!("a row, {path}={value}")))?;
    }
    hardware::resolve(&document, &mut Defaults::default())
}

/// Runs `layers`, which do not depend on one another, in order. `values` are the activations and weights of each.
pub(super) fn run(npu: &Npu, layers: &[IntegerLayer], values: Option<Vec<[Tensor; 2]>>) -> Result<Measured, RunError> {
    let (outcome, transfers) = simulated(npu, layers, values)?;
    Ok(measured(&outcome, &transfers, layers.len()))
}

fn simulated(
    npu: &Npu,
    layers: &[IntegerLayer],
    values: Option<Vec<[Tensor; 2]>>,
) -> Result<(Outcome, Transfers), RunError> {
    let workload = workload(layers)?;
    let text = b"name: int8_codes\ninteger: { format: int8 }\n";
    let scheme = scheme::resolve(&Document::from_bytes("its scheme", text, "")?)?;
    let bindings = values.map(|values| Bindings::new(values.into_iter().flatten().map(Some).collect()));
    let setup = Setup {
        npu,
        workload: &workload,
        scheme: scheme.as_ref(),
        calibration: None,
        bindings: bindings.as_ref(),
        configuration: Configuration::default(),
        defaults: Vec::new(),
    };
    let mut transfers = Transfers::default();
    let outcome = simulate(setup, &mut transfers)?;
    Ok((outcome, transfers))
}

fn workload(layers: &[IntegerLayer]) -> Result<Workload, WorkloadError> {
    let mut tensors = Vec::new();
    let layer = |(index, layer): (usize, &IntegerLayer)| {
        let [input, weight] = [2 * index, 2 * index + 1].map(SourceTensorId);
        let dense = LogicalGemm::dense(layer.shape, ValueRef::Source(input), weight, None);
        let gemm = LogicalGemm { window: layer.window, ..dense };
        for (name, shape) in [("x", gemm.input_shape()), ("w", gemm.weight_shape())] {
            tensors.push(TensorDescription { name: format!("{name}{index}"), shape, source: None, format: None });
        }
        Layer { name: format!("layer{index}"), operation: LayerOperation::Gemm(gemm), recorded_output: None }
    };
    let layers = layers.iter().enumerate().map(layer).collect();
    Workload::try_new("layers".to_owned(), &formats::FP32, tensors, layers)
}

fn measured(outcome: &Outcome, transfers: &Transfers, layers: usize) -> Measured {
    let ops = || outcome.program.ops.iter().zip(&outcome.statistics.ops);
    let end_of = |layer| ops().filter(|(op, _)| op.layer == LayerId(layer)).map(|(_, counted)| counted.end.get()).max();
    let products = ops().filter(|(op, _)| matches!(op.kind, OpKind::Gemm(_)));
    let steps: Vec<_> = products.filter_map(|(_, counted)| counted.array_steps).collect();
    let output = outcome.program.layers.last().map(|layer| layer.output);
    Measured {
        layer_ends: (0..layers).map(|layer| end_of(layer).unwrap_or(0)).collect(),
        activations_loaded: transfers.arrived[0],
        weights_loaded: transfers.arrived[1],
        first_step: steps.first().map_or(0, |steps| steps.first.get()),
        last_step: steps.last().map_or(0, |steps| steps.last.get()),
        steps: steps.iter().map(|steps| steps.count).sum(),
        activation_bytes: transfers.bytes[0],
        weight_bytes: transfers.bytes[1],
        written_bytes: transfers.bytes[2],
        output: output.and_then(|output| outcome.execution.as_ref()?.tensor(output).cloned()),
    }
}

/// Bytes, and the last arrival, of activations, weights and results.
#[derive(Default)]
struct Transfers {
    bytes: [u64; 3],
    arrived: [u64; 3],
}

impl Observer for Transfers {
    fn command(&mut self, record: &CommandRecord<'_>) {
        let (Queue::Dma(queue), Work::Transfer(transfer)) = (record.queue, &record.command.work) else { return };
        let index = match (queue.queue, transfer.direction) {
            (_, Direction::Write) => 2,
            (DmaQueue::Weights, Direction::Read) => 1,
            (DmaQueue::Activations | DmaQueue::Stores, Direction::Read) => 0,
        };
        self.bytes[index] += transfer.bytes().get();
        self.arrived[index] = record.completed.get();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timing::statistics::{QueueStatistics, StallCause};
    use crate::units::Cycles;
    use crate::validate::integer_values;
    use crate::workload::convolution::WindowAxis;

    /// The queue of the array after one product on NVDLA's small configuration; every queue's cycles add up.
    fn array_queue(shape: GemmShape, overrides: &[(&str, String)]) -> (QueueStatistics, u64) {
        let npu = accelerator("nvdla-small", overrides).unwrap();
        let (outcome, transfers) = simulated(&npu, &[IntegerLayer { shape, window: None }], None).unwrap();
        for queue in &outcome.statistics.queues {
            assert_eq!(
                queue.busy + queue.stalls.total() + queue.idle,
                outcome.statistics.makespan,
                "{:?}",
                queue.queue
            );
        }
        let mut queues = outcome.statistics.queues.iter();
        let array = queues.find(|queue| matches!(queue.queue, Queue::Matrix(_))).unwrap().clone();
        (array, measured(&outcome, &transfers, 1).first_step)
    }

    #[test]
    fn an_array_waits_for_its_start_and_for_room_on_the_way_of_results() {
        // Two stripes of 16 rows over one block of weights. The second could follow after 16 cycles, but all 16 rows of the
        // first must have left: 6 + 9 cycles to the way out, 16 rows of 8 + 1, 23 until their room is known to be free.
        let (array, first_step) = array_queue(GemmShape::new(32, 8, 8), &[]);
        assert_eq!(array.stalls.get(StallCause::ResultPath), Cycles(15 + 144 + 23 - 16));
        // Activations, 256 bytes, come after the weights' 128. All up to the control's 18 cycles and the block's 8 is start.
        assert_eq!(array.stalls.get(StallCause::StartBarrier), Cycles(first_step - 18 - 8));
        assert_eq!(array.stalls.total(), Cycles(166 + first_step - 26));
    }

    #[test]
    fn weights_without_room_are_a_stall_of_their_own() {
        // 512 x 8 weights fill the one bank of 4 KiB: each of the seven later groups is asked for when the one before has
        // been read, and takes 512 beats, the memory's 64 cycles and the 23 of arrival (row Sc003: 592 cycles a group more
        // than where all groups have room).
        let partition = |part: &str| format!("memories.sram.sram.partitions.{part}");
        let (activations, weights) = (partition("activations"), partition("weights"));
        let banks = [(activations.as_str(), "32 KiB".to_owned()), (weights.as_str(), "4 KiB".to_owned())];
        let (array, _) = array_queue(GemmShape::new(32, 512, 64), &banks);
        let waited = array.stalls.get(StallCause::WeightCredit).get();
        assert!((7 * 512..=7 * (512 + 64 + 23)).contains(&waited), "{waited}");
        assert_eq!(array.stalls.get(StallCause::DramBandwidth), Cycles(0));
    }

    #[test]
    fn images_are_loaded_whole_and_windows_within_the_padding_give_zeros() {
        let npu = accelerator("nvdla-small", &[]).unwrap();
        let layer = |y: WindowAxis, x: WindowAxis| {
            let window = ConvolutionWindow { images: 1, y, x, channels: 8 };
            IntegerLayer { shape: GemmShape::new(window.output_pixels(), window.depth(), 8), window: Some(window) }
        };
        let axis = |input, stride, padding| WindowAxis::try_new(input, 1, stride, 1, [padding, padding]).unwrap();
        // One tap moved by 4 over 6 rows sees rows 0 and 4; all 6 rows of 3 pixels of 8 channels are moved.
        let skipping = run(&npu, &[layer(axis(6, 4, 0), axis(3, 1, 0))], None).unwrap();
        assert_eq!(skipping.activation_bytes, 6 * 3 * 8);
        // Two rows of zeros on each side of three, under one tap: 7 output rows of 2 pixels, the middle three not zero.
        let padded = layer(axis(3, 1, 2), axis(2, 1, 0));
        let values = integer_values::operands(&padded);
        let measured = run(&npu, &[padded], Some(vec![values.clone()])).unwrap();
        assert_eq!((measured.steps, measured.activation_bytes), (14, 3 * 2 * 8));
        let found = measured.output.as_ref().and_then(Tensor::as_i8).unwrap().to_vec();
        assert_eq!(found, integer_values::saturated_product(&padded, &values));
        let is_zero = |codes: &[i8]| codes.iter().all(|code| *code == 0);
        assert!(is_zero(&found[..4 * 8]) && !is_zero(&found[4 * 8..10 * 8]) && is_zero(&found[10 * 8..]));
    }
}
