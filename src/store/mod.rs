//! Rows and the files they live in: written as groups end, read back by name, resumed, journalled. Knows what a record
//! looks like on disk, not how it was measured.

mod assemble;
mod files;
pub mod journal;
mod output;
mod quality;
mod read;
mod recorder;
mod resume;
mod row;
mod tables;
mod template;

pub use assemble::{RunInfo, assemble, interval_of};
pub use files::{CellsFile, JsonLinesFile, SAMPLE_COLUMNS, SamplesFile, cells_csv};
pub use journal::{Journal, JournalHeader, journal_path, state_dir};
pub use output::{Existing, Output, OutputError, is_closed_pipe};
pub use read::{CellsTable, ReadError, parse_cells, read_cells};
pub use recorder::{Files, Recorder};
pub use resume::{Pending, Places, ResumeError, Resumed, resume};
pub use row::{COLUMNS, Row, SCHEMA_VERSION};
pub use tables::{
    QualityRow, QualityTable, TableKind, TrainingRow, TrainingTable, kind_of, parse_quality, parse_training,
};
pub use template::{DeviceFacts, Origin};
