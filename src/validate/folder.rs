//! A folder of cases: `manifest.json` and its safetensors packs.
//!
//! The manifest lists cases with their fields (`cases`, an array of objects with an `id`, or an object by id) and its
//! packs with their checksums (`sha256`: file to digest, or `packs`: name to `{sha256}`). A tensor of a pack is named
//! `<case>/<array>`. A folder is named by its own path or by that of its manifest.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use safetensors::{Dtype, SafeTensors};
use serde_json::{Map, Value};

use crate::config::input_files;
use crate::numerics::formats::{self, ElementFormat};
use crate::validate::ValidateError;
use crate::validate::sha256::hex_digest;

/// The cases of a folder, in the order of the manifest.
pub(super) struct Folder {
    path: PathBuf,
    cases: Vec<(String, Map<String, Value>)>,
    /// By pack, then by case, then by array.
    packs: BTreeMap<String, BTreeMap<String, BTreeMap<String, Array>>>,
}

/// One tensor.
#[derive(Debug, Clone)]
pub(super) struct Array {
    pub(super) shape: Vec<usize>,
    values: Values,
}

#[derive(Debug, Clone)]
enum Values {
    F32(Vec<f32>),
    F64(Vec<f64>),
    /// Integers of any type; the flag tells a signed type.
    Integer(Vec<i64>, Integer),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Integer {
    bits: u32,
    signed: bool,
}

/// A manifest that was read, and where.
struct Manifest {
    folder: PathBuf,
    path: PathBuf,
    content: Value,
}

impl Manifest {
    /// Reads the manifest at `rows`, or in the folder `rows`.
    fn read(rows: &Path) -> Result<Self, ValidateError> {
        let (folder, path) = match rows.parent() {
            _ if rows.is_dir() => (rows.to_owned(), rows.join("manifest.json")),
            Some(folder) if !folder.as_os_str().is_empty() => (folder.to_owned(), rows.to_owned()),
            _ => (PathBuf::from("."), rows.to_owned()),
        };
        let text = read(&path)?;
        let content =
            serde_json::from_slice(&text).map_err(|source| ValidateError::Json { path: path.clone(), source })?;
        Ok(Self { folder, path, content })
    }

    /// The packs with their checksums, as the manifest names them.
    fn checksums(&self) -> Result<Vec<(String, String)>, ValidateError> {
        let checksums: Option<Vec<(String, String)>> = match (self.content.get("sha256"), self.content.get("packs")) {
            (Some(Value::Object(packs)), _) => {
                packs.iter().map(|(file, digest)| Some((stem(file).to_owned(), digest.as_str()?.to_owned()))).collect()
            }
            (None, Some(Value::Object(packs))) => packs
                .iter()
                .map(|(pack, fields)| Some((stem(pack).to_owned(), fields.get("sha256")?.as_str()?.to_owned())))
                .collect(),
            _ => None,
        };
        checksums.ok_or_else(|| self.error("`sha256` or `packs` must give the SHA-256 of every pack"))
    }

    fn error(&self, problem: &str) -> ValidateError {
        ValidateError::Manifest { path: self.path.clone(), problem: problem.to_owned() }
    }
}

/// The packs of the rows, without the files' extension. Only the manifest is read.
pub(super) fn pack_names(rows: &Path) -> Result<Vec<String>, ValidateError> {
    Ok(Manifest::read(rows)?.checksums()?.into_iter().map(|(pack, _)| pack).collect())
}

impl Folder {
    /// Reads the manifest (its path, or the folder that it is in) and every pack that it lists, and compares checksums.
    pub(super) fn open(rows: &Path) -> Result<Self, ValidateError> {
        let manifest = Manifest::read(rows)?;
        let cases = match manifest.content.get("cases") {
            Some(Value::Array(cases)) => cases
                .iter()
                .map(|case| {
                    let fields = case.as_object()?;
                    Some((fields.get("id")?.as_str()?.to_owned(), fields.clone()))
                })
                .collect(),
            Some(Value::Object(cases)) => {
                cases.iter().map(|(id, fields)| Some((id.clone(), fields.as_object()?.clone()))).collect()
            }
            _ => None,
        };
        let cases: Option<Vec<_>> = cases;
        let cases = cases.ok_or_else(|| manifest.error("`cases` must hold objects, each with its `id`"))?;
        let mut packs = BTreeMap::new();
        for (name, expected) in manifest.checksums()? {
            let file = manifest.folder.join(format!("{name}.safetensors"));
            let bytes = read(&file)?;
            let found = hex_digest(&bytes);
            if found != expected.to_lowercase() {
                return Err(ValidateError::Checksum { path: file, expected, found });
            }
            packs.insert(name, arrays_by_case(&file, &bytes)?);
        }
        Ok(Self { path: manifest.folder, cases, packs })
    }

