//! Pictures of saved results, as SVG and PNG.
//!
//! Each plot turns [`Saved`] results into a small data struct of its own, and that into a picture. Nothing here simulates
//! and nothing is computed that the data does not show: the data of every picture is there as JSON too. `plotters` draws
//! and `resvg` makes pixels; no other module knows them.

mod axes;
mod bandwidth;
mod canvas;
mod energy;
mod error_cost;
mod heat_map;
mod letters;
mod pareto;
mod png;
mod roofline;
pub mod saved;
mod scatter;
mod sensitivity;
mod speedup;
mod sweep;
mod units;

use serde_json::Value;

use crate::report::plots::saved::Saved;

/// A kind of picture.
pub trait Plot: Sync {
    /// Its name, which is also that of its files.
    fn name(&self) -> &'static str;

    /// Names of its two files.
    fn files(&self) -> [&'static str; 2];

    /// What it shows, in a few words.
    fn shows(&self) -> &'static str;

    /// The picture, if the results have what it shows.
    fn figure(&self, saved: &Saved) -> Option<Figure>;
}

/// Every kind of picture.
pub static ALL: &[&dyn Plot] = &[
    &speedup::Speedup,
    &energy::Energy,
    &roofline::Roofline,
    &units::Units,
    &bandwidth::Bandwidth,
    &error_cost::ErrorCost,
    &sensitivity::Sensitivity,
    &pareto::Pareto,
    &sweep::Sweep,
    &heat_map::HeatMap,
];

/// One picture.
#[derive(Clone, Debug)]
pub struct Figure {
    /// What is drawn, as data.
    pub data: Value,
    /// The picture.
    pub svg: String,
}

impl Figure {
    /// The picture of `data`.
    fn new<D: serde::Serialize>(data: &D, draw: impl FnOnce(&D) -> String) -> Figure {
        let svg = draw(data);
        Figure { data: serde_json::to_value(data).expect("plots have plain data"), svg }
    }

    /// As pixels: 300 to the inch.
    pub fn png(&self) -> Vec<u8> {
        png::of(&self.svg)
    }
}

/// A file of a picture.
#[derive(Clone, Debug)]
pub struct PictureFile {
    /// Its name.
    pub name: &'static str,
    /// What stands in it.
    pub contents: Vec<u8>,
}

/// The files of all pictures that `saved` has the data for.
pub fn files(saved: &Saved) -> Vec<PictureFile> {
    let figures = ALL.iter().filter_map(|plot| Some((plot.files(), plot.figure(saved)?)));
    let both = figures.flat_map(|([svg, png], figure)| {
        let pixels = figure.png();
        [PictureFile { name: svg, contents: figure.svg.into_bytes() }, PictureFile { name: png, contents: pixels }]
    });
    both.collect()
}

/// Whether the picture in a file of that name was drawn here: an SVG by its font and those that stand in for it.
pub fn is_drawn_here(name: &str, contents: &[u8]) -> bool {
    if name.ends_with(".png") {
        return png::is_ours(contents);
    }
    let font = canvas::FAMILY.as_bytes();
    contents.starts_with(b"<svg ") && contents.windows(font.len()).any(|text| text == font)
}

/// Names of all files that pictures may have.
pub fn file_names() -> impl Iterator<Item = &'static str> {
    ALL.iter().flat_map(|plot| plot.files())
}
