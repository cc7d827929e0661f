//! Every raw value of a run as two tables, for other tools: CSV and Parquet with
//! the same rows.

use std::sync::Arc;

use assay_record::{Measure, Record};
use parquet::basic::{Compression, LogicalType, Repetition, Type as Physical};
use parquet::data_type::{ByteArray, ByteArrayType, DoubleType, Int32Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::Type;

use crate::archive::record_id;
use crate::error::ReportError;
use crate::hostile;

/// Columns of words, in order, before `index` and `value`.
const WORDS: [&str; 9] = [
    "experiment",
    "model",
    "revision",
    "setting",
    "record",
    "unit",
    "cluster",
    "tags",
    "measure",
];

/// One value with what it is of.
struct Row {
    words: [String; WORDS.len()],
    /// Place in its series; 0 for a single number.
    index: i32,
    value: f64,
}

/// Rows of one record. Texts and token ids are in the record itself.
fn rows(record: &Record) -> Result<Vec<Row>, ReportError> {
    let id = record_id(&record.key)?;
    let key = &record.key;
    let mut rows = Vec::new();
    for sample in &record.samples {
        let tags: Vec<String> = (sample.tags.iter())
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let tags = tags.join(";");
        for (name, measure) in &sample.measures {
            let values = match measure {
                Measure::Scalar(value) => std::slice::from_ref(value),
                Measure::Series(values) => values,
            };
            for (index, value) in (0..).zip(values) {
                rows.push(Row {
                    words: [
                        &key.experiment,
                        &key.model,
                        &key.revision,
                        &key.setting,
                        &id,
                        &sample.unit,
                        &sample.cluster,
                        &tags,
                        name,
                    ]
                    .map(Clone::clone),
                    index,
                    value: *value,
                });
            }
        }
    }
    Ok(rows)
}

/// All raw values as CSV: the columns of [`WORDS`], index and value, with all
/// digits.
///
/// # Errors
/// A record whose key cannot be written.
pub fn samples_csv(records: &[Record]) -> Result<Vec<u8>, ReportError> {
    let fault = |e: csv::Error| ReportError::Samples(e.to_string());
    let mut out = csv::Writer::from_writer(Vec::new());
    let heads = WORDS.iter().copied().chain(["index", "value"]);
    out.write_record(heads).map_err(fault)?;
    for record in records {
        for row in rows(record)? {
            let numbers = [row.index.to_string(), row.value.to_string()];
            let words = row
                .words
                .iter()
                .map(|word| hostile::cell(word).into_owned());
            out.write_record(words.chain(numbers)).map_err(fault)?;
        }
    }
    out.into_inner()
        .map_err(|e| ReportError::Samples(e.to_string()))
}

/// The same rows as a Parquet file, a row group a record.
///
/// # Errors
/// A record whose key cannot be written.
pub fn samples_parquet(records: &[Record]) -> Result<Vec<u8>, ReportError> {
    let fault = |e: ParquetError| ReportError::Samples(e.to_string());
    let schema = schema().map_err(fault)?;
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_created_by("assay".to_owned())
        .build();
    let mut bytes = Vec::new();
    let mut file =
        SerializedFileWriter::new(&mut bytes, schema, Arc::new(properties)).map_err(fault)?;
    for record in records {
        write_group(&mut file, &rows(record)?).map_err(fault)?;
    }
    file.close().map_err(fault)?;
    Ok(bytes)
}

fn schema() -> Result<Arc<Type>, ParquetError> {
    let column = |name: &str, physical: Physical, logical: Option<LogicalType>| {
        Type::primitive_type_builder(name, physical)
            .with_repetition(Repetition::REQUIRED)
            .with_logical_type(logical)
            .build()
            .map(Arc::new)
    };
    let mut fields = Vec::new();
    for name in WORDS {
        fields.push(column(
            name,
            Physical::BYTE_ARRAY,
            Some(LogicalType::String),
        )?);
    }
    fields.push(column("index", Physical::INT32, None)?);
    fields.push(column("value", Physical::DOUBLE, None)?);
    let samples = Type::group_type_builder("samples").with_fields(fields);
    Ok(Arc::new(samples.build()?))
}

fn write_group(
    file: &mut SerializedFileWriter<&mut Vec<u8>>,
    rows: &[Row],
) -> Result<(), ParquetError> {
    let mut group = file.next_row_group()?;
    for column in 0..WORDS.len() {
        let words: Vec<ByteArray> = (rows.iter())
            .filter_map(|r| r.words.get(column))
            .map(|w| ByteArray::from(w.as_str()))
            .collect();
        if let Some(mut writer) = group.next_column()? {
            writer
                .typed::<ByteArrayType>()
                .write_batch(&words, None, None)?;
            writer.close()?;
        }
    }
    if let Some(mut writer) = group.next_column()? {
        let indices: Vec<i32> = rows.iter().map(|r| r.index).collect();
        writer
            .typed::<Int32Type>()
            .write_batch(&indices, None, None)?;
        writer.close()?;
    }
    if let Some(mut writer) = group.next_column()? {
        let values: Vec<f64> = rows.iter().map(|r| r.value).collect();
        writer
            .typed::<DoubleType>()
            .write_batch(&values, None, None)?;
        writer.close()?;
    }
    group.close()?;
    Ok(())
}
