//! Rows and the files they live in: written as groups end, read back by name, resumed, journalled. Knows what a record
//! looks like on disk, not how it was measured.

mod assemble;
mod field;
mod files;
mod gather;
pub mod journal;
mod json_lines;
mod merge;
mod output;
mod pool;
mod quality;
mod read;
mod recorder;
mod resume;
mod row;
mod tables;
mod template;

pub use assemble::{RunInfo, assemble, interval_of};
pub use files::{CellsFile, JsonLinesFile, SAMPLE_COLUMNS, SamplesFile, cells_csv};
pub use gather::{Found, GatherError, each_row, gather, parse_rows, read_bytes};
pub use journal::{Journal, JournalHeader, journal_path, state_dir};
pub use merge::{Merge, MergeError};
pub use output::{Existing, Output, OutputError, is_closed_pipe, write_whole};
pub use pool::pool;
pub use read::{CellsTable, ReadError, Reading, Take, each_cell, parse_cells, read_cells};
pub use recorder::{Files, Recorder};
pub use resume::{Pending, Places, ResumeError, Resumed, resume};
pub use row::{COLUMNS, Row, SCHEMA_VERSION};
pub use tables::{
    QualityRow, QualityTable, TableKind, TrainingRow, TrainingTable, kind_of, parse_quality, parse_training,
};
pub use template::{DeviceFacts, Origin};
