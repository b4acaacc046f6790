//! What reports, pictures and traces call a queue.

use crate::hardware::matrix_unit::MatrixUnitId;
use crate::hardware::npu::Npu;
use crate::schedule::commands::{DmaStream, Queue, VectorStream};
use crate::schedule::nest::DmaQueue;
use crate::schedule::team::LaneId;

/// Names of the queues of one run.
#[derive(Clone, Debug)]
pub struct QueueNames<'a> {
    npu: &'a Npu,
    teams: Vec<&'a [MatrixUnitId]>,
    has_lanes: bool,
}

impl<'a> QueueNames<'a> {
    /// The names of `queues` on `npu`, whose matrix units work in these teams.
    pub fn new(
        npu: &'a Npu,
        teams: impl IntoIterator<Item = &'a [MatrixUnitId]>,
        queues: impl IntoIterator<Item = Queue>,
    ) -> QueueNames<'a> {
        let lanes = queues.into_iter().filter_map(|queue| match queue {
            Queue::Dma(stream) => Some(stream.lane.0 + 1),
            Queue::Matrix(_) | Queue::Vector(_) => None,
        });
        let has_lanes = lanes.max().is_some_and(|lanes| lanes > 1);
        QueueNames { npu, teams: teams.into_iter().collect(), has_lanes }
    }

    /// The unit (several that work together are joined by `+`) and the queue of that unit.
    pub fn of(&self, queue: Queue) -> (String, String) {
        let in_lane =
            |name: &str, lane: LaneId| if self.has_lanes { format!("{name}[{}]", lane.0) } else { name.to_owned() };
        match queue {
            Queue::Dma(DmaStream { queue, lane }) => {
                let name = match queue {
                    DmaQueue::Activations => "activations",
                    DmaQueue::Weights => "weights",
                    DmaQueue::Stores => "stores",
                };
                (self.npu.dma().name.clone(), in_lane(name, lane))
            }
            Queue::Matrix(team) => {
                let names = self.teams[team.0].iter().map(|unit| self.npu.matrix_unit(*unit).name.as_str());
                (names.collect::<Vec<_>>().join("+"), "compute".to_owned())
            }
            Queue::Vector(VectorStream { unit, lane }) => {
                (self.npu.vector_unit(unit).name.clone(), in_lane("compute", lane))
            }
        }
    }
}
