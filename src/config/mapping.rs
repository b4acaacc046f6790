//! The `mapping:` section of a workload file: how products are shared among matrix units, what
//! tilings are chosen for, and which are given.
//!
//! What depends on the hardware or the scheme, such as the room for a tile, is found out when the run is scheduled.

use serde::Deserialize;

use crate::config::diagnostics::{Cited, ConfigError, Diagnostic, Problems, listed, nearest, quoted};
use crate::config::field::Field;
use crate::config::placed::{List, Placed};
use crate::program::op::Path;
use crate::workload::layer::{Layer, LayerOperation};
use crate::workload::mapping::{FixedTiling, Intermediates, LoopOrder, Mapping, Objective, Split, Unusable};

/// The section as written.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct MappingFile {
    objective: Field<String>,
    split: Field<String>,
    intermediates: Field<String>,
    tilings: Option<List<Placed<TilingFile>>>,
}

#[derive(Clone, Debug, Deserialize)]
struct TilingFile {
    layer: Field<String>,
    path: Field<String>,
    m: Field<u64>,
    k: Field<u64>,
    n: Field<u64>,
    order: Field<String>,
}

/// The mapping that `file` describes for `layers`. Without the section, tilings are chosen for cycles and so is the split.
///
/// # Errors
/// An unknown objective, split, order, path or layer; a layer without a product; a block of no extent or longer than its axis;
/// two tilings for one product.
pub(super) fn resolve(file: Option<&Placed<MappingFile>>, layers: &[Layer]) -> Result<Mapping, ConfigError> {
    let Some(file) = file else { return Ok(Mapping::default()) };
    let mut problems = Problems::default();
    let objective = match file.objective.optional() {
        Some(objective) => problems.take(objective.one_of(&Objective::NAMES)).unwrap_or_default(),
        None => Objective::default(),
    };
    let split = match file.split.optional() {
        Some(split) => problems.take(split.one_of(&Split::NAMES)).unwrap_or_default(),
        None => Split::default(),
    };
    let intermediates = match file.intermediates.optional() {
        Some(intermediates) => problems.take(intermediates.one_of(&Intermediates::NAMES)).unwrap_or_default(),
        None => Intermediates::default(),
    };
    let mut tilings: Vec<FixedTiling> = Vec::new();
    for written in file.tilings.iter().flat_map(|list| list.iter()) {
        let Some(tiling) = problems.take(resolve_tiling(written, layers)) else { continue };
        let is_same = |other: &FixedTiling| (&other.layer, &other.path) == (&tiling.layer, &tiling.path);
        if tilings.iter().any(is_same) {
            let message = format!("path \"{}\" of layer {} has a tiling already", tiling.path, quoted(&tiling.layer));
            problems.push(written.layer.problem(message).note("give one tiling for each product"));
        }
        tilings.push(tiling);
    }
    problems.finish()?;
    Ok(Mapping { objective, tilings, unusable: Unusable::Refused, split, intermediates })
}

fn resolve_tiling(written: &Placed<TilingFile>, layers: &[Layer]) -> Result<FixedTiling, Diagnostic> {
    let name = written.layer.required().text()?;
    let products = || layers.iter().filter(|layer| matches!(layer.operation, LayerOperation::Gemm(_)));
    let Some(layer) = layers.iter().find(|layer| layer.name == name) else {
        let names = || products().map(|layer| layer.name.as_str());
        let problem = written.layer.problem(format!("there is no layer called {}", quoted(&name)));
        let problem = problem.note(format!("known: {}", listed(names())));
        return Err(match nearest(&name, names()) {
            Some(near) => problem.help(format!("did you mean \"{near}\"?")),
            None => problem,
        });
    };
    let shape = match &layer.operation {
        LayerOperation::Gemm(gemm) => gemm.shape,
        LayerOperation::Activate { .. } | LayerOperation::Vector(_) => {
            let problem =
                written.layer.problem("this layer has no matrix product, and only products can be given tilings");
            return Err(problem.note(format!("known: {}", listed(products().map(|layer| layer.name.as_str())))));
        }
    };
    let paths = Path::ALL.map(|path| (path.name(), path));
    let path = match written.path.optional() {
        Some(path) => path.one_of(&paths)?,
        None => Path::Body,
    };
    // Products beside the body have a reduction axis of their own; theirs is checked when the run is scheduled.
    let depth = if path == Path::Body { shape.k } else { u64::MAX };
    Ok(FixedTiling {
        path: path.name().to_owned(),
        m: written.m.required().in_range(1..=shape.m)?,
        k: written.k.required().in_range(1..=depth)?,
        n: written.n.required().in_range(1..=shape.n)?,
        order: written.order.optional().map(|order| order.one_of(&LoopOrder::NAMES)).transpose()?,
        layer: name,
    })
}
