//! `--dump`: what a check saw, as safetensors, so that anyone can check the formula with their own code.

use std::{collections::HashMap, path::Path};

use super::check::Checked;
use crate::spec::{Cell, KEY_COLUMNS};

/// Writes `{cell_id}.safetensors` (inputs, parameters, output, f64 reference) and `{cell_id}.json` (the cell's key,
/// the sizes of the check and its result) into `folder`, which is made if need be.
///
/// # Errors
/// If the folder or a file cannot be written.
pub(super) fn write(folder: &Path, cell: &Cell, checked: &Checked) -> Result<(), Box<dyn std::error::Error>> {
    std::fs::create_dir_all(folder)?;
    let id = cell.id();
    let tensors: HashMap<&str, _> = checked.tensors.iter().map(|(k, t)| (k.as_str(), t.clone())).collect();
    candle_core::safetensors::save(&tensors, folder.join(format!("{id}.safetensors")))?;
    let mut facts: serde_json::Map<String, serde_json::Value> =
        KEY_COLUMNS.iter().zip(cell.key()).map(|(k, v)| ((*k).to_owned(), v.into())).collect();
    facts.insert("check_batch_size".to_owned(), checked.batch_size.into());
    facts.insert("check_n_tokens".to_owned(), checked.n_tokens.into());
    facts.insert("check_tolerance".to_owned(), checked.tolerance.into());
    facts.insert("max_abs_err".to_owned(), checked.report.max_abs_err.into());
    facts.insert("max_rel_err".to_owned(), checked.report.max_rel_err.into());
    facts.insert("passed".to_owned(), checked.report.passed.into());
    std::fs::write(folder.join(format!("{id}.json")), serde_json::to_string_pretty(&facts)?)?;
    Ok(())
}
