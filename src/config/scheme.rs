//! Scheme files: which quantization a run lowers its products with.
//!
//! A scheme file names one family (`cast`, `w8a8`, `blocks`, `integer`) with its parameters. The built-in names are files too.

use serde::Deserialize;

use crate::config::checks::{exactly_one, place_of, plain_name};
use crate::config::diagnostics::{ConfigError, Diagnostic};
use crate::config::document::Document;
use crate::config::field::Field;
use crate::config::placed::Placed;
use crate::config::schema::{FileForm, form_of};
use crate::numerics::block;
use crate::numerics::formats::{self, ElementFormat};
use crate::program::op::Scope;
use crate::scheme::Scheme;
use crate::scheme::blocks::Blocks;
use crate::scheme::cast::Cast;
use crate::scheme::integer::Integer;
use crate::scheme::w8a8::W8A8;

/// A scheme as written.
#[derive(Clone, Debug, Deserialize)]
struct SchemeFile {
    name: Field<String>,
    cast: Option<Placed<CastFile>>,
    w8a8: Option<Placed<W8A8File>>,
    blocks: Option<Placed<BlocksFile>>,
    integer: Option<Placed<IntegerFile>>,
}

#[derive(Clone, Debug, Deserialize)]
struct IntegerFile {
    format: Field<String>,
}

#[derive(Clone, Debug, Deserialize)]
struct CastFile {
    format: Field<String>,
}

#[derive(Clone, Debug, Deserialize)]
struct W8A8File {
    format: Field<String>,
    activation_scale_per: Field<String>,
    weight_scale_per: Field<String>,
}

#[derive(Clone, Debug, Deserialize)]
struct BlocksFile {
    format: Field<String>,
    count_scale_bytes: Field<bool>,
}

/// The scheme that `document` describes.
///
/// # Errors
/// [`ConfigError::Invalid`] with what is wrong: no family or several, an unknown format or scope.
pub fn resolve(document: &Document) -> Result<Box<dyn Scheme>, ConfigError> {
    let file: Placed<SchemeFile> = document.read()?;
    let name = plain_name(&file.name)?;
    exactly_one(
        &file,
        &[
            ("cast", place_of(&file.cast)),
            ("w8a8", place_of(&file.w8a8)),
            ("blocks", place_of(&file.blocks)),
            ("integer", place_of(&file.integer)),
        ],
    )?;
    Ok(match (&file.cast, &file.w8a8, &file.blocks, &file.integer) {
        (Some(cast), _, _, _) => Box::new(Cast::new(name, cast.format.required().one_of(&floats_of(16))?)),
        (_, Some(w8a8), _, _) => Box::new(resolve_w8a8(name, w8a8)?),
        (_, _, Some(blocks), _) => {
            let formats: Vec<_> = block::ALL.iter().map(|format| (format.name(), *format)).collect();
            let format = blocks.format.required().one_of(&formats)?;
            Box::new(Blocks::new(name, format, blocks.count_scale_bytes.required().boolean()?))
        }
        (_, _, _, Some(integer)) => {
            integer.format.required().one_of(&[("int8", ())])?;
            Box::new(Integer::new(name))
        }
        (None, None, None, None) => unreachable!("exactly one family was given"),
    })
}

fn resolve_w8a8(name: String, file: &W8A8File) -> Result<W8A8, Diagnostic> {
    let mut eight_bits = vec![("int8", &formats::INT8)];
    eight_bits.extend(floats_of(8));
    let format = file.format.required().one_of(&eight_bits)?;
    let activations =
        file.activation_scale_per.required().one_of(&[("tensor", Scope::Tensor), ("token", Scope::Row)])?;
    let weights = file.weight_scale_per.required().one_of(&[("tensor", Scope::Tensor), ("channel", Scope::Column)])?;
    Ok(W8A8::new(name, format, activations, weights))
}

/// Float formats of that many bits, by name.
fn floats_of(bits: u32) -> Vec<(&'static str, &'static ElementFormat)> {
    let fits = |format: &&'static ElementFormat| {
        format.storage_bits() == bits && matches!(format.kind(), formats::ElementKind::Float { .. })
    };
    formats::ALL.iter().copied().filter(fits).map(|format| (format.name(), format)).collect()
}

/// What such a file may hold.
pub(crate) fn form() -> FileForm {
    form_of::<Placed<SchemeFile>>()
}
