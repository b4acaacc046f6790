//! Which rows of a value are one sequence: what a causal softmax and rotary positions have to know, and what no layer says.
//!
//! It follows from the products before: the rows of a batch are one sequence (of a head, of a request), and batches lie one
//! below the other. Arithmetic that keeps rows keeps sequences. A tensor from outside says it by its axes, if it has more
//! than two: `[heads, queries, keys]`. Deliberately absent: values, and what lies along columns.

use crate::config::layers::Axes;
use crate::workload::batching::BatchAxis;
use crate::workload::layer::LogicalGemm;
use crate::workload::vector::{Mask, Positions};

/// How the rows of a value make up sequences of equal length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sequences {
    /// Nothing says it.
    Unknown,
    /// So many rows each, as the axes of a tensor say. They may be those of an image as well, so only scores rely on them.
    ByAxes(u64),
    /// So many rows each, as the batches of a product say.
    ByBatches(u64),
    /// Two operands of a sum or product say different things.
    Contradictory,
}

impl Sequences {
    /// Those of a tensor from outside.
    pub(crate) fn of_tensor(axes: &Axes) -> Sequences {
        match axes[..] {
            [_, .., rows, _] => Sequences::ByAxes(rows),
            _ => Sequences::Unknown,
        }
    }

    /// Those of a product's output, whose left operand has sequences `of_input`.
    pub(crate) fn of_product(gemm: &LogicalGemm, of_input: Sequences) -> Sequences {
        match of_input {
            _ if gemm.window.is_some() => Sequences::Unknown,
            // Rows of heads side by side are rows of all heads.
            _ if gemm.batching.count > 1 && gemm.batching.output == BatchAxis::Columns => Sequences::Unknown,
            // Several sequences in one batch, such as the query heads of one key head, stay several where rows stay rows.
            Sequences::ByBatches(rows) if gemm.shape.m.is_multiple_of(rows) && keeps_rows(gemm) => of_input,
            _ => Sequences::ByBatches(gemm.shape.m),
        }
    }

    /// Those of what is computed row by row from this and `other`.
    pub(crate) fn joined(self, other: Sequences) -> Sequences {
        use Sequences::{ByAxes, ByBatches, Contradictory, Unknown};
        match (self, other) {
            (Contradictory, _) | (_, Contradictory) => Contradictory,
            (ByBatches(a), ByBatches(b)) | (ByAxes(a), ByAxes(b)) if a != b => {
                // The product that tells sequences apart knows more than the one to which all are rows.
                let known = if self.is_by_batches() { ByBatches } else { ByAxes };
                match (a.is_multiple_of(b), b.is_multiple_of(a)) {
                    (true, _) => known(b),
                    (_, true) => known(a),
                    _ => Contradictory,
                }
            }
            (known @ ByBatches(_), _) | (_, known @ ByBatches(_)) => known,
            (known @ ByAxes(_), _) | (_, known @ ByAxes(_)) => known,
            (Unknown, Unknown) => Unknown,
        }
    }

    const fn is_by_batches(self) -> bool {
        matches!(self, Sequences::ByBatches(_))
    }

    /// The causal mask of `rows` queries over `keys`: the last query of each sequence is the newest token, which sees all
    /// keys.
    ///
    /// # Errors
    /// What is wrong and what would do, where the sequences do not tell which query a row is.
    pub(crate) fn causal_mask(self, rows: u64, keys: u64) -> Result<Mask, (String, &'static str)> {
        const THREE_AXES: &str = "leave causal out, give square scores, or give the scores as [heads, queries, keys]";
        let queries = match self {
            Sequences::Contradictory => {
                let message = "the operands of these scores have different numbers of queries for each head";
                return Err((message.to_owned(), "apply the mask before they are put together"));
            }
            Sequences::ByBatches(queries) | Sequences::ByAxes(queries) => queries,
            Sequences::Unknown => rows,
        };
        let is_told = self != Sequences::Unknown;
        match () {
            () if is_told && queries <= keys => Ok(Mask::Causal { queries }),
            // As many queries as keys, several heads one below the other.
            () if queries.is_multiple_of(keys) => Ok(Mask::Causal { queries: keys }),
            () if is_told => {
                let message = format!("each head has {queries} queries, but only {keys} keys");
                Err((message, "leave causal out, or give each head at least as many keys as queries"))
            }
            () => {
                let message = format!("{rows} rows are not as many queries as the {keys} keys, for each head");
                Err((message, THREE_AXES))
            }
        }
    }

    /// The positions of `rows`, of which the first of each sequence has the position `offset`.
    pub(crate) const fn positions(self, rows: u64, offset: u64) -> Positions {
        let period = match self {
            Sequences::ByBatches(period) => period,
            Sequences::Unknown | Sequences::ByAxes(_) | Sequences::Contradictory => rows,
        };
        Positions { offset, period }
    }
}

