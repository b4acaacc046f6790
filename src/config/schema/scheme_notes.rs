//! What each key of a scheme file means; see [`notes`](crate::config::schema::notes).

use crate::config::schema::notes::{Note, decimal, names, note, whole};
use crate::numerics::block;
use crate::workload::layer::LayerRole;

const ACTIVATIONS: [&str; 2] = ["tensor", "token"];
const WEIGHTS: [&str; 2] = ["tensor", "channel"];
const COMPARISONS: [&str; 2] = [">", ">="];
const WIDE: [&str; 2] = ["fp16", "bf16"];

fn block_formats() -> impl Iterator<Item = &'static str> {
    block::ALL.iter().map(|format| format.name())
}

/// Keys of scheme files.
pub(super) fn scheme() -> Vec<Note> {
    let mut notes = vec![
        note("name", "Name of the scheme in reports."),
        note("cast", "Both operands are rounded to a 16-bit float format, without scales."),
        note("cast.format", "The 16-bit float format."),
        note("w8a8", "Operands of few bits with a scale each."),
        note("w8a8.format", "Format of activations: int8, an 8-bit float, or a 16-bit float without a scale."),
        note("w8a8.weight_format", "Format of weights: int4, int8 or an 8-bit float; that of activations if left out."),
        activation_scale("w8a8."),
        names("w8a8.activation_scale_per", ACTIVATIONS, "What shares a scale of activations."),
        names("w8a8.weight_scale_per", WEIGHTS, "What shares a scale of weights."),
        smoothing("w8a8."),
        note("blocks", "Block-scaled formats: a scale for each few values along K."),
        names(
            "blocks.format",
            block_formats(),
            "The block format of activations, and of weights without a format of their own.",
        ),
        names(
            "blocks.weight_format",
            block_formats(),
            "Block format of the weights, with blocks as long; that of activations if left out.",
        ),
        note("blocks.count_scale_bytes", "Whether the scales are counted among the bytes that move."),
        activations("blocks."),
        note("groups", "Integers in groups along K under a float scale, on both sides or for the weights alone."),
        names("groups.format", ["int4", "int8"], "Format of the weights, and of activations in groups."),
        note("groups.group", "Neighbouring input channels that share a scale: 32, 64 or 128."),
        names("groups.scale_format", ["fp16", "fp32"], "Format of the scales."),
        names("groups.activation_scale_per", ["group", "token"], "What shares a scale of activations."),
        names(
            "groups.activation_format",
            ["int4", "int8"],
            "Format of the activations; only with activation_scale_per: token.",
        ),
        note("groups.count_scale_bytes", "Whether the scales are counted among the bytes that move."),
        note("integer", "Integer operands as they are, without scales."),
        names("integer.format", ["int8"], "The integer format."),
        note("fallback", "Layers with a scheme of their own."),
        note("fallback[].layer", "Name of the layer."),
        names("fallback[].role", roles(), "The part in a model whose layers are meant, in place of a name."),
        note("fallback[].scheme", "Name of a built-in scheme that needs no calibration."),
        note("calibration", "Calibration file, from the folder of this file."),
        whole(
            "assumed_channels",
            0,
            1 << 22,
            "Outlier channels of each layer where there are neither values nor a calibration file.",
        ),
    ];
    notes.extend(muxq());
    notes.extend(llm_int8());
    notes.extend(osc());
    notes
}

fn roles() -> impl Iterator<Item = &'static str> {
    LayerRole::NAMES.iter().map(|(name, _)| *name)
}

/// The unit of a second product.
fn unit(prefix: &str) -> Note {
    note(&format!("{prefix}unit"), "Matrix unit of the second product; the schedule chooses one if left out.")
}

fn activations(prefix: &str) -> Note {
    names(
        &format!("{prefix}activations"),
        ["real", "prequantized"],
        "Whether activations come as real values, or quantized already and with their outliers taken out; real if left out.",
    )
}

fn smoothing(prefix: &str) -> Note {
    decimal(
        &format!("{prefix}smoothing_alpha"),
        0.0,
        1.0,
        "SmoothQuant's alpha: how much of the range moves into the weights; no smoothing if left out.",
    )
}

fn activation_scale(prefix: &str) -> Note {
    names(
        &format!("{prefix}activation_scale"),
        ["dynamic", "static"],
        "When scales of activations are computed: in the run, or by a calibration; dynamic if left out.",
    )
}

