//! The three files of a run: cells, samples and JSON lines. Knows their formats, not when a group ends.

use serde::Serialize;

use super::{
    output::Output,
    row::{COLUMNS, Row},
};
use crate::sweep::CellRecord;

/// Columns of the samples file.
pub const SAMPLE_COLUMNS: [&str; 12] = [
    "run_id",
    "cell_id",
    "workload",
    "variant",
    "batch_size",
    "seq_len",
    "round",
    "attempt",
    "sample",
    "iters",
    "ns",
    "foreign_cpu_pct",
];

/// RFC 4180 with line feeds; the header once, also where no row follows.
fn csv_bytes<R: Serialize>(header: Option<&[&str]>, rows: impl IntoIterator<Item = R>) -> anyhow::Result<Vec<u8>> {
    let mut writer = csv::WriterBuilder::new().has_headers(false).from_writer(Vec::new());
    if let Some(header) = header {
        writer.write_record(header)?;
    }
    for row in rows {
        writer.serialize(row)?;
    }
    Ok(writer.into_inner()?)
}

/// The cells file as a whole, header and rows.
///
/// # Errors
/// None in practice: it is written into memory.
pub fn cells_csv(rows: &[Row]) -> anyhow::Result<Vec<u8>> {
    csv_bytes(Some(COLUMNS), rows)
}

/// One row per cell.
pub struct CellsFile(Output);

impl CellsFile {
    /// Begins the file: an empty one gets its header now.
    ///
    /// # Errors
    /// Of writing.
    pub fn begin(mut output: Output) -> anyhow::Result<Self> {
        if output.is_empty() {
            output.write_now(&cells_csv(&[])?)?;
        }
        Ok(Self(output))
    }

    /// Goes on with a file that has its header.
    #[must_use]
    pub fn go_on(output: Output) -> Self {
        Self(output)
    }

    /// Appends rows and flushes.
    ///
    /// # Errors
    /// Of writing.
    pub fn append(&mut self, rows: &[Row]) -> anyhow::Result<()> {
        Ok(self.0.write_now(&csv_bytes(None, rows)?)?)
    }
}

/// One row per sample, long format.
pub struct SamplesFile(Output);

/// The fields of a sample, in the order of [`SAMPLE_COLUMNS`].
type SampleRow<'a> = (&'a str, &'a str, &'a str, &'a str, u64, u64, u32, u32, usize, u64, f64, Option<f64>);

impl SamplesFile {
    /// Begins the file: an empty one gets its header now.
    ///
    /// # Errors
    /// Of writing.
    pub fn begin(mut output: Output) -> anyhow::Result<Self> {
        if output.is_empty() {
            output.write_now(&csv_bytes::<SampleRow<'_>>(Some(&SAMPLE_COLUMNS), [])?)?;
        }
        Ok(Self(output))
    }

    /// Goes on with a file that has its header.
    #[must_use]
    pub fn go_on(output: Output) -> Self {
        Self(output)
    }

    /// Appends every sample of a cell and flushes.
    ///
    /// # Errors
    /// Of writing.
    pub fn append(&mut self, row: &Row, record: &CellRecord) -> anyhow::Result<()> {
        let rows = record.visits.iter().flat_map(|v| {
            v.measured.samples_ns.iter().enumerate().map(move |(i, ns)| -> SampleRow<'_> {
                let (iters, foreign) = (v.measured.iters_per_sample, v.conditions.foreign_cpu_pct);
                let (run, cell) = (&row.run_id, &row.cell_id);
                let (workload, variant) = (&row.workload, &row.variant);
                (run, cell, workload, variant, row.batch_size, row.seq_len, v.round, v.attempt, i, iters, *ns, foreign)
            })
        });
        Ok(self.0.write_now(&csv_bytes(None, rows)?)?)
    }
}

/// One JSON object per cell: the columns of the cells file and `samples`, one entry per visit.
pub struct JsonLinesFile(Output);

#[derive(Serialize)]
struct JsonLine<'a> {
    #[serde(flatten)]
    row: &'a Row,
    samples: Vec<JsonVisit<'a>>,
}

#[derive(Serialize)]
struct JsonVisit<'a> {
    round: u32,
    attempt: u32,
    iters: u64,
    foreign_cpu_pct: Option<f64>,
    ns: &'a [f64],
}

impl JsonLinesFile {
    /// Begins the file.
    #[must_use]
    pub fn begin(output: Output) -> Self {
        Self(output)
    }

    /// Appends a cell and flushes.
    ///
    /// # Errors
    /// Of writing.
    pub fn append(&mut self, row: &Row, record: &CellRecord) -> anyhow::Result<()> {
        let samples = record.visits.iter().map(|v| JsonVisit {
            round: v.round,
            attempt: v.attempt,
            iters: v.measured.iters_per_sample,
            foreign_cpu_pct: v.conditions.foreign_cpu_pct,
            ns: &v.measured.samples_ns,
        });
        let mut line = serde_json::to_vec(&JsonLine { row, samples: samples.collect() })?;
        line.push(b'\n');
        Ok(self.0.write_now(&line)?)
    }
}
