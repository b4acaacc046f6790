//! Large INT8 products by the AVX-512 VNNI kernel of the `rten-gemm` crate, which this crate could not write itself
//! without `unsafe`.
//!
//! The instruction multiplies u8 by i8, so A goes in as `a + 128` with a zero point of 128, and the kernel takes
//! `128 x (column sums of B)` off again. Up to [`EXACT_DEPTH`] every sum that leaves a step of the kernel is a partial sum
//! of the product itself and fits in an i32; what has to wrap, the addition into C, is done here.
//!
//! **Which kernel.** Only [`KERNEL`], and only while it says that it does not saturate: on a machine without VNNI the crate
//! falls back to `vpmaddubsw`, whose 16-bit sums of two products saturate, and gives other numbers. Its kernels for other
//! machines are neither measured nor held against ours, so there ours serves.
//!
//! **How many threads.** `rten-gemm` spreads over the rayon pool that it is called from, which by default is one thread a
//! core. Here a caller that runs in a pool of its own has chosen; anyone else gets one thread. Integer sums are exact, so
//! the bits are the same either way.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use rayon::{ThreadPool, ThreadPoolBuilder};
use rten_gemm::{GemmExecutor, GemmInputA, GemmInputB, GemmUninitOptions, PackedBMatrix, QuantParams};

use crate::numerics::gemm::int8::{EXACT_DEPTH, PackedBlock};
use crate::numerics::gemm::{Matrix, MatrixMut};

type Executor = GemmExecutor<u8, i8, i32>;

/// The name under which the crate registers its AVX-512 kernel, with or without VNNI.
const KERNEL: &str = "x86_64-u8i8i32-avx512";

/// What stands for zero in A as the kernel sees it.
const ZERO_POINT: u8 = 128;

/// Rows of A that are converted and multiplied at a time; the crate blocks rows by as many.
const BLOCK_ROWS: usize = 64;

/// Our own kernel does this in 0.15 milliseconds. The hand-over to another thread takes 3 microseconds, but 0.1
/// milliseconds when that thread sleeps: so much must be there for the faster kernel to win in either case.
const SMALLEST_MACS: usize = 1 << 22;

/// Below these the tile of the kernel, 8 rows x 32 columns, or the conversion of A and C is mostly overhead.
const FEWEST_ROWS: usize = 8;
const FEWEST_COLUMNS: usize = 32;
const SMALLEST_DEPTH: usize = 64;

/// Panels are packed once this many rows have been multiplied by their block. Packing costs about what our own kernel
/// takes for so many rows, so at worst the two together take twice what the better choice would have taken.
const ROWS_THAT_REPAY_PACKING: usize = 24;

/// `C += A x B` modulo 2^32, or `false` with nothing done when our own kernel is to do it. The shapes make a product.
pub(super) fn multiply_accumulate(a: Matrix<'_, i8>, b: PackedBlock<'_>, c: &mut MatrixMut<'_, i32>) -> bool {
    is_worthwhile(a.rows(), b.shape())
        && Engine::with(|engine| {
            let Some(right) = PanelStore::panels(&b, a.rows(), engine) else { return false };
            engine.run(|executor| add_product(executor, a, &right, c))
        })
        .unwrap_or(false)
}

fn is_worthwhile(m: usize, (k, n): (usize, usize)) -> bool {
    m >= FEWEST_ROWS
        && n >= FEWEST_COLUMNS
        && (SMALLEST_DEPTH..=EXACT_DEPTH).contains(&k)
        && m.saturating_mul(k).saturating_mul(n) >= SMALLEST_MACS
}

/// The kernel and the thread it runs on, for the thread that asks.
struct Engine {
    executor: Executor,
    one_thread: OnceCell<Option<ThreadPool>>,
}

impl Engine {
    /// `None` when this machine has no kernel of ours to choose.
    fn try_new() -> Option<Self> {
        let executor = Executor::new();
        let is_exact = is_exact(executor.kernel_name(), executor.may_saturate());
        is_exact.then(|| Self { executor, one_thread: OnceCell::new() })
    }

    /// Runs `work` with the engine of the calling thread; `None` without running it when there is none.
    fn with<R>(work: impl FnOnce(&Self) -> R) -> Option<R> {
        // One an asking thread, so that simulations which run side by side do not queue for the same worker.
        thread_local!(static ENGINE: Option<Engine> = Engine::try_new());
        ENGINE.with(|engine| engine.as_ref().map(work))
    }

