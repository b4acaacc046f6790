//! What the tiling search sees of a nest: everything but names.
//!
//! Nests that look alike here are searched once, so the search is given the likeness and not the nest: it cannot depend on
//! anything that two nests with one likeness do not share. Structs are taken apart field by field, so whoever adds a field
//! must say here whether it is a name.
//!
//! Names are counters, tensors, operations and addresses. They are replaced by the order of their first mention, because
//! the search asks which of them are the same. Of an address only its place within a burst matters. What a nest waits for
//! from others is left out: the search looks at a nest alone.

use crate::hardware::npu::Npu;
use crate::program::op::OpId;
use crate::program::tensor::TensorId;
use crate::schedule::counter::CounterId;
use crate::schedule::nest::{
    Access, CreditPool, Destination, Load, MatrixWork, Nest, Output, Read, Storage, VectorStep, VectorWork,
};
use crate::schedule::spill::{self, Home, Spilling};
use crate::schedule::team::LaneId;

/// A nest without names.
#[derive(Clone, Debug, PartialEq)]
pub struct Likeness(Nest);

impl Likeness {
    /// Of `nest` on `npu`.
    pub fn of(npu: &Npu, nest: &Nest) -> Likeness {
        let mut nest = nest.clone();
        let most_waiting = spill::most_waiting_bytes(&nest);
        let mut names = Names { burst: npu.dram().burst.get().max(1), ..Names::default() };
        let Nest {
            lane,
            grid: _,
            output_batches: _,
            prologue,
            matrix,
            vector,
            leads_next: _,
            spilling,
            loads,
            outputs,
            fill_waits,
            load_waits,
            tiles_computed,
            tiles_finished,
            done,
        } = &mut nest;
        *lane = LaneId(0);
        fill_waits.clear();
        load_waits.clear();
        [tiles_computed, tiles_finished, done].into_iter().for_each(|counter| names.counter(counter));
        loads.iter_mut().for_each(|load| names.load(load));
        prologue.iter_mut().chain(matrix).for_each(|matrix| names.matrix(matrix));
        vector.iter_mut().for_each(|vector| names.vector(vector));
        outputs.iter_mut().for_each(|output| names.output(output));
        if let Some(Spilling { computed, spilled, filled, near, far, claimed_before }) = spilling {
            [computed, spilled, filled].into_iter().for_each(|counter| names.counter(counter));
            for Home { memory: _, base, room } in near.iter_mut().flatten().chain([far]) {
                *base %= names.burst;
                // More room than all sums could take is as good as just enough.
                *room = (*room).min(most_waiting);
            }
            *claimed_before = 0;
        }
        Likeness(nest)
    }

    /// A nest that looks so.
    pub const fn nest(&self) -> &Nest {
        &self.0
    }
}

/// Names so far, in the order of their first mention.
#[derive(Default)]
struct Names {
    counters: Vec<CounterId>,
    tensors: Vec<TensorId>,
    ops: Vec<OpId>,
    /// Bytes of a burst off the chip.
    burst: u64,
}

/// The position of `name` among `known`, which it joins if it is new.
fn position<T: PartialEq>(known: &mut Vec<T>, name: T) -> usize {
    known.iter().position(|other| *other == name).unwrap_or_else(|| {
        known.push(name);
        known.len() - 1
    })
}

impl Names {
    fn counter(&mut self, counter: &mut CounterId) {
        let position = position(&mut self.counters, *counter);
        *counter = CounterId(u32::try_from(position).expect("a nest has few counters"));
    }

    fn tensor(&mut self, tensor: &mut TensorId) {
        *tensor = TensorId(position(&mut self.tensors, *tensor));
    }

    fn op(&mut self, op: &mut OpId) {
        *op = OpId(position(&mut self.ops, *op));
    }

    fn pool(&mut self, CreditPool { returned, capacity: _ }: &mut CreditPool) {
        self.counter(returned);
    }

    fn storage(&self, storage: &mut Storage) {
        let Storage { shape: _, element_bits: _, home: _, base, atom: _, layout: _ } = storage;
        *base %= self.burst;
    }

    fn destination(&mut self, destination: &mut Destination) {
        match destination {
            Destination::Partition(pool) | Destination::Ring(pool) => self.pool(pool),
            Destination::Resident => {}
        }
    }

    fn read(&mut self, Read { tensor, storage, map: _, access }: &mut Read) {
        self.tensor(tensor);
        self.storage(storage);
        match access {
            Access::Resident(rows) => self.counter(rows),
            Access::Ring { rows, pool } => {
                self.counter(rows);
                self.pool(pool);
            }
            Access::Loaded(_) | Access::Accumulators | Access::Internal => {}
        }
    }

    fn load(&mut self, load: &mut Load) {
        let Load {
            tensor,
            storage,
            map: _,
            op,
            queue: _,
            reader: _,
            destination,
            arrived,
            produced,
            longest_request: _,
            padding: _,
            table,
        } = load;
        self.tensor(tensor);
        self.storage(storage);
        self.op(op);
        self.destination(destination);
        self.counter(arrived);
        (*produced, *table) = (None, None);
    }

    fn matrix(&mut self, matrix: &mut MatrixWork) {
        let MatrixWork {
            team: _,
            unit: _,
            split: _,
            sharing_sums: _,
            unit_waits,
            op,
            window: _,
            operands,
            scales,
            is_gathered: _,
            accumulator: _,
            depth_unit: _,
            sums,
            accumulators,
            macs_per_element_per_cycle: _,
            streams_results: _,
            initial_shifts: _,
        } = matrix;
        *unit_waits = [None; 2];
        self.op(op);
        operands.iter_mut().chain(scales.iter_mut().flatten()).for_each(|read| self.read(read));
        self.storage(sums);
        self.pool(accumulators);
    }

    fn vector(&mut self, VectorWork { unit: _, steps, reads, memory: _, outputs }: &mut VectorWork) {
        for VectorStep { op, functions: _, gathered_columns: _ } in steps {
            self.op(op);
        }
        reads.iter_mut().for_each(|read| self.read(read));
        self.pool(outputs);
    }

    fn output(&mut self, Output { tensor, storage, map: _, op, destination, rows }: &mut Output) {
        self.tensor(tensor);
        self.storage(storage);
        self.op(op);
        self.destination(destination);
        self.counter(rows);
    }
}