/// Whether row r of the output comes from row r of the left operand alone.
fn keeps_rows(gemm: &LogicalGemm) -> bool {
    gemm.batching.left == BatchAxis::Rows && gemm.batching.output == BatchAxis::Rows
}

#[cfg(test)]
mod tests {
    use crate::config::document::Document;
    use crate::config::workload;
    use crate::workload::layer::LayerOperation;
    use crate::workload::vector::VectorArithmetic;

    /// The functions of the vector layers of a workload with these tensors and layers.
    fn functions(tensors: &str, layers: &str) -> Result<Vec<VectorArithmetic>, String> {
        let text = format!("name: n\nactivation_format: fp32\ntensors: [{tensors}]\nlayers: [{layers}]\n");
        let document = Document::from_bytes("w.yaml", text.as_bytes(), "").unwrap();
        let (workload, _) = workload::resolve(&document).map_err(|error| error.to_string())?;
        let function = |operation: &LayerOperation| match operation {
            LayerOperation::Vector(vector) => Some(vector.function),
            _ => None,
        };
        Ok(workload.layers().iter().filter_map(|layer| function(&layer.operation)).collect())
    }

    /// How many keys each of the rows of the last layer, a causal softmax over so many keys, sees.
    fn visible(tensors: &str, layers: &str, rows: u64, keys: u64) -> Vec<u64> {
        match functions(tensors, layers).unwrap().last().unwrap() {
            VectorArithmetic::Softmax { mask, .. } => (0..rows).map(|row| mask.visible(row, keys)).collect(),
            other => panic!("{other:?}"),
        }
    }

    const SOFTMAX: &str = "{ name: p, softmax: { input: last, causal: true } }";

    #[test]
    fn the_only_query_of_each_head_of_a_decode_step_sees_all_keys_whatever_the_cache_length() {
        for keys in [1, 7, 8, 16, 32, 33] {
            let tensors = format!("{{ name: q, shape: [1, 32] }}, {{ name: k, shape: [{keys}, 32] }}");
            let scores = "{ name: last, gemm: { input: q, weight: k, weight_transposed: true, batches: { count: 8, input: columns, weight: columns, output: rows } } }";
            assert_eq!(visible(&tensors, &format!("{scores}, {SOFTMAX}"), 8, keys), vec![keys; 8], "{keys} keys");
        }
    }

    #[test]
    fn the_newest_queries_of_each_head_see_all_keys_but_those_of_later_queries() {
        // 2 heads of 4 queries over 16 keys: query i is token 12 + i, which sees the keys 0 to 12 + i.
        let tensors = "{ name: q, shape: [4, 16] }, { name: k, shape: [16, 8] }, { name: b, shape: [8, 16] }";
        let scores = "{ name: s, gemm: { input: q, weight: k, weight_transposed: true, batches: { count: 2, weight_shared_by: 2, input: columns, weight: columns, output: rows } } }";
        let expected = [13, 14, 15, 16, 13, 14, 15, 16];
        // Through what keeps rows: a bias, a scale, an activation.
        for between in [
            "{ name: last, add: { left: s, right: b } }",
            "{ name: last, multiply: { left: b, right: s } }",
            "{ name: t, activate: { input: s, function: relu } }, { name: last, add: { left: b, right: t } }",
        ] {
            assert_eq!(visible(tensors, &format!("{scores}, {between}, {SOFTMAX}"), 8, 16), expected, "{between}");
        }
    }

    #[test]
    fn as_many_queries_as_keys_are_masked_along_the_diagonal_as_before() {
        let diagonal = [1, 2, 3, 4, 1, 2, 3, 4];
        // Heads one below the other in a tensor of two axes, in one product, and two to a batch.
        assert_eq!(visible("{ name: last, shape: [8, 4] }", SOFTMAX, 8, 4), diagonal);
        let tensors = "{ name: q, shape: [8, 4] }, { name: k, shape: [4, 4] }";
        for batches in ["", ", batches: { count: 2, input: rows, weight: rows, output: rows }"] {
            let (tensors, rows) = match batches.is_empty() {
                true => (tensors.to_owned(), 8),
                false => ("{ name: q, shape: [16, 4] }, { name: k, shape: [8, 4] }".to_owned(), 16),
            };
            let scores = format!(
                "{{ name: last, gemm: {{ input: q, weight: k, weight_transposed: true{batches} }} }}, {SOFTMAX}"
            );
            assert_eq!(visible(&tensors, &scores, rows, 4), diagonal.repeat(rows as usize / 8), "{batches}");
        }
    }