    /// Runs `work` on the pool of the calling thread, else on one thread; `false` when the system refuses that thread.
    fn run(&self, work: impl FnOnce(&Executor) + Send) -> bool {
        let executor = &self.executor;
        if rayon::current_thread_index().is_some() {
            work(executor);
            return true;
        }
        let one_thread = self.one_thread.get_or_init(|| ThreadPoolBuilder::new().num_threads(1).build().ok());
        one_thread.as_ref().map(|pool| pool.install(|| work(executor))).is_some()
    }
}

fn is_exact(kernel: &str, may_saturate: bool) -> bool {
    kernel == KERNEL && !may_saturate
}

/// Blocks of one B in the order in which the kernel reads them, packed when they have been used often enough.
///
/// Together they hold at most as many elements as B, which is what a walk over its tiles needs. A walk over other tiles
/// starts anew.
pub(super) struct PanelStore {
    /// Elements of B.
    capacity: usize,
    blocks: Mutex<BTreeMap<BlockKey, Block>>,
}

/// First row, first column, rows and columns of a block of B.
type BlockKey = (usize, usize, usize, usize);

#[derive(Default)]
struct Block {
    /// Rows of A that were multiplied by the block, up to the packing.
    rows: usize,
    panels: Option<Arc<PackedBMatrix<i8>>>,
}

impl PanelStore {
    pub(super) fn new(capacity: usize) -> Self {
        Self { capacity, blocks: Mutex::default() }
    }

    /// The panels of block `b`, about to be multiplied by `rows` rows of A, when packing them is repaid.
    fn panels(b: &PackedBlock<'_>, rows: usize, engine: &Engine) -> Option<Arc<PackedBMatrix<i8>>> {
        let (store, (first_row, first_column)) = b.panels();
        let (k, n) = b.shape();
        let key = (first_row, first_column, k, n);
        // A panic elsewhere leaves the map whole: a block enters it with one insertion.
        let mut blocks = store.blocks.lock().unwrap_or_else(PoisonError::into_inner);
        let elements: usize = blocks.keys().map(|&(.., k, n)| k * n).sum();
        if !blocks.contains_key(&key) && elements + k * n > store.capacity {
            blocks.clear();
        }
        let block = blocks.entry(key).or_default();
        block.rows = block.rows.saturating_add(rows);
        if block.panels.is_none() && block.rows >= ROWS_THAT_REPAY_PACKING {
            block.panels = Some(Arc::new(pack(&engine.executor, b.transposed())));
        }
        block.panels.clone()
    }
}

impl Clone for PanelStore {
    /// An empty store of the same capacity: what it holds can be packed again.
    fn clone(&self) -> Self {
        Self::new(self.capacity)
    }
}

impl std::fmt::Debug for PanelStore {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("PanelStore").field("capacity", &self.capacity).finish_non_exhaustive()
    }
}

/// Packs a block of B, given with its columns as rows and not empty.
fn pack(executor: &Executor, columns: Matrix<'_, i8>) -> PackedBMatrix<i8> {
    let (n, k) = columns.shape();
    let (elements, stride) = columns.elements_and_stride();
    let b = rten_tensor::Matrix::from_data_with_strides([k, n], elements, [1, stride])
        .expect("a view ends within its elements, and its rows do not overlap");
    executor.prepack_b(b)
}

