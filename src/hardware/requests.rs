//! How a DMA engine asks for tiles: request sizes, latencies of its own, padding, and which product's loads go first.

use crate::units::{Bytes, Cycles, Rate};

/// The front end of a DMA engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Requests {
    /// The longest request; longer tiles are asked for piece by piece, and space for weights is claimed piece by piece.
    /// Without a limit a tile is one request. An activation tile is asked for only when there is room for all of it.
    pub longest: Option<Bytes>,
    /// From the start of a run to the first request.
    pub start: Cycles,
    /// From the arrival of a request's last byte to the moment at which its reader can see it.
    pub arrival: Cycles,
    /// Bytes a cycle that the queue of activations passes on, where that is less than the memory delivers.
    pub activation_bytes_per_cycle: Option<Rate>,
    /// Each row of an activation tile is stored, and moved, as whole atoms of so many bytes.
    pub activation_atom: Bytes,
    /// The weights of a product are fetched as a whole multiple of so many bytes.
    pub weight_multiple: Bytes,
    /// Whether a queue may run ahead of the other into the next product.
    pub products: ProductOrder,
}

/// Whether a load queue may run ahead of the other into the next product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProductOrder {
    /// Each queue goes on as soon as it has credit.
    Independent,
    /// No load of a product begins before all loads of the one before have arrived.
    Together,
}

impl Requests {
    /// Whole tiles, no latency, no padding, independent queues.
    pub const PLAIN: Requests = Requests {
        longest: None,
        start: Cycles::ZERO,
        arrival: Cycles::ZERO,
        activation_bytes_per_cycle: None,
        activation_atom: Bytes(1),
        weight_multiple: Bytes(1),
        products: ProductOrder::Independent,
    };
}