    #[test]
    fn one_product_and_the_axes_of_a_tensor_tell_the_queries_too() {
        let one = "{ name: last, gemm: { input: q, weight: k, weight_transposed: true } }";
        let tensors = "{ name: q, shape: [2, 4] }, { name: k, shape: [5, 4] }";
        assert_eq!(visible(tensors, &format!("{one}, {SOFTMAX}"), 2, 5), [4, 5]);
        assert_eq!(visible("{ name: last, shape: [3, 2, 5] }", SOFTMAX, 6, 5), [4, 5, 4, 5, 4, 5]);
        assert_eq!(visible("{ name: last, shape: [5, 1, 5] }", SOFTMAX, 5, 5), [5; 5]);
    }

    #[test]
    fn query_heads_of_one_key_head_stay_sequences_in_a_product_that_takes_them_together() {
        // 4 heads of 2 queries made by a batched product, then 2 key heads of 4 rows each over 6 keys.
        let tensors = "{ name: x, shape: [2, 16] }, { name: w, shape: [4, 4] }, { name: k, shape: [12, 4] }";
        let layers = "{ name: q, gemm: { input: x, weight: w, batches: { count: 4, weight_shared_by: 4, input: columns, weight: rows, output: rows } } }, \
                      { name: last, gemm: { input: q, weight: k, weight_transposed: true, batches: { count: 2, input: rows, weight: rows, output: rows } } }";
        assert_eq!(visible(tensors, &format!("{layers}, {SOFTMAX}"), 8, 6), [5, 6].repeat(4));
    }

    #[test]
    fn scores_that_do_not_tell_their_queries_are_refused() {
        let refused = |tensors: &str, layers: &str| functions(tensors, layers).unwrap_err();
        let error = refused("{ name: last, shape: [6, 10] }", SOFTMAX);
        assert!(
            error.contains("6 rows are not as many queries as the 10 keys") && error.contains("[heads, queries, keys]")
        );
        // A row of heads side by side has the keys of all heads, so that no mask of one head is one of the row.
        let beside = "{ name: last, gemm: { input: q, weight: k, weight_transposed: true, batches: { count: 2, input: columns, weight: columns, output: columns } } }";
        let error = refused("{ name: q, shape: [3, 8] }, { name: k, shape: [5, 8] }", &format!("{beside}, {SOFTMAX}"));
        assert!(error.contains("3 rows are not as many queries as the 10 keys"), "{error}");
        // More queries than keys, and no multiple.
        let one = "{ name: last, gemm: { input: q, weight: k, weight_transposed: true } }";
        let error = refused("{ name: q, shape: [5, 4] }, { name: k, shape: [2, 4] }", &format!("{one}, {SOFTMAX}"));
        assert!(error.contains("each head has 5 queries, but only 2 keys"), "{error}");
        // 12 rows as 3 heads of 4 queries and as 2 of 6.
        let tensors = "{ name: q, shape: [12, 4] }, { name: k, shape: [36, 4] }, { name: l, shape: [24, 4] }";
        let batched = |name: &str, count: u64, weight: &str| {
            format!(
                "{{ name: {name}, gemm: {{ input: q, weight: {weight}, weight_transposed: true, batches: {{ count: {count}, input: rows, weight: rows, output: rows }} }} }}"
            )
        };
        let layers = format!(
            "{}, {}, {{ name: last, add: {{ left: a, right: b }} }}, {SOFTMAX}",
            batched("a", 3, "k"),
            batched("b", 2, "l")
        );
        assert!(refused(tensors, &layers).contains("different numbers of queries for each head"));
    }

    #[test]
    fn rotary_positions_start_again_with_each_batch_and_at_the_offset() {
        let tensors = "{ name: x, shape: [3, 8] }, { name: w, shape: [4, 4] }";
        let heads = "{ name: q, gemm: { input: x, weight: w, batches: { count: 2, weight_shared_by: 2, input: columns, weight: rows, output: rows } } }";
        let positions = |tensors: &str, layers: &str| match functions(tensors, layers).unwrap().last().unwrap() {
            VectorArithmetic::Rotary { positions, .. } => (0..6).map(|row| positions.of(row)).collect::<Vec<u64>>(),
            other => panic!("{other:?}"),
        };
        let turned = format!("{heads}, {{ name: t, rotary: {{ input: q, base: 10000, offset: 7 }} }}");
        assert_eq!(positions(tensors, &turned), [7, 8, 9, 7, 8, 9]);
        let plain = "{ name: t, rotary: { input: y, base: 10000 } }";
        assert_eq!(positions("{ name: y, shape: [6, 4] }", plain), [0, 1, 2, 3, 4, 5]);
    }
}