fn threshold(prefix: &str) -> [Note; 2] {
    [
        note(&format!("{prefix}threshold"), "Magnitude from which a value makes its channel an outlier channel."),
        names(&format!("{prefix}comparison"), COMPARISONS, "Whether the threshold itself is below or within."),
    ]
}

fn scales(prefix: &str) -> [Note; 2] {
    [
        names(&format!("{prefix}activation_scale_per"), ACTIVATIONS, "What shares a scale of activations."),
        names(&format!("{prefix}weight_scale_per"), WEIGHTS, "What shares a scale of weights."),
    ]
}

fn detection(prefix: &str) -> Note {
    names(
        &format!("{prefix}detection"),
        ["online", "frozen"],
        "Whether outlier channels are found in each run or fixed by calibration.",
    )
}

fn movement(prefix: &str) -> [Note; 2] {
    [
        names(
            &format!("{prefix}body"),
            ["recomputed", "stored"],
            "Whether the activations without outliers are computed again by each reader or stored.",
        ),
        names(
            &format!("{prefix}mover"),
            ["vector_unit", "inline", "extractor", "dma_gather"],
            "What gathers the outlier channels: the lanes of the vector unit, the way of the data at no cost, the extractor \
             beside the vector unit, or the DMA engine from off the chip (not under protection: dynamic).",
        ),
    ]
}

fn muxq() -> Vec<Note> {
    let mut notes = vec![
        note(
            "muxq",
            "MUXQ: outlier channels are scaled down by a power of two and an auxiliary product adds the rest.",
        ),
        names("muxq.format", ["int8", "int4"], "Format of both operands."),
        whole("muxq.exponent", 1, 15, "Power of two that outlier channels are divided by."),
        names(
            "muxq.aux_scale",
            ["shared", "independent"],
            "Whether the auxiliary product has the scales of the body or its own.",
        ),
        names(
            "muxq.auxiliary",
            ["separate_gemm", "fused_accumulate", "tender_shift"],
            "How the auxiliary product is computed and added.",
        ),
        activation_scale("muxq."),
        detection("muxq."),
        unit("muxq."),
        smoothing("muxq."),
    ];
    notes.extend(threshold("muxq."));
    notes.extend(scales("muxq."));
    notes.extend(movement("muxq."));
    notes
}

fn llm_int8() -> Vec<Note> {
    let mut notes = vec![
        note("llm_int8", "LLM.int8(): outlier channels are multiplied in a 16-bit float."),
        names("llm_int8.branch_format", WIDE, "Format of the outlier product."),
        detection("llm_int8."),
        unit("llm_int8."),
    ];
    notes.extend(threshold("llm_int8."));
    notes.extend(scales("llm_int8."));
    notes.extend(movement("llm_int8."));
    notes
}

fn osc() -> Vec<Note> {
    let mut notes = vec![
        note("osc", "OSC: a block format, and protected channels of each group in a 16-bit float."),
        names("osc.format", block_formats(), "The block format."),
        note("osc.count_scale_bytes", "Whether the scales are counted among the bytes that move."),
        whole("osc.group", 1, 1 << 16, "Channels of a group."),
        names(
            "osc.protection",
            ["mode_over_threshold", "hit_count", "mean_abs", "dynamic"],
            "How the protected channels of a group are chosen.",
        ),
        whole(
            "osc.channels_per_group",
            1,
            1 << 16,
            "Protected channels of a group, fewer than the group has; not with protection: dynamic.",
        ),
        decimal("osc.threshold_factor", 0.0, 1e6, "Threshold of a hit; only with protection: mode_over_threshold."),
        names(
            "osc.dynamic_branch",
            ["masked_dense", "row_gather"],
            "With protection: dynamic, whether the branch multiplies the whole depth or each token's own gathered weight rows; \
             masked_dense if left out.",
        ),
        names("osc.branch_format", WIDE, "Format of the protected channels."),
        names("osc.columns", ["dense", "compact"], "Whether the branch has all columns or the protected ones only."),
        names(
            "osc.weight_rows",
            ["kept", "zeroed"],
            "What the narrow path has in the weight rows of protected channels.",
        ),
        names("osc.merge", ["accumulators", "vector_unit"], "Where the two products are added."),
        smoothing("osc."),
        unit("osc."),
        activations("osc."),
    ];
    notes.extend(movement("osc."));
    notes
}