fn add_product(executor: &Executor, a: Matrix<'_, i8>, right: &PackedBMatrix<i8>, c: &mut MatrixMut<'_, i32>) {
    let (m, k, n) = (a.rows(), a.columns(), right.cols());
    let block_rows = BLOCK_ROWS.min(m);
    let mut left: Vec<u8> = Vec::with_capacity(block_rows * k);
    let mut sums: Vec<i32> = Vec::with_capacity(block_rows * n);
    for first in (0..m).step_by(BLOCK_ROWS) {
        let rows = first..m.min(first + BLOCK_ROWS);
        left.clear();
        for row in rows.clone() {
            left.extend(a.row(row).iter().map(|&element| (element as u8) ^ ZERO_POINT));
        }
        let left = rten_tensor::Matrix::from_data([rows.len(), k], left.as_slice());
        let zero_point = &[ZERO_POINT; BLOCK_ROWS][..rows.len()];
        let options = GemmUninitOptions { a_quant: Some(QuantParams { zero_point }), ..GemmUninitOptions::default() };
        let unwritten = &mut sums.spare_capacity_mut()[..rows.len() * n];
        let products = executor
            .gemm_uninit(unwritten, GemmInputA::Unpacked(left), GemmInputB::Packed(right), options)
            .expect("the shapes make a product, and both were packed by the kernel of this machine");
        for (row, products) in rows.zip(products.chunks_exact(n)) {
            for (sum, &product) in c.row(row).iter_mut().zip(products) {
                *sum = sum.wrapping_add(product);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop, prop_assert_eq, proptest};
    use rayon::ThreadPoolBuilder;

    use super::{Engine, KERNEL, PanelStore, add_product, is_exact, is_worthwhile, multiply_accumulate, pack};
    use crate::numerics::gemm::int8::{
        EXACT_DEPTH, InstructionSet, PackedB, multiply_accumulate_with, prepare, reference,
    };
    use crate::numerics::gemm::{Matrix, MatrixMut};

    /// The product by the kernel under test whatever its size; `None` where the machine lacks it.
    fn product(a: Matrix<'_, i8>, packed: &PackedB, c: &mut MatrixMut<'_, i32>) -> Option<bool> {
        Engine::with(|engine| {
            let right = pack(&engine.executor, packed.whole().transposed());
            engine.run(|executor| add_product(executor, a, &right, c))
        })
    }

    /// `count` bytes of all values, from a fixed congruential generator.
    fn bytes(count: usize, seed: u64) -> Vec<i8> {
        let mut state = seed;
        let mut next = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8 as i8
        };
        (0..count).map(|_| next()).collect()
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn the_kernel_serves_exactly_the_machines_with_vnni() {
        use std::is_x86_feature_detected;
        let has_vnni = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512vnni");
        assert_eq!(Engine::try_new().is_some(), has_vnni);
    }

    #[test]
    fn a_kernel_that_saturates_or_has_another_name_is_refused() {
        assert!(is_exact(KERNEL, false));
        assert!(!is_exact(KERNEL, true));
        assert!(!is_exact("x86_64-u8i8i32-avx2", true));
        assert!(!is_exact("generic", false));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(96))]

        // Rows around its tile of 8 and our 64, columns around its tile of 32, depths around its block of 1024. C starts at
        // any value, so sums wrap.
        #[test]
        fn ragged_products_equal_the_triple_loop(
            (m, k, n, a, b, c) in (
                prop::sample::select(vec![1usize, 2, 7, 8, 9, 63, 64, 65, 130]),
                prop::sample::select(vec![1usize, 2, 3, 4, 5, 31, 1023, 1024, 1025, 2051]),
                prop::sample::select(vec![1usize, 2, 31, 32, 33, 70]),
            ).prop_flat_map(|(m, k, n)| {
                let sums = prop::collection::vec(any::<i32>(), m * n);
                (Just(m), Just(k), Just(n), any::<u64>(), any::<u64>(), sums)
            })
        ) {
            let (a, b) = (bytes(m * k, a), bytes(k * n, b));
            let (a, b) = (Matrix::dense(&a, m, k).unwrap(), Matrix::dense(&b, k, n).unwrap());
            let (mut expected, mut sums) = (c.clone(), c);
            reference(a, b, MatrixMut::dense(&mut expected, m, n).unwrap()).unwrap();
            if product(a, &prepare(b), &mut MatrixMut::dense(&mut sums, m, n).unwrap()).is_some() {
                prop_assert_eq!(sums, expected);
            }
        }
    }

    #[test]
    fn the_largest_products_do_not_saturate_at_the_exact_depth() {
        // 127 x -128 goes in as 255 x -128: two of them leave the 16 bits of `vpmaddubsw`.
        let (m, k, n) = (8, EXACT_DEPTH, 32);
        for a_element in [127i8, -128] {
            let (a, b) = (vec![a_element; m * k], vec![-128i8; k * n]);
            let packed = prepare(Matrix::dense(&b, k, n).unwrap());
            let mut sums = vec![0; m * n];
            let mut c = MatrixMut::dense(&mut sums, m, n).unwrap();
            let expected = i32::from(a_element) * -128 * i32::try_from(k).unwrap();
            if product(Matrix::dense(&a, m, k).unwrap(), &packed, &mut c).is_some() {
                assert!(sums.iter().all(|&sum| sum == expected), "{a_element}");
            }
        }
    }

    #[test]
    fn a_strided_block_of_a_larger_product_leaves_its_surroundings_alone() {
        let (m, k, n) = (80, 1200, 200);
        let (a, b) = (bytes(m * k, 1), bytes(k * n, 2));
        let (a, b) = (Matrix::dense(&a, m, k).unwrap(), Matrix::dense(&b, k, n).unwrap());
        let packed = prepare(b);
        let (rows, depth, columns) = (5..75, 10..1150, 50..190);
        let (left, right) = (a.block(rows.clone(), depth.clone()), packed.block(depth.clone(), columns.clone()));
        let (left, right) = (left.unwrap(), right.unwrap());
        let (mut expected, mut sums) = (vec![7; m * n], vec![7; m * n]);
        let mut view = MatrixMut::dense(&mut expected, m, n).unwrap();
        let unpacked = b.block(depth, columns.clone()).unwrap();
        reference(left, unpacked, view.block(rows.clone(), columns.clone()).unwrap()).unwrap();
        let mut view = MatrixMut::dense(&mut sums, m, n).unwrap();
        let done = multiply_accumulate(left, right, &mut view.block(rows, columns).unwrap());
        assert_eq!(done, Engine::try_new().is_some(), "11 million multiply-accumulates on 70 rows are worth it");
        if done {
            assert_eq!(sums, expected);
        }
    }

    #[test]
    fn a_walk_over_tiles_gives_the_product_of_our_own_kernel_on_any_number_of_threads() {
        let (m, k, n) = (48, 2048, 768);
        let (a, b) = (bytes(m * k, 3), bytes(k * n, 4));
        let (a, b) = (Matrix::dense(&a, m, k).unwrap(), Matrix::dense(&b, k, n).unwrap());
        let packed = prepare(b);
        let mut expected = vec![0; m * n];
        let view = MatrixMut::dense(&mut expected, m, n).unwrap();
        multiply_accumulate_with(InstructionSet::widest(), a, packed.whole(), view).unwrap();
        let walk = || {
            let mut sums = vec![0; m * n];
            let mut view = MatrixMut::dense(&mut sums, m, n).unwrap();
            let mut done = 0;
            for i in [0, 16, 32] {
                for (j, p) in [(0, 0), (0, 1024), (384, 0), (384, 1024)] {
                    let (rows, columns, depth) = (i..i + 16, j..j + 384, p..p + 1024);
                    let left = a.block(rows.clone(), depth.clone()).unwrap();
                    let right = packed.block(depth, columns.clone()).unwrap();
                    let mut c = view.block(rows, columns).unwrap();
                    match multiply_accumulate(left, right, &mut c) {
                        true => done += 1,
                        false => multiply_accumulate_with(InstructionSet::widest(), left, right, c).unwrap(),
                    }
                }
            }
            (sums, done)
        };
        let (sums, done) = walk();
        assert_eq!(sums, expected);
        // Each of the four blocks of B is packed when its second tile of 16 rows makes 32, and serves two of three tiles.
        assert_eq!(done, if Engine::try_new().is_some() { 8 } else { 0 });
        for threads in [1, 2, 3] {
            let pool = ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            assert_eq!(pool.install(|| walk().0), expected, "{threads} threads");
        }
    }

    #[test]
    fn panels_of_a_new_partition_replace_those_of_the_old() {
        let (k, n) = (64, 96);
        let b = bytes(k * n, 5);
        let packed = prepare(Matrix::dense(&b, k, n).unwrap());
        Engine::with(|engine| {
            let held = || packed.whole().panels().0.blocks.lock().unwrap().len();
            for columns in [0..32, 32..64, 64..96] {
                assert!(PanelStore::panels(&packed.block(0..k, columns).unwrap(), 64, engine).is_some());
            }
            assert_eq!(held(), 3);
            assert!(PanelStore::panels(&packed.whole(), 64, engine).is_some());
            assert_eq!(held(), 1);
        });
    }

    #[test]
    fn small_flat_and_too_deep_products_are_left_to_our_own_kernel() {
        assert!(is_worthwhile(32, (2048, 64)));
        assert!(!is_worthwhile(31, (2048, 64)), "one row short of 2^22 multiply-accumulates");
        assert!(!is_worthwhile(7, (4096, 4096)));
        assert!(!is_worthwhile(4096, (4096, 31)));
        assert!(!is_worthwhile(4096, (63, 4096)));
        assert!(!is_worthwhile(64, (EXACT_DEPTH + 1, 64)));
        assert!(!is_worthwhile(usize::MAX, (0, usize::MAX)));
    }
}
