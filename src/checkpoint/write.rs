//! A model written as a folder: `config.json`, `model.safetensors` and `tokenizer.json`, in its family's layout, f32.

use std::{
    collections::{BTreeMap, HashMap},
    fs::{self, File},
    io,
    path::Path,
};

use candle_core::{DType, Device, Tensor};

use super::{
    description::Description,
    error::{CheckpointError, Result},
    safetensors::SINGLE,
    tokenizer::{FILE, Tokenizer},
};
use crate::params::Params;

impl Description {
    /// Writes the model with the parameters as they are now; files of an earlier checkpoint in the folder are replaced one
    /// by one, each whole.
    ///
    /// # Errors
    /// Where the folder or a file cannot be written.
    pub fn save(&self, folder: &Path, params: &Params, tokenizer: Option<&Tokenizer>) -> Result<()> {
        fs::create_dir_all(folder).map_err(|e| CheckpointError::unwritable(folder, &e))?;
        let weights = folder.join(SINGLE);
        let tensors = self.in_file_layout(params).map_err(|e| CheckpointError::unwritable(&weights, &e))?;
        // Hugging Face reads no file that does not say so.
        let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
        replace(&weights, |path| {
            safetensors::serialize_to_file(&tensors, Some(metadata), path)
                .map_err(|e| CheckpointError::unwritable(&weights, &e))
        })?;
        if let Some(tokenizer) = tokenizer {
            let (file, text) = (folder.join(FILE), tokenizer.to_json()?);
            replace(&file, |path| fs::write(path, text).map_err(|e| CheckpointError::unwritable(&file, &e)))?;
        }
        let file = folder.join("config.json");
        let text = serde_json::to_string_pretty(&self.config()).map_err(|e| CheckpointError::unwritable(&file, &e))?;
        replace(&file, |path| fs::write(path, text + "\n").map_err(|e| CheckpointError::unwritable(&file, &e)))
    }

    /// Tensors under their names in files, parts of one put together.
    fn in_file_layout(&self, params: &Params) -> candle_core::Result<BTreeMap<String, Tensor>> {
        let mut parts: BTreeMap<String, (bool, BTreeMap<usize, Tensor>)> = BTreeMap::new();
        for (name, tensor) in params.tensors() {
            let Some(place) = self.family().place(name) else {
                candle_core::bail!("a {} model has no parameter {name}", self.family().as_str());
            };
            let tensor = tensor.detach().to_device(&Device::Cpu)?.to_dtype(DType::F32)?;
            let (_, parts) = parts.entry(place.tensor).or_insert_with(|| (place.transposed, BTreeMap::new()));
            parts.insert(place.part.0, tensor);
        }
        let whole = |(name, (transposed, parts)): (String, (bool, BTreeMap<usize, Tensor>))| -> candle_core::Result<_> {
            let parts: Vec<Tensor> = parts.into_values().collect();
            let tensor = Tensor::cat(&parts, 0)?;
            let tensor = if transposed { tensor.t()?.contiguous()? } else { tensor.contiguous()? };
            Ok((name, tensor))
        };
        parts.into_iter().map(whole).collect()
    }
}

/// Writes beside a file and puts that in its place, so that whoever reads sees the old one or the new.
fn replace(file: &Path, write: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let beside = file.with_file_name(name);
    let unwritable = |e: io::Error| CheckpointError::unwritable(file, &e);
    // Who may read a new file is the user's setting; whoever writes may go by a temporary file that nobody else may read.
    let readers = File::create(&beside).and_then(|file| file.metadata()).map_err(unwritable)?.permissions();
    write(&beside)?;
    fs::set_permissions(&beside, readers).map_err(unwritable)?;
    fs::rename(&beside, file).map_err(unwritable)
}