    /// Every case, with its fields and arrays.
    pub(super) fn cases(&self) -> impl Iterator<Item = Case<'_>> {
        self.cases.iter().map(|(id, fields)| Case { folder: self, id, fields })
    }
}

fn read(path: &Path) -> Result<Vec<u8>, ValidateError> {
    input_files::read(path, input_files::MOST_BYTES)
        .map_err(|source| ValidateError::Read { path: path.to_owned(), source })
}

fn stem(pack: &str) -> &str {
    pack.strip_suffix(".safetensors").unwrap_or(pack)
}

fn arrays_by_case(path: &Path, bytes: &[u8]) -> Result<BTreeMap<String, BTreeMap<String, Array>>, ValidateError> {
    let tensors =
        SafeTensors::deserialize(bytes).map_err(|source| ValidateError::Pack { path: path.to_owned(), source })?;
    let mut cases: BTreeMap<String, BTreeMap<String, Array>> = BTreeMap::new();
    for (name, view) in tensors.tensors() {
        let refused = |problem: String| ValidateError::Manifest { path: path.to_owned(), problem };
        let (case, array) =
            name.split_once('/').ok_or_else(|| refused(format!("tensor `{name}` is not named <case>/<array>")))?;
        let values = decode(view.dtype(), view.data())
            .ok_or_else(|| refused(format!("tensor `{name}` has elements of type {:?}", view.dtype())))?;
        let array_value = Array { shape: view.shape().to_vec(), values };
        cases.entry(case.to_owned()).or_default().insert(array.to_owned(), array_value);
    }
    Ok(cases)
}

fn decode(dtype: Dtype, data: &[u8]) -> Option<Values> {
    fn each<const N: usize, T>(data: &[u8], from: impl Fn([u8; N]) -> T) -> Vec<T> {
        data.chunks_exact(N).map(|bytes| from(bytes.try_into().expect("chunks are of N bytes"))).collect()
    }
    let integer = |values, bits, signed| Values::Integer(values, Integer { bits, signed });
    Some(match dtype {
        Dtype::F32 => Values::F32(each(data, f32::from_le_bytes)),
        Dtype::F64 => Values::F64(each(data, f64::from_le_bytes)),
        Dtype::BOOL | Dtype::U8 => integer(data.iter().map(|&byte| i64::from(byte)).collect(), 8, false),
        Dtype::I8 => integer(data.iter().map(|&byte| i64::from(byte as i8)).collect(), 8, true),
        Dtype::U16 => integer(each(data, |bytes| i64::from(u16::from_le_bytes(bytes))), 16, false),
        Dtype::I16 => integer(each(data, |bytes| i64::from(i16::from_le_bytes(bytes))), 16, true),
        Dtype::U32 => integer(each(data, |bytes| i64::from(u32::from_le_bytes(bytes))), 32, false),
        Dtype::I32 => integer(each(data, |bytes| i64::from(i32::from_le_bytes(bytes))), 32, true),
        Dtype::I64 => integer(each(data, i64::from_le_bytes), 64, true),
        _ => return None,
    })
}

/// One case: its fields in the manifest and its arrays in a pack.
#[derive(Clone, Copy)]
pub(super) struct Case<'a> {
    folder: &'a Folder,
    pub(super) id: &'a str,
    fields: &'a Map<String, Value>,
}

impl<'a> Case<'a> {
    /// An error that cites this case.
    pub(super) fn error(&self, problem: impl Into<String>) -> ValidateError {
        ValidateError::Case { folder: self.folder.path.clone(), case: self.id.to_owned(), problem: problem.into() }
    }

