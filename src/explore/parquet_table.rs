//! The table of all points as a Parquet file (feature `parquet`), made from the CSV: the same columns in the same order, with
//! types. The number of a point is an integer, `feasible` and `front` are booleans, a column whose every cell is a number is
//! of doubles, any other of texts; an empty cell is null. One row group, Snappy.

use std::sync::Arc;

use parquet::basic::{Compression, LogicalType, Repetition, Type as Physical};
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DataType, DoubleType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::types::Type;

/// The bytes of a Parquet file of the table `csv`, as [`Findings::to_csv`](crate::explore::results::Findings::to_csv)
/// makes it.
///
/// # Errors
/// [`ParquetError`], which no table of a study brings about.
pub fn to_parquet(csv: &str) -> Result<Vec<u8>, ParquetError> {
    let mut reader = csv::Reader::from_reader(csv.as_bytes());
    let failed = |error: csv::Error| ParquetError::External(Box::new(error));
    let names: Vec<String> = reader.headers().map_err(failed)?.iter().map(str::to_owned).collect();
    let mut columns: Vec<Vec<String>> = vec![Vec::new(); names.len()];
    for record in reader.records() {
        for (column, cell) in columns.iter_mut().zip(record.map_err(failed)?.iter()) {
            column.push(cell.to_owned());
        }
    }
    let kinds: Vec<Kind> = names.iter().zip(&columns).map(|(name, cells)| Kind::of(name, cells)).collect();
    let fields = names.iter().zip(&kinds).map(|(name, kind)| kind.field(name)).collect::<Result<_, _>>()?;
    let schema = Arc::new(Type::group_type_builder("points").with_fields(fields).build()?);
    let properties = Arc::new(WriterProperties::builder().set_compression(Compression::SNAPPY).build());
    let mut writer = SerializedFileWriter::new(Vec::new(), schema, properties)?;
    let mut group = writer.next_row_group()?;
    for (kind, cells) in kinds.iter().zip(&columns) {
        kind.write(&mut group, cells)?;
    }
    group.close()?;
    writer.into_inner()
}

/// What the cells of a column are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Integer,
    Boolean,
    Number,
    Text,
}

impl Kind {
    fn of(name: &str, cells: &[String]) -> Kind {
        // A parameter may be called as one of the other columns is.
        match name {
            "index" if cells.iter().all(|cell| cell.parse::<i64>().is_ok()) => Kind::Integer,
            "feasible" | "front" if cells.iter().all(|cell| cell.parse::<bool>().is_ok()) => Kind::Boolean,
            "error" => Kind::Text,
            _ if cells.iter().all(|cell| cell.is_empty() || cell.parse::<f64>().is_ok()) => Kind::Number,
            _ => Kind::Text,
        }
    }

    fn field(self, name: &str) -> Result<Arc<Type>, ParquetError> {
        let (physical, logical) = match self {
            Kind::Integer => (Physical::INT64, None),
            Kind::Boolean => (Physical::BOOLEAN, None),
            Kind::Number => (Physical::DOUBLE, None),
            Kind::Text => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
        };
        let builder = Type::primitive_type_builder(name, physical).with_repetition(Repetition::OPTIONAL);
        Ok(Arc::new(builder.with_logical_type(logical).build()?))
    }

    fn write<W: std::io::Write + Send>(
        self,
        group: &mut SerializedRowGroupWriter<'_, W>,
        cells: &[String],
    ) -> Result<(), ParquetError> {
        match self {
            Kind::Integer => write::<Int64Type, W>(group, cells, |cell| cell.parse().ok()),
            Kind::Boolean => write::<BoolType, W>(group, cells, |cell| cell.parse().ok()),
            Kind::Number => write::<DoubleType, W>(group, cells, |cell| cell.parse().ok()),
            Kind::Text => write::<ByteArrayType, W>(group, cells, |cell| {
                (!cell.is_empty()).then(|| ByteArray::from(cell.as_bytes().to_vec()))
            }),
        }
    }
}

/// The next column, with null for each cell that has no value.
fn write<T: DataType, W: std::io::Write + Send>(
    group: &mut SerializedRowGroupWriter<'_, W>,
    cells: &[String],
    value: impl Fn(&str) -> Option<T::T>,
) -> Result<(), ParquetError> {
    let values: Vec<Option<T::T>> = cells.iter().map(|cell| value(cell)).collect();
    let levels: Vec<i16> = values.iter().map(|value| i16::from(value.is_some())).collect();
    let values: Vec<T::T> = values.into_iter().flatten().collect();
    let mut column = group.next_column()?.expect("there is one for each field of the schema");
    column.typed::<T>().write_batch(&values, Some(&levels), None)?;
    column.close()
}
