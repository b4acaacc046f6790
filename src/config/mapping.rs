//! The `mapping:` section of a workload file: how products are shared among matrix units, what
//! tilings are chosen for, and which are given.
//!
//! What depends on the hardware or the scheme, such as the room for a tile, is found out when the run is scheduled.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use crate::config::diagnostics::{Cited, ConfigError, Diagnostic, Offers, Problems, listed, quoted};
use crate::config::field::Field;
use crate::config::placed::{List, Placed};
use crate::program::op::Path;
use crate::shape::GemmShape;
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
    let by_name = layers.iter().map(|layer| (layer.name.as_str(), layer)).collect();
    let known = Known { layers, by_name, offers: Offers::default() };
    let mut given: BTreeSet<(String, String)> = BTreeSet::new();
    let mut tilings: Vec<FixedTiling> = Vec::new();
    for written in file.tilings.iter().flat_map(|list| list.iter()) {
        let Some(tiling) = problems.take(resolve_tiling(written, &known)) else { continue };
        if !given.insert((tiling.layer.clone(), tiling.path.clone())) {
            let message = format!("path \"{}\" of layer {} has a tiling already", tiling.path, quoted(&tiling.layer));
            problems.push(written.layer.problem(message).note("give one tiling for each product"));
        }
        tilings.push(tiling);
    }
    problems.finish()?;
    Ok(Mapping { objective, tilings, unusable: Unusable::Refused, split, intermediates })
}

/// The layers that tilings may name.
struct Known<'l> {
    layers: &'l [Layer],
    by_name: BTreeMap<&'l str, &'l Layer>,
    offers: Offers,
}

fn resolve_tiling(written: &Placed<TilingFile>, known: &Known<'_>) -> Result<FixedTiling, ConfigError> {
    let mut problems = Problems::default();
    let product = problems.take(known.product(&written.layer));
    let paths = Path::ALL.map(|path| (path.name(), path));
    let path = match written.path.optional() {
        Some(path) => problems.take(path.beside_others().one_of(&paths)),
        None => Some(Path::Body),
    };
    // Of a layer that is not known a mistake is noted already. Products beside the body have a reduction axis of their own;
    // theirs is checked when the run is scheduled.
    let most = product.as_ref().map_or([u64::MAX; 3], |(_, shape)| {
        [shape.m, if path == Some(Path::Body) { shape.k } else { u64::MAX }, shape.n]
    });
    let mut block = |field: &Field<u64>, most: u64| problems.take(field.required().beside_others().in_range(1..=most));
    let (m, k, n) = (block(&written.m, most[0]), block(&written.k, most[1]), block(&written.n, most[2]));
    let order = problems.take(written.order.optional().map(|order| order.one_of(&LoopOrder::NAMES)).transpose());
    problems.built(|| {
        let (layer, path) = (product?.0, path?.name().to_owned());
        Some(FixedTiling { layer, path, m: m?, k: k?, n: n?, order: order? })
    })
}

impl Known<'_> {
    /// The name and the shape of the product that `field` names.
    fn product(&self, field: &Field<String>) -> Result<(String, GemmShape), Diagnostic> {
        let name = field.required().text()?;
        let products = || self.layers.iter().filter(|layer| matches!(layer.operation, LayerOperation::Gemm(_)));
        let names = || products().map(|layer| layer.name.as_str());
        let Some(layer) = self.by_name.get(name.as_str()) else {
            let problem = field.problem(format!("there is no layer called {}", quoted(&name)));
            return Err(self.offers.offer(problem, &name, "known", names));
        };
        match &layer.operation {
            LayerOperation::Gemm(gemm) => Ok((name, gemm.shape)),
            LayerOperation::Activate { .. } | LayerOperation::Vector(_) => {
                let problem = field.problem("this layer has no matrix product, and only products can be given tilings");
                Err(problem.note(format!("known: {}", listed(names()))))
            }
        }
    }
}