    /// The pack that holds its arrays, without the file's extension.
    pub(super) fn pack(&self) -> Result<&'a str, ValidateError> {
        Ok(stem(self.text("pack")?))
    }

    /// A field that is a string.
    pub(super) fn text(&self, field: &str) -> Result<&'a str, ValidateError> {
        self.optional_text(field).ok_or_else(|| self.error(format!("field `{field}` must be a string")))
    }

    /// A field that is a string, if it is there.
    pub(super) fn optional_text(&self, field: &str) -> Option<&'a str> {
        self.fields.get(field).and_then(Value::as_str)
    }

    /// Any field.
    pub(super) fn field(&self, field: &str) -> Option<&'a Value> {
        self.fields.get(field)
    }

    /// A field that is an integer.
    pub(super) fn integer(&self, field: &str) -> Result<i64, ValidateError> {
        let value = self.fields.get(field).and_then(Value::as_i64);
        value.ok_or_else(|| self.error(format!("field `{field}` must be an integer")))
    }

    /// A field that is a count of at least one.
    pub(super) fn count(&self, field: &str) -> Result<usize, ValidateError> {
        let value = usize::try_from(self.integer(field)?).ok().filter(|&count| count > 0);
        value.ok_or_else(|| self.error(format!("field `{field}` must be at least 1")))
    }

    /// The element format of the case: its field `format`, or, where the reference names it nowhere else, the word of the
    /// id that is the name of one.
    pub(super) fn element_format(&self) -> Result<&'static ElementFormat, ValidateError> {
        self.format_among(|_| true)
    }

    /// As [`Case::element_format`], of integers.
    pub(super) fn integer_format(&self) -> Result<&'static ElementFormat, ValidateError> {
        self.format_among(ElementFormat::is_integer)
    }

    fn format_among(&self, wanted: impl Fn(&ElementFormat) -> bool) -> Result<&'static ElementFormat, ValidateError> {
        let known = |name: &str| formats::by_name(name).filter(|format| wanted(format));
        let found = match self.optional_text("format") {
            Some(name) => known(name),
            None => self.id.split('-').find_map(|word| known(&word.to_lowercase())),
        };
        found.ok_or_else(|| {
            let names = formats::ALL.iter().filter(|format| wanted(format)).map(|format| format.name());
            let names = names.collect::<Vec<_>>().join(", ");
            self.error(format!("names no element format that is known here; known are {names}"))
        })
    }

    fn arrays(&self) -> Result<&'a BTreeMap<String, Array>, ValidateError> {
        let pack = self.pack()?;
        let pack_arrays =
            self.folder.packs.get(pack).ok_or_else(|| self.error(format!("there is no pack `{pack}`")))?;
        pack_arrays.get(self.id).ok_or_else(|| self.error(format!("pack `{pack}` has no arrays of this case")))
    }

    /// Fails unless every array that the manifest lists for this case is there.
    pub(super) fn expect_listed_arrays(&self) -> Result<(), ValidateError> {
        let listed = self.field("arrays").and_then(Value::as_object);
        listed.into_iter().flat_map(Map::keys).try_for_each(|name| self.array(name).map(|_| ()))
    }

    /// The names of all arrays.
    pub(super) fn array_names(&self) -> Result<impl Iterator<Item = &'a str>, ValidateError> {
        Ok(self.arrays()?.keys().map(String::as_str))
    }

    /// An array, if it is there.
    pub(super) fn optional(&self, name: &str) -> Result<Option<&'a Array>, ValidateError> {
        Ok(self.arrays()?.get(name))
    }

    /// Whether there is such an array.
    pub(super) fn has(&self, name: &str) -> bool {
        self.arrays().is_ok_and(|arrays| arrays.contains_key(name))
    }

    /// An array.
    pub(super) fn array(&self, name: &str) -> Result<&'a Array, ValidateError> {
        self.optional(name)?.ok_or_else(|| self.error(format!("there is no array `{name}`")))
    }

    /// The elements of an f32 array.
    pub(super) fn floats(&self, name: &str) -> Result<&'a [f32], ValidateError> {
        match &self.array(name)?.values {
            Values::F32(values) => Ok(values),
            _ => Err(self.error(format!("array `{name}` must be of float32"))),
        }
    }

    /// The elements of a float array, widened.
    pub(super) fn doubles(&self, name: &str) -> Result<Vec<f64>, ValidateError> {
        match &self.array(name)?.values {
            Values::F32(values) => Ok(values.iter().map(|&value| f64::from(value)).collect()),
            Values::F64(values) => Ok(values.clone()),
            Values::Integer(..) => Err(self.error(format!("array `{name}` must be of floats"))),
        }
    }

    /// The elements of an integer array.
    pub(super) fn integers(&self, name: &str) -> Result<&'a [i64], ValidateError> {
        match &self.array(name)?.values {
            Values::Integer(values, _) => Ok(values),
            _ => Err(self.error(format!("array `{name}` must be of integers"))),
        }
    }

    /// The elements of an integer array as a narrower type.
    pub(super) fn narrow<T: TryFrom<i64>>(&self, name: &str) -> Result<Vec<T>, ValidateError> {
        let narrowed = self.integers(name)?.iter().map(|&value| T::try_from(value).ok()).collect::<Option<_>>();
        narrowed.ok_or_else(|| self.error(format!("array `{name}` holds a value out of range")))
    }

    /// The only element of an integer array.
    pub(super) fn single<T: TryFrom<i64>>(&self, name: &str) -> Result<T, ValidateError> {
        let mut values = self.narrow::<T>(name)?;
        match (values.pop(), values.pop()) {
            (Some(value), None) => Ok(value),
            _ => Err(self.error(format!("array `{name}` must hold one value"))),
        }
    }

    /// Whether an array is of floats.
    pub(super) fn is_float(&self, name: &str) -> Result<bool, ValidateError> {
        Ok(!matches!(self.array(name)?.values, Values::Integer(..)))
    }

    /// The smallest and largest value of the type of an integer array.
    pub(super) fn integer_range(&self, name: &str) -> Result<(i32, i32), ValidateError> {
        match self.array(name)?.values {
            Values::Integer(_, Integer { bits: bits @ 1..=16, signed }) => {
                Ok(if signed { (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) } else { (0, (1 << bits) - 1) })
            }
            _ => Err(self.error(format!("array `{name}` must be of integers of at most 16 bits"))),
        }
    }

    /// The shape of an array that must be a matrix, as `(rows, columns)`.
    pub(super) fn matrix(&self, name: &str) -> Result<(usize, usize), ValidateError> {
        match self.array(name)?.shape[..] {
            [rows, columns] => Ok((rows, columns)),
            ref other => Err(self.error(format!("array `{name}` must be a matrix, its shape is {other:?}"))),
        }
    }

    /// Fails unless `array` has `expected` elements.
    pub(super) fn expect_length(&self, name: &str, given: usize, expected: usize) -> Result<(), ValidateError> {
        if given == expected {
            return Ok(());
        }
        Err(self.error(format!("array `{name}` has {given} elements, {expected} are needed")))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use safetensors::Dtype;
    use safetensors::tensor::TensorView;

    use super::{Folder, hex_digest};
    use crate::validate::mx_rtl::MxRtl;
    use crate::validate::numerics::Numerics;
    use crate::validate::{ValidateError, ValidationRow, ValidationSet};

    /// A folder of one case in one pack of u8 arrays `[rows, columns]`, in the form of `numerics`.
    fn write_case(folder: &Path, id: &str, fields: &str, arrays: &[(&str, Vec<u8>, Dtype)], shape: [usize; 2]) {
        let views = arrays.iter().map(|(name, bytes, dtype)| {
            (format!("{id}/{name}"), TensorView::new(*dtype, shape.to_vec(), bytes).unwrap())
        });
        let pack = safetensors::serialize(views, None).unwrap();
        let digest = hex_digest(&pack);
        std::fs::write(folder.join("gemm_int.safetensors"), pack).unwrap();
        let manifest = format!(
            r#"{{"sha256": {{"gemm_int.safetensors": "{digest}"}},
                "cases": [{{"id": "{id}", "pack": "gemm_int.safetensors", {fields}}}]}}"#
        );
        std::fs::write(folder.join("manifest.json"), manifest).unwrap();
    }

    /// `[[1, 2], [3, 4]]` squared, once with its true result `[[7, 10], [15, 22]]` and once with one wrong element.
    fn square(folder: &Path, id: &str, corner: u8) {
        let matrix = |elements: [u8; 4]| elements.to_vec();
        let product = [7, 10, 15, corner].iter().flat_map(|&sum| i32::from(sum).to_le_bytes()).collect();
        let arrays = [
            ("a", matrix([1, 2, 3, 4]), Dtype::I8),
            ("b", matrix([1, 2, 3, 4]), Dtype::I8),
            ("y", product, Dtype::I32),
        ];
        write_case(folder, id, r#""rule": "exact""#, &arrays, [2, 2]);
    }

    fn run(folder: &Path) -> Result<Vec<ValidationRow>, ValidateError> {
        Numerics.run(folder)
    }

    #[test]
    fn any_folder_of_the_form_runs_whatever_its_cases_are_called() {
        let folder = tempfile::tempdir().unwrap();
        square(folder.path(), "anything at all", 22);
        let rows = run(folder.path()).unwrap();
        assert_eq!(rows.len(), 1);
        assert_eq!((rows[0].rows, rows[0].compared, rows[0].differing, rows[0].pass), (4, 4, 0, Some(true)));
    }

    #[test]
    fn a_wrong_element_is_counted_and_named() {
        let folder = tempfile::tempdir().unwrap();
        square(folder.path(), "squared", 23);
        let rows = run(folder.path()).unwrap();
        assert_eq!((rows[0].differing, rows[0].pass), (1, Some(false)));
        assert_eq!(rows[0].note, "first difference: squared y 3 is 22, not 23");
    }

    #[test]
    fn a_pack_that_is_not_the_described_one_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        square(folder.path(), "squared", 22);
        let pack = folder.path().join("gemm_int.safetensors");
        let mut bytes = std::fs::read(&pack).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(&pack, bytes).unwrap();
        assert!(matches!(run(folder.path()), Err(ValidateError::Checksum { .. })));
    }

    #[test]
    fn a_case_that_cannot_be_run_is_an_error_that_names_it() {
        let folder = tempfile::tempdir().unwrap();
        let arrays = [("a", vec![1, 2], Dtype::I8), ("b", vec![1, 2], Dtype::I8)];
        write_case(folder.path(), "no result", r#""rule": "exact""#, &arrays, [1, 2]);
        let refused = run(folder.path()).unwrap_err().to_string();
        assert!(refused.contains("case `no result`") && refused.contains("not a product"), "{refused}");
        write_case(folder.path(), "no result", r#""arrays": {"y": "int32[1]"}"#, &arrays, [1, 2]);
        let refused = run(folder.path()).unwrap_err().to_string();
        assert!(refused.contains("there is no array `y`"), "{refused}");
        let arrays = [("code", vec![], Dtype::U8), ("value", vec![], Dtype::F64)];
        write_case(folder.path(), "decode-int8", r#""rule": "exact""#, &arrays, [0, 0]);
        let manifest = folder.path().join("manifest.json");
        let text = std::fs::read_to_string(&manifest).unwrap().replace("gemm_int", "element_tables");
        std::fs::write(&manifest, text).unwrap();
        std::fs::rename(folder.path().join("gemm_int.safetensors"), folder.path().join("element_tables.safetensors"))
            .unwrap();
        let refused = run(folder.path()).unwrap_err().to_string();
        assert!(refused.contains("no array to compare with"), "{refused}");
        write_case(folder.path(), "no result", r#""rule": "exact""#, &arrays[..0], [1, 2]);
        let refused = MxRtl.run(folder.path()).unwrap_err().to_string();
        assert!(refused.contains("pack `gemm_int` with rule `exact` is not known"), "{refused}");
    }

    #[test]
    fn a_folder_is_found_by_the_path_of_its_manifest_too() {
        let folder = tempfile::tempdir().unwrap();
        square(folder.path(), "squared", 22);
        let rows = run(&folder.path().join("manifest.json")).unwrap();
        assert_eq!((rows[0].compared, rows[0].pass), (4, Some(true)));
        let missing = run(&folder.path().join("absent.json")).unwrap_err().to_string();
        assert_eq!(missing, format!("{}: cannot be read", folder.path().join("absent.json").display()));
    }

    #[test]
    fn a_missing_or_malformed_manifest_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(Folder::open(folder.path()), Err(ValidateError::Read { .. })));
        let write = |text: &str| std::fs::write(folder.path().join("manifest.json"), text).unwrap();
        write("{");
        assert!(matches!(Folder::open(folder.path()), Err(ValidateError::Json { .. })));
        write(r#"{"cases": []}"#);
        assert!(matches!(Folder::open(folder.path()), Err(ValidateError::Manifest { .. })));
        write(r#"{"cases": [{"name": "x"}], "sha256": {}}"#);
        assert!(matches!(Folder::open(folder.path()), Err(ValidateError::Manifest { .. })));
        write(r#"{"cases": {}, "packs": {"absent": {"sha256": ""}}}"#);
        assert!(matches!(Folder::open(folder.path()), Err(ValidateError::Read { .. })));
    }
}
