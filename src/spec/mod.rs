//! The words of the field: workloads, variants, dtypes, sizes. Knows how they are written and read, and nothing else.

mod cell;
mod said;
mod sizes;
mod suggest;
mod variant;
mod words;

pub use cell::{Cell, CellId, KEY_COLUMNS, ModelShape};
pub(crate) use said::without_backtrace;
pub use sizes::{SizeList, parse_sizes};
pub use suggest::nearest;
pub use variant::{AS_IS, VariantSpec};
pub(crate) use words::words;
pub use words::{Activation, CacheMode, DType, DeviceKind, DeviceSpec, Implementation, Norm, Positions, Workload};
